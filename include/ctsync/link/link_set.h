// SPDX-License-Identifier: GPL-2.0-or-later
// All dedicated links of a node (up to four, one kind). Every link receives all the time; the current one sends. The
// current link changes when its interface goes down and another one is up, and when a valid message arrives on another
// link (spec replication.md 3.6). Unlike conntrackd it takes only an interface that is both up and running, and nothing
// stays behind in the old link.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ctsync/base/event_loop.h"
#include "ctsync/base/log.h"
#include "ctsync/base/result.h"
#include "ctsync/link/link.h"
#include "ctsync/link/link_options.h"
#include "ctsync/wire/datagram_sink.h"

namespace ctsync::link {

class ErrorQueue;
class ReceiveBuffers;
struct InterfaceInfo;

// The queue of buffers that TCP could not send yet, for `-s queue` (errorq).
struct ErrorQueueStatistics {
  std::size_t length = 0;
  std::size_t maximum = 0;
  std::uint64_t dropped = 0;  // oldest ones, for want of space
};

// What holds for all links of a set.
struct LinkSetOptions {
  std::vector<LinkOptions> links;        // file order; 1 to 4, of one kind
  std::size_t error_queue_length = 128;  // buffers; TCP alone
  std::size_t receive_limit = 100;       // datagrams or reads a descriptor and turn (EventIterationLimit)
};

class LinkSet final : public wire::DatagramSink {
 public:
  // The loop and the log must outlive the set.
  LinkSet(EventLoop& loop, Log& log, LinkSetOptions options);
  ~LinkSet() override;
  LinkSet(const LinkSet&) = delete;
  LinkSet& operator=(const LinkSet&) = delete;

  // Opens all links and watches them in the loop; the handlers are called from there. As long as one link can be
  // opened, another one whose interface, or whose own address on it, is not there yet is waited for: a warning names
  // it, and it is opened when it can be. Any other failure is an error (see Link::open for its text), and then none
  // stays open.
  Result<> open(LinkHandlers handlers);
  void close();

  // Sends on the current link, in order, many datagrams with one system call. Each must be shorter than buffer_size(),
  // except a single message that does not fit: that goes out alone.
  void send(std::span<const Datagram> datagrams) override;
  bool congested() const override;
  // Of the current link; changes with the MTU of its interface and with the current link.
  std::size_t buffer_size() const;

  // A valid message arrived on this link: it becomes the current one.
  void note_accepted(std::size_t link) {
    if (link != current_) make_current(link);
  }

  // The state of an interface, whenever the link watcher sees it change. An interface that is gone:
  // `interface_removed`. Opens a link whose interface appeared, or came back under another index. Between open() and
  // close() alone.
  void interface_changed(std::string_view name, std::uint32_t index, bool up, bool running, std::uint32_t mtu);
  void interface_removed(std::string_view name);

  std::size_t size() const { return slots_.size(); }
  std::size_t current() const { return current_; }
  const LinkOptions& options(std::size_t link) const { return slots_[link].options; }
  const LinkStatistics& statistics(std::size_t link) const { return slots_[link].link->statistics(); }
  ConnectionState connection(std::size_t link) const { return slots_[link].link->connection(); }
  LinkState interface_state(std::size_t link) const;
  ErrorQueueStatistics error_queue() const;

 private:
  struct Slot {
    LinkOptions options;
    std::unique_ptr<Link> link;
    std::uint32_t index = 0;  // of the interface the link was opened on; 0 = it is gone
    std::uint32_t mtu = 0;
    bool up = false;
    bool running = false;
    bool wait_reported = false;
  };

  Result<> open_slot(Slot& slot);
  void open_or_wait(Slot& slot);
  void wait_for(Slot& slot, const Error& why);
  void open_closed();
  void make_current(std::size_t link);
  void leave_dead_link();
  void settle();
  void update(Slot& slot, const InterfaceInfo& info);

  EventLoop& loop_;
  Log& log_;
  LinkSetOptions options_;
  LinkHandlers handlers_;
  std::unique_ptr<ErrorQueue> error_queue_;
  std::unique_ptr<ReceiveBuffers> receive_buffers_;
  std::vector<Slot> slots_;
  std::size_t current_ = 0;
  bool no_link_reported_ = false;
  Timer retry_timer_;
  Timer settle_timer_;  // the first look at the interfaces after open()
};

}  // namespace ctsync::link
