# SPDX-License-Identifier: GPL-2.0-or-later
"""Every mode over every transport and family with every choice of caches, ours with ours and with stock on either side:
flows, their changes and their end arrive at the peer, and the right entries get into its kernel. Then the options of the
modes: timeouts, refresh, expiry, purge, resync.

What stock is known not to do is expected of it, with the number of the defect in doc/differences.md, so that a stock that
does better would be noticed.
"""
import collections
import re
import time

import pytest

import conftest
import crowd
import ctnl
import kinds
import lab

SIZE = 14  # pairs at a time

MODES = {"FTFW": "", "ALARM": "\t\tRefreshTime 2\n\t\tCacheTimeout 60\n", "NOTRACK": ""}
CACHES = {"caches": "", "no-external": "\t\tDisableExternalCache On\n", "no-internal": "\t\tDisableInternalCache On\n",
          "no-caches": "\t\tDisableInternalCache On\n\t\tDisableExternalCache On\n"}
ALLOWED = {"FTFW": ("caches", "no-external"), "ALARM": ("caches",), "NOTRACK": tuple(CACHES)}
ENDS = {"IPv4": ("10.77.9.1", "10.77.9.2"), "IPv6": ("fd77:9::1", "fd77:9::2"),
        "link-local": ("fe80::7701", "fe80::7702")}
TRANSPORTS = ("Multicast", "UDP", "TCP")

Case = collections.namedtuple("Case", "mode caches transport family pair")
MATRIX = {"-".join(case): case for case in (
    Case(mode, caches, transport, family, pair)
    for mode, allowed in ALLOWED.items() for caches in allowed for transport in TRANSPORTS for family in ENDS
    for pair in conftest.PAIRS if family != "link-local" or caches == "caches")}

FLOWS = {name: flow for name, flow in kinds.build().items()
         if name in ("tcp4-ESTABLISHED", "udp4-two-way", "icmp-echo", "snat-port", "tcp6-ESTABLISHED", "snat66-port")}
STAYS = ("tcp4-ESTABLISHED", "snat66-port")  # these are changed, the others end
SEEN_REPLY, ASSURED, CONFIRMED, SNAT, DNAT = 2, 4, 8, 0x10, 0x20


def source(name):
    return FLOWS[name]["orig"]["src"]


ALL = {source(name) for name in FLOWS}
LEFT = {source(name) for name in STAYS}


def mode_block(mode, caches="caches", extra=""):
    return f"\tMode {mode} {{\n{MODES[mode]}{CACHES[caches]}{extra}\t}}\n"


def configure(stage, active, backup=None, transport="UDP", family="IPv4", options=""):
    """Mode blocks of both nodes (the backup's is that of the active if not given) and one link."""
    for node, block, ends in ((stage.active, active, ENDS[family]), (stage.backup, backup or active, ENDS[family][::-1])):
        link = lab.link_block(transport, *ends)
        if family == "link-local":
            link = link.replace("ff15::", "ff02::")
        node.configure(block + link + options)


def create(stage, names=tuple(FLOWS)):
    for name in names:
        stage.active.table.create(FLOWS[name])


def wait_for_entries(look, wanted, timeout=10):
    """Until look() has entries of exactly these addresses; returns it."""
    found = lab.wait_for(lambda: set(got := look()) == wanted and [got], timeout,
                         lambda: f"{sorted(wanted)}, there are {sorted(look())}", 0.05)
    return found[0]


def same_entries(origin, copy, addresses):
    for address in addresses:
        mine, theirs = origin[address], copy[address]
        for key in ("proto", "orig", "reply", "mark"):
            assert theirs[key] == mine[key], f"{key} of {address}"
        wanted = SEEN_REPLY | ASSURED | CONFIRMED | SNAT | DNAT
        assert theirs["status"] & wanted == mine["status"] & wanted, address
        assert abs(theirs["timeout"] - mine["timeout"]) <= 20, address
        if mine["proto"] == 6:
            assert theirs["tcp"]["state"] == mine["tcp"]["state"], address
            assert theirs["tcp"]["flags_orig"] & theirs["tcp"]["flags_reply"] & 8, "window tracking is off for it"


def change(stage):
    """One flow goes on to another TCP state, and both that stay get a mark."""
    tcp, nat = (FLOWS[name] for name in STAYS)
    stage.active.table.update({"proto": 6, "orig": tcp["orig"], "mark": 77, "tcp": {"state": 4}})
    stage.active.table.update({"proto": 6, "orig": nat["orig"], "mark": 78})
    return {tcp["orig"]["src"]: 77, nat["orig"]["src"]: 78}


def destroy(stage):
    for name, flow in FLOWS.items():
        if name not in STAYS:
            stage.active.table.delete(flow)


def refuses_to_start(stage):
    """Stock does not start: its TCP client has no scope for a link-local address."""
    for node in stage.nodes():
        if node.stock:
            node.start(wait=False)
            assert node.daemon.wait(timeout=10) == 1
            assert "Invalid argument" in node.log()


def through_cache(stage):
    active, backup = stage.nodes()
    create(stage)
    shown = wait_for_entries(backup.cached, ALL)
    assert shown[source("tcp4-ESTABLISHED")]["state"] == "ESTABLISHED"
    marks = change(stage)
    lab.wait_for(lambda: all(backup.cached()[a].get("mark") == str(marks[a]) for a in marks), 6,
                 "the changes in the external cache")
    assert backup.cached()[source("tcp4-ESTABLISHED")]["state"] == "FIN_WAIT"
    assert not backup.kernel()
    backup.ask(crowd.COMMIT)
    same_entries(active.kernel(), wait_for_entries(backup.kernel, ALL, 2), ALL)
    destroy(stage)
    wait_for_entries(backup.cached, LEFT)


def through_injection(stage):
    active, backup = stage.nodes()
    create(stage)
    same_entries(active.kernel(), wait_for_entries(backup.kernel, ALL), ALL)
    with ctnl.Destroyed(backup) as destroyed:
        marks = change(stage)
        lab.wait_for(lambda: all(a in (now := backup.kernel()) and now[a]["mark"] == marks[a] for a in marks), 6,
                     "the changes in the kernel")
        same_entries(active.kernel(), backup.kernel(), LEFT)
        # Defect 17: stock sends the IPv6 NAT attributes along, is refused, deletes the entry and makes it anew.
        replaced = {flow["orig"]["src"] for flow in destroyed.flows()}
        assert replaced == ({source("snat66-port")} if backup.stock else set())
    destroy(stage)
    wait_for_entries(backup.kernel, LEFT)
    inject = backup.stats()["inject"]
    assert inject["destroyed"] == len(FLOWS) - len(STAYS)
    if not backup.stock:
        assert inject["create_failed"] == inject["update_failed"] == inject["destroy_failed"] == 0


def play(case):
    def scene(stage):
        configure(stage, mode_block(case.mode, case.caches), transport=case.transport, family=case.family)
        if case.family == "link-local" and case.transport == "TCP" and case.pair != "ours-ours":
            return refuses_to_start(stage)
        stage.start()
        if case.mode != "ALARM":  # which is silent; refreshes bring what was missed
            stage.greeted()
        injects = case.caches in ("no-external", "no-caches")
        (through_injection if injects else through_cache)(stage)
        for node in stage.nodes():
            assert node.alive()
            stats = node.stats()
            assert stats["malformed"] == 0
            assert stats["link"]["error_recv"] == 0
        if case.mode == "ALARM":
            return None  # refreshes tell of what was committed as well
        # What the backup put into its kernel does not come back.
        returned = stage.active.stats()["inject" if injects else "external"]
        assert returned["created"] == returned["updated"] == returned["destroyed"] == 0
        return None
    return scene


SCENES = {}


def scene(*pairs, **variants):
    """Registers a scene for these pairs of binaries; called with the values of `variants` one by one, if there are any."""
    def register(function):
        for pair in pairs:
            for name, value in (next(iter(variants.values())) if variants else {"": None}).items():
                full = "-".join(filter(None, (function.__name__, name, pair)))
                SCENES[full] = ((lambda stage, v=value: function(stage, v)) if variants else function, pair)
        return function
    return register


EVERY = tuple(conftest.PAIRS)
OUR_BACKUP, OUR_ACTIVE = ("ours-ours", "stock-ours"), ("ours-ours", "ours-stock")


# Timeouts


@scene(*EVERY)
def commit_timeout(stage):
    configure(stage, mode_block("FTFW"), mode_block("FTFW", extra="\t\tCommitTimeout 100\n"))
    stage.start().greeted()
    create(stage)
    wait_for_entries(stage.backup.cached, ALL)
    stage.backup.ask(crowd.COMMIT)
    for flow in wait_for_entries(stage.backup.kernel, ALL, 2).values():
        assert 90 <= flow["timeout"] <= 100


@scene(*EVERY)
def commit_of_flows_without_timeout(stage):
    """CommitTimeout at the sender: it sends no timeouts. Ours takes the default of the protocol, stock 60 seconds."""
    configure(stage, mode_block("FTFW", extra="\t\tCommitTimeout 100\n"), mode_block("FTFW"))
    stage.start().greeted()
    create(stage)
    wait_for_entries(stage.backup.cached, ALL)
    time.sleep(1.1)  # in the first second stock commits nothing of it
    stage.backup.ask(crowd.COMMIT)
    timeout = wait_for_entries(stage.backup.kernel, ALL, 2)[source("tcp4-ESTABLISHED")]["timeout"]
    assert timeout <= 60 if stage.backup.stock else timeout > 400000


@scene(*EVERY)
def injection_of_flows_without_timeout(stage):
    configure(stage, mode_block("FTFW", extra="\t\tCommitTimeout 100\n"), mode_block("FTFW", "no-external"))
    stage.start().greeted()
    create(stage)
    if stage.backup.stock:
        lab.wait_for(lambda: stage.backup.stats()["inject"]["create_failed"] >= len(ALL), 6, "defect 18")
        assert "could not add new ct entry: Invalid argument" in stage.backup.log()
    else:
        entries = wait_for_entries(stage.backup.kernel, ALL)
        assert entries[source("tcp4-ESTABLISHED")]["timeout"] > 400000
        assert 20 <= entries[source("udp4-two-way")]["timeout"] <= 120


def lines_of_external(node):
    return node.ask(crowd.DUMP_EXTERNAL).splitlines()


@scene(*EVERY)
def expiry(stage):
    configure(stage, "\tMode ALARM {\n\t\tCacheTimeout 4\n\t}\n")
    stage.start()
    create(stage)
    wait_for_entries(stage.backup.cached, ALL)
    destroyed = stage.backup.stats()["external"]["destroyed"]
    stage.active.kill()
    lines = lines_of_external(stage.backup)
    left = [re.search(r"\[expires in (\d+)s\] \[active since \d+s\]$", line) for line in lines]
    assert len(left) == len(ALL) and all(left), lines
    assert all(1 <= int(found[1]) <= 4 for found in left)
    ends = time.monotonic() + min(int(found[1]) for found in left) - 1.5
    while time.monotonic() < ends:
        assert stage.backup.cached(), "expired too early"
        time.sleep(0.1)
    wait_for_entries(stage.backup.cached, set(), 6)
    assert stage.backup.stats()["external"]["destroyed"] == destroyed + len(ALL)


@scene(*EVERY)
def refresh(stage):
    """Every flow is told again within RefreshTime and a second, so that it outlives CacheTimeout."""
    configure(stage, "\tMode ALARM {\n\t\tRefreshTime 1\n\t\tCacheTimeout 3\n\t}\n")
    stage.start()
    create(stage)
    wait_for_entries(stage.backup.cached, ALL)
    told = lambda: sum(stage.backup.stats()["external"][what] for what in ("created", "updated"))
    before = told()
    time.sleep(5)
    assert set(stage.backup.cached()) == ALL
    # Each at least twice and at most four times: every 1.2 to 2 seconds.
    assert 2 * len(ALL) <= told() - before <= 5 * len(ALL)


# Purge


@scene(*OUR_ACTIVE)
def purge(stage):
    configure(stage, mode_block("FTFW", extra="\t\tPurgeTimeout 3\n"))
    stage.start().greeted()
    create(stage)
    wait_for_entries(stage.backup.cached, ALL)
    began = time.monotonic()
    stage.active.ask(crowd.PURGE)
    assert "flushing conntrack table in 3 secs" in stage.active.log()
    time.sleep(1.8)
    stage.active.ask(crowd.PURGE)  # does not begin anew
    assert set(stage.active.kernel()) == ALL
    wait_for_entries(stage.active.kernel, set(), 6)
    assert 2.9 < time.monotonic() - began < 4.5
    assert "flushing kernel conntrack table (scheduled)" in stage.active.log()
    wait_for_entries(lambda: {flow["orig"]["src"] for flow in stage.active.internal()}, set(), 2)
    if stage.backup.stock:
        time.sleep(0.5)
        assert set(stage.backup.cached()) == ALL, "the peer keeps them"
    else:  # it is not told, but finds out
        wait_for_entries(stage.backup.cached, set(), 8)
        assert "mended from peer" in stage.backup.log()


@scene(*OUR_ACTIVE, cancelled_by={"commit": (crowd.COMMIT,), "flush": (crowd.FLUSH,),
                                  "flush-internal": (crowd.FLUSH_INTERNAL,), "nothing": ()})
def purge_after(stage, requests):
    configure(stage, mode_block("FTFW", extra="\t\tPurgeTimeout 1\n"))
    create(stage)
    stage.start()
    stage.active.ask(crowd.PURGE)
    for request in requests:
        stage.active.ask(request)
    time.sleep(2.2)
    assert set(stage.active.kernel()) == (ALL if requests else set())
    assert ("(scheduled)" in stage.active.log()) == (not requests)


# Resync


def says_bulk(stage, mode):
    """Stock says nothing when it reads the kernel for a bulk."""
    return not (stage.active.stock and mode[1] == "no-internal")


@scene(*EVERY, mode={"FTFW": ("FTFW", "caches"), "NOTRACK": ("NOTRACK", "caches"),
                     "NOTRACK-no-internal": ("NOTRACK", "no-internal"), "FTFW-no-external": ("FTFW", "no-external")})
def startup_resync(stage, mode):
    configure(stage, mode_block(*mode), mode_block(*mode, extra="\t\tStartupResync On\n"))
    create(stage)
    stage.active.start(wait=False)
    stage.active.served()
    stage.backup.start(wait=False)
    stage.backup.served()
    wait_for_entries(stage.backup.kernel if mode[1] == "no-external" else stage.backup.cached, ALL)
    assert "resync requested" in stage.backup.log()
    assert "resync requested by other node" in stage.active.log()
    assert ("sending bulk update" in stage.active.log()) == says_bulk(stage, mode)


@scene(*EVERY, mode={"FTFW": ("FTFW", "caches"), "NOTRACK": ("NOTRACK", "caches"),
                     "NOTRACK-no-internal": ("NOTRACK", "no-internal")})
def resync_and_bulk(stage, mode):
    """-n on the one that lacks them, then -B on the one that has them."""
    configure(stage, mode_block(*mode))
    stage.start().greeted()
    create(stage)
    wait_for_entries(stage.backup.cached, ALL)
    for asked, request in ((stage.backup, crowd.REQUEST_RESYNC), (stage.active, crowd.BULK)):
        time.sleep(1.2)
        stage.backup.ask(crowd.FLUSH_EXTERNAL)
        wait_for_entries(stage.backup.cached, set(), 1)
        asked.ask(request)
        wait_for_entries(stage.backup.cached, ALL)
    assert "resync requested" in stage.backup.log()
    assert ("sending bulk update" in stage.active.log()) == says_bulk(stage, mode)


@scene(*EVERY)
def no_resync_in_alarm(stage):
    configure(stage, "\tMode ALARM {\n\t}\n")
    stage.start()
    for node in stage.nodes():
        node.ask(crowd.REQUEST_RESYNC)
        node.ask(crowd.BULK)
    time.sleep(1.5)
    for node in stage.nodes():
        assert node.stats()["link"]["packets_recv"] == 0
        assert "resync" not in node.log() and "bulk" not in node.log()


# What stock does not survive, or not do


@scene(*EVERY)
def window_tracking_without_internal_cache(stage):
    """The end of a TCP connection carries no window scales."""
    configure(stage, mode_block("NOTRACK", "no-internal"), options="\tOptions {\n\t\tTCPWindowTracking On\n\t}\n")
    stage.start().greeted()
    create(stage)
    wait_for_entries(stage.backup.cached, ALL)
    stage.active.table.delete(FLOWS["tcp4-ESTABLISHED"])
    if stage.active.stock:
        assert stage.active.daemon.wait(timeout=5) < 0, "defect 1"
    else:
        wait_for_entries(stage.backup.cached, ALL - {source("tcp4-ESTABLISHED")})


@scene(*EVERY)
def expectations_without_internal_cache(stage):
    configure(stage, mode_block("NOTRACK", "no-internal"), options="\tOptions {\n\t\tExpectationSync On\n\t}\n")
    stage.start().greeted()
    master = kinds.build()["helper-ftp"]
    stage.active.table.create(master)
    wait_for_entries(stage.backup.cached, {master["orig"]["src"]})
    expected = {"src": master["orig"]["dst"], "dst": master["orig"]["src"], "sport": 0, "dport": 40000}
    stage.active.table.expect({
        "master": (6, master["orig"]), "proto": 6, "tuple": expected, "timeout": 300, "helper": "ftp",
        "mask": {"src": "255.255.255.255", "dst": "255.255.255.255", "sport": 0, "dport": 65535}})
    heard = lambda: stage.backup.ask(crowd.DUMP_EXTERNAL_EXPECT)
    if stage.active.stock:
        time.sleep(2.5)
        assert heard() == "", "defect 15"
    else:
        lab.wait_for(lambda: "dport=40000" in heard(), 4, lambda: f"the expectation: {heard()}")


@pytest.fixture(scope="module")
def outcome(request):
    """The outcome of a scene by name; all that were chosen are played at the same time."""
    chosen = {item.callspec.params["name"] for item in request.session.items
              if item.fspath == request.node.fspath and hasattr(item, "callspec")}
    with crowd.Crowd(SIZE) as players:
        for name, (function, pair) in SCENES.items():
            if name in chosen:
                players.add(name, function, conftest.PAIRS[pair])
        for name, case in MATRIX.items():
            if name in chosen:
                players.add(name, play(case), conftest.PAIRS[case.pair])
        yield players.outcome


@pytest.mark.parametrize("name", MATRIX)
def test_matrix(outcome, name):
    outcome(name)


@pytest.mark.parametrize("name", SCENES)
def test_scene(outcome, name):
    outcome(name)
