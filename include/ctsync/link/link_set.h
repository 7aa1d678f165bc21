// SPDX-License-Identifier: GPL-2.0-or-later
// All dedicated links of a node (up to four, one kind). Every link receives all the time; the current one sends. The
// current link changes when its interface goes down, or when it cannot send, and another one works; and when a valid
// message arrives on another link (spec replication.md 3.6). There is no way back but that: a link that works again is
// one to fail over to. Unlike conntrackd it takes only an interface that is both up and running, looks whether a link
// can send, and leaves nothing behind in the old link.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ctsync/base/event_loop.h"
#include "ctsync/base/log.h"
#include "ctsync/base/result.h"
#include "ctsync/link/interface_info.h"
#include "ctsync/link/link.h"
#include "ctsync/link/link_options.h"
#include "ctsync/wire/datagram_sink.h"

namespace ctsync::link {

class ErrorQueue;

// The queue of what could not be sent yet, for `-s queue` (errorq).
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
  FindInterface find_interface{};        // may not be empty; asked from open() on, and at each interface_changed()

  bool operator==(const LinkSetOptions& o) const {  // but for the last
    return links == o.links && error_queue_length == o.error_queue_length && receive_limit == o.receive_limit;
  }
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

  // Other options from now on, all but `find_interface`. A link that is in them as before goes on as if nothing had
  // happened, whatever its place; the others are closed or opened, as open() does. Tells of each link its number before;
  // nothing: it is new. An error changes nothing, but that links that were to go may have been closed for a moment.
  using NumbersBefore = std::vector<std::optional<std::size_t>>;
  Result<NumbersBefore> change(LinkSetOptions next);

  // Sends on the current link, in order, many datagrams with one system call. Each must be shorter than buffer_size(),
  // except a single message that does not fit: that goes out alone.
  void send(std::span<const Datagram> datagrams) override;
  bool congested() const override;
  // Of the current link; changes with the MTU of its interface and with the current link.
  std::size_t buffer_size() const;

  // A valid message arrived on this link: it becomes the current one, unless it is known that it cannot send.
  void note_accepted(std::size_t link) {
    if (link != current_ && (works(slots_[link]) || !works(slots_[current_]))) make_current(link);
  }

  // An interface appeared, changed or is gone: what find_interface says of it now counts. Opens a link whose interface
  // appeared, or came back under another index. Between open() and close() alone.
  void interface_changed(std::string_view name);

  std::size_t size() const { return slots_.size(); }
  std::size_t current() const { return current_; }
  const LinkOptions& options(std::size_t link) const { return slots_[link].options; }
  const LinkStatistics& statistics(std::size_t link) const { return slots_[link].link->statistics(); }
  ConnectionState connection(std::size_t link) const { return slots_[link].link->connection(); }
  LinkState interface_state(std::size_t link) const { return slots_[link].interface.state(); }
  ErrorQueueStatistics error_queue() const;

 private:
  struct Slot {
    LinkOptions options;
    std::unique_ptr<Link> link;
    InterfaceInfo interface {};  // the one the link is open on; index 0 = it is gone
    bool wait_reported = false;
    bool outage_reported = false;
    RateLimit outage_limit{std::chrono::seconds(60)};
  };

  void set_options(LinkSetOptions options);
  std::size_t first_link() const;
  std::unique_ptr<Link> make_link(std::size_t number);
  bool shares_port(std::size_t number) const { return shares_port(options_.links, number); }
  static bool shares_port(const std::vector<LinkOptions>& links, std::size_t number);
  Result<> open_slots(const std::vector<Slot*>& slots);
  NumbersBefore match(const std::vector<LinkOptions>& next) const;
  Result<> check_port(const Slot& slot);
  Result<> open_slot(Slot& slot);
  void open_or_wait(Slot& slot);
  void wait_for(Slot& slot, const Error& why);
  void open_closed();
  InterfaceInfo find(const Slot& slot) const;
  void update(Slot& slot);
  void settle();

  // Whether its interface and its sockets are there; and whether it can send, too, as far as is known.
  static bool stands(const Slot& slot);
  static bool works(const Slot& slot) { return stands(slot) && !slot.link->outage(); }
  void look_at_outages();
  void report(Slot& slot);
  Slot* heir(bool (*fit)(const Slot&));
  void leave_dead_link();
  void take_over(const Slot& heir);
  void make_current(std::size_t link);

  EventLoop& loop_;
  Log& log_;
  LinkSetOptions options_;
  LinkHandlers handlers_;
  std::unique_ptr<ErrorQueue> error_queue_;
  std::vector<Slot> slots_;
  std::size_t current_ = 0;
  bool settled_ = false;  // the current link has stood, or has had the time to
  bool no_link_reported_ = false;
  std::optional<TimePoint> overtaken_;  // since when another link works and the current one cannot send
  Timer retry_timer_;
  Timer outage_timer_;
  Timer settle_timer_;  // the first look at the interfaces after open()
};

}  // namespace ctsync::link
