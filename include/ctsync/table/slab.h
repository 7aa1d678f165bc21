// SPDX-License-Identifier: GPL-2.0-or-later
// Objects under small ids, in chunks that are allocated on demand and never move. Released objects are used again, the
// most recent first; memory never used is never touched. The first four bytes of a released object link the free list;
// the rest stays readable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>

namespace ctsync::table {

template <typename T, unsigned kChunkBits>
class Slab {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) >= sizeof(std::uint32_t));

 public:
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

  // The id of an object whose content is unspecified; kNone if there is no memory.
  std::uint32_t allocate() {
    if (free_ != kNone) {
      const auto id = free_;
      std::memcpy(&free_, static_cast<const void*>(&at(id)), sizeof free_);
      return id;
    }
    if (end_ == chunks_.size() * kChunk && !add_chunk()) return kNone;
    return end_++;
  }
  void release(std::uint32_t id) {
    std::memcpy(static_cast<void*>(&at(id)), &free_, sizeof free_);
    free_ = id;
  }

  T& at(std::uint32_t id) { return chunks_[id >> kChunkBits].get()[id & (kChunk - 1)]; }
  const T& at(std::uint32_t id) const { return chunks_[id >> kChunkBits].get()[id & (kChunk - 1)]; }

  // All ids ever used are below this.
  std::uint32_t end() const { return end_; }
  std::size_t memory_bytes() const { return chunks_.size() * kChunk * sizeof(T); }

 private:
  static constexpr std::size_t kChunk = std::size_t{1} << kChunkBits;
  static constexpr std::size_t kCacheLine = 64;
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };

  bool add_chunk() {
    if (end_ == kNone - kChunk + 1) return false;  // ids are used up
    const std::size_t size = (kChunk * sizeof(T) + kCacheLine - 1) / kCacheLine * kCacheLine;
    std::unique_ptr<T, Free> chunk(static_cast<T*>(std::aligned_alloc(kCacheLine, size)));
    if (!chunk) return false;
    chunks_.push_back(std::move(chunk));
    return true;
  }

  std::vector<std::unique_ptr<T, Free>> chunks_;
  std::uint32_t end_ = 0;
  std::uint32_t free_ = kNone;
};

}  // namespace ctsync::table
