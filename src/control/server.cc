// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/control/server.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "connection.h"
#include "ctsync/control/request.h"
#include "unix_listener.h"

namespace ctsync::control {
namespace {

constexpr Duration kAcceptPause = std::chrono::milliseconds(100);

}  // namespace

Server::Server(EventLoop& loop, CommandHandler& handler, Log& log)
    : loop_(loop),
      handler_(handler),
      log_(log),
      timer_(loop, [this] { on_timer(); }),
      listener_(std::make_unique<UnixListener>("control socket")) {}

Server::~Server() { close(); }

Result<> Server::open(const std::string& path) {
  constexpr mode_t kMode = 0600;
  if (auto ok = listener_->open(path, kMode, kMaxClients); !ok) return ok;
  return loop_.watch(listener_->fd(), EPOLLIN, [this](std::uint32_t) { accept_clients(); });
}

void Server::close() {
  stop_listening();
  timer_.cancel();
  const auto end = loop_.now() + kLastWords;
  for (const auto& c : connections_) {
    c->flush_until(end);
    c->close();
  }
  connections_.clear();
}

void Server::stop_listening() {
  if (!*listener_) return;
  accept_again_.reset();
  loop_.unwatch(listener_->fd());
  listener_->close();
}

void Server::accept_clients() {
  for (std::size_t i = 0; i < kMaxClients; ++i) {
    const bool full = connections_.size() >= kMaxClients;
    const auto victim = full ? find_victim() : nullptr;
    if (full && !victim) {
      pause_accepting();
      break;
    }
    UniqueFd fd(::accept4(listener_->fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      if (victim && victim->has_request()) handler_.on_client_dropped();
      if (victim) drop(victim);
      add_client(std::move(fd));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno != EAGAIN) {
      pause_accepting();  // no descriptor or memory left
    }
    break;
  }
  arm_timer();
}

void Server::add_client(UniqueFd fd) {
  const int raw = fd.get();
  const auto c = std::make_shared<Connection>(std::move(fd), loop_, loop_.now() + kRequestTimeout);
  if (auto ok = loop_.watch(raw, EPOLLIN, [this, c](std::uint32_t events) { on_events(c, events); }); !ok) {
    if (refusal_limit_.allow(loop_.now())) {
      log_.error("a client of the control socket cannot be served: {}", ok.error().text);
      if (const auto n = refusal_limit_.held_back(); n != 0) log_.error("{} more clients could not be served", n);
    }
    return;
  }
  connections_.push_back(c);
  read_request(c);  // it is there already, as a rule, and a client with a request is not silent
}

// The clients wait, and the loop must not spin on them.
void Server::pause_accepting() {
  loop_.change(listener_->fd(), 0);
  accept_again_ = loop_.now() + kAcceptPause;
}

// Who makes room for another client; nobody if all places are used well.
std::shared_ptr<Connection> Server::find_victim() const {
  const auto silent =
      std::ranges::find_if(connections_, [](const auto& c) { return !c->has_request(); });  // the oldest
  if (silent != connections_.end()) return *silent;
  const auto since = [](const auto& c) { return c->stalled_since().value_or(TimePoint::max()); };
  const auto stalled = std::ranges::min_element(connections_, {}, since);
  const bool long_ago = stalled != connections_.end() && since(*stalled) <= loop_.now() - kMaxStall;
  return long_ago ? *stalled : nullptr;
}

void Server::on_events(const std::shared_ptr<Connection>& c, std::uint32_t events) {
  if (!c->has_request()) {
    read_request(c);  // also of a client that has sent its request and left
    return;
  }
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
    drop(c);
    return;
  }
  if ((events & EPOLLIN) != 0) c->discard_input();
  if ((events & EPOLLOUT) == 0) return;
  if (!c->flush()) {
    drop(c);
  } else if (c->done()) {
    c->discard_input();
    drop(c);
  }
}

void Server::read_request(const std::shared_ptr<Connection>& c) {
  switch (c->read_request()) {
    case Connection::Read::more:
      return;
    case Connection::Read::end:
      drop(c);
      return;
    case Connection::Read::request:
      break;
  }
  arm_timer();
  if (const auto command = decode_request(c->request())) {
    handler_.on_command(*command, node::Client(c));
  } else {
    ++stats_.unknown_requests;
    c->finish();
  }
}

void Server::drop(const std::shared_ptr<Connection>& c) {
  if (!c->has_request()) ++stats_.read_failed;
  c->close();
  std::erase(connections_, c);
  if (accept_again_) accept_again_ = loop_.now();
  arm_timer();
}

void Server::arm_timer() {
  auto first = accept_again_;
  for (const auto& c : connections_) {
    if (!c->has_request() && (!first || c->deadline() < *first)) first = c->deadline();
  }
  timer_.arm(first);
}

void Server::on_timer() {
  const auto now = loop_.now();
  if (accept_again_ && *accept_again_ <= now) {
    accept_again_.reset();
    loop_.change(listener_->fd(), EPOLLIN);
  }
  const auto silent = connections_;
  for (const auto& c : silent) {
    if (c->has_request() || c->deadline() > now) continue;
    drop(c);
  }
  arm_timer();
}

}  // namespace ctsync::control
