// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/control/client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include "ctsync/base/unique_fd.h"
#include "exchange.h"
#include "socket_address.h"

namespace ctsync::control {
namespace {

// Words that scripts look for; path and reason stand behind them.
constexpr const char* kCannotConnect = "can't connect: is conntrackd running? appropriate permissions?";

std::unexpected<Error> cannot_connect(const std::string& path) {
  const int code = errno;
  return fail(fmt::format("{} ({}: {})", kCannotConnect, path, std::strerror(code)), code);
}

// With a `limit` nothing that is done with the connection blocks for longer.
Result<UniqueFd> connect_to(const std::string& path, std::optional<std::chrono::seconds> limit = {}) {
  const auto address = SocketAddress::of(path);
  if (!address) return std::unexpected(address.error());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (limit) {
    const timeval time{.tv_sec = limit->count(), .tv_usec = 0};
    for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) ::setsockopt(fd.get(), SOL_SOCKET, option, &time, sizeof time);
  }
  if (!fd || ::connect(fd.get(), address->data(), SocketAddress::size()) < 0) return cannot_connect(path);
  return fd;
}

Result<> write_all(int fd, std::span<const char> text) {
  while (!text.empty()) {
    const auto n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("can't write the answer");
    text = text.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

// On the terminal, from the second second that a request with an outcome takes: for how long it has been waited for.
class ProgressLine {
 public:
  explicit ProgressLine(Request request)
      : wanted_(has_status(request) && request != Request::health && ::isatty(STDERR_FILENO) == 1) {}
  ~ProgressLine() {
    if (seconds_ != 0) fmt::print(stderr, "\r\033[K");
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // Until there is something to read.
  void wait(int fd) {
    constexpr int kSecond = 1000;
    pollfd readable{.fd = fd, .events = POLLIN, .revents = 0};
    while (wanted_ && ::poll(&readable, 1, kSecond) == 0)
      fmt::print(stderr, "\rwaiting for the daemon: {} s", ++seconds_);
  }

 private:
  bool wanted_;
  int seconds_ = 0;
};

template <typename Take>
Result<> receive_answer(int from, ProgressLine& progress, Take&& take) {
  std::array<char, 16 * 1024> piece;
  for (;;) {
    progress.wait(from);
    const auto n = ::recv(from, piece.data(), piece.size(), 0);
    if (n == 0) return {};
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return fail("the daemon does not answer", EAGAIN);
    if (n < 0) return fail_errno("lost the connection to the daemon");
    if (auto r = take(std::span(piece).first(static_cast<std::size_t>(n))); !r) return r;
  }
}

template <typename Take>
Result<> converse(const std::string& path, Request request, Take&& take) {
  const auto fd = connect_to(path, request == Request::health ? std::optional(kHealthTime) : std::nullopt);
  if (!fd) return std::unexpected(fd.error());
  if (!send_request(fd->get(), request)) return fail_errno("can't send request");
  ProgressLine progress(request);
  return receive_answer(fd->get(), progress, take);
}

int tell_unknown_request(Log& log) {
  log.error("the daemon that runs does not know this request: restart it");
  return kUnknownRequest;
}

// The answer to a request that conntrackd does not have: its status, and the rest of it.
int end_with_status(const std::string& answer, Log& log, int output_fd) {
  constexpr std::string_view kBegin = "status ";
  int status = 0;
  const auto line = answer.find('\n');
  const auto* const end = answer.data() + std::min(line, answer.size());
  if (!answer.starts_with(kBegin) || line == std::string::npos ||
      std::from_chars(answer.data() + kBegin.size(), end, status).ptr != end) {
    return tell_unknown_request(log);
  }
  if (auto r = write_all(output_fd, std::span(answer).subspan(line + 1)); !r) {
    log.error("{}", r.error().text);
    return 1;
  }
  return status;
}

// Documents end with their bracket and a line break, or with the last line of metrics, and no part of them does.
constexpr std::string_view kEndOfMetrics = "\n# EOF\n";

void keep_end(std::string& end, std::span<const char> piece) {
  constexpr std::size_t kBytes = kEndOfMetrics.size();
  const auto last = piece.last(std::min(kBytes, piece.size()));
  end.append(last.data(), last.size());
  end.erase(0, end.size() - std::min(kBytes, end.size()));
}

int end_of_document(std::string_view end, Request request, Log& log) {
  if (is_metrics(request) ? end == kEndOfMetrics : end.ends_with("]\n") || end.ends_with("}\n")) return 0;
  if (end.empty()) return tell_unknown_request(log);
  log.error("the answer is not complete");
  return 1;
}

// What a daemon that has died has left. Managers take a daemon for stopped when its socket is gone. Looked at twice: a
// daemon that starts has bound its socket a moment before it listens.
void remove_dead_socket(const std::string& path) {
  constexpr auto kStart = std::chrono::milliseconds(200);
  struct stat before {};
  struct stat now {};
  if (::lstat(path.c_str(), &before) < 0 || !S_ISSOCK(before.st_mode)) return;
  std::this_thread::sleep_for(kStart);
  const auto again = connect_to(path);
  if (again || again.error().code != ECONNREFUSED || ::lstat(path.c_str(), &now) < 0) return;
  if (now.st_dev == before.st_dev && now.st_ino == before.st_ino) ::unlink(path.c_str());
}

}  // namespace

int run_client(const std::string& socket_path, Request request, Log& log, int output_fd) {
  const bool is_document = is_json(request) || is_metrics(request);
  std::string answer;  // of a document its end alone
  const auto take = [&](std::span<const char> piece) -> Result<> {
    if (is_document) keep_end(answer, piece);
    if (!has_status(request)) return write_all(output_fd, piece);
    answer.append(piece.data(), piece.size());
    return {};
  };
  const auto r = converse(socket_path, request, take);
  if (r && is_document) return end_of_document(answer, request, log);
  if (r) return has_status(request) ? end_with_status(answer, log, output_fd) : 0;
  if (request == Request::stop && r.error().code == ECONNREFUSED) remove_dead_socket(socket_path);
  log.error("{}", r.error().text);
  return request == Request::health ? kNoAnswer : 1;
}

}  // namespace ctsync::control
