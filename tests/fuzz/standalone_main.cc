// SPDX-License-Identifier: GPL-2.0-or-later
// Runs a fuzz target without libFuzzer: each file of a directory as it is, then with random changes. The changes are
// the same in every run.
//
// usage: TARGET CORPUS_DIRECTORY [MUTATIONS_PER_FILE]
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kMaxSize = 65536;

// An exact copy on the heap, so that a sanitizer sees a read behind the end.
void run(const Bytes& bytes) {
  const Bytes copy(bytes);
  LLVMFuzzerTestOneInput(copy.data(), copy.size());
}

Bytes read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class Mutator {
 public:
  explicit Mutator(const std::vector<Bytes>& corpus) : corpus_(corpus) {}

  Bytes mutate(Bytes bytes) {
    for (std::size_t changes = 1 + below(4); changes > 0; --changes) change(bytes);
    if (bytes.size() > kMaxSize) bytes.resize(kMaxSize);
    return bytes;
  }

 private:
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  std::ptrdiff_t place(const Bytes& bytes) { return static_cast<std::ptrdiff_t>(below(bytes.size() + 1)); }
  std::uint8_t any_byte() { return static_cast<std::uint8_t>(below(256)); }

  void change(Bytes& bytes) {
    switch (below(6)) {
      case 0:  // one byte becomes another
        if (!bytes.empty()) bytes[below(bytes.size())] = any_byte();
        break;
      case 1:  // one bit flips
        if (!bytes.empty()) bytes[below(bytes.size())] ^= static_cast<std::uint8_t>(1U << below(8));
        break;
      case 2:  // a piece is cut out
        erase_piece(bytes);
        break;
      case 3:  // a byte comes in
        bytes.insert(bytes.begin() + place(bytes), any_byte());
        break;
      case 4:  // the end is cut off
        bytes.resize(below(bytes.size() + 1));
        break;
      default:  // a piece of some other file comes in
        insert_piece(bytes, corpus_[below(corpus_.size())]);
    }
  }

  void erase_piece(Bytes& bytes) {
    const auto from = place(bytes);
    const auto to = std::min(from + static_cast<std::ptrdiff_t>(below(32)), std::ssize(bytes));
    bytes.erase(bytes.begin() + from, bytes.begin() + to);
  }

  void insert_piece(Bytes& bytes, const Bytes& other) {
    const auto from = place(other);
    const auto to = std::min(from + static_cast<std::ptrdiff_t>(below(128)), std::ssize(other));
    bytes.insert(bytes.begin() + place(bytes), other.begin() + from, other.begin() + to);
  }

  const std::vector<Bytes>& corpus_;
  std::mt19937_64 random_{1};
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s CORPUS_DIRECTORY [MUTATIONS_PER_FILE]\n", argv[0]);
    return 2;
  }
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) paths.push_back(entry.path());
  std::ranges::sort(paths);
  std::vector<Bytes> corpus;
  for (const auto& path : paths) corpus.push_back(read_file(path));
  if (corpus.empty()) {
    std::fprintf(stderr, "%s: no files in %s\n", argv[0], argv[1]);
    return 2;
  }

  const std::size_t mutations = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 20000 / corpus.size();
  Mutator mutator(corpus);
  for (const Bytes& bytes : corpus) {
    run(bytes);
    for (std::size_t i = 0; i < mutations; ++i) run(mutator.mutate(bytes));
  }
  std::printf("%zu files, %zu mutations each\n", corpus.size(), mutations);
  return 0;
}
