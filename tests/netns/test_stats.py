# SPDX-License-Identifier: GPL-2.0-or-later
"""Statistics mode: the flow log in file and syslog, counters, slow readers, rotation, flows of before the start, lost events.
(The commands and their output are compared with the golden session in test_cli.py.)"""
import os
import re
import select
import signal
import socket
import stat
import struct
import time

import pytest

import ctnl
import guest
import kinds
import lab
import text
from test_events import flowgen, runtime

DATE = r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}"


@pytest.fixture
def host():
    with lab.Node("n", lab.OURS) as net:
        net.sysctl("net.netfilter.nf_conntrack_acct", 1)
        net.sysctl("net.netfilter.nf_conntrack_events", 1)  # also of flows that begin while nobody listens
        yield net


def configured(host, binary=lab.OURS, general="", stats=None, replace=(), log_file=True):
    """A daemon in statistics mode, ready to be started."""
    node = guest.Guest(host, binary)
    head = node.general(general)
    if not log_file:
        head = re.sub(r"\tLogFile .*\n", "", head)
    for pattern, value in replace:
        head = re.sub(pattern, value, head)
    node.write_config(head + f"Stats {{\n\t{stats or f'LogFile {node.stats_log_path}'}\n}}\n")
    return node


def lines(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def logged(node):
    """Lines of the flow log without their date."""
    found = lines(node.stats_log_path)
    for line in found:
        assert re.match(rf"{DATE}\t\S", line), line
    return [line.split("\t", 1)[1] for line in found]


def count(node):
    return text.parse_stats(node.out("-s"))["stats"]["active"]


def udp(number, **rest):
    return {"proto": 17, "orig": {"src": "198.18.0.1", "dst": "198.19.0.1", "sport": number, "dport": 2}, "status": 8,
            "timeout": 600, **rest}


def test_flow_log_and_dumps_are_those_of_stock(host):
    """Every kind of flow: our line is stock's line, in the log, in -i and in -i -x."""
    ours, stock = configured(host, lab.OURS), configured(host, lab.STOCK)
    guest.start_all([ours, stock])
    flows = kinds.build()
    with ctnl.Table(host) as table:
        for flow in flows.values():
            table.create(flow)
        lab.wait_for(lambda: count(ours) == count(stock) == len(flows), 3, lambda: f"{count(ours)}, {count(stock)}")
        for options in (["-i"], ["-i", "-x"]):
            mine, theirs = (sorted(re.sub(r" \[active since \d+s\]", "", n.out(*options)).splitlines()) for n in (ours, stock))
            assert mine == theirs
        table.flush()
    lab.wait_for(lambda: len(logged(ours)) == len(logged(stock)) == len(flows), 3,
                 lambda: f"{len(logged(ours))}, {len(logged(stock))} lines")
    assert sorted(logged(ours)) == sorted(logged(stock))
    assert all("packets=0 bytes=0" in line for line in logged(ours))
    assert stat.S_IMODE(os.stat(ours.stats_log_path).st_mode) == 0o600
    assert ours.out("-s", "cache") == stock.out("-s", "cache")
    assert ours.out("-s") == stock.out("-s")


def test_counters_have_64_bits(host):
    """More than 4 GiB in one flow; the packets after the first are dropped behind connection tracking, which is quick."""
    host.nft("table ip t {\nchain o {\ntype filter hook output priority 0\nct state invalid accept\nmeta length > 60000 drop\n}\n}\n")
    host.address("lo", "10.50.0.1/32")
    node = configured(host).start()
    payload, packets = b"\0" * 65507, 65600
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, host.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("10.50.0.1", 0))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        sender.connect(("10.50.0.1", receiver.getsockname()[1]))
        sender.send(b"first")
        for _ in range(packets):
            try:
                sender.send(payload)
            except PermissionError:  # dropped
                pass
    with ctnl.Table(host) as table:
        table.flush()
    (line,) = lab.wait_for(lambda: logged(node), 3, "the line")
    sent, taken = re.search(r"packets=(\d+) bytes=(\d+)", line).groups()
    assert (int(sent), int(taken)) == (packets + 1, packets * 65535 + 33)
    assert int(taken) > 2**32
    stats = text.parse_stats(node.out("-s"))
    assert stats["bytes"] >= int(taken) and stats["packets"] >= packets


def test_flows_of_before_the_start_are_logged(host):
    with ctnl.Table(host) as table:
        table.create(udp(1))
        node = configured(host).start()
        assert count(node) == 1
        table.delete(udp(1))
    lab.wait_for(lambda: len(logged(node)) == 1, 3, "the line")


def test_flush_and_resync(host):
    """-f empties the cache, -R fills it again; what is not in the cache is not logged."""
    node = configured(host).start()
    with ctnl.Table(host) as table:
        for number in (1, 2):
            table.create(udp(number))
        lab.wait_for(lambda: count(node) == 2, 3, "the flows")
        node.client("-f")
        assert count(node) == 0
        table.delete(udp(1))
        node.client("-R")
        assert count(node) == 1
        table.delete(udp(2))
        lab.wait_for(lambda: len(logged(node)) == 1, 3, "the line")
        assert "sport=2 " in logged(node)[0]


def test_slow_reader_of_the_log(host):
    """The log is a pipe that nobody reads for a while, then somebody slowly: no event is lost, nobody waits, and in the end
    every line arrives whole."""
    node = guest.Guest(host)
    pipe = f"{node.dir}/pipe"
    os.mkfifo(pipe)
    node.write_config(node.general() + f"Stats {{\n\tLogFile {pipe}\n}}\n")
    node.start()
    total = 12000
    flowgen(host, "create", total)
    flowgen(host, "delete", total)
    start = time.monotonic()
    lab.wait_for(lambda: runtime(node)["events received"] == 2 * total, 5, "the events")
    assert count(node) == 0
    assert time.monotonic() - start < 3
    counted = runtime(node)
    assert (counted["netlink overrun"], counted["catch event failed"]) == (0, 0)
    data = b""
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as reader:
        while data.count(b"\n") < total and select.select([reader], [], [], 5)[0]:
            data += reader.read(20000)
            if len(data) < 500000:
                time.sleep(0.01)
    found = data.decode().splitlines()
    assert len(found) == total
    assert all(re.fullmatch(rf"{DATE}\ttcp      6 .* \[ASSURED\].*", line) for line in found)
    assert len({re.search(r"src=(\S+) dst=\S+ sport=(\d+)", line).groups() for line in found}) == total
    assert node.stop() == 0


def test_slow_reader_of_a_dump(host):
    """A client that does not read its dump stops neither events nor other clients (stock stops)."""
    node = configured(host).start()
    flowgen(host, "create", 20000)
    lab.wait_for(lambda: count(node) == 20000, 5, "the flows")
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(node.control_path)
        slow.sendall(struct.pack("=i", 16))
        time.sleep(0.2)
        start = time.monotonic()
        flowgen(host, "delete", 5000)
        lab.wait_for(lambda: count(node) == 15000, 3, lambda: f"{count(node)} flows to be 15000")
        lab.wait_for(lambda: len(lines(node.stats_log_path)) == 5000, 3, "the lines")
        assert time.monotonic() - start < 3


def test_rotation(host):
    """After a rename lines go on into the old file; after SIGHUP into a new one. None is lost."""
    node = configured(host).start()
    old, old_log = f"{node.stats_log_path}.1", f"{node.log_path}.1"
    with ctnl.Table(host) as table:
        for number in (1, 2, 3):
            table.create(udp(number))
        lab.wait_for(lambda: count(node) == 3, 3, "the flows")
        table.delete(udp(1))
        lab.wait_for(lambda: len(lines(node.stats_log_path)) == 1, 3, "the first line")
        os.rename(node.stats_log_path, old)
        os.rename(node.log_path, old_log)
        table.delete(udp(2))
        lab.wait_for(lambda: len(lines(old)) == 2, 3, "the second line in the old file")
        node.daemon.send_signal(signal.SIGHUP)
        lab.wait_for(lambda: os.path.exists(node.stats_log_path) and os.path.exists(node.log_path), 3, "new files")
        table.delete(udp(3))
        lab.wait_for(lambda: len(lines(node.stats_log_path)) == 1, 3, "the third line in the new file")
    assert len(lines(old)) == 2
    assert stat.S_IMODE(os.stat(node.stats_log_path).st_mode) == 0o600
    node.stop()
    assert "---- shutdown received ----" in node.log()
    assert "shutdown" not in "".join(lines(old_log))


def test_ends_lost_in_an_overrun_are_logged(host):
    """Every flow that ended while events were lost gets one line: from its event or, without counters, from the cache."""
    node = configured(host, general="\tNetlinkOverrunResync 1\n",
                      replace=[(r"\tNetlinkBufferSize \d+", "\tNetlinkBufferSize 16384"),
                               (r"MaxGrowth \d+", "MaxGrowth 16384")])
    total = 2000
    flowgen(host, "create", total)
    node.start()
    assert count(node) == total
    with node.stopped():
        flowgen(host, "delete", total)
        flowgen(host, "create", 5)  # the tuples of the first ones again
    lab.wait_for(lambda: len(lines(node.stats_log_path)) == total, 5, lambda: f"{len(lines(node.stats_log_path))} lines")
    assert runtime(node)["netlink overrun"] > 0
    found = logged(node)
    assert len({re.search(r"src=(\S+) dst=\S+ sport=(\d+)", line).groups() for line in found}) == total
    without = [line for line in found if "packets=" not in line]
    assert 0 < len(without) < total
    assert count(node) == 5


# Syslog: General's and Stats' words, priority of the general lines, priority of the flow line. Where the last differs from
# stock, doc/differences.md says so.
NOTICE = {"daemon": 29, "local3": 157}
SYSLOG = [("on", None, False, False, 29, 30), ("local3", None, False, False, 157, 158), (None, "on", False, False, None, 30),
          (None, "local4", False, False, None, 166), ("local3", "local4", False, False, 157, 158),
          (None, "on", False, True, None, 30), ("local3", "local3", False, True, 157, 158),
          (None, "local4", True, False, None, 166), ("local3", None, True, False, 157, None),
          ("local3", None, False, True, 157, None), (None, None, False, True, None, None)]


def syslog_daemon(host, general, stats, general_file, stats_file):
    """Starts a daemon that finds a /dev/log of its own, in a private mount namespace; returns it and that socket."""
    node = configured(host, general=f"\tSyslog {general}\n" if general else "", log_file=general_file,
                      stats=" ".join([f"Syslog {stats}" if stats else "", "LogFile {}" if stats_file else ""]))
    with open(node.config_path, encoding="utf-8") as file:
        config = file.read()
    node.write_config(config.replace("LogFile {}", f"LogFile {node.stats_log_path}"))
    log = node.dev_log()
    log.settimeout(0.3)
    node.start_with_dev_log()
    return node, log


def test_syslog(host):
    started = [syslog_daemon(host, *row[:4]) for row in SYSLOG]
    for node, _ in started:
        lab.wait_for(lambda node=node: node.client("-s", check=False).returncode == 0, 10, node.console)
    with ctnl.Table(host) as table:
        table.create(udp(1))
        for node, _ in started:
            lab.wait_for(lambda node=node: count(node) == 1, 3, "the flow")
        table.delete(udp(1))
    for node, _ in started:
        lab.wait_for(lambda node=node: count(node) == 0, 3, "its end")
        node.stop()
    for (node, log), row in zip(started, SYSLOG):
        *_, stats_file, general_priority, flow_priority = row
        heard = []
        try:
            while True:
                heard.append(log.recv(4096).decode())
        except TimeoutError:
            log.close()
        parsed = []
        for datagram in heard:
            found = re.fullmatch(r"<(\d+)>\w{3} [ \d]\d \d\d:\d\d:\d\d conntrack-tools\[(\d+)\]: ([^\n]+)", datagram)
            assert found, datagram
            assert int(found[2]) == node.daemon.pid
            parsed.append((int(found[1]), found[3]))
        flows = [priority for priority, line in parsed if line.startswith("udp      17 src=198.18.0.1 ")]
        others = {priority for priority, line in parsed if not line.startswith("udp ")}
        warned = [(priority, line) for priority, line in parsed if "conflicting Syslog facility values" in line]
        if row[:2] == ("local3", "local4"):  # the configuration names two facilities: a warning, beside the notices
            assert [priority for priority, _ in warned] == [general_priority - 1]
            others.remove(general_priority - 1)
        else:
            assert not warned
        assert flows == ([flow_priority] if flow_priority else []), row
        assert others == ({general_priority} if general_priority else set()), row
        if general_priority:
            assert [line for _, line in parsed][-1] == "---- shutdown received ----"
        assert bool(lines(node.stats_log_path)) == stats_file
        node.close()
