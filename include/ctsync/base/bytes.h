// SPDX-License-Identifier: GPL-2.0-or-later
// The one place where bytes of a packet become numbers and back. ByteReader never reads past its end: a read that does
// not fit returns zero and sets failed(). ByteWriter never writes past its end: a write that does not fit sets failed()
// and changes nothing. Byte order is in the name of each call: be = network order, host = order of this machine.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace ctsync {

constexpr std::uint16_t swap_bytes(std::uint16_t v) { return __builtin_bswap16(v); }
constexpr std::uint32_t swap_bytes(std::uint32_t v) { return __builtin_bswap32(v); }
constexpr std::uint64_t swap_bytes(std::uint64_t v) { return __builtin_bswap64(v); }

// Between this machine's order and network order (the same in both directions).
template <typename T>
constexpr T network_order(T v) {
  if constexpr (std::endian::native == std::endian::little) return swap_bytes(v);
  return v;
}

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::uint8_t> data) : p_(data.data()), end_(data.data() + data.size()) {}

  std::size_t left() const { return static_cast<std::size_t>(end_ - p_); }
  bool failed() const { return failed_; }

  std::uint8_t u8() { return load<std::uint8_t>(); }
  std::uint16_t be16() { return network_order(load<std::uint16_t>()); }
  std::uint32_t be32() { return network_order(load<std::uint32_t>()); }
  std::uint64_t be64() { return network_order(load<std::uint64_t>()); }
  std::uint16_t host16() { return load<std::uint16_t>(); }
  std::uint32_t host32() { return load<std::uint32_t>(); }

  // Copies n bytes to `to`; copies nothing if fewer are left.
  void copy(void* to, std::size_t n) {
    if (!take(n)) return;
    std::memcpy(to, p_ - n, n);
  }
  // The next n bytes, a view into the data given at construction; empty if fewer are left.
  std::span<const std::uint8_t> bytes(std::size_t n) {
    if (!take(n)) return {};
    return {p_ - n, n};
  }
  void skip(std::size_t n) { (void)take(n); }

 private:
  bool take(std::size_t n) {
    if (n > left()) {
      failed_ = true;
      p_ = end_;
      return false;
    }
    p_ += n;
    return true;
  }
  template <typename T>
  T load() {
    T v{};
    if (take(sizeof v)) std::memcpy(&v, p_ - sizeof v, sizeof v);
    return v;
  }

  const std::uint8_t* p_;
  const std::uint8_t* end_;
  bool failed_ = false;
};

class ByteWriter {
 public:
  explicit ByteWriter(std::span<std::uint8_t> room)
      : begin_(room.data()), p_(room.data()), end_(room.data() + room.size()) {}

  std::size_t size() const { return static_cast<std::size_t>(p_ - begin_); }
  std::size_t left() const { return static_cast<std::size_t>(end_ - p_); }
  bool failed() const { return failed_; }
  std::span<const std::uint8_t> written() const { return {begin_, size()}; }

  void u8(std::uint8_t v) { store(v); }
  void be16(std::uint16_t v) { store(network_order(v)); }
  void be32(std::uint32_t v) { store(network_order(v)); }
  void be64(std::uint64_t v) { store(network_order(v)); }
  void host16(std::uint16_t v) { store(v); }
  void host32(std::uint32_t v) { store(v); }
  void copy(const void* from, std::size_t n) {  // `from` may be null if there is nothing to copy
    if (auto* to = room(n); to != nullptr && n != 0) std::memcpy(to, from, n);
  }
  void zeros(std::size_t n) {
    if (auto* to = room(n)) std::memset(to, 0, n);
  }
  // Overwrites two bytes written earlier, at `offset` from the start.
  void patch_be16(std::size_t offset, std::uint16_t v) {
    const auto value = network_order(v);
    if (offset + sizeof value <= size()) std::memcpy(begin_ + offset, &value, sizeof value);
  }
  // Forgets everything behind `size`; clears failed(). To undo a message that did not fit.
  void rewind(std::size_t to_size) {
    if (to_size <= size()) p_ = begin_ + to_size;
    failed_ = false;
  }

 private:
  std::uint8_t* room(std::size_t n) {
    if (failed_ || n > left()) {
      failed_ = true;
      return nullptr;
    }
    p_ += n;
    return p_ - n;
  }
  template <typename T>
  void store(T v) {
    if (auto* to = room(sizeof v)) std::memcpy(to, &v, sizeof v);
  }

  std::uint8_t* begin_;
  std::uint8_t* p_;
  std::uint8_t* end_;
  bool failed_ = false;
};

}  // namespace ctsync
