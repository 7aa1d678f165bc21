// SPDX-License-Identifier: GPL-2.0-or-later
// The statements of `Helper` (spec config.md 12).
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>

#include "builder.h"

namespace ctsync::config {
namespace {

const KnownHelper* find_helper(std::string_view name, std::uint8_t l4_protocol) {
  const auto found = std::ranges::find_if(
      known_helpers(), [&](const KnownHelper& h) { return h.name == name && h.l4_protocol == l4_protocol; });
  return found == known_helpers().end() ? nullptr : &*found;
}

}  // namespace

void Builder::queue_number(const Number& number) { pending_helper_.queue_number = to_u16(number, "QueueNum"); }

void Builder::begin_policy(Position where, std::string_view name) {
  if (name.size() > kMaxHelperName) {
    report_.error(where, fmt::format("Helper Policy is longer than {} characters", kMaxHelperName));
  }
  pending_helper_.policies.push_back({where, {.name = std::string(name)}});
  policy_has_values_ = false;
}

void Builder::expect_max(const Number& number) {
  pending_helper_.policies.back().second.expect_max = to_u32(number);
  policy_has_values_ = true;
}

void Builder::expect_timeout(const Number& seconds) {
  pending_helper_.policies.back().second.expect_timeout = to_u32(seconds);
  policy_has_values_ = true;
}

void Builder::end_policy() {
  if (policy_has_values_) return;
  report_.error(pending_helper_.policies.back().first,
                "Helper policy configuration empty, fix your configuration file, please");
}

void Builder::helper_type(Word name, Word l3, Word l4) {
  const PendingHelper settings = std::exchange(pending_helper_, {});
  HelperInstance instance;
  instance.name = name.text;
  instance.line = name.where.line;
  instance.queue_number = settings.queue_number;
  instance.queue_length = settings.queue_length;

  if (l3.text != "inet" && l3.text != "inet6") {
    report_.error(l3.where,
                  fmt::format("unknown layer 3 protocol `{}', expected one of: inet, inet6", printable(l3.text)));
    return;
  }
  instance.l3_family = l3.text == "inet" ? AF_INET : AF_INET6;
  if (l4.text != "tcp" && l4.text != "udp") {
    report_.error(l4.where,
                  fmt::format("unknown layer 4 protocol `{}', expected one of: tcp, udp", printable(l4.text)));
    return;
  }
  instance.l4_protocol = l4.text == "tcp" ? IPPROTO_TCP : IPPROTO_UDP;
  const KnownHelper* helper = find_helper(name.text, instance.l4_protocol);
  if (helper == nullptr) {
    report_.error(name.where, fmt::format("Unknown `{}' helper for {}", printable(name.text), l4.text));
    return;
  }

  for (const auto& [where, policy] : settings.policies) {
    if (policy.name != helper->name) {
      report_.error(where, fmt::format("Unknown policy `{}' in helper configuration, expected {}",
                                       printable(policy.name), helper->name));
      return;
    }
    helper_policies_[helper] = policy;
  }
  config.helper.instances.push_back(std::move(instance));
}

// A policy given once holds for every instance of the helper, before and after it, and replaces both built-in values.
void Builder::finish_helpers() {
  for (HelperInstance& instance : config.helper.instances) {
    const KnownHelper* helper = find_helper(instance.name, instance.l4_protocol);
    const auto given = helper_policies_.find(helper);
    instance.policy = given != helper_policies_.end()
                          ? given->second
                          : HelperPolicy{helper->name, helper->expect_max, helper->expect_timeout};
  }
}

}  // namespace ctsync::config
