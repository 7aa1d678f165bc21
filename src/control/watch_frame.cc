// SPDX-License-Identifier: GPL-2.0-or-later
#include "watch_frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

namespace ctsync::control {
namespace {

using Number = std::optional<double>;

constexpr std::string_view kNotKnown = "-";

// At most seven characters.
std::string count_text(Number n) {
  if (!n) return std::string(kNotKnown);
  constexpr double kMillion = 1e6;
  constexpr double kBillion = 1e9;
  if (!(std::abs(*n) < 1e12)) return fmt::format("{:.1e}", *n);
  if (*n >= kBillion) return fmt::format("{:.1f}G", *n / kBillion);
  if (*n >= 10 * kMillion) return fmt::format("{:.1f}M", *n / kMillion);
  return fmt::format("{:.0f}", *n);
}

std::string rate_text(Number n) {
  constexpr double kFew = 9.95;
  return n && *n > 0 && *n < kFew ? fmt::format("{:.1f}", *n) : count_text(n);
}

std::string byte_rate_text(Number n) {
  if (!n) return std::string(kNotKnown);
  constexpr double kStep = 1000;
  constexpr std::array<std::string_view, 5> kUnits{"B/s", "kB/s", "MB/s", "GB/s", "TB/s"};
  std::size_t unit = 0;
  double value = *n;
  for (; value >= kStep && unit + 1 < kUnits.size(); ++unit) value /= kStep;
  return fmt::format("{:.{}f} {}", value, unit == 0 || value >= 100 ? 0 : 1, kUnits[unit]);
}

std::string seconds_text(Number n) {
  if (!n) return std::string(kNotKnown);
  constexpr double kMilli = 1e-3;
  constexpr double kTenMilli = 1e-2;
  constexpr double kMicro = 1e-6;
  if (*n <= 0) return "0 s";
  if (*n < kMilli) return fmt::format("{:.0f} us", *n / kMicro);
  if (*n < 1) return fmt::format("{:.{}f} ms", *n / kMilli, *n < kTenMilli ? 1 : 0);
  return fmt::format("{:.{}f} s", *n, *n < 100 ? 1 : 0);
}

std::string duration_text(Number n) {
  constexpr double kCentury = 3.2e9;
  if (!n || !(*n >= 0 && *n < kCentury)) return std::string(kNotKnown);
  const auto seconds = static_cast<long long>(*n);
  const auto days = seconds / 86400;
  return (days > 0 ? fmt::format("{}d ", days) : "") +
         fmt::format("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
}

// Names come from the network and may hold anything.
std::string printable(std::string text) {
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

// A line that grows to the right in columns, as long as they fit.
class Row {
 public:
  explicit Row(int columns) : left_(static_cast<std::size_t>(std::max(columns, 0))) {}

  Row& left(std::string text, std::size_t width, Tone tone = Tone::plain) {
    text = printable(std::move(text));
    text.resize(width, ' ');
    return add(std::move(text), width, tone);
  }
  Row& right(std::string text, std::size_t width, Tone tone = Tone::plain) {
    text = printable(std::move(text));
    text.resize(std::min(text.size(), width));
    text.insert(0, width - text.size(), ' ');
    return add(std::move(text), width, tone);
  }
  // As wide as its text.
  Row& word(std::string text, Tone tone = Tone::plain) {
    const auto width = text.size();
    return left(std::move(text), width, tone);
  }
  Row& curve(const std::deque<double>& values, bool blocks) {
    if (full_ || left_ < kGap + kLeastCurve) return *this;
    return add(sparkline(values, left_ - kGap, blocks), left_ - kGap, Tone::plain);
  }
  Line take() { return std::move(line_); }

 private:
  static constexpr std::size_t kGap = 2;
  static constexpr std::size_t kLeastCurve = 4;

  Row& add(std::string text, std::size_t width, Tone tone) {
    const auto gap = line_.empty() ? 0 : kGap;
    if (full_ || gap + width > left_) {
      // Better a part of the first column than nothing.
      if (line_.empty()) line_.push_back({tone, text.substr(0, left_)});
      full_ = true;
      return *this;
    }
    if (gap > 0) line_.push_back({Tone::plain, std::string(gap, ' ')});
    line_.push_back({tone, std::move(text)});
    left_ -= gap + width;
    return *this;
  }

  std::size_t left_;  // columns that are free
  bool full_ = false;
  Line line_;
};

// Columns of numbers.
constexpr std::size_t kNumber = 8;
constexpr std::size_t kLeastName = 8;
constexpr std::size_t kMostName = 24;

std::size_t width_of_names(const std::vector<std::string>& names) {
  auto width = kLeastName;
  for (const auto& n : names) width = std::max(width, n.size());
  return std::min(width, kMostName);
}

class Frame {
 public:
  Frame(const WatchView& view, Size size) : view_(view), history_(view.history), size_(size) {}

  std::vector<Line> take() {
    add_title();
    if (view_.silence) add_silence(*view_.silence);
    if (!history_.empty()) {
      add_kernel();
      add_caches();
      add_peers();
      add_links();
      add_messages();
      add_queue();
      add_commits();
    }
    fit();
    return std::move(lines_);
  }

 private:
  const Samples& now() const { return history_.now(); }
  Row row() const { return Row(size_.columns); }
  void add(Row& r) { lines_.push_back(r.take()); }
  void gap() { lines_.emplace_back(); }

  void add_title() {
    auto r = row();
    if (history_.empty()) {
      r.word("ctsyncd", Tone::bold);
    } else {
      r.word("ctsyncd " + now().text("version", "ctsyncd_build_info").value_or(""), Tone::bold);
      if (const auto role = now().state("role", "ctsyncd_role")) {
        r.word(*role == "unknown" ? "no role yet" : *role, Tone::bold);
      }
      r.word("up " + duration_text(now().value("ctsyncd_uptime_seconds")));
    }
    if (view_.paused) r.word("paused", Tone::warning);
    r.word(view_.time).word(fmt::format("every {} s", view_.interval.count()), Tone::dim);
    add(r);
  }

  void add_silence(const Silence& s) {
    auto r = row();
    r.word(fmt::format("daemon does not answer, since {} s", s.since.count()), Tone::bad);
    if (!s.reason.empty()) r.word(s.reason);
    if (!history_.empty()) r.word("what it said last:", Tone::dim);
    add(r);
  }

  void add_kernel() {
    gap();
    auto r = row();
    r.left("kernel", kLeastName, Tone::dim)
        .right(rate_text(history_.rate("ctsyncd_kernel_events_total")) + " events/s", kNumber + 9)
        .right(rate_text(history_.rate("ctsyncd_kernel_events_filtered_total")) + " filtered/s", kNumber + 11);
    const auto overruns = now().value("ctsyncd_kernel_overruns_total");
    r.right(count_text(overruns) + " overruns", kNumber + 9, alarm(history_.rate("ctsyncd_kernel_overruns_total")));
    add(r);
  }

  // What counts up is no news; that it does so now is.
  static Tone alarm(Number rate) { return rate.value_or(0) > 0 ? Tone::bad : Tone::plain; }

  void add_caches() {
    const auto caches = now().values_of("cache", "ctsyncd_cache_operations_total");
    if (caches.empty()) return;
    gap();
    auto head = row();
    head.left("cache", kLeastName, Tone::dim);
    for (const auto* name : {"active", "total", "new/s", "change/s", "end/s", "failed"}) {
      head.right(name, kNumber, Tone::dim);
    }
    add(head);
    for (const auto& cache : caches) add_cache(cache);
  }

  void add_cache(const std::string& cache) {
    const std::vector<Label> which{{"cache", cache}, {"object", "connection"}};
    const auto active = now().value("ctsyncd_cache_entries", which);
    auto total = active;
    if (total) *total += now().value("ctsyncd_cache_dead_entries", which).value_or(0);
    auto r = row();
    r.left(cache, kLeastName).right(count_text(active), kNumber).right(count_text(total), kNumber);
    for (const auto* operation : {"create", "update", "destroy"}) {
      auto labels = which;
      labels.push_back({"operation", operation});
      r.right(rate_text(history_.rate("ctsyncd_cache_operations_total", labels)), kNumber);
    }
    constexpr std::string_view kFailures = "ctsyncd_cache_failures_total";
    r.right(count_text(now().sum(kFailures, which)), kNumber, alarm(history_.rate(kFailures, which)));
    add(r);
  }

  void add_peers() {
    const auto peers = now().values_of("peer", "ctsyncd_peer_state");
    if (peers.empty()) return;
    gap();
    const auto width = width_of_names(peers);
    auto head = row();
    head.left("peer", width, Tone::dim).left("state", kState, Tone::dim);
    for (const auto* name : {"lag", "unacked", "held"}) head.right(name, kNumber, Tone::dim);
    head.word("lag over time", Tone::dim);
    add(head);
    for (const auto& peer : peers) add_peer(peer, width);
  }

  void add_peer(const std::string& peer, std::size_t width) {
    const std::vector<Label> which{{"peer", peer}};
    const auto state = now().state("state", "ctsyncd_peer_state", which).value_or("");
    auto r = row();
    r.left(peer, width)
        .left(words_of_state(state), kState, tone_of_state(state))
        .right(seconds_text(now().value("ctsyncd_peer_lag_seconds", which)), kNumber)
        .right(count_text(now().value("ctsyncd_peer_unacknowledged_messages", which)), kNumber)
        .right(count_text(now().value("ctsyncd_peer_held_connections", which)), kNumber)
        .curve(history_.lags(peer), view_.blocks);
    add(r);
  }

  static std::string words_of_state(std::string state) {
    if (state == "unknown") return "heard";  // it tells nothing that could be compared
    std::replace(state.begin(), state.end(), '_', ' ');
    return state;
  }

  static Tone tone_of_state(const std::string& state) {
    if (state == "in_sync") return Tone::good;
    if (state == "catching_up") return Tone::warning;
    return state == "lost" ? Tone::bad : Tone::plain;
  }

  void add_links() {
    const auto links = now().values_of("link", "ctsyncd_link_up");
    if (links.empty()) return;
    gap();
    std::vector<std::string> names;
    names.reserve(links.size());
    for (const auto& link : links) names.push_back(name_of_link(link));
    const auto width = width_of_names(names);
    auto head = row();
    head.left("link", width, Tone::dim).left("state", kState, Tone::dim);
    for (const auto* name : {"sent", "received"}) head.right(name, kByteRate, Tone::dim);
    head.right("errors", kNumber, Tone::dim);
    add(head);
    for (std::size_t i = 0; i < links.size(); ++i) add_link(links[i], names[i], width);
  }

  std::string name_of_link(const std::string& link) const {
    constexpr std::string_view kUp = "ctsyncd_link_up";
    const std::vector<Label> which{{"link", link}};
    return now().text("device", kUp, which).value_or("") + " " + now().text("transport", kUp, which).value_or("");
  }

  void add_link(const std::string& link, const std::string& name, std::size_t width) {
    const std::vector<Label> which{{"link", link}};
    const bool up = now().value("ctsyncd_link_up", which).value_or(0) != 0;
    const bool active = now().value("ctsyncd_link_active", which).value_or(0) != 0;
    const auto sent_badly = now().value("ctsyncd_link_send_errors_total", which);
    const auto received_badly = now().value("ctsyncd_link_receive_errors_total", which);
    const auto errors = history_.rate("ctsyncd_link_send_errors_total", which).value_or(0) +
                        history_.rate("ctsyncd_link_receive_errors_total", which).value_or(0);
    auto r = row();
    r.left(name, width)
        .left(!up      ? "down"
              : active ? "active"
                       : "standby",
              kState,
              !up      ? Tone::bad
              : active ? Tone::good
                       : Tone::plain)
        .right(byte_rate_text(history_.rate("ctsyncd_link_sent_bytes_total", which)), kByteRate)
        .right(byte_rate_text(history_.rate("ctsyncd_link_received_bytes_total", which)), kByteRate)
        .right(count_text(sent_badly.value_or(0) + received_badly.value_or(0)), kNumber, alarm(errors));
    add(r);
  }

  void add_messages() {
    constexpr std::string_view kLost = "ctsyncd_messages_lost_total";
    constexpr std::string_view kMalformed = "ctsyncd_messages_malformed_total";
    const auto lost = now().value(kLost);
    if (!lost) return;
    gap();
    auto r = row();
    r.left("messages", kLeastName, Tone::dim)
        .right(rate_text(history_.rate("ctsyncd_peer_messages_total")) + " received/s", kNumber + 11)
        .right(count_text(lost) + " lost", kNumber + 5, alarm(history_.rate(kLost)))
        .right(count_text(now().sum(kMalformed)) + " malformed", kNumber + 10, alarm(history_.rate(kMalformed)));
    add(r);
    auto packets = row();
    packets.left("packets", kLeastName, Tone::dim)
        .right(rate_text(history_.rate("ctsyncd_link_received_packets_total")) + " received/s", kNumber + 11)
        .right(rate_text(history_.rate("ctsyncd_link_sent_packets_total")) + " sent/s", kNumber + 7);
    add(packets);
  }

  void add_queue() {
    const std::vector<Label> which{{"queue", "rsqueue"}};
    const auto waiting = now().value("ctsyncd_queue_elements", which);
    if (!waiting) return;
    auto r = row();
    r.left("resend", kLeastName, Tone::dim)
        .right(count_text(waiting) + " waiting", kNumber + 8)
        .word("of " + count_text(now().value("ctsyncd_queue_capacity_elements", which)));
    if (const auto delay = history_.mean("ctsyncd_replication_delay_seconds")) {
      r.word("delay " + seconds_text(delay));
    }
    add(r);
  }

  void add_commits() {
    constexpr std::string_view kEntries = "ctsyncd_commit_entries_total";
    const auto commits = now().value("ctsyncd_commit_duration_seconds_count");
    if (!commits) return;
    auto r = row();
    r.left("commits", kLeastName, Tone::dim)
        .right(count_text(commits) + " done", kNumber + 5)
        .word(count_text(now().value(kEntries, {{"result", "committed"}})) + " entries");
    const auto failed = now().value(kEntries, {{"result", "failed"}});
    r.word(count_text(failed) + " failed", alarm(history_.rate(kEntries, {{"result", "failed"}})));
    const auto seconds = now().value("ctsyncd_commit_duration_seconds_sum");
    if (seconds && *commits > 0) r.word(seconds_text(*seconds / *commits) + " each");
    add(r);
  }

  void fit() {
    const auto rows = static_cast<std::size_t>(std::max(size_.rows, 0));
    if (lines_.size() > rows) std::erase_if(lines_, [](const Line& l) { return l.empty(); });
    if (lines_.size() > rows) {
      const auto more = lines_.size() - rows + 1;
      lines_.resize(rows);
      if (rows > 1) lines_.back() = row().word(fmt::format("... {} more lines", more), Tone::dim).take();
    } else if (view_.keys && lines_.size() + 2 <= rows) {
      lines_.resize(rows - 1);
      lines_.push_back(row().word("q quits, space pauses", Tone::dim).take());
    }
  }

  static constexpr std::size_t kState = 11;
  static constexpr std::size_t kByteRate = 10;

  const WatchView& view_;
  const WatchHistory& history_;
  Size size_;
  std::vector<Line> lines_;
};

}  // namespace

std::vector<Line> draw(const WatchView& view, Size size) { return Frame(view, size).take(); }

std::string sparkline(const std::deque<double>& values, std::size_t width, bool blocks) {
  constexpr std::array<std::string_view, 8> kBlocks{"\u2581", "\u2582", "\u2583", "\u2584",
                                                    "\u2585", "\u2586", "\u2587", "\u2588"};
  constexpr std::array<std::string_view, 8> kAscii{"_", ".", ":", "-", "=", "+", "*", "#"};
  const auto& levels = blocks ? kBlocks : kAscii;
  const auto shown = std::min(values.size(), width);
  const auto first = values.end() - static_cast<std::ptrdiff_t>(shown);
  double most = 0;
  for (auto v = first; v != values.end(); ++v) {
    if (std::isfinite(*v)) most = std::max(most, *v);
  }
  std::string text;
  for (auto v = first; v != values.end(); ++v) {
    if (!std::isfinite(*v)) {
      text += ' ';
      continue;
    }
    const auto share = most > 0 ? std::max(*v, 0.0) / most : 0;
    text += levels[static_cast<std::size_t>(std::ceil(share * static_cast<double>(levels.size() - 1)))];
  }
  return text;
}

std::string plain_text(const Line& line) {
  std::string text;
  for (const auto& piece : line) text += piece.text;
  return text;
}

}  // namespace ctsync::control
