// SPDX-License-Identifier: GPL-2.0-or-later
#include "capture_file.h"

#ifdef CTSYNC_WITH_PCAP

#include <dlfcn.h>
#include <pcap/pcap.h>

#include <algorithm>
#include <array>

namespace ctsync::capture {
namespace {

// libpcap brings eight more libraries along, which each start of the daemon and of a client would pay for. So it is loaded
// when it is needed.
struct Library {
  decltype(&::pcap_open_offline) open_offline = nullptr;
  decltype(&::pcap_close) close = nullptr;
  decltype(&::pcap_datalink) datalink = nullptr;
  decltype(&::pcap_datalink_val_to_name) datalink_val_to_name = nullptr;
  decltype(&::pcap_next_ex) next_ex = nullptr;
  decltype(&::pcap_geterr) geterr = nullptr;

  bool load() {
    void* library = ::dlopen("libpcap.so.0.8", RTLD_NOW);                  // Debian's name
    if (library == nullptr) library = ::dlopen("libpcap.so.1", RTLD_NOW);  // all others'
    if (library == nullptr) return false;
    const auto find = [&]<typename F>(F& function, const char* name) {
      function = reinterpret_cast<F>(::dlsym(library, name));
      return function != nullptr;
    };
    return find(open_offline, "pcap_open_offline") && find(close, "pcap_close") && find(datalink, "pcap_datalink") &&
           find(datalink_val_to_name, "pcap_datalink_val_to_name") && find(next_ex, "pcap_next_ex") &&
           find(geterr, "pcap_geterr");
  }
};

Library pcap_library;  // loaded if a file is open

}  // namespace

void CaptureFile::Closer::operator()(pcap* file) const { pcap_library.close(file); }

CaptureFile::CaptureFile(pcap* file) : file_(file), link_type_(pcap_library.datalink(file)) {}

Result<CaptureFile> CaptureFile::open(const std::string& path) {
  if (!pcap_library.load()) return fail("libpcap is not installed (it comes with tcpdump)");
  std::array<char, PCAP_ERRBUF_SIZE> why{};
  pcap* file = pcap_library.open_offline(path.c_str(), why.data());
  if (file == nullptr) return fail(why.data());
  return CaptureFile(file);
}

std::string CaptureFile::link_type_name() const {
  const char* name = pcap_library.datalink_val_to_name(link_type_);
  return name != nullptr ? name : std::to_string(link_type_);
}

Result<std::optional<Frame>> CaptureFile::next() {
  pcap_pkthdr* header = nullptr;
  const u_char* bytes = nullptr;
  switch (pcap_library.next_ex(file_.get(), &header, &bytes)) {
    case 1: {
      constexpr decltype(header->ts.tv_usec) kLast = 999'999;  // a file can say anything
      return Frame{.time = {.seconds = header->ts.tv_sec,
                            .microseconds = static_cast<std::uint32_t>(std::clamp(header->ts.tv_usec, {}, kLast))},
                   .bytes = {bytes, header->caplen}};
    }
    case PCAP_ERROR_BREAK:
      return std::nullopt;
    default:
      return fail(pcap_library.geterr(file_.get()));
  }
}

}  // namespace ctsync::capture

#else

namespace ctsync::capture {

void CaptureFile::Closer::operator()(pcap* /*file*/) const {}

CaptureFile::CaptureFile(pcap* file) : file_(file), link_type_(0) {}

Result<CaptureFile> CaptureFile::open(const std::string& /*path*/) {
  return fail("this program was built without libpcap");
}

std::string CaptureFile::link_type_name() const { return {}; }

Result<std::optional<Frame>> CaptureFile::next() { return std::nullopt; }

}  // namespace ctsync::capture

#endif
