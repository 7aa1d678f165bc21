// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/control/request.h"

namespace ctsync::control {

std::optional<Request> request_of(std::int32_t code) {
  const auto request = static_cast<Request>(code);
  switch (request) {
    case Request::flush_kernel_ct:
    case Request::flush_kernel_expect:
    case Request::flush_kernel_all:
    case Request::resync_kernel_ct:
    case Request::resync_kernel_expect:
    case Request::resync_kernel_all:
    case Request::dump_internal_ct:
    case Request::dump_internal_ct_xml:
    case Request::dump_external_ct:
    case Request::dump_external_ct_xml:
    case Request::dump_internal_expect:
    case Request::dump_internal_expect_xml:
    case Request::dump_external_expect:
    case Request::dump_external_expect_xml:
    case Request::commit_ct:
    case Request::commit_expect:
    case Request::commit_all:
    case Request::flush_both_ct:
    case Request::flush_internal:
    case Request::flush_external:
    case Request::flush_all:
    case Request::stop:
    case Request::stats:
    case Request::stats_expect:
    case Request::bulk_send:
    case Request::request_resync:
    case Request::schedule_purge:
    case Request::stats_network:
    case Request::stats_cache:
    case Request::stats_runtime:
    case Request::stats_link:
    case Request::stats_resend_queue:
    case Request::stats_process:
    case Request::stats_queue:
      return request;
  }
  return std::nullopt;
}

}  // namespace ctsync::control
