// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/daemon/daemon.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "background.h"
#include "ctsync/config/parse.h"
#include "ctsync/control/metrics_server.h"
#include "ctsync/control/server.h"
#include "ctsync/text/json.h"
#include "ctsync/text/metrics.h"
#include "lock_file.h"
#include "node_runner.h"
#include "reload.h"
#include "service_notify.h"

namespace ctsync::daemon {
namespace {

void set_scheduler(const config::SchedulerConfig& config, Log& log) {
  sched_param parameters{};
  parameters.sched_priority = config.priority;
  const int policy = config.policy == config::SchedulerPolicy::fifo ? SCHED_FIFO : SCHED_RR;
  if (::sched_setscheduler(0, policy, &parameters) == 0) return;
  log.warning("scheduler configuration failed: {}. Continuing with system default scheduler.", std::strerror(errno));
}

// What the loop handles.
constexpr std::array kSignals{SIGTERM, SIGINT, SIGHUP};

// From here on such a signal waits for the loop: a process that is stopped while it starts removes what it has made.
sigset_t block_signals() {
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  for (const int s : kSignals) sigaddset(&set, s);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  return set;
}

// Whether one of them is an error.
bool tell(const std::vector<config::Diagnostic>& found, Log& log) {
  bool failed = false;
  for (const auto& d : found) {
    const bool is_error = d.severity == config::Severity::error;
    log.write(is_error ? Level::error : Level::warning, d.to_string());
    failed |= is_error;
  }
  return failed;
}

// Of reading the configuration again.
struct Outcome {
  int status;            // for the client: 0, or 1 if it stays as it was
  std::string problems;  // lines with their ends
  std::string text;
};

// The process around a mode.
class Process final : private control::CommandHandler {
 public:
  Process(const config::Config& config, const std::string& config_path, bool background, SystemLog& log)
      : config_(config),
        config_path_(config_path),
        reload_path_(std::filesystem::absolute(config_path).string()),
        background_wanted_(background),
        notify_(config.systemd),
        log_(log) {}
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  int run();

 private:
  Result<> start();
  Result<> serve();
  void stop();
  void on_command(const node::Command& command, const node::Client& client) override;
  void on_client_dropped() override;
  void on_signal(int signal);
  LogTargets log_targets(Terminal terminal) const;
  Result<> take_over(config::Config next);
  Outcome reload();
  Outcome read_configuration();
  Result<> serve_metrics();
  text::Snapshot snapshot() const;
  std::string metrics(bool openmetrics) const;
  std::string health() const;

  config::Config config_;
  const std::string& config_path_;
  const std::string reload_path_;  // the same, from wherever
  const bool background_wanted_;
  Background background_;
  ServiceNotify notify_;
  SystemLog& log_;
  SystemClock clock_;
  EventLoop loop_{clock_};
  control::Server server_{loop_, *this, log_};
  std::optional<control::MetricsServer> metrics_server_;  // with `Metrics`
  std::optional<LockFile> lock_;
  std::optional<NodeRunner> node_;  // not with neither Sync nor Stats
  Timer watchdog_{loop_, [this] { feed_watchdog(); }};
  Timer status_timer_{loop_, [this] { tell_status(); }};
  Timer log_timer_{loop_, [this] { flush_log(); }};
  TurnHook turn_end_{loop_, [this] {
                       if (log_.pending() && !log_timer_.deadline()) flush_log();
                     }};
  std::string status_;  // told last
  RateLimit dropped_limit_{std::chrono::seconds(10)};
  TimePoint started_at_;

  void feed_watchdog() {
    notify_.send("WATCHDOG=1");
    watchdog_.arm_in(*notify_.watchdog_interval());
  }

  void flush_log() {
    if (const auto wait = retry_delay(log_.flush())) log_timer_.arm_in(*wait);
  }

  void tell_status() {
    constexpr Duration kInterval = std::chrono::seconds(3);
    auto status = node_ ? node_->status() : std::string("idle: neither Sync nor Stats is configured");
    if (status != status_) notify_.send("STATUS=" + status);
    status_ = std::move(status);
    status_timer_.arm_in(kInterval);
  }
};

// Jobs go before the mode they work for. The clients go last: who asked the daemon to stop is answered when everything
// is given up, lock included, and may start another one at once.
Process::~Process() {
  loop_.jobs().cancel_all();
  server_.stop_listening();
}

int Process::run() {
  const auto signals = block_signals();
  if (tell(config::check_start(config_, config_path_), log_)) return 1;
  if (background_wanted_) {
    auto entered = Background::enter(signals, [this](pid_t child) { notify_.send(fmt::format("MAINPID={}", child)); });
    if (!entered) {
      log_.error("{}", entered.error().text);
      return 1;
    }
    background_ = std::move(*entered);
  }
  ::umask(0177);
  if (auto ok = start(); !ok) {
    log_.error("{}", ok.error().text);
    if (lock_) log_.error("conntrackd cannot start, please review your configuration");
    return 1;
  }
  if (auto ok = serve(); !ok) {
    log_.error("the event loop failed: {}", ok.error().text);
    return 1;
  }
  return 0;
}

LogTargets Process::log_targets(Terminal terminal) const {
  return {.file = config_.log_file.value_or(""), .syslog_facility = config_.syslog_facility, .terminal = terminal};
}

Result<> Process::start() {
  if (auto ok = log_.open(log_targets(background_wanted_ ? Terminal::problems : Terminal::all)); !ok) return ok;
  if (auto ok = loop_.open(); !ok) return ok;
  if (auto ok = loop_.watch_signals({kSignals.begin(), kSignals.end()}, [this](int s) { on_signal(s); }); !ok)
    return ok;
  auto lock = LockFile::acquire(config_.lock_file);
  if (!lock) return std::unexpected(lock.error());
  lock_.emplace(std::move(*lock));
  set_scheduler(config_.scheduler, log_);
  if (!config_.unix_path.empty()) {
    if (auto ok = server_.open(config_.unix_path); !ok) return ok;
  } else {
    log_.warning("no `UNIX' socket path is configured: the daemon can only be stopped by a signal");
  }
  if (auto ok = serve_metrics(); !ok) return ok;
  if (config_.has_helper && !config_.helper.instances.empty()) {
    log_.error("user-space helpers are not supported yet: the `Helper' section of {} is ignored", config_path_);
  }
  if (!config_.has_stats && !config_.has_sync) return {};
  node_.emplace(config_, loop_, log_, clock_);
  return node_->start();
}

// As the configuration says now.
Result<> Process::serve_metrics() {
  metrics_server_.reset();
  if (!config_.metrics) return {};
  const auto& to = *config_.metrics;
  metrics_server_.emplace(loop_, [this](bool openmetrics) { return metrics(openmetrics); });
  if (!to.path.empty()) {
    if (auto ok = metrics_server_->open(to.path); !ok) return ok;
  }
  if (!to.address.is_set()) return {};
  return metrics_server_->open(to.address, to.port);
}

Result<> Process::serve() {
  log_.notice("initialization completed");
  started_at_ = clock_.now();
  [[maybe_unused]] const int changed = ::chdir("/");
  ::close(STDIN_FILENO);
  ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  log_.notice("-- starting in {} mode --", background_wanted_ ? "daemon" : "console");
  if (background_wanted_) {
    log_.set_terminal(Terminal::none);
    background_.ready();
  }
  notify_.send("READY=1");
  if (notify_.watchdog_interval()) feed_watchdog();
  if (node_) node_->started();
  if (notify_.wanted()) tell_status();
  auto ran = loop_.run();
  notify_.send("STOPPING=1");
  if (ran) log_.notice("---- shutdown received ----");
  return ran;
}

void Process::on_signal(int signal) { signal == SIGHUP ? (void)reload() : loop_.stop(); }

// The logs are opened anew whatever the file says.
Outcome Process::reload() {
  notify_.reloading();
  if (auto ok = log_.reopen(); !ok) log_.error("{}", ok.error().text);
  if (node_) node_->reopen_logs();
  log_.notice("log files opened anew");
  auto outcome = read_configuration();
  log_.write(outcome.status == 0 ? Level::notice : Level::error, outcome.text);
  notify_.send("READY=1");
  return outcome;
}

Outcome Process::read_configuration() {
  // A pipe would keep the loop waiting.
  if (std::error_code none;
      std::filesystem::exists(reload_path_, none) && !std::filesystem::is_regular_file(reload_path_, none)) {
    return {1, "", fmt::format("the configuration stays as it was: {} is no regular file", reload_path_)};
  }
  auto parsed = config::parse_file(reload_path_);
  auto found = std::move(parsed.diagnostics);
  if (parsed.ok()) std::ranges::move(config::check_start(parsed.config, reload_path_), std::back_inserter(found));
  std::string problems;
  for (const auto& d : found) problems += d.to_string() + '\n';
  const auto refuse = [&](std::string_view why) {
    return Outcome{1, problems, fmt::format("the configuration stays as it was: {}", why)};
  };
  if (tell(found, log_) || !parsed.ok()) return refuse(fmt::format("{} has errors", reload_path_));
  if (!same_sections(parsed.config, config_)) return refuse("other sections than before need a restart");
  const auto changes = adopt(parsed.config, config_);
  if (auto ok = take_over(std::move(parsed.config)); !ok) return refuse(ok.error().text);
  return {0, problems, changes.to_string()};
}

Result<> Process::take_over(config::Config next) {
  const auto before = std::exchange(config_, std::move(next));
  const auto terminal = background_wanted_ ? Terminal::none : Terminal::all;
  const bool other_log = config_.log_file != before.log_file || config_.syslog_facility != before.syslog_facility;
  auto ok = other_log ? log_.open(log_targets(terminal)) : Result<>();
  const bool other_metrics = !same(config_.metrics, before.metrics);
  if (ok && other_metrics) ok = serve_metrics();
  if (ok && node_) ok = node_->reload(before);
  if (!ok) {
    config_ = before;
    if (other_log) (void)log_.open(log_targets(terminal));
    if (other_metrics) (void)serve_metrics();
    return ok;
  }
  if (config_.scheduler != before.scheduler) set_scheduler(config_.scheduler, log_);
  return {};
}

void Process::on_command(const node::Command& command, const node::Client& client) {
  switch (command.verb) {
    case node::Verb::stop:
      return loop_.stop();
    case node::Verb::reload: {
      const auto [status, problems, text] = reload();
      client.write(node::outcome_text(status, problems + text));
      return client.finish();
    }
    case node::Verb::statistics: {
      std::string out;
      if (command.form == node::Form::json) {
        text::append_json(out, command.topic, snapshot());
      } else {
        text::append_statistics(out, command.topic, snapshot());
      }
      client.write(out);
      return client.finish();
    }
    case node::Verb::metrics:
      client.write(metrics(command.form == node::Form::openmetrics));
      return client.finish();
    case node::Verb::health:
      client.write(health());
      return client.finish();
    default:
      return node_ ? node_->on_command(command, client) : node::answer_nothing(command, client);
  }
}

void Process::on_client_dropped() {
  if (!dropped_limit_.allow(clock_.now())) return;
  log_.warning("a client that does not read its answer made room for another one: its answer is not complete");
  if (const auto n = dropped_limit_.held_back(); n != 0) log_.warning("{} more such clients", n);
}

text::Snapshot Process::snapshot() const {
  auto s = node_ ? node_->snapshot() : text::Snapshot{};
  s.runtime.uptime_seconds =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(clock_.now() - started_at_).count());
  s.runtime.local_read_failed = server_.stats().read_failed;
  s.runtime.local_unknown_request = server_.stats().unknown_requests;
  s.turns = loop_.turns();
  return s;
}

std::string Process::metrics(bool openmetrics) const {
  std::string out;
  text::append_metrics(out, openmetrics ? text::MetricsForm::openmetrics : text::MetricsForm::prometheus, snapshot());
  return out;
}

std::string Process::health() const {
  const auto health = node_ ? node_->health() : std::nullopt;
  if (!health) return node::outcome_text(1, "there is nothing to take over: no `Sync' section");
  return node::outcome_text(static_cast<int>(*health), text::to_string(*health));
}

}  // namespace

int run(const config::Config& config, const std::string& config_path, bool background, SystemLog& log) {
  return Process(config, config_path, background, log).run();
}

}  // namespace ctsync::daemon
