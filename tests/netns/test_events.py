# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel events: the filter in user space and in the kernel, polling, reliable delivery, lost events and what mends them."""
import ctypes
import os
import platform
import re
import socket
import struct
import time

import pytest

import ctnl
import guest
import lab
import text

TCP, UDP = 6, 17
CONFIRMED = 8


def flow(number, proto, src, dst, state=None, **rest):
    made = {"proto": proto, "orig": {"src": src, "dst": dst, "sport": 1000 + number, "dport": 80}, "status": CONFIRMED,
            "timeout": 600, **rest}
    if state is not None:
        made["tcp"] = {"state": state}
    return made


ESTABLISHED, SYN_SENT = 3, 1
# The flows of the filter matrix, under their numbers, and some more with address translation.
MATRIX_FLOWS = {1: flow(1, TCP, "10.1.0.1", "10.2.0.1", ESTABLISHED), 2: flow(2, TCP, "10.1.0.2", "10.2.0.1", SYN_SENT),
                3: flow(3, UDP, "10.1.0.3", "10.2.0.1"),
                5: flow(5, TCP, "10.1.0.5", "203.0.113.5", ESTABLISHED, dnat=("10.3.0.5", None)),
                6: flow(6, UDP, "fd00::6", "fd00::7")}
MORE_FLOWS = {7: flow(7, TCP, "10.1.0.7", "10.2.0.7", ESTABLISHED, snat=("203.0.113.7", None)),
              8: flow(8, UDP, "10.1.0.8", "203.0.113.8", snat=("203.0.113.9", None), dnat=("10.3.0.8", 53)),
              9: flow(9, TCP, "fd00::9", "2001:db8::9", 7, dnat=("fd01::9", None)),
              10: flow(10, 132, "10.1.0.10", "10.2.0.1", sctp={"state": 4, "vtag_orig": 1, "vtag_reply": 2})}


def block(row):
    """The Filter block of a row of the matrix (without `From`)."""
    row = re.sub(r" \((dst|(pre|post)-DNAT dst)\)", "", row)
    if row == "no filter":
        return None
    if row == "Filter {} empty":
        return ""
    parts = []
    for part in re.split(r"\s*\+\s*", row.replace("{EST}", "{ESTABLISHED for TCP}")):
        kind, action, body = re.fullmatch(r"(Protocol|Address|State) (Accept|Ignore) ?\{(.*)\}", part).groups()
        if kind == "Address" and body:
            words = body.split()
            body = f"{'IPv6' if ':' in words[-1] else 'IPv4'}_address {words[-1]}"
        parts.append(f"{kind} {action} {{ {body} }}")
    return " ".join(parts)


def matrix():
    """{row: numbers kept} of stock's user-space filter."""
    rows = {}
    with open(f"{lab.ROOT}/tests/data/outputs/filter-matrix.txt", encoding="utf-8") as file:
        for line in file:
            found = re.match(r"(.*?)\s+kept:([ \d]*)\s+events received", line)
            if found and not found[1].startswith(("From", "HashLimit")):
                rows[found[1]] = {int(number) for number in found[2].split()}
    assert len(rows) == 18
    return rows


def numbers(node):
    """Which of the flows are in the cache."""
    return {int(f["orig"]["sport"]) - 1000 for f in node.internal()}


def runtime(node):
    return text.counters(node.out("-s", "runtime"))


def filtered(host, content, place="Kernelspace"):
    node = guest.Guest(host)
    event_filter = "" if content is None else f"\n\tFilter From {place} {{ {content} }}"
    node.configure(stats=True, general=node.general(event_filter=event_filter))
    return node


def events_of_all(net):
    """By default the kernel makes no events of flows that began while nobody listened anywhere."""
    net.sysctl("net.netfilter.nf_conntrack_events", 1)


@pytest.fixture
def host():
    with lab.Node("n", lab.OURS) as net:
        events_of_all(net)
        yield net


# The filter


def test_filter_matrix_in_user_space_and_in_the_kernel(host):
    """Both places keep what the user-space filter of stock keeps; what the kernel drops is not counted anywhere."""
    daemons = {(row, place): filtered(host, block(row), place) for row in matrix() for place in ("Userspace", "Kernelspace")}
    guest.start_all(daemons.values())
    with ctnl.Table(host) as table:
        for made in MATRIX_FLOWS.values():
            table.create(made)
        for (row, place), node in daemons.items():
            kept = matrix()[row]
            in_kernel = place == "Kernelspace" and block(row)
            lab.wait_for(lambda: numbers(node) == kept, 3, lambda: f"{place}, {row}: {numbers(node)} to be {kept}")
            counted = runtime(node)
            seen = (counted["events received"], counted["events filtered"])
            assert seen == ((len(kept), 0) if in_kernel else (5, 5 - len(kept))), f"{place}, {row}"
            told = re.findall(r"using (\w+)-space event filtering", node.log())
            assert told == ([] if not block(row) else ["kernel" if in_kernel else "user"])
        # Translated flows, other protocols: the same in both places.
        for made in MORE_FLOWS.values():
            table.create(made)
        for row in matrix():
            user, kernel = daemons[row, "Userspace"], daemons[row, "Kernelspace"]
            lab.wait_for(lambda: runtime(user)["events received"] == 9, 3, "the events")
            assert numbers(user) == numbers(kernel), row
        # A state filter does not hide the end: what was kept leaves the cache and is logged.
        kept = {key: numbers(node) for key, node in daemons.items()}
        for made in [*MATRIX_FLOWS.values(), *MORE_FLOWS.values()]:
            table.delete(made)
        for key, node in daemons.items():
            lab.wait_for(lambda: not numbers(node), 3, lambda: f"{key}: an empty cache instead of {numbers(node)}")
            with open(node.stats_log_path, encoding="utf-8") as log:
                logged = [int(re.search(r"sport=(\d+)", line)[1]) - 1000 for line in log]
            assert sorted(logged) == sorted(kept[key]), key
    for node in daemons.values():
        node.close()


PORT_FLOWS = {1: flow(1, TCP, "10.1.0.1", "10.2.0.1", ESTABLISHED),  # each to port 80, but for what follows
              2: {**flow(2, TCP, "10.1.0.2", "10.2.0.1", ESTABLISHED), "dnat": ("10.3.0.2", 8080)},
              3: flow(3, UDP, "10.1.0.3", "10.2.0.1"), 4: flow(4, UDP, "fd00::4", "fd00::5"),
              5: flow(5, 132, "10.1.0.5", "10.2.0.1", sctp={"state": 4, "vtag_orig": 1, "vtag_reply": 2})}
PORT_FLOWS[3]["orig"]["dport"] = 53
# What none of these filters is about.
WITHOUT_PORTS = [{"proto": 1, "orig": {"src": "10.1.0.8", "dst": "10.2.0.1", "type": 8, "code": 0, "id": 80}, "status": CONFIRMED,
                  "timeout": 600},
                 {"proto": 47, "orig": {"src": "10.1.0.9", "dst": "10.2.0.1", "sport": 0, "dport": 0}, "status": CONFIRMED,
                  "timeout": 600}]
PORT_FILTERS = {"Port Accept { 80 }": {1, 2, 4, 5}, "Port Ignore { 80 }": {3}, "Port Accept { 8080 }": {2},
                "Port Ignore { 53 8080 1001 }": {1, 4, 5}, "Port Accept { }": set(), "Port Ignore { }": {1, 2, 3, 4, 5},
                "Port Accept { 80 } Protocol Ignore { TCP }": {4, 5}}


def test_port_filter_in_user_space_and_in_the_kernel(host):
    """Not known to conntrackd: the port of the destination, before or after NAT."""
    daemons = {(row, place): filtered(host, row, place) for row in PORT_FILTERS for place in ("Userspace", "Kernelspace")}
    guest.start_all(daemons.values())
    with ctnl.Table(host) as table:
        for made in [*PORT_FLOWS.values(), *WITHOUT_PORTS]:
            table.create(made)
        for (row, place), node in daemons.items():
            def kept():
                found = [f["orig"] for f in node.internal()]
                return {int(f["sport"]) - 1000 for f in found if int(f.get("sport") or 0) > 1000}, len(found)
            wanted = (PORT_FILTERS[row], len(PORT_FILTERS[row]) + len(WITHOUT_PORTS))
            lab.wait_for(lambda: kept() == wanted, 3, lambda: f"{place}, {row}: {kept()} to be {wanted}")
            counted = runtime(node)
            dropped = len(PORT_FLOWS) - len(PORT_FILTERS[row])
            seen = (counted["events received"], counted["events filtered"])
            assert seen == ((7 - dropped, 0) if place == "Kernelspace" else (7, dropped)), f"{place}, {row}"
        for made in [*PORT_FLOWS.values(), *WITHOUT_PORTS]:
            table.delete(made)
        for key, node in daemons.items():
            lab.wait_for(lambda: not node.internal(), 3, lambda: f"{key}: an empty cache")
    for node in daemons.values():
        node.close()


TRANSLATED = {1: flow(1, TCP, "10.1.0.1", "10.2.0.1", ESTABLISHED, snat=("203.0.113.9", None)),
              2: flow(2, TCP, "10.1.0.2", "203.0.113.9", ESTABLISHED, dnat=("10.3.0.2", None)),
              3: flow(3, TCP, "203.0.113.9", "10.2.0.1", ESTABLISHED), 4: flow(4, TCP, "10.1.0.4", "203.0.113.9", ESTABLISHED)}


def test_what_is_translated_to_an_ignored_address_is_kept(host):
    """As with the virtual address in `Address Ignore': the true ends count, in both places."""
    daemons = [filtered(host, "Address Ignore { IPv4_address 203.0.113.9 }", place) for place in ("Userspace", "Kernelspace")]
    guest.start_all(daemons)
    with ctnl.Table(host) as table:
        for made in TRANSLATED.values():
            table.create(made)
        for node in daemons:
            lab.wait_for(lambda: numbers(node) == {1, 2}, 3, lambda: f"{numbers(node)} to be those that are translated")
    for node in daemons:
        node.close()


def networks(count):
    return " ".join(f"IPv4_address 100.{n >> 8}.{n & 255}.0/24" for n in range(count))


@pytest.mark.parametrize("count", [400, 5000])
@pytest.mark.parametrize("action", ["Accept", "Ignore"])
def test_filter_in_the_kernel_with_many_networks(host, count, action):
    """Few enough for a program, and too many: the result is the same."""
    content = f"Address {action} {{ {networks(count)} IPv6_address 2001:db8:9::/48 }} Protocol Ignore {{ ICMP }}"
    node = filtered(host, content).start()
    last = count - 1
    listed = {11: flow(11, UDP, f"100.{last >> 8}.{last & 255}.1", "10.2.0.1"), 12: flow(12, UDP, "10.1.0.1", "100.0.77.1"),
              13: flow(13, UDP, "2001:db8:9::1", "fd00::1")}
    others = {14: flow(14, UDP, "100.200.0.1", "10.2.0.1"), 15: flow(15, UDP, "2001:db8:a::1", "fd00::1")}
    with ctnl.Table(host) as table:
        for made in {**listed, **others}.values():
            table.create(made)
    wanted = listed if action == "Accept" else others
    lab.wait_for(lambda: numbers(node) == set(wanted), 3, lambda: f"{numbers(node)} to be {set(wanted)}")
    if count == 400:
        assert runtime(node)["events received"] == len(wanted), "all was judged in the kernel"
    assert "cannot set event filtering" not in node.log()
    node.close()


def refuse_socket_filters():
    """In the child: a seccomp filter that refuses setsockopt(SO_ATTACH_FILTER)."""
    number = {"x86_64": 54, "aarch64": 208}[platform.machine()]
    load, equal, give = 0x20, 0x15, 0x06

    def op(code, yes, no, value):
        return struct.pack("=HBBI", code, yes, no, value)
    program = b"".join([op(load, 0, 0, 0), op(equal, 0, 3, number), op(load, 0, 0, 32),
                        op(equal, 0, 1, socket.SO_ATTACH_FILTER if hasattr(socket, "SO_ATTACH_FILTER") else 26),
                        op(give, 0, 0, 0x00050000 | 1), op(give, 0, 0, 0x7FFF0000)])
    buffer = ctypes.create_string_buffer(program, len(program))
    argument = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    keep = ctypes.create_string_buffer(argument, len(argument))
    if lab._libc.prctl(38, 1, 0, 0, 0) or lab._libc.prctl(22, 2, ctypes.c_ulong(ctypes.addressof(keep)), 0, 0):
        os._exit(99)


def test_filter_refused_by_the_kernel_works_in_user_space(host):
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("the seccomp filter of this test knows x86_64 and aarch64 only")
    node = filtered(host, "Protocol Accept { TCP }")
    node.daemon = node.popen(node.binary, "-C", node.config_path, preexec_fn=refuse_socket_filters)
    lab.wait_for(lambda: node.client("-s", check=False).returncode == 0, 5, "the daemon to answer")
    with ctnl.Table(host) as table:
        for made in MATRIX_FLOWS.values():
            table.create(made)
    lab.wait_for(lambda: runtime(node)["events received"] == 5, 3, "the events")
    assert numbers(node) == {1, 2, 5}
    assert runtime(node)["events filtered"] == 2
    assert re.search(r"\[ERROR\] cannot set event filtering: ", node.log())
    node.close()


# Lost events

TINY = ("\tNetlinkBufferSize 16384\n\tNetlinkBufferSizeMaxGrowth 32768\n", r"\tNetlinkBuffer\w+ \d+\n")


def configure(both, extra, tiny=True, peer_extra=""):
    """FT-FW over UDP; the active node with `extra` in General and a tiny event buffer."""
    both.configure()
    for node, more in ((both.active, extra), (both.backup, peer_extra)):
        with open(node.config_path, encoding="utf-8") as file:
            config = file.read()
        if tiny and node is both.active:
            config = re.sub(TINY[1], "", config).replace("General {\n", "General {\n" + TINY[0], 1)
        node.write_config(config.replace("General {\n", "General {\n" + more, 1))
    return both


def kernel_keys(node):
    with ctnl.Table(node) as table:
        return {(f["proto"], f["orig"]["src"], f["orig"]["dst"], f["orig"]["sport"], f["orig"]["dport"])
                for f in table.flows() if not f["orig"]["src"].startswith(("10.77.", "127.", "fe80", "fd77"))}


def keys(flows):
    return {(f["proto"], f["orig"]["src"], f["orig"]["dst"], int(f["orig"]["sport"]), int(f["orig"]["dport"]))
            for f in flows}


def flowgen(node, *words):
    node.run(lab.FLOWGEN, *words)


def lose_events(node):
    """More events of the 800 flows there and of new ones than a tiny buffer holds; returns what the kernel has then."""
    with node.stopped():
        flowgen(node, "delete", 400)
        flowgen(node, "create", 2000, "--first", 5000)
        flowgen(node, "delete", 100, "--first", 6900)
    kernel = kernel_keys(node)
    assert len(kernel) == 400 + 1900
    return kernel


def test_overrun_is_mended(pair):
    """After a burst that overran the event buffer both caches become equal to the kernel's table, and only what changed is
    sent again (by ours; stock sends everything)."""
    configure(pair, "\tNetlinkOverrunResync 1\n\tEventIterationLimit 10\n").start()
    pair.greeted()
    active, backup = pair.nodes()
    flowgen(active, "create", 800)
    # A tiny buffer may overrun here already: wait until everything is there and quiet.
    lab.wait_for(lambda: backup.external_count() == 800, 8, lambda: f"{backup.external_count()} flows to be 800")
    before = runtime(active)
    time.sleep(1.5)
    updated = backup.stats()["external"]["updated"]
    kernel = lose_events(active)
    lab.wait_for(lambda: runtime(active)["resync with kernel table"] > before["resync with kernel table"], 5, "the resync")
    lab.wait_for(lambda: keys(active.internal()) == kernel, 5, "the internal cache to equal the kernel's table")
    lab.wait_for(lambda: keys(backup.external()) == kernel, 5, "the peer's cache to equal the kernel's table")
    after = runtime(active)
    assert after["netlink overrun"] > before["netlink overrun"]
    assert after["catch event failed"] >= after["netlink overrun"]
    assert "buffer size has been doubled to 32768 bytes" in active.log()
    assert active.log().count("cannot be doubled further since it will exceed NetlinkBufferSizeMaxGrowth") == 1
    if not active.stock:
        assert after["current buffer size (in bytes)"] == 32768
        again = backup.stats()["external"]["updated"] - updated
        assert again < 100, f"{again} messages repeat what the peer knows"


def test_overrun_without_resync(our_pair):
    configure(our_pair, "\tNetlinkOverrunResync off\n").start()
    active = our_pair.active
    with active.stopped():
        flowgen(active, "create", 3000)
    lab.wait_for(lambda: runtime(active)["netlink overrun"] > 0, 3, "the overrun")
    time.sleep(2.5)
    counted = runtime(active)
    assert counted["resync with kernel table"] == 0
    held = active.stats()["internal"]["active"]
    assert 0 < held < 3000, "events that were lost stay lost"
    # A resync by hand mends.
    active.client("-R")
    assert active.stats()["internal"]["active"] == 3000


def compared(node):
    """What comparisons of the internal cache with the kernel have found: (done, missing, ended, differed)."""
    foot = node.out("-s", "peers").strip().split("\n\n")[-1]
    assert foot.startswith("internal cache, compared with the kernel:")
    return tuple(int(number) for number in re.findall(r":\s+(\d+)$", foot, re.MULTILINE))


def test_silent_damage_is_mended(our_pair):
    """Nothing but the comparison notices the loss of these events, ends of flows among them."""
    configure(our_pair, "\tNetlinkOverrunResync off\n\tKernelCompareSecs 2\n\tEventIterationLimit 10\n").start()
    our_pair.greeted()
    active, backup = our_pair.nodes()
    flowgen(active, "create", 800)
    lab.wait_for(lambda: backup.external_count() == 800, 8, lambda: f"{backup.external_count()} flows to be 800")
    lab.wait_for(lambda: compared(active)[0] > 0, 4, "the first comparison")
    before = compared(active)
    kernel = lose_events(active)
    lab.wait_for(lambda: compared(active)[0] > before[0] + 1, 7, "two comparisons")
    lab.wait_for(lambda: keys(active.internal()) == kernel, 5, "the internal cache to equal the kernel's table")
    lab.wait_for(lambda: keys(backup.external()) == kernel, 5, "the peer's cache to equal the kernel's table")
    after = compared(active)
    assert runtime(active)["netlink overrun"] > 0 and runtime(active)["resync with kernel table"] == 0
    missing, ended = after[1] - before[1], after[2] - before[2]
    assert missing > 100 and ended > 0, after
    told = re.findall(r"compared the internal cache with the kernel: \d+ connections, mended (\d+) missing, (\d+) left over",
                      active.log())
    assert (sum(int(a) for a, _ in told), sum(int(b) for _, b in told)) == after[1:3]


def test_comparing_finds_nothing_where_nothing_was_lost(our_pair):
    """While flows come, change and go, and after a commit of translated ones."""
    often = "\tKernelCompareSecs 1\n"
    configure(our_pair, often, tiny=False, peer_extra=often).start()
    our_pair.greeted()
    active, backup = our_pair.nodes()
    for first in (10000, 20000, 30000):
        flowgen(active, "create", 4000, "--first", first, "--rate", 3000, "--snat", "203.0.113.7")
        flowgen(active, "delete", 3000, "--first", first, "--rate", 3000)
    lab.wait_for(lambda: backup.external_count() == active.stats()["internal"]["active"], 5, "the peer to have all")
    backup.client("-c")
    flowgen(active, "create", 2000, "udp", "--first", 40000, "--rate", 2000)
    backup.client("-c")
    for node in (active, backup):
        seen = compared(node)[0]
        lab.wait_for(lambda node=node, seen=seen: compared(node)[0] >= seen + 2, 6, "two comparisons")
        assert compared(node)[1:] == (0, 0, 0), (node.role, node.log())
    assert compared(active)[0] >= 5
    assert backup.stats()["internal"]["active"] >= 3000


def test_reliable_delivery_keeps_the_ends_of_flows(our_pair):
    """The kernel keeps destroy events that did not fit and tells them later; overruns are not reported."""
    configure(our_pair, "\tNetlinkEventsReliable on\n\tNetlinkOverrunResync off\n", tiny=False)
    active = our_pair.active
    events_of_all(active)
    flowgen(active, "create", 3000)
    with open(active.config_path, encoding="utf-8") as file:
        config = re.sub(TINY[1], "", file.read())
    active.write_config(config.replace("General {\n", "General {\n" + TINY[0], 1))
    active.start()
    assert "reliable ctnetlink event delivery is ENABLED." in active.log()
    assert active.stats()["internal"]["active"] == 3000
    with active.stopped():
        flowgen(active, "delete", 3000)
    lab.wait_for(lambda: active.stats()["internal"]["active"] == 0, 15,
                 lambda: f"{active.stats()['internal']['active']} flows to end")
    assert runtime(active)["netlink overrun"] == 0


@pytest.mark.parametrize("size, growth, effective", [
    (1048576, 4194304, 1048576), (4194304, 1048576, None), (None, 4194304, None), (1048576, None, None),
    (None, None, 4194304)])
def test_event_buffer_size(host, size, growth, effective):
    node = guest.Guest(host)
    extra = (f"\tNetlinkBufferSize {size}\n" if size else "") + (f"\tNetlinkBufferSizeMaxGrowth {growth}\n" if growth else "")
    node.configure(stats=True, general=re.sub(TINY[1], "", node.general()).replace("General {\n", "General {\n" + extra))
    node.start()
    shown = runtime(node)["current buffer size (in bytes)"]
    if effective is None:
        with open("/proc/sys/net/core/rmem_default", encoding="ascii") as file:
            effective = int(file.read())
        assert "NetlinkBufferSize is either not set or is greater than NetlinkBufferSizeMaxGrowth" in node.log()
    assert shown == effective
    assert f"netlink event socket buffer size has been set to {effective} bytes" in node.log()
    node.close()


def test_nothing_is_missed_between_first_dump_and_first_event(host):
    """Flows come and go while the daemon starts: what it has afterwards is the kernel's table."""
    for round_ in range(5):
        node = guest.Guest(host)
        node.configure(stats=True)
        flowgen(host, "create", 2000)
        going = host.popen(lab.FLOWGEN, "delete", 2000, "--rate", 20000, stdout=-3)
        coming = host.popen(lab.FLOWGEN, "create", 2000, "--first", 10000, "--rate", 20000, stdout=-3)
        time.sleep(0.01 * round_)
        node.start()
        assert going.wait(timeout=20) == 0 and coming.wait(timeout=20) == 0
        kernel = kernel_keys(host)
        assert len(kernel) == 2000
        lab.wait_for(lambda: keys(node.internal()) == kernel, 3, "the cache to equal the kernel's table")
        node.close()
        flowgen(host, "delete", 2000, "--first", 10000)


# Polling


def test_polling(pair):
    """PollSecs: no events; the peer follows the kernel's table, old flows included. Ours repeats nothing that is unchanged."""
    configure(pair, "\tPollSecs 1\n", tiny=False)
    active, backup = pair.nodes()
    flowgen(active, "create", 500)
    pair.start()
    assert "running in polling mode" in active.log()
    pair.greeted()
    lab.wait_for(lambda: backup.external_count() == 500, 5, lambda: f"{backup.external_count()} flows to be 500")
    flowgen(active, "delete", 100)
    flowgen(active, "create", 300, "--first", 1000)
    with ctnl.Table(active) as table:
        known = next(f for f in table.flows() if f["orig"]["src"].startswith("10.0."))
        table.update({**known, "mark": 77, "labels": None, "synproxy": None, "reply": known["reply"]})
    kernel = kernel_keys(active)
    assert len(kernel) == 700
    lab.wait_for(lambda: keys(backup.external()) == kernel, 4, "the peer's cache to equal the kernel's table")
    lab.wait_for(lambda: any(f.get("mark") == "77" for f in backup.external()), 3, "the mark")
    assert runtime(active)["events received"] == 0
    if not active.stock:
        sent = active.stats()["link"]["bytes_sent"]
        time.sleep(2.5)
        assert active.stats()["link"]["bytes_sent"] - sent < 1500, "two polls without a change"


def test_polling_repeats_everything_where_nothing_else_mends(our_pair):
    """NOTRACK asks for nothing again: a peer that lost its cache has it back after the next poll, as with stock."""
    our_pair.configure("NOTRACK", general_extra="\tPollSecs 1\n").start()
    active, backup = our_pair.nodes()
    flowgen(active, "create", 300)
    lab.wait_for(lambda: backup.external_count() == 300, 5, lambda: f"{backup.external_count()} flows to be 300")
    backup.client("-f", "external")
    lab.wait_for(lambda: backup.external_count() == 300, 3, lambda: f"{backup.external_count()} flows to be 300 again")
    flowgen(active, "delete", 100)
    lab.wait_for(lambda: backup.external_count() == 200, 3, lambda: f"{backup.external_count()} flows to be 200")
