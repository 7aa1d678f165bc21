// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel.h"

#include <fmt/format.h>

#include "state.h"

namespace ctsync::sim {

using kernel::EventType;
using kernel::Origin;

namespace {

// As the kernel completes what is written to it: both tuples, no bits that only the wire knows.
void complete(FlowRecord& r) {
  Flow& f = r.flow;
  const Tuple plain = inverse(f.orig);
  if (!f.knows(has::kReply)) {
    if (!f.knows(has::kDnat)) f.reply_src = plain.src;
    if (!f.knows(has::kSnat)) f.reply_dst = plain.dst;
    if (!f.knows(has::kDnatPort)) f.reply_src_port = plain.src_port;
    if (!f.knows(has::kSnatPort)) f.reply_dst_port = plain.dst_port;
  }
  f.present = (f.present & ~has::kNat) | has::kReply | has::kStatus | has::kId;
  f.status = status::of_new_entry(f.status);
}

}  // namespace

Kernel::Kernel(std::size_t index, Random& random, Tally& tally) : index_(index), random_(random), tally_(tally) {
  remembers_writes = false;
  knows_its_flows = true;
  fault = [this](Step step, const Flow& f) { return refusal(step, f); };
}

// What is created anew in place of a flow that lives here is not refused: nobody could help it.
int Kernel::refusal(Step step, const Flow& f) {
  static constexpr std::pair<int, Fault> kErrors[] = {
      {EEXIST, Fault::eexist}, {ENOENT, Fault::enoent}, {EBUSY, Fault::ebusy}, {ENOMEM, Fault::enomem}};
  if (refused == 0 || !random_.chance(refused) || (step == Step::create && owns(f.orig))) return 0;
  auto error = kErrors[random_.below(4)];
  if (step == Step::destroy && error.first == ENOENT) error = kErrors[2];  // no kernel says that of what it has
  tally_.add(error.second);
  return error.first;
}

// IPv4 and IPv6, TCP and UDP, mixed by number.
Tuple Kernel::tuple(std::uint32_t flow) const {
  Tuple t;
  t.l4 = flow % 5 == 1 ? kUdp : kTcp;
  const auto node = static_cast<std::uint8_t>(index_);
  if (flow % 4 == 3) {
    t.family = Family::ipv6;
    t.src = {0xfd, 0x77, 0, node, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};
    t.dst = {0xfd, 0x99, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};
  } else {
    t.family = Family::ipv4;
    t.src = {10, 77, node, 2};
    t.dst = {10, 99, 2, 2};
  }
  t.src_port = static_cast<std::uint16_t>(1024 + flow);
  t.dst_port = 80;
  return t;
}

void Kernel::create(std::uint32_t flow) {
  FlowRecord r;
  Flow& f = r.flow;
  f.orig = tuple(flow);
  f.present = has::kPorts | has::kTimeout | has::kMark;
  f.timeout = 120;
  f.mark = next_mark();
  f.id = next_id_++;
  if (f.orig.l4 == kTcp) {
    f.proto_state = 1;
    f.present |= has::kProtoState;
  }
  if (flow % 3 == 0 && f.orig.family == Family::ipv4) {  // masqueraded, now and then with another port
    f.status |= status::kSrcNat | status::kSrcNatDone | status::kDstNatDone;
    f.reply_dst = {192, 0, 2, 1};
    f.present |= has::kSnat;
    if (random_.chance(0.5)) {
      f.reply_dst_port = static_cast<std::uint16_t>(30000 + version_ % 1000);
      f.present |= has::kSnatPort;
    }
  }
  if (random_.chance(0.2)) {
    r.extra.labels = {version_, 0, 0, 7};
    f.present |= has::kLabels;
  }
  complete(r);
  owned_.insert_or_assign(f.orig, now_);
  tell(EventType::new_, put(r), Origin::foreign, true);
}

void Kernel::touch(const Tuple& orig) {
  FlowRecord& r = flows.at(orig);
  Flow& f = r.flow;
  owned_.try_emplace(orig, now_);
  f.mark = next_mark();
  f.present |= has::kMark;
  f.status |= status::kSeenReply | (random_.chance(0.5) ? status::kAssured : 0);
  if (f.orig.l4 == kTcp) {
    f.proto_state = static_cast<std::uint8_t>(std::min(f.proto_state + 1, 7));
    f.present |= has::kProtoState;
  }
  const bool labels = random_.chance(0.1);
  if (labels) {
    r.extra.labels = {random_.chance(0.3) ? 0 : version_, 0, 0, 0};
    f.present |= has::kLabels;
  }
  tell(EventType::update, r, Origin::foreign, labels);
  if (labels && r.extra.labels[0] == 0) f.present &= ~has::kLabels;  // a dump tells of labels only if some are set
}

void Kernel::end(const Tuple& orig) {
  auto gone = flows.extract(orig);
  owned_.erase(orig);
  tell(EventType::destroy, gone.mapped(), Origin::foreign, false);
}

std::optional<TimePoint> Kernel::owned_since(const Tuple& orig) const {
  const auto it = owned_.find(orig);
  return it == owned_.end() || !flows.contains(orig) ? std::nullopt : std::optional(it->second);
}

void Kernel::reboot() {
  close();
  flows.clear();
  owned_.clear();
}

std::string Kernel::lost_flows() const {
  std::string s;
  for (const auto& [t, since] : owned_) {
    if (!flows.contains(t)) s += name_of(t) + "; ";
  }
  return s;
}

void Kernel::changed(EventType type, FlowRecord& record, Origin origin) {
  if (type == EventType::new_) {
    record.flow.id = next_id_++;
    std::erase_if(deleted_, [&](const auto& d) { return d.first == record.flow.orig; });  // only made anew
  }
  if (type == EventType::destroy && origin != Origin::flush) deleted_.emplace_back(record.flow.orig, now_);
  if (type != EventType::destroy) complete(record);
  tell(type, record, origin, record.flow.knows(has::kLabels));
}

// Labels are in an event only if they have just been set.
void Kernel::tell(EventType type, const FlowRecord& record, Origin origin, bool labels) {
  if (tally_.verbose()) {
    static constexpr const char* kTypes[] = {"has", "changes", "loses"};
    static constexpr const char* kOrigins[] = {"", " by commit", " by flush", " by injection"};
    tally_.note(now_, fmt::format("kernel {} {} {} mark {} status {:x}{}", index_, kTypes[static_cast<int>(type)],
                                  name_of(record.flow.orig), record.flow.mark, record.flow.status,
                                  kOrigins[static_cast<int>(origin)]));
  }
  if (!open_ || (hide_own_ && origin != Origin::foreign)) return;
  if (!hears_new_flows && type == EventType::new_) return;
  if (events_.size() >= most_events) {
    overrun_ = true;
    ++lost_;
    tally_.add(Fault::lost_event);
    return;
  }
  auto& e = events_.emplace_back(Event{type, record, origin});
  if (!labels) e.record.flow.present &= ~has::kLabels;
  if (type == EventType::destroy) e.record.flow.status |= status::kDying;
}

void Kernel::close() {
  events_.clear();
  overrun_ = open_ = hide_own_ = false;
  hears_new_flows = true;
}

Result<> Kernel::open_events(const kernel::EventOptions&) {
  close();
  open_ = true;
  return {};
}

Result<> Kernel::set_event_filter(const FlowFilter&, bool hide_own) {
  if (!filters_events) return std::unexpected(Error{"can't filter kernel events", EOPNOTSUPP});
  hide_own_ = hide_own;
  return {};
}

bool Kernel::read_events(std::uint32_t limit, kernel::EventHandler& handler) {
  if (std::exchange(overrun_, false)) {
    ++stats_.overruns;
    ++stats_.catch_failed;
    handler.on_overrun(kernel::BufferGrowth::refused, 0);
  }
  for (; limit > 0 && !events_.empty(); --limit) {
    Event e = events_.front();
    events_.pop_front();
    ++stats_.received;
    handler.on_flow(e.type, e.record, e.origin);
  }
  return !events_.empty();
}

}  // namespace ctsync::sim
