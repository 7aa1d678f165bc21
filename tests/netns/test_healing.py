# SPDX-License-Identifier: GPL-2.0-or-later
"""FT-FW brings a peer up to date that missed something, without being asked (doc/differences.md 22 to 25, 28)."""
import contextlib
import struct
import time

import pytest

import ctnl
import lab
import wire


def sources(dump):
    return sorted(line.split("src=")[1].split()[0] for line in dump.splitlines() if "src=" in line)


def in_kernel(table):
    return sorted(flow["orig"]["src"] for flow in table.flows())


def wait_until_equal(table, node, timeout=15):
    lab.wait_for(lambda: sources(node.out("-e")) == in_kernel(table), timeout,
                 lambda: f"{len(in_kernel(table))} flows of the peer's kernel, there are {len(sources(node.out('-e')))}")


@pytest.fixture
def pair_of():
    pairs = []

    def make(active, backup):
        pair = lab.Pair(active, backup).__enter__()
        pairs.append(pair)
        return pair.configure().start().greeted()
    yield make
    for pair in pairs:
        pair.close()


@pytest.mark.parametrize("backup", [lab.OURS, lab.STOCK], ids=["ours", "stock"])
def test_peer_that_restarts_is_sent_everything(pair_of, backup):
    pair = pair_of(lab.OURS, backup)
    with ctnl.Table(pair.active) as table:
        for number in range(100):
            table.create(ctnl.udp_flow(number))
        lab.wait_for(lambda: pair.backup.external_count() == 100, 5, "the flows at the backup")
        pair.backup.stop()
        for number in range(100, 150):
            table.create(ctnl.udp_flow(number))
        pair.backup.start()
        wait_until_equal(table, pair.backup)


def test_what_ended_while_the_sender_was_down_leaves_the_peers_cache(pair_of):
    pair = pair_of(lab.OURS, lab.OURS)
    with ctnl.Table(pair.active) as table:
        for number in range(200):
            table.create(ctnl.udp_flow(number))
        lab.wait_for(lambda: pair.backup.external_count() == 200, 5, "the flows at the backup")
        pair.active.kill()
        for number in range(100):
            table.delete(ctnl.udp_flow(number))
        for number in range(200, 250):
            table.create(ctnl.udp_flow(number))
        pair.active.start()
        wait_until_equal(table, pair.backup)
    assert "entries that ended at peer" in pair.backup.log()


def test_sender_that_restarts_again_and_again_is_heard(pair_of):
    pair = pair_of(lab.OURS, lab.OURS)
    with ctnl.Table(pair.active) as table:
        for number in range(50):
            table.create(ctnl.udp_flow(number))
        for _ in range(4):
            pair.active.kill()
            pair.active.start()
            for number in range(50, 60):
                table.create(ctnl.udp_flow(number))
                table.delete(ctnl.udp_flow(number))
        wait_until_equal(table, pair.backup)


def test_outage_longer_than_the_resend_queue():
    with lab.Pair(lab.OURS, lab.OURS) as pair:
        pair.configure(mode_block="\tMode FTFW {\n\t\tResendQueueSize 100\n\t\tACKWindowSize 20\n\t}\n").start().greeted()
        with ctnl.Table(pair.active) as table:
            for number in range(500):
                table.create(ctnl.udp_flow(number))
            lab.wait_for(lambda: pair.backup.external_count() == 500, 10, "the flows at the backup")
            pair.backup.nft("table inet cut {\nchain c {\ntype filter hook input priority 0\nudp dport "
                            f"{lab.SYNC_PORT} drop\n}}\n}}\n")
            for number in range(300):
                table.delete(ctnl.udp_flow(number))
            for number in range(500, 900):
                table.create(ctnl.udp_flow(number))
            pair.backup.run("nft", "delete", "table", "inet", "cut")
            wait_until_equal(table, pair.backup, 30)


def block_of(node, number=0):
    """The lines of `-s peers` on the peer of this number, as {name: value}."""
    blocks = node.out("-s", "peers").strip().split("\n\n")
    head, *lines = blocks[number].splitlines()
    found = {name.strip(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    return head, found


def test_peers_and_whether_they_are_in_sync(pair_of):
    pair = pair_of(lab.OURS, lab.OURS)
    with ctnl.Table(pair.active) as table:
        for number in range(50):
            table.create(ctnl.udp_flow(number))
        lab.wait_for(lambda: block_of(pair.backup)[1]["state"].startswith("in sync"), 8, "the peer to be in sync")
    head, seen = block_of(pair.backup)
    assert head.startswith("peer 10.77.9.1 (ctsyncd ") and ", node " in head
    assert (seen["connections held of it"], seen["repairs"], seen["sums that differed"]) == ("50", "0", "0")
    assert int(seen["sums compared"]) >= 64 and int(seen["last heard"].split()[0]) <= 2
    assert block_of(pair.active)[1]["connections it is told of"] == "50"
    assert 0 < float(seen["round trip"].removesuffix(" ms")) < 50
    lab.wait_for(lambda: "peer 10.77.9.1: in sync" in pair.backup.log(), 3, "the line that it is in sync")
    pair.active.kill()
    lab.wait_for(lambda: block_of(pair.backup)[1]["state"].startswith("lost"), 13, "the peer to be lost")
    lab.wait_for(lambda: "peer 10.77.9.1 is lost" in pair.backup.log(), 3, "the line that it is lost")
    assert pair.backup.log().count("peer 10.77.9.1 is lost") == 1
    pair.active.start()
    lab.wait_for(lambda: block_of(pair.backup)[1]["state"].startswith("in sync"), 20, "the peer to be in sync again")


def test_a_lost_last_message_is_repeated_at_once(pair_of):
    """Nothing comes after it that would show the gap, until the next second."""
    pair = pair_of(lab.OURS, lab.OURS)
    request = struct.pack("=i", 17)  # -e

    def held(source):
        return source.encode() in pair.backup.request(request)

    took = []
    with ctnl.Table(pair.active) as table:
        table.create(ctnl.udp_flow(0))
        lab.wait_for(lambda: held("10.1.0.1 "), 5, "the first flow")
        for number in range(1, 8):
            time.sleep(1.1)
            pair.backup.nft("table ip once\ndelete table ip once\ntable ip once { chain c { type filter hook input priority 0; "
                            "udp dport 3780 udp length 40-110 limit rate 1/hour burst 1 packets counter drop; }; }")
            began = time.monotonic()
            table.create(ctnl.udp_flow(number))
            lab.wait_for(lambda: held(f"10.1.0.{number + 1} "), 5, "the flow", 0.001)
            took.append(time.monotonic() - began)
            assert "packets 1 " in pair.backup.run("nft", "list", "table", "ip", "once").stdout
    print("repeated after", [f"{t * 1000:.0f} ms" for t in took])
    assert sorted(took)[len(took) // 2] < 0.15, took


def test_under_loss_little_more_is_sent_again_than_was_lost(pair_of):
    """Of ten datagrams one is lost, both ways: one in nine is the least that has to be sent again."""
    pair = pair_of(lab.OURS, lab.OURS)
    for node in pair.nodes():
        node.nft(f"table ip lossy {{\nchain c {{\ntype filter hook input priority 0\n"
                 f"udp dport {lab.SYNC_PORT} numgen random mod 10 < 1 drop\n}}\n}}\n")
    count = 30000
    with contextlib.closing(wire.Ears(pair)) as ears:
        pair.active.run(lab.FLOWGEN, "create", count, "--rate", 10000)
        lab.wait_for(lambda: pair.backup.external_count() == count, 20, "the flows at the backup", 0.2)
        heard = ears.heard()
    assert count * 1.05 < len(heard) < count * 1.2


def test_nothing_can_be_known_of_a_stock_peer(pair_of):
    pair = pair_of(lab.OURS, lab.STOCK)
    head, seen = block_of(pair.active)
    assert head == "peer 10.77.9.2 (has not said what it is: conntrackd?):"
    assert seen["state"].startswith("no way to know") and "round trip" not in seen


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_silent_damage_is_found_mended_and_named(busy):
    with lab.Pair(lab.OURS, lab.OURS) as pair:
        pair.configure().start().greeted()
        with ctnl.Table(pair.active) as table:
            for number in range(200):
                table.create(ctnl.udp_flow(number))
            lab.wait_for(lambda: pair.backup.external_count() == 200, 5, "the flows at the backup")
            time.sleep(3)
            wrong = wire.flow("10.1.0.1", "10.2.0.1", 1000, 53, proto=17, status=0xE, extra=wire.attr(7, struct.pack(">I", 77)))
            made_up = wire.flow("10.9.9.9", "10.2.0.1", 9, 53, proto=17)
            gone = wire.flow("10.1.0.2", "10.2.0.1", 1001, 53, proto=17)
            wire.Impostor(pair).say((wire.UPDATE, wrong), (wire.NEW, made_up), (wire.DELETE, gone))
            lab.wait_for(lambda: "10.9.9.9" in pair.backup.out("-e"), 2, "the damage")
            began = time.monotonic()
            number = 1000
            while time.monotonic() < began + 12:
                if busy:
                    table.create(ctnl.udp_flow(number))
                    number += 1
                dump = pair.backup.out("-e")
                if "10.9.9.9" not in dump and "mark=77" not in dump and sources(dump) == in_kernel(table):
                    break
                time.sleep(0.02)
            assert time.monotonic() < began + 10, "the damage is still there"
        log = pair.backup.log()
        for line in ("mark differed: udp      17 src=10.1.0.1", "it had ended there: udp      17 src=10.9.9.9",
                     "it was missing: udp      17 src=10.1.0.2"):
            assert line in log, log
