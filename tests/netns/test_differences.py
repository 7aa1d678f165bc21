# SPDX-License-Identifier: GPL-2.0-or-later
"""What doc/differences.md says and no other file proves: better than conntrackd, or the same on purpose."""
import contextlib
import os
import socket
import struct
import time

import pytest

import conftest
import ctnl
import lab
import text
import wire

NOTRACK_BARE = "\tMode NOTRACK {\n\t\tDisableInternalCache On\n\t}\n"
RSQUEUE_10 = "\tMode FTFW {\n\t\tResendQueueSize 10\n\t}\n"
LABELS = "table inet labels {\nchain c {\ntype filter hook forward priority 0\nct label set 1\n}\n}\n"


def udp(number):
    return {"proto": 17, "orig": {"src": f"10.1.0.{number}", "dst": "10.2.0.1", "sport": 1000 + number, "dport": 53},
            "status": 0xE, "timeout": 600}


def announced(number):
    return wire.flow(f"10.1.0.{number}", "10.2.0.1", 1000 + number, 53, proto=17, timeout=600)


def sources(dump):
    return sorted(flow["orig"]["src"] for flow in text.parse_dump(dump))


def wait_for_log(node, line, timeout=4):
    lab.wait_for(lambda: line in node.log(), timeout, lambda: f"`{line}' in the log:\n{node.log()}")


def link(node, transport="UDP"):
    return lab.link_block(transport, "10.77.9.1", "10.77.9.2")


@pytest.fixture
def met(node):
    """A node and a handmade peer; `meet` configures the node, starts it and exchanges hellos."""
    node.run("ip", "link", "delete", "sync0")
    with wire.Peer(node) as peer:
        def meet(mode="\tMode FTFW {\n\t}\n"):
            node.configure(mode + link(node))
            node.start()
            peer.hello()
            if "FTFW" in mode:
                assert peer.hear_until(lambda heard: heard[1] & wire.HELLO_BACK), "no hello back"
            return node, peer
        yield meet


def take_over(node, table, injected):
    """Two flows of the peer come into the kernel: injected at once, or committed."""
    if injected:
        lab.wait_for(lambda: len(table.flows()) == 2, 3, "the other flow in the kernel")
    else:
        lab.wait_for(lambda: node.external_count() == 2, 3, "the flows in the external cache")
        node.client("-c")


# Synchronisation


@pytest.mark.parametrize("options", ["", "\t\tDisableExternalCache On\n"], ids=["commit", "injection"])
def test_older_picture_leaves_a_live_entry_alone(met, options):
    """The kernel has the flow further on than the peer: established, assured, with a mark and 4000 seconds left."""
    node, peer = met(f"\tMode FTFW {{\n{options}\t}}\n")
    orig = {"src": "10.1.0.1", "dst": "10.2.0.1", "sport": 1001, "dport": 80}
    with ctnl.Table(node) as table:
        table.create({"proto": 6, "orig": orig, "status": 0xE, "timeout": 4000, "mark": 7, "tcp": {"state": 3}})
        lab.wait_for(lambda: node.out("-i"), 3, "the flow in the internal cache")
        mark_0 = wire.attr(7, struct.pack(">I", 0))
        older = wire.flow("10.1.0.1", "10.2.0.1", 1001, 80, state=2, timeout=60, status=0xA, extra=mark_0)
        with ctnl.Destroyed(node) as destroyed:
            peer.say(wire.NEW, older)
            peer.say(wire.UPDATE, older)
            peer.say(wire.NEW, announced(2))
            take_over(node, table, options)
            assert not destroyed.flows()
        live = next(flow for flow in table.flows() if flow["orig"]["src"] == "10.1.0.1")
    assert (live["tcp"]["state"], live["mark"], live["status"] & 0xE) == (3, 7, 0xE)
    assert 3980 <= live["timeout"] <= 4000
    assert "ERROR" not in node.log() and "could not" not in node.log()
    assert "ESTABLISHED" in (shown := node.out("-i")) and "mark=7" in shown


@pytest.mark.parametrize("options", ["", "\t\tDisableExternalCache On\n"], ids=["commit", "injection"])
def test_older_picture_does_not_take_the_end_of_a_connection_back(met, options):
    """The kernel would not refuse it: the status is the same, only the state goes back, and the time-out to five days."""
    node, peer = met(f"\tMode FTFW {{\n{options}\t}}\n")
    orig = {"src": "10.1.0.1", "dst": "10.2.0.1", "sport": 1001, "dport": 80}
    older = wire.flow("10.1.0.1", "10.2.0.1", 1001, 80, state=3, timeout=432000, status=0xE)
    with ctnl.Table(node) as table:
        table.create({"proto": 6, "orig": orig, "status": 0xE, "timeout": 110, "tcp": {"state": 4}})
        lab.wait_for(lambda: node.out("-i"), 3, "the flow in the internal cache")
        peer.say(wire.UPDATE, older)
        peer.say(wire.NEW, announced(2))
        take_over(node, table, options)
        live = next(flow for flow in table.flows() if flow["orig"]["src"] == "10.1.0.1")
    assert live["tcp"]["state"] == 4 and live["timeout"] <= 110
    assert "FIN_WAIT" in node.out("-i")


@pytest.mark.parametrize("names", ["ours-ours", "ours-stock"])
def test_cleared_labels(names):
    """The kernel tells of labels only while there are some, so it takes a reading of its table to know."""
    with lab.Pair(*conftest.PAIRS[names]) as pair:
        for node in pair.nodes():
            node.nft(LABELS)
        pair.configure().start().greeted()
        with ctnl.Table(pair.active) as table, ctnl.Table(pair.backup) as copy:
            labels = lambda: next(flow["labels"] for flow in copy.flows() if flow["orig"]["src"] == "10.1.0.1")
            table.create({**udp(1), "labels": {3, 40}})
            lab.wait_for(lambda: pair.backup.external_count() == 1, 3, "the flow")
            pair.backup.client("-c")
            assert labels() == {3, 40}
            table.update({"proto": 17, "orig": udp(1)["orig"], "clear_labels": True})
            lab.wait_for(lambda: pair.backup.stats()["external"]["updated"] == 1, 3, "the event")
            pair.active.client("-R")
            pair.active.client("-B")
            lab.wait_for(lambda: pair.backup.stats()["external"]["updated"] == 2, 3, "the bulk")
            pair.backup.client("-c")
            assert labels() == set()


@pytest.mark.parametrize("unheard", ["its end waits to be told", "its end is lost"], ids=["queued", "lost"])
def test_nothing_of_an_earlier_flow_stays_at_conntrackd(unheard):
    """Which merges an update into what it has: to ours, a port that is used again is told as a new flow until that has arrived."""
    with lab.Pair(lab.OURS, lab.STOCK) as pair:
        for node in pair.nodes():
            node.nft(LABELS)
        pair.configure().start().greeted()
        with ctnl.Table(pair.active) as table, ctnl.Table(pair.backup) as copy:
            table.create({**udp(1), "labels": {3}, "snat": ("10.3.0.1", 5000)})
            lab.wait_for(lambda: pair.backup.external_count() == 1, 3, "the earlier flow")
            with contextlib.ExitStack() as stack:
                if unheard == "its end is lost":
                    pair.backup.nft(f"table inet deaf {{\nchain c {{\ntype filter hook input priority 0\n"
                                    f"udp dport {lab.SYNC_PORT} drop\n}}\n}}\n")
                    stack.callback(pair.backup.run, "nft", "delete", "table", "inet", "deaf")
                else:
                    stack.enter_context(pair.active.stopped())
                for change in (table.delete, table.create, table.update):
                    change({**udp(1), "mark": 8})
                    time.sleep(0.05)
            lab.wait_for(lambda: "mark=8" in pair.backup.out("-e"), 4, "the later flow")
            pair.backup.client("-c")
            flow, = (flow for flow in copy.flows() if flow["orig"]["src"] == "10.1.0.1")
            assert (flow["labels"], flow["reply"]["dst"]) == (set(), "10.1.0.1")


def test_flush_of_caches_leaves_the_kernel_alone(node):
    node.configure(NOTRACK_BARE + link(node))
    node.start()
    with ctnl.Table(node) as table:
        table.create(udp(1))
        for option in (("-f",), ("-f", "internal")):
            node.client(*option)
            time.sleep(0.1)
            assert "10.1.0.1" in {flow["orig"]["src"] for flow in table.flows()}


def test_resend_queue_that_overflows_is_told(met):
    node, peer = met(RSQUEUE_10)
    with ctnl.Table(node) as table:
        for number in range(1, 31):
            table.create(udp(number))
    heard = peer.hear_until(lambda message: message[0] in (wire.NEW, wire.UPDATE))
    first = heard[2]
    wait_for_log(node, "resend queue is full, the oldest unacknowledged messages are given up")
    peer.say(wire.CONTROL, struct.pack(">II", first, first + 5), wire.NACK)
    wait_for_log(node, f"peer 10.77.9.2 asks for messages {first} to {first + 5}, of which some were given up")


def test_gaps_and_restarts_of_a_peer_are_told(met):
    node, peer = met()
    peer.say(wire.NEW, announced(1))
    peer.sequence += 5
    peer.say(wire.NEW, announced(2))
    wait_for_log(node, "5 messages of peer 10.77.9.2 were lost")
    peer.sequence += 1000
    peer.hello()
    wait_for_log(node, "peer 10.77.9.2 has restarted")


def test_entries_that_ended_meanwhile_stay(met):
    """The same as conntrackd: nothing tells that an answer to -n is complete."""
    node, peer = met()
    peer.say(wire.NEW, announced(1))
    lab.wait_for(lambda: node.external_count() == 1, 3, "the first flow")
    peer.sequence += 1000
    peer.hello()
    node.client("-n")
    assert peer.hear_until(lambda message: message[1] & wire.RESYNC)
    peer.say(wire.NEW, announced(2))
    lab.wait_for(lambda: node.external_count() == 2, 3, "the second flow")
    assert sources(node.out("-e")) == ["10.1.0.1", "10.1.0.2"]


def test_strangers_are_believed(met):
    """The same as conntrackd: whoever can send to the link is heard."""
    node, peer = met()
    peer.net.run("ip", "address", "add", "10.77.9.3/24", "dev", "sync0")
    with peer.net.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("10.77.9.3", 0))
        stranger.sendto(wire.message(wire.NEW, 77, announced(9)), peer.remote)
    lab.wait_for(lambda: sources(node.out("-e")) == ["10.1.0.9"], 3, "the flow of the stranger")


def test_idle_nodes_exchange_one_message_a_second(our_pair):
    pair = our_pair.configure().start().greeted()
    before = [node.stats()["link"]["packets_sent"] for node in pair.nodes()]
    time.sleep(3)
    for node, sent in zip(pair.nodes(), before):
        assert 2 <= node.stats()["link"]["packets_sent"] - sent <= 4


def test_age_of_an_entry_starts_anew(met):
    node, peer = met()
    peer.say(wire.NEW, announced(1))
    lab.wait_for(lambda: "[active since 2s]" in node.out("-e"), 4, "the age")
    peer.say(wire.UPDATE, announced(1))
    time.sleep(0.1)
    assert "[active since 0s]" not in node.out("-e")
    peer.say(wire.NEW, announced(1))
    lab.wait_for(lambda: "[active since 0s]" in node.out("-e"), 1, "the age to start anew")


def test_commit_updates_in_place_and_hears_no_events_of_its_own(met):
    node, peer = met()
    identity = lambda: {line.split("src=")[1].split()[0]: line.split("id=")[1].split()[0] for line in node.run(
        "conntrack", "-L", "-o", "id", "-p", "udp", check=False).stdout.splitlines() if "10.1.0." in line}
    for number in (1, 2):
        peer.say(wire.NEW, announced(number))
    lab.wait_for(lambda: node.external_count() == 2, 3, "the flows")
    received = lambda: text.counters(node.out("-s", "runtime"))["events received"]
    before = received()
    node.client("-c")
    made = identity()
    assert sorted(made) == ["10.1.0.1", "10.1.0.2"]
    assert sources(node.out("-i")) == sorted(made)
    time.sleep(0.2)
    assert received() == before, "an event of the daemon's own"
    assert "<id>" not in node.out("-i", "-x")
    node.client("-c")
    assert identity() == made, "replaced, not updated"
    assert "Committed 2 new entries" in node.log()
    node.client("-R")
    shown = node.out("-i", "-x")
    assert all(f"<id>{number}</id>" in shown for number in made.values())


def test_receive_buffer_of_the_link(node):
    node.start()
    shown = node.run("ss", "-H", "-l", "-u", "-n", "-m").stdout
    assert f"rb{2 * 4194304}," in shown, shown  # the kernel doubles what it is asked for


# Process and control socket


def test_background_start_is_quiet(node):
    done = node.start_background()
    assert (done.stdout, done.stderr) == ("", "")
    assert "initialization completed" in node.log()


def test_dumps_need_no_child_process(node):
    node.start()
    node.run(lab.FLOWGEN, "create", "20000")
    lab.wait_for(lambda: node.stats()["internal"]["active"] >= 20000, 5, "the flows")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as slow:
        slow.connect(node.control_path)
        slow.sendall(struct.pack("=i", 16))
        time.sleep(0.2)
        pid = node.daemon.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            assert file.read() == ""
        assert os.listdir(f"/proc/{pid}/task") == [str(pid)]
        assert node.out("-s", "process") == ""


@pytest.mark.parametrize("removed, said", [
    ("Port", "UDP link has no `Port'"), ("IPv4_Destination_Address", "UDP link has no destination"),
    ("Path", "no `Path' for the control socket")])
def test_start_without_what_it_needs_is_warned_about(node, removed, said):
    """It starts, as conntrackd does; files that lack these are known to exist."""
    with open(node.config_path, encoding="utf-8") as file:
        lines = [line for line in file if line.split()[:1] != [removed]]
    node.write_config("".join(lines))
    node.start(wait=False)
    lab.wait_for(lambda: "-- starting in console mode --" in node.log(), 5, lambda: f"the start: {node.console()}")
    assert f"[warning] {node.config_path}:" in node.console() and said in node.console()
