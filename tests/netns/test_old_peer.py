# SPDX-License-Identifier: GPL-2.0-or-later
"""A peer up to conntrackd 1.4.6, made by hand: the bytes of translated IPv4 addresses are swapped, and with
DisableInternalCache the ends of TCP connections have no ports (doc/differences.md 91, 92)."""
import json
import socket

import pytest

import ctnl
import lab
import wire

VIRTUAL, SWAPPED = "203.0.113.9", "9.113.0.203"
SNAT, DNAT = 12, 13
ESTABLISHED = 0x19E  # assured, source NAT


def translated(number, written):
    """A connection whose source is changed to the address that these bytes are, at an old peer, written backwards."""
    return wire.flow(f"10.1.0.{number}", "10.2.0.1", 1000 + number, 80, status=ESTABLISHED,
                     extra=wire.attr(SNAT, socket.inet_aton(written)[::-1]))


@pytest.fixture
def met(node):
    """A node that has the virtual address, and a peer."""
    node.run("ip", "link", "delete", "sync0")
    node.run("ip", "address", "add", f"{VIRTUAL}/32", "dev", "lo")
    with wire.Peer(node) as peer:
        def meet(mode="\tMode FTFW {\n\t}\n", options=""):
            sync = mode + lab.link_block("UDP", "10.77.9.1", "10.77.9.2")
            node.configure(sync + (f"\tOptions {{\n\t\t{options}\n\t}}\n" if options else ""))
            node.start()
            peer.hello()
            return node, peer
        yield meet


def committed(node):
    """What each connection's source is changed to, in the kernel."""
    node.client("-c")
    with ctnl.Table(node) as table:
        return {flow["orig"]["src"]: flow["reply"]["dst"] for flow in table.flows() if flow["proto"] == 6}


def test_is_recognised_and_told_once(met):
    node, peer = met()
    for number in (1, 2, 3):
        peer.say(wire.NEW, translated(number, VIRTUAL))
    lab.wait_for(lambda: node.external_count() == 3, 3, "the connections")
    warned = [line for line in node.log().splitlines() if "NAT addresses" in line]
    assert len(warned) == 1 and "[warning] peer 10.77.9.2 tells NAT addresses with their bytes swapped " \
        f"({SWAPPED} for {VIRTUAL}), as conntrackd does up to 1.4.6" in warned[0], node.log()
    # Without the keyword it is taken at its word.
    assert committed(node) == {f"10.1.0.{number}": SWAPPED for number in (1, 2, 3)}


def test_a_peer_of_today_is_no_old_one(met):
    node, peer = met()
    peer.say(wire.NEW, translated(1, SWAPPED))  # written backwards twice
    lab.wait_for(lambda: node.external_count() == 1, 3, "the connection")
    assert committed(node) == {"10.1.0.1": VIRTUAL}
    assert "NAT addresses" not in node.log()


@pytest.mark.parametrize("mode", ["\tMode FTFW {\n\t}\n", "\tMode NOTRACK {\n\t\tDisableInternalCache on\n\t}\n",
                                  "\tMode FTFW {\n\t\tDisableExternalCache on\n\t}\n"], ids=["caches", "bypass", "injection"])
def test_the_keyword_reads_and_writes_as_it_does(met, mode):
    node, peer = met(mode, "SwapNATAddresses on")
    peer.say(wire.NEW, translated(1, VIRTUAL))
    if "DisableExternalCache" in mode:
        lab.wait_for(lambda: committed(node), 3, "the connection")
    else:
        lab.wait_for(lambda: node.external_count() == 1, 3, "the connection")
    assert committed(node) == {"10.1.0.1": VIRTUAL}
    assert "NAT addresses" not in node.log()
    with ctnl.Table(node) as table:
        table.create({"proto": 6, "orig": {"src": "10.1.0.9", "dst": "203.0.113.80", "sport": 9, "dport": 80}, "status": 0xE,
                      "timeout": 600, "tcp": {"state": 3}, "snat": (VIRTUAL, None), "dnat": ("10.2.0.7", None)})
    heard = peer.hear_until(lambda message: message[0] in (wire.NEW, wire.UPDATE) and
                            message[3].get(0, b"")[:4] == socket.inet_aton("10.1.0.9"))
    assert heard is not None
    assert heard[3][SNAT] == socket.inet_aton(VIRTUAL)[::-1] and heard[3][DNAT] == socket.inet_aton("10.2.0.7")[::-1]


def test_it_understands_what_is_written_for_it():
    """As two nodes with the keyword, which is one such peer on each side."""
    with lab.Pair() as pair:
        pair.configure(options="\t\tSwapNATAddresses on").start().greeted()
        with ctnl.Table(pair.active) as table:
            table.create({"proto": 6, "orig": {"src": "10.1.0.9", "dst": "10.2.0.1", "sport": 9, "dport": 80}, "status": 0xE,
                          "timeout": 600, "tcp": {"state": 3}, "snat": (VIRTUAL, None)})
        lab.wait_for(lambda: pair.backup.external_count() == 1, 3, "the connection")
        assert committed(pair.backup) == {"10.1.0.9": VIRTUAL}
        lab.wait_for(lambda: "peer 10.77.9.1: in sync" in pair.backup.log(), 10, "what they compare to be the same")
        assert "mended" not in pair.backup.log()


def test_ends_without_ports_are_counted_and_told(met):
    """They name no connection: the table has no index by addresses alone."""
    node, peer = met("\tMode NOTRACK {\n\t}\n")
    for number in (1, 2):
        peer.say(wire.NEW, wire.flow("10.1.0.1", "10.2.0.1", number, 80))
    end = wire.attr(0, socket.inet_aton("10.1.0.1") + socket.inet_aton("10.2.0.1")) + wire.attr(2, b"\6")
    for _ in range(3):
        peer.say(wire.DELETE, end)
    lab.wait_for(lambda: node.stats()["malformed"] == 3, 3, "the ends")
    assert node.external_count() == 2
    messages = json.loads(node.out("-s", "network", "--json"))["messages"]
    assert (messages["bad_payload"], messages["ends_without_ports"]) == (3, 3)
    told = [line for line in node.log().splitlines() if "malformed" in line]
    assert len(told) == 1 and "malformed message from 10.77.9.2: the end of a connection without ports, as conntrackd up to " \
        "1.4.6 tells it with `DisableInternalCache'" in told[0], node.log()
