// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/control/request.h"

namespace ctsync::control {
namespace {

using node::Command;
using node::Form;
using node::Side;
using node::Verb;
using node::What;
using text::Topic;

Command dump(Side side, What what, Form form) { return {.verb = Verb::dump, .what = what, .side = side, .form = form}; }

Command flush(Side side, What what) { return {.verb = Verb::flush_caches, .what = what, .side = side}; }

Command statistics(Topic topic, Form form = Form::text) {
  return {.verb = Verb::statistics, .form = form, .topic = topic};
}

std::optional<Command> with_outcome(Request plain) {
  auto command = decode_request(static_cast<std::int32_t>(plain));
  command->outcome = true;
  return command;
}

}  // namespace

std::optional<Command> decode_request(std::int32_t code) {
  switch (static_cast<Request>(code)) {
    case Request::flush_kernel_ct:
      return Command{.verb = Verb::flush_kernel, .what = What::flows};
    case Request::flush_kernel_expect:
      return Command{.verb = Verb::flush_kernel, .what = What::expectations};
    case Request::flush_kernel_all:
      return Command{.verb = Verb::flush_kernel, .what = What::all};
    case Request::resync_kernel_ct:
      return Command{.verb = Verb::resync_kernel, .what = What::flows};
    case Request::resync_kernel_expect:
      return Command{.verb = Verb::resync_kernel, .what = What::expectations};
    case Request::resync_kernel_all:
      return Command{.verb = Verb::resync_kernel, .what = What::all};
    case Request::dump_internal_ct:
      return dump(Side::internal, What::flows, Form::text);
    case Request::dump_internal_ct_xml:
      return dump(Side::internal, What::flows, Form::xml);
    case Request::dump_external_ct:
      return dump(Side::external, What::flows, Form::text);
    case Request::dump_external_ct_xml:
      return dump(Side::external, What::flows, Form::xml);
    case Request::dump_internal_expect:
      return dump(Side::internal, What::expectations, Form::text);
    case Request::dump_internal_expect_xml:
      return dump(Side::internal, What::expectations, Form::xml);
    case Request::dump_external_expect:
      return dump(Side::external, What::expectations, Form::text);
    case Request::dump_external_expect_xml:
      return dump(Side::external, What::expectations, Form::xml);
    case Request::commit_ct:
      return Command{.verb = Verb::commit, .what = What::flows};
    case Request::commit_expect:
      return Command{.verb = Verb::commit, .what = What::expectations};
    case Request::commit_all:
      return Command{.verb = Verb::commit, .what = What::all};
    case Request::flush_both_ct:
      return flush(Side::both, What::flows);
    case Request::flush_internal:
      return flush(Side::internal, What::flows);
    case Request::flush_external:
      return flush(Side::external, What::flows);
    case Request::flush_all:
      return flush(Side::both, What::all);
    case Request::stop:
      return Command{.verb = Verb::stop};
    case Request::bulk_send:
      return Command{.verb = Verb::bulk_send};
    case Request::request_resync:
      return Command{.verb = Verb::request_resync};
    case Request::schedule_purge:
      return Command{.verb = Verb::schedule_purge};
    case Request::stats:
      return statistics(Topic::summary);
    case Request::stats_expect:
      return statistics(Topic::expectations);
    case Request::stats_network:
      return statistics(Topic::network);
    case Request::stats_cache:
      return statistics(Topic::cache);
    case Request::stats_runtime:
      return statistics(Topic::runtime);
    case Request::stats_link:
      return statistics(Topic::link);
    case Request::stats_queue:
      return statistics(Topic::queue);
    case Request::stats_peers:
      return statistics(Topic::peers);
    case Request::stats_process:
      return statistics(Topic::processes);
    case Request::take_over:
      return Command{.verb = Verb::take_over};
    case Request::stand_by:
      return Command{.verb = Verb::stand_by};
    case Request::hand_over:
      return Command{.verb = Verb::hand_over};
    case Request::stats_resend_queue:
      return Command{.verb = Verb::list_resend_queue};
    case Request::reload:
      return Command{.verb = Verb::reload};
    case Request::commit_all_outcome:
      return with_outcome(Request::commit_all);
    case Request::commit_ct_outcome:
      return with_outcome(Request::commit_ct);
    case Request::commit_expect_outcome:
      return with_outcome(Request::commit_expect);
    case Request::flush_all_outcome:
      return with_outcome(Request::flush_all);
    case Request::flush_internal_outcome:
      return with_outcome(Request::flush_internal);
    case Request::flush_external_outcome:
      return with_outcome(Request::flush_external);
    case Request::bulk_send_outcome:
      return with_outcome(Request::bulk_send);
    case Request::request_resync_outcome:
      return with_outcome(Request::request_resync);
    case Request::schedule_purge_outcome:
      return with_outcome(Request::schedule_purge);
    case Request::flush_kernel_all_outcome:
      return with_outcome(Request::flush_kernel_all);
    case Request::flush_kernel_ct_outcome:
      return with_outcome(Request::flush_kernel_ct);
    case Request::flush_kernel_expect_outcome:
      return with_outcome(Request::flush_kernel_expect);
    case Request::resync_kernel_all_outcome:
      return with_outcome(Request::resync_kernel_all);
    case Request::resync_kernel_ct_outcome:
      return with_outcome(Request::resync_kernel_ct);
    case Request::resync_kernel_expect_outcome:
      return with_outcome(Request::resync_kernel_expect);
    case Request::dump_internal_ct_json:
      return dump(Side::internal, What::flows, Form::json);
    case Request::dump_external_ct_json:
      return dump(Side::external, What::flows, Form::json);
    case Request::dump_internal_expect_json:
      return dump(Side::internal, What::expectations, Form::json);
    case Request::dump_external_expect_json:
      return dump(Side::external, What::expectations, Form::json);
    case Request::stats_json:
      return statistics(Topic::summary, Form::json);
    case Request::stats_expect_json:
      return statistics(Topic::expectations, Form::json);
    case Request::stats_network_json:
      return statistics(Topic::network, Form::json);
    case Request::stats_cache_json:
      return statistics(Topic::cache, Form::json);
    case Request::stats_runtime_json:
      return statistics(Topic::runtime, Form::json);
    case Request::stats_link_json:
      return statistics(Topic::link, Form::json);
    case Request::stats_process_json:
      return statistics(Topic::processes, Form::json);
    case Request::stats_queue_json:
      return statistics(Topic::queue, Form::json);
    case Request::stats_peers_json:
      return statistics(Topic::peers, Form::json);
    case Request::metrics:
      return Command{.verb = Verb::metrics, .form = Form::openmetrics};
    case Request::metrics_prometheus:
      return Command{.verb = Verb::metrics};
    case Request::health:
      return Command{.verb = Verb::health};
    case Request::stats_resend_queue_json:
      return Command{.verb = Verb::list_resend_queue, .form = Form::json};
  }
  return std::nullopt;
}

}  // namespace ctsync::control
