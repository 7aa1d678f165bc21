// SPDX-License-Identifier: GPL-2.0-or-later
// Clients of the control socket that send any bytes in any pieces, stop sending, leave or wait too long. Each whole
// request that is known reaches the handler once, no other does, and the server lets go of every client.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "ctsync/control/request.h"
#include "ctsync/control/server.h"
#include "fake_clock.h"
#include "input.h"
#include "recording_log.h"

using namespace ctsync;
using namespace ctsync::control;
using fuzz::Input;
using fuzz::require;

namespace {

// A client and what of its request the server can have seen.
struct Peer {
  UniqueFd fd;
  std::array<std::uint8_t, 4> request{};
  std::size_t sent = 0;
  bool sending = true;
};

class World final : public CommandHandler {
 public:
  World() : path_("control_fuzz." + std::to_string(::getpid()) + ".socket") {
    require(loop_.open().has_value());
    require(server_.open(path_).has_value());
  }

  // An answer of a length that depends on the command; of a dump it is more than a socket takes at once.
  void on_command(const node::Command& command, const node::Client& client) override {
    ++handled_;
    client.write(std::string(command.verb == node::Verb::dump ? 300'000 : 300, 'x'));
    if (finish_at_once_) {
      client.finish();
    } else {
      open_.push_back(client);
    }
  }

  void run(Input& in) {
    handled_ = expected_ = 0;
    while (in.more()) {
      step(in);
      turns();
      require(handled_ == expected_);
    }
    finish_all();
    peers_.clear();
    turns();
    require(handled_ == expected_ && server_.clients() == 0);
  }

 private:
  static constexpr std::size_t kMostPeers = 8;

  void step(Input& in) {
    const auto what = in.below(8);
    if (what == 0 || peers_.empty()) return connect();
    const auto k = in.below(static_cast<std::uint32_t>(peers_.size()));
    Peer& p = peers_[k];
    switch (what) {
      case 1:
      case 2:
        return say(p, in.bytes(in.below(12)));
      case 3:
        p.sending = false;
        ::shutdown(p.fd.get(), SHUT_WR);
        return;
      case 4:
        peers_.erase(peers_.begin() + k);
        return;
      case 5:
        return listen(p);
      case 6:
        finish_at_once_ = !finish_at_once_;
        return finish_all();
      default:
        // Whoever has not made his request by then is sent away.
        clock_.advance(Server::kRequestTimeout);
        std::erase_if(peers_, [](const Peer& q) { return q.sent < q.request.size(); });
    }
  }

  void connect() {
    if (peers_.size() == kMostPeers) return;
    Peer p;
    p.fd.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    path_.copy(to.sun_path, sizeof to.sun_path - 1);
    require(::connect(p.fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
    peers_.push_back(std::move(p));
  }

  void say(Peer& p, std::span<const std::uint8_t> bytes) {
    if (!p.sending) return;
    const auto n = ::send(p.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    for (ssize_t i = 0; i < n && p.sent < p.request.size(); ++i) {
      p.request[p.sent++] = bytes[static_cast<std::size_t>(i)];
      if (p.sent == p.request.size() && is_known(p)) ++expected_;
    }
  }

  static bool is_known(const Peer& p) {
    std::int32_t code = 0;
    std::memcpy(&code, p.request.data(), sizeof code);
    return decode_request(code).has_value();
  }

  static void listen(Peer& p) {
    std::array<char, 16384> text;
    while (::recv(p.fd.get(), text.data(), text.size(), 0) > 0) {
    }
  }

  void finish_all() {
    for (const auto& c : open_) c.finish();
    open_.clear();
  }

  void turns() {
    for (int i = 0; i < 4; ++i) loop_.run_once(Duration::zero());
  }

  std::string path_;
  test::ManualClock clock_;
  EventLoop loop_{clock_};
  node::test::RecordingLog log_;
  Server server_{loop_, *this, log_};
  std::vector<Peer> peers_;
  std::vector<node::Client> open_;
  bool finish_at_once_ = true;
  int handled_ = 0;
  int expected_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World world;
  Input in(data, size);
  world.run(in);
  return 0;
}
