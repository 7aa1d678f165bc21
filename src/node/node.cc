// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/node/node.h"

#include <algorithm>
#include <utility>

#include "bulk_job.h"
#include "bypass.h"
#include "injected_copies.h"
#include "internal_cache.h"
#include "kernel_side.h"
#include "mirror.h"
#include "peer_side.h"
#include "role_switch.h"

namespace ctsync::node {

namespace {

// What to answer if the command wants its outcome: what is told last, when nobody is left to tell more.
auto outcome_of(const Command& command, const Client& client) {
  return [answer = std::make_shared<Answer>(client), wanted = command.outcome](int status, const std::string& text) {
    if (wanted) answer->last_words = outcome_text(status, text);
  };
}

std::string_view text_of(bool flows, bool expectations) {
  return !flows ? "expectations" : expectations ? "connections and expectations" : "connections";
}

}  // namespace

Node::Node(kernel::KernelTable& kernel, wire::DatagramSink& sink, const Clock& clock, Log& log, Jobs& jobs,
           NodeOptions options)
    : kernel_(kernel),
      sink_(sink),
      clock_(clock),
      log_(log),
      jobs_(jobs),
      options_(std::move(options)),
      internal_(options_.table_limit, options_.table_buckets, options_.seed),
      external_(options_.table_limit, options_.table_buckets, ~options_.seed),
      internal_expectations_(options_.table_limit, options_.seed),
      external_expectations_(options_.table_limit, ~options_.seed) {
  if (options_.mode == Mode::statistics) {
    store_ = std::make_unique<StatisticsCache>(internal_, options_.on_finished, clock_);
  } else {
    make_peer_side();
  }
  kernel_side_ = std::make_unique<KernelSide>(
      KernelSide::Context{kernel_, clock_, log_, jobs_, options_, *store_,
                          [this](bool whole) {
                            if (peer_side_) peer_side_->engine().set_whole(whole);
                          },
                          [this](const Tuple& t) { return mirror_ != nullptr && mirror_->contains(t); }});
  if (mirror_ != nullptr) {
    mirror_->read_events = [this] { return !kernel_side_->read_events().more; };
    mirror_->knows_what_lives_here = [this] { return kernel_side_->knows_its_flows(); };
  }
  if (peer_side_) {
    kernel_side_->follower().began = [this](const Flow& f) { peer_side_->nat_order().began_here(f); };
    roles_ = std::make_unique<RoleSwitch>(
        RoleSwitch::Context{kernel_, clock_, log_, jobs_, options_, internal_, *kernel_side_, *peer_side_});
    peer_side_->ended = [this](const Tuple& t) { roles_->ended_at_peer(t); };
  }
}

void Node::make_peer_side() {
  const bool expectations = options_.expectations;
  const bool cached = options_.internal_cache || options_.mode != Mode::notrack;  // the others cannot do without
  if (options_.mode == Mode::ftfw) {
    sums_.emplace(internal_, options_.encode.window_scale, options_.encode.left_out);
  }
  table::ToldSums* const sums = sums_ ? &*sums_ : nullptr;
  peer_side_ = std::make_unique<PeerSide>(
      PeerSide::Context{.kernel = kernel_,
                        .sink = sink_,
                        .clock = clock_,
                        .log = log_,
                        .jobs = jobs_,
                        .options = options_,
                        .internal = cached ? &internal_ : nullptr,
                        .sums = sums,
                        .internal_expectations = cached && expectations ? &internal_expectations_ : nullptr,
                        .external = external_,
                        .external_expectations = expectations ? &external_expectations_ : nullptr,
                        .kernel_bulk = [this] { bulk_from_kernel(); }});
  auto* injection = peer_side_->injection();
  if (injection != nullptr) {
    auto copies = std::make_unique<InjectedCopies>(kernel_, options_.seed, options_.table_limit);
    injected_ = copies.get();
    copies_ = std::move(copies);
    injection->written = [this](const kernel::WriteResult& r, const Flow& f) { injected_->written(r, f); };
  } else if (options_.mirror_timeout) {
    make_mirror();
  }
  if (!cached) {
    store_ = std::make_unique<Bypass>(kernel_, options_.filter, *peer_side_->notrack(), peer_side_->packer(), log_,
                                      expectations, copies_.get());
    return;
  }
  auto cache = std::make_unique<SyncCache>(internal_, expectations ? &internal_expectations_ : nullptr,
                                           peer_side_->engine(), sums, copies_.get(), injected_, clock_);
  if (injection != nullptr) {
    injection->judge = [c = cache.get()](wire::MsgType type, const Flow& f) { return c->judge(type, f); };
    injection->written = [c = cache.get()](const kernel::WriteResult& r, const Flow& f) { c->written(r, f); };
  }
  if (mirror_ != nullptr) mirror_->wrote = [c = cache.get()](const Tuple& t) { c->copy_written(t); };
  store_ = std::move(cache);
}

void Node::make_mirror() {
  auto& cache = *peer_side_->cache();
  auto mirror =
      std::make_unique<Mirror>(Mirror::Context{.external = external_,
                                               .shows = [&cache](const table::FlowSlot& s) { return cache.shows(s); },
                                               .internal = internal_,
                                               .kernel = kernel_,
                                               .clock = clock_,
                                               .log = log_,
                                               .jobs = jobs_,
                                               .timeout = *options_.mirror_timeout});
  mirror_ = mirror.get();
  copies_ = std::move(mirror);
  cache.set_mirror(mirror_);
}

// The jobs work on what goes next.
Node::~Node() { jobs_.cancel_all(); }

Result<> Node::start() { return kernel_side_->start(); }

void Node::started() {
  if (peer_side_) peer_side_->started();
}

// --- Events ---

Node::Read Node::on_kernel_event() { return kernel_side_->read_events(); }

bool Node::on_datagram(const replication::PeerAddress& from, std::span<const std::uint8_t> datagram) {
  return peer_side_ && peer_side_->on_datagram(from, datagram);
}

std::optional<TimePoint> Node::next_deadline() const {
  auto first = kernel_side_->next_deadline();
  if (peer_side_) first = earlier(first, peer_side_->next_deadline());
  if (roles_) first = earlier(first, roles_->next_deadline());
  if (mirror_ != nullptr) first = earlier(first, mirror_->next_deadline());
  if (bulk_ != nullptr) first = earlier(first, bulk_->wake_at());
  return first;
}

void Node::on_timer() {
  kernel_side_->on_timer();
  if (peer_side_) peer_side_->on_timer();
  if (mirror_ != nullptr) mirror_->on_timer();
  const auto now = clock_.now();
  if (bulk_ != nullptr && bulk_->wake_at() && *bulk_->wake_at() <= now) bulk_->wake();
}

void Node::end_turn() {
  kernel_side_->end_turn();
  if (peer_side_) peer_side_->end_turn();
  if (roles_) roles_->end_turn();
}

void Node::change(const NodeOptions& next, bool filter) {
  const auto before = std::exchange(options_, next);
  options_.seed = before.seed;
  options_.self = before.self;
  options_.self.addresses = next.self.addresses;
  options_.silent_flows = before.silent_flows;
  options_.on_finished = before.on_finished;
  options_.own_addresses = before.own_addresses;
  internal_.set_limit(next.table_limit);
  external_.set_limit(next.table_limit);
  internal_expectations_.set_limit(next.table_limit);
  external_expectations_.set_limit(next.table_limit);
  if (injected_ != nullptr) injected_->set_most(next.table_limit);
  if (mirror_ != nullptr) mirror_->set_timeout(*next.mirror_timeout);
  if (peer_side_) peer_side_->options_changed();
  kernel_side_->options_changed(filter);
}

void Node::move_links(std::span<const std::optional<std::size_t>> before) {
  if (peer_side_) peer_side_->engine().move_links(before);
}

void Node::set_buffer_size(std::size_t bytes) {
  if (peer_side_) peer_side_->packer().set_buffer_size(bytes);
}

void Node::bulk_from_kernel() {
  if (bulk_ != nullptr) return;
  auto& notrack = *peer_side_->notrack();
  auto& packer = peer_side_->packer();
  BulkJob::Context context{.kernel = kernel_,
                           .filter = options_.filter,
                           .sink = sink_,
                           .clock = clock_,
                           .send = [&](const FlowRecord& r) { notrack.send_event(packer, wire::MsgType::flow_new, r); },
                           .send_expectation = {},
                           .on_done = [this](const Error* error) { bulk_done(error); }};
  if (options_.expectations) {
    context.send_expectation = [&](const Expectation& e) {
      if (kernel_side_->follower().wanted(e)) notrack.send_event(packer, wire::MsgType::expect_new, e);
    };
  }
  auto job = std::make_unique<BulkJob>(std::move(context));
  bulk_ = job.get();
  jobs_.add(std::move(job));
}

void Node::bulk_done(const Error* error) {
  bulk_ = nullptr;
  if (error != nullptr) log_.error("{}: the bulk update is not complete", error->text);
  peer_side_->engine().kernel_bulk_done();
}

// --- Commands ---

void Node::on_command(const Command& command, const Client& client) {
  switch (command.verb) {
    case Verb::commit:
      if (roles_) return roles_->commit(command, client);
      break;
    case Verb::flush_caches:
      if (!peer_side_ && command.side == Side::external) break;
      return flush_caches(command, client);
    case Verb::flush_kernel:
      if (!peer_side_ && !command.flows()) break;
      return flush_kernel(command, client);
    case Verb::resync_kernel:
      if (!peer_side_ && !command.flows()) break;
      return resync_kernel(command, client);
    case Verb::dump:
      return dump(command, client);
    case Verb::bulk_send:
      if (peer_side_) roles_->when_adopted([this] { peer_side_->bulk_send(); });
      return tell_begun(command, client, "the connections of this node are sent to the peers");
    case Verb::request_resync:
      if (peer_side_) peer_side_->request_resync();
      return tell_begun(command, client, "the peers are asked for their connections");
    case Verb::schedule_purge:
      if (roles_) roles_->schedule_purge();
      return tell_begun(command, client,
                        "the kernel's connections are deleted when PurgeTimeout is over, unless a commit comes first");
    case Verb::take_over:
    case Verb::stand_by:
    case Verb::hand_over:
      return switch_role(command.verb, client);
    case Verb::list_resend_queue:
      return list(peer_side_ ? peer_side_->list_resend_queue(client, command.form) : nullptr, command, client);
    case Verb::statistics:
    case Verb::metrics:
    case Verb::health:
    case Verb::stop:
    case Verb::reload:
      break;
  }
  answer_nothing(command, client);
}

void Node::tell_begun(const Command& command, const Client& client, const std::string& text) {
  if (!peer_side_ || !command.outcome) return answer_nothing(command, client);
  if (options_.mode == Mode::alarm && command.verb != Verb::schedule_purge) {
    return answer(client, 1, "this has no effect in ALARM mode");
  }
  answer(client, 0, text);
}

void Node::switch_role(Verb verb, const Client& client) {
  if (!roles_) return answer(client, 1, "a node in statistics mode has no role");
  if (verb == Verb::take_over) return roles_->take_over(client);
  if (verb == Verb::stand_by) return roles_->stand_by(client);
  roles_->hand_over(client);
}

void Node::flush_caches(const Command& command, const Client& client) {
  const bool internal = command.side != Side::external;
  const bool external = command.side != Side::internal && peer_side_;
  if (external && roles_->committing()) {
    log_.error("ignoring flush command, commit still in progress");
    if (command.outcome) return answer(client, 1, "nothing is flushed: a commit is under way");
    return client.finish();
  }
  if (internal) kernel_side_->unschedule_purge();
  log_.notice("flushing {}", command.side == Side::both       ? "caches"
                             : command.side == Side::internal ? "internal cache"
                                                              : "external cache");
  const Scope scope{.flows = true, .expectations = command.expectations()};
  // The answer comes when both are through. With the internal cache disabled there is nothing to empty; conntrackd
  // empties the kernel's own table here, and with it kills live connections (spec replication.md 9, item 21).
  const auto answer = std::make_shared<Answer>(client);
  if (command.outcome) answer->last_words = outcome_text(1, "the flush is cut short: the daemon stops");
  const auto done = [answer, command, left = std::make_shared<int>(internal + external)] {
    if (--*left == 0 && command.outcome) answer->last_words = outcome_text(0, "flushed");
  };
  if (internal) kernel_side_->flush_store(scope, done);
  if (external) roles_->when_adopted([this, scope, done] { peer_side_->flush_store(scope, done); });
}

// `-F` and `-R` without a word mean expectations too, if these are synchronised.
bool Node::wants_expectations(const Command& command) const {
  return command.what == What::expectations || (command.what == What::all && options_.expectations);
}

void Node::flush_kernel(const Command& command, const Client& client) {
  if (command.flows()) log_.notice("flushing kernel conntrack table");
  const auto tell = outcome_of(command, client);
  tell(1, "the flush is cut short: the daemon stops");
  std::optional<Error> failed;
  if (wants_expectations(command)) {
    log_.notice("flushing kernel expect table");
    if (auto ok = kernel_side_->flush_kernel_expectations(); !ok) {
      log_.error("{}", ok.error().text);
      failed = ok.error();
    }
  }
  const auto done = [tell, failed, what = text_of(command.flows(), wants_expectations(command))](const Error* error) {
    if (error == nullptr && failed) error = &*failed;
    error == nullptr ? tell(0, fmt::format("the kernel's {} are deleted", what))
                     : tell(1, fmt::format("the kernel's {} could not all be deleted: {}", what, error->text));
  };
  if (!command.flows()) return done(nullptr);
  const auto flush = [this, done] { kernel_side_->flush_kernel(KernelSide::Purpose::command, done); };
  roles_ ? roles_->when_adopted(flush) : flush();
}

void Node::resync_kernel(const Command& command, const Client& client) {
  const Scope scope{.flows = command.flows(), .expectations = wants_expectations(command)};
  const auto tell = outcome_of(command, client);
  if (!store_->keeps_flows()) {
    if (scope.flows) log_.notice("resync is unsupported in this mode");
    if (scope.expectations) log_.notice("resync is unsupported in this mode");
    return tell(1, "there is no internal cache to read them into");
  }
  if (scope.flows) log_.notice("resync with master conntrack table");
  if (scope.expectations) log_.notice("resync with master expect table");
  tell(1, "the reading is cut short: the daemon stops");
  const Scope read{.flows = scope.flows, .expectations = scope.expectations && options_.expectations};
  kernel_side_->resync(read, [tell, read, what = text_of(read.flows, read.expectations)](const Error* error) {
    if (!read.flows && !read.expectations) return tell(1, "expectations are not synchronised (see ExpectationSync)");
    error == nullptr ? tell(0, fmt::format("the internal cache has the kernel's {}", what))
                     : tell(1, fmt::format("the kernel's {} could not be read: {}", what, error->text));
  });
}

void Node::dump(const Command& command, const Client& client) {
  list(command.side == Side::internal ? store_->dump(command, client)
       : peer_side_                   ? peer_side_->store().dump(command, client)
                                      : nullptr,
       command, client);
}

void Node::list(std::unique_ptr<Job> job, const Command& command, const Client& client) {
  if (!job) return answer_nothing(command, client);
  jobs_.add(std::move(job));
}

// --- For people ---

text::Snapshot Node::snapshot() const {
  text::Snapshot s;
  s.mode = options_.mode == Mode::statistics ? text::Snapshot::Mode::statistics : text::Snapshot::Mode::sync;
  s.with_expectations = options_.expectations;
  s.internal = store_->flow_numbers();
  s.internal_expectations = store_->expectation_numbers();
  s.traffic = store_->traffic();
  kernel_side_->fill(s);
  if (peer_side_) peer_side_->fill(s);
  if (mirror_ != nullptr) s.mirror = mirror_->numbers();
  if (roles_) {
    s.role = roles_->role();
    s.commits = roles_->commits();
  }
  return s;
}

text::Role Node::role() const { return roles_ ? roles_->role() : text::Role::unknown; }

bool Node::is_filling() const { return peer_side_ && peer_side_->is_filling(); }

std::string Node::status() const {
  if (options_.mode == Mode::statistics) return fmt::format("statistics: {} flows", internal_.live());
  std::string text = options_.mode == Mode::ftfw ? "FTFW: " : options_.mode == Mode::notrack ? "NOTRACK: " : "ALARM: ";
  text += store_->keeps_flows() ? fmt::format("{} flows internal", internal_.live()) : "no internal cache";
  return text + peer_side_->status();
}

std::uint32_t Node::unacknowledged() const {
  return peer_side_ && peer_side_->ftfw() != nullptr ? peer_side_->ftfw()->resend_length() : 0;
}

}  // namespace ctsync::node
