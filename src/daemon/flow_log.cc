// SPDX-License-Identifier: GPL-2.0-or-later
#include "flow_log.h"

#include <syslog.h>

#include <utility>
#include <vector>

namespace ctsync::daemon {

FlowLog::FlowLog(std::optional<std::string> file, std::optional<int> syslog_facility, std::size_t most_kept)
    : most_kept_(most_kept),
      path_(std::move(file)),
      facility_(syslog_facility),
      file_(most_kept, {}),
      syslog_(syslog_facility ? std::make_unique<SyslogWriter>(*syslog_facility, most_kept) : nullptr) {}

FlowLog::~FlowLog() {
  std::vector<LineWriter*> writers{&file_};
  if (syslog_) writers.push_back(syslog_.get());
  drain(writers, SystemLog::kLastTry);
}

Result<> FlowLog::open() { return path_ ? file_.open(*path_) : Result<>(); }

Result<> FlowLog::change(std::optional<std::string> file, std::optional<int> syslog_facility) {
  if (file && file != path_) {
    if (auto ok = file_.open(*file); !ok) return ok;
  }
  path_ = std::move(file);
  if (syslog_facility == facility_) return {};
  facility_ = syslog_facility;
  syslog_ = facility_ ? std::make_unique<SyslogWriter>(*facility_, most_kept_) : nullptr;
  return {};
}

void FlowLog::add(const FlowRecord& record, std::int64_t wall_seconds) {
  if (date_of_ != wall_seconds) {
    date_of_ = wall_seconds;
    date_ = ctime_text(wall_seconds) + '\t';
  }
  line_ = date_;
  renderer_.append(line_, record);
  if (path_) file_.add(line_);
  if (syslog_) syslog_->add(LOG_INFO, std::string_view(line_).substr(date_.size()));
}

LineWriter::Left FlowLog::flush() {
  const auto left = file_.flush();
  const auto left_for_syslog = syslog_ ? syslog_->flush() : LineWriter::Left::nothing;
  return left == LineWriter::Left::some || left_for_syslog == LineWriter::Left::nothing ? left : left_for_syslog;
}

std::uint64_t FlowLog::lost_lines() const { return file_.lost_lines() + (syslog_ ? syslog_->lost_lines() : 0); }

void FlowLog::tell_losses(Log& log, TimePoint now) {
  const auto lost = lost_lines();
  const bool more = lost != std::exchange(lost_seen_, lost);
  if (more && !losing_ && loss_limit_.allow(now)) {
    losing_ = true;
    log.error("the flow log takes no more, finished flows are not logged");
  }
  const bool pending = file_.pending() || (syslog_ && syslog_->pending());
  if (!losing_ || pending) return;
  losing_ = false;
  log.warning("the flow log takes lines again, {} were lost", lost - std::exchange(lost_told_, lost));
}

}  // namespace ctsync::daemon
