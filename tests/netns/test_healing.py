# SPDX-License-Identifier: GPL-2.0-or-later
"""FT-FW brings a peer up to date that missed something, without being asked (doc/differences.md 22 to 25, 28)."""
import pytest

import ctnl
import lab


def udp(number):
    return {"proto": 17, "orig": {"src": f"10.1.{number // 200}.{number % 200 + 1}", "dst": "10.2.0.1", "sport": 1000 + number,
                                  "dport": 53}, "status": 0xE, "timeout": 600}


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
            table.create(udp(number))
        lab.wait_for(lambda: pair.backup.external_count() == 100, 5, "the flows at the backup")
        pair.backup.stop()
        for number in range(100, 150):
            table.create(udp(number))
        pair.backup.start()
        wait_until_equal(table, pair.backup)


def test_what_ended_while_the_sender_was_down_leaves_the_peers_cache(pair_of):
    pair = pair_of(lab.OURS, lab.OURS)
    with ctnl.Table(pair.active) as table:
        for number in range(200):
            table.create(udp(number))
        lab.wait_for(lambda: pair.backup.external_count() == 200, 5, "the flows at the backup")
        pair.active.kill()
        for number in range(100):
            table.delete(udp(number))
        for number in range(200, 250):
            table.create(udp(number))
        pair.active.start()
        wait_until_equal(table, pair.backup)
    assert "entries that ended at peer" in pair.backup.log()


def test_sender_that_restarts_again_and_again_is_heard(pair_of):
    pair = pair_of(lab.OURS, lab.OURS)
    with ctnl.Table(pair.active) as table:
        for number in range(50):
            table.create(udp(number))
        for _ in range(4):
            pair.active.kill()
            pair.active.start()
            for number in range(50, 60):
                table.create(udp(number))
                table.delete(udp(number))
        wait_until_equal(table, pair.backup)


def test_outage_longer_than_the_resend_queue():
    with lab.Pair(lab.OURS, lab.OURS) as pair:
        pair.configure(mode_block="\tMode FTFW {\n\t\tResendQueueSize 100\n\t\tACKWindowSize 20\n\t}\n").start().greeted()
        with ctnl.Table(pair.active) as table:
            for number in range(500):
                table.create(udp(number))
            lab.wait_for(lambda: pair.backup.external_count() == 500, 10, "the flows at the backup")
            pair.backup.nft("table inet cut {\nchain c {\ntype filter hook input priority 0\nudp dport "
                            f"{lab.SYNC_PORT} drop\n}}\n}}\n")
            for number in range(300):
                table.delete(udp(number))
            for number in range(500, 900):
                table.create(udp(number))
            pair.backup.run("nft", "delete", "table", "inet", "cut")
            wait_until_equal(table, pair.backup, 30)
