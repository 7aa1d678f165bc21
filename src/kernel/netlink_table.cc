// SPDX-License-Identifier: GPL-2.0-or-later
#include "ctsync/kernel/netlink_table.h"

#include "table_dump.h"

namespace ctsync::kernel {

NetlinkTable::NetlinkTable(const Clock& clock, const InjectorOptions& options)
    : clock_(clock), commit_(options), flush_(options), inject_(options) {}

Result<> NetlinkTable::open() {
  if (auto ok = commit_.open(); !ok) return ok;
  if (auto ok = flush_.open(); !ok) return ok;
  if (auto ok = inject_.open(); !ok) return ok;
  if (auto ok = query_.open(); !ok) return ok;
  events_.register_port(commit_.port_id(), Origin::commit);
  events_.register_port(flush_.port_id(), Origin::flush);
  events_.register_port(inject_.port_id(), Origin::inject);
  return {};
}

Result<> NetlinkTable::open_events(const EventOptions& options) { return events_.open(options); }

Result<std::unique_ptr<Dump>> NetlinkTable::dump(DumpWhat what, const DumpOptions& options) {
  auto dump = std::make_unique<TableDump>(clock_, what, options);
  if (auto ok = dump->start(); !ok) return std::unexpected(ok.error());
  return dump;
}

TableWriter& NetlinkTable::writer(Origin origin) {
  switch (origin) {
    case Origin::commit:
      return commit_;
    case Origin::flush:
      return flush_;
    default:
      return inject_;
  }
}

}  // namespace ctsync::kernel
