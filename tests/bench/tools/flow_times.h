// SPDX-License-Identifier: GPL-2.0-or-later
//
// When each flow of flowgen was seen first: a file of 64-bit numbers in host order, nanoseconds of the monotonic clock, 0 = never. The
// file is made by who reads it, in its full size. Entry N belongs to the N-th `create` or `change` of one run of flowgen.
#ifndef CTSYNC_TESTS_BENCH_FLOW_TIMES_H
#define CTSYNC_TESTS_BENCH_FLOW_TIMES_H

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <span>
#include <string_view>
#include <system_error>

namespace bench {

using Bytes = std::span<const unsigned char>;

inline std::uint32_t big_endian(Bytes data, std::size_t at, std::size_t size) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value = value << 8 | data[at + i];
  return value;
}

inline std::uint64_t nanoseconds(const timespec& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(time.tv_nsec);
}

inline std::uint64_t now(clockid_t clock = CLOCK_MONOTONIC) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return nanoseconds(time);
}

inline std::uint32_t number_of(std::string_view word) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  return error == std::errc{} && end == word.data() + word.size() ? value : 0;
}

class FlowTimes {
 public:
  // `first` is the number of the first flow, `flows` how many there are; more entries than flows are of later changes.
  bool open(const char* path, std::uint32_t first, std::uint32_t flows) {
    first_ = first;
    flows_ = flows;
    const int file = ::open(path, O_RDWR | O_CLOEXEC);
    struct stat status {};
    if (file < 0 || ::fstat(file, &status) != 0) return false;
    const auto size = static_cast<std::size_t>(status.st_size);
    void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
    ::close(file);
    if (data == MAP_FAILED) return false;
    times_ = {static_cast<std::uint64_t*>(data), size / sizeof(std::uint64_t)};
    return true;
  }

  // Calls found(entry) for each message in a datagram that tells of a flow of the generator.
  template <typename Found>
  void read(Bytes datagram, Found found) const {
    while (datagram.size() >= 8) {
      const std::size_t length = big_endian(datagram, 2, 2);
      if (length < 8 || length > datagram.size()) return;
      if ((datagram[0] & 15U) <= 2) read_flow(datagram.subspan(8, length - 8), found);
      datagram = datagram.subspan(length);
    }
  }

  void note(std::size_t entry, std::uint64_t when) const {
    if (times_[entry] == 0) times_[entry] = when;
  }

 private:
  template <typename Found>
  void read_flow(Bytes attributes, Found found) const {
    std::uint32_t source = 0;
    std::uint32_t port = 0;
    std::uint32_t mark = 0;
    while (attributes.size() >= 4) {
      const std::size_t size = big_endian(attributes, 0, 2);
      if (size < 4 || size > attributes.size()) break;
      const std::uint32_t id = big_endian(attributes, 2, 2);
      if (id == 0 && size == 12) source = big_endian(attributes, 4, 4);
      if (id == 3 && size == 8) port = big_endian(attributes, 4, 2);
      if (id == 7 && size == 8) mark = big_endian(attributes, 4, 4);
      const std::size_t padded = (size + 3) & ~std::size_t{3};
      if (padded > attributes.size()) break;
      attributes = attributes.subspan(padded);
    }
    const std::uint32_t flow = ((source & 0xffffffU) << 4 | ((port - 1024) & 15U)) - first_;  // as flowgen counts
    const std::size_t entry = flow + std::size_t{flows_} * (mark == 0 ? 0 : mark - 1);
    if (source >> 24 == 10 && flow < flows_ && entry < times_.size()) found(entry);
  }

  std::uint32_t first_ = 0;
  std::uint32_t flows_ = 0;
  std::span<std::uint64_t> times_;
};

}  // namespace bench

#endif
