# SPDX-License-Identifier: GPL-2.0-or-later
"""What is not announced at once (`SyncMinAge`, `SyncMinAgeEstablished`, `SyncCoalesce`; doc/differences.md 85): what goes over the
link, and what a peer of either kind has in the end."""
import contextlib
import time

import pytest

import ctnl
import lab
import wire

SEEN_REPLY, CONFIRMED = 2, 8
ESTABLISHED = 3


def udp(number, **more):
    """Not assured."""
    return ctnl.udp_flow(number) | {"status": SEEN_REPLY | CONFIRMED} | more


def port(number):
    return udp(number)["orig"]["sport"]


def tcp(number, state):
    return udp(number) | {"proto": 6, "tcp": {"state": state}}


@pytest.fixture(params=[lab.OURS, lab.STOCK], ids=["ours", "stock"])
def keeping(request):
    """Starts a pair whose active node has these options, with a peer of each kind."""
    with contextlib.ExitStack() as stack:
        def start(options):
            pair = stack.enter_context(lab.Pair(lab.OURS, request.param))
            pair.configure()
            with open(pair.active.config_path, encoding="utf-8") as file:
                text = file.read()
            pair.active.write_config(text.replace("Sync {\n", f"Sync {{\n\tOptions {{\n\t\t{options}\n\t}}\n", 1))
            pair.start().greeted()
            pair.ears = wire.Ears(pair)
            stack.callback(pair.ears.close)
            pair.table = stack.enter_context(ctnl.Table(pair.active))
            return pair
        yield start


def at_backup(pair, count, timeout=5):
    lab.wait_for(lambda: pair.backup.external_count() == count, timeout,
                 lambda: f"{count} flows at the backup, which has {pair.backup.external_count()}")


def test_short_flows_are_not_announced(keeping):
    pair = keeping("SyncMinAge 2")
    began = time.monotonic()
    for number in range(100):
        pair.table.create(udp(number))
    assert len(pair.active.internal()) == 100
    for number in range(90):
        pair.table.update(udp(number, mark=7))
        pair.table.delete(udp(number))
    assert pair.ears.heard() == [] and time.monotonic() - began < 2
    at_backup(pair, 10)
    assert time.monotonic() - began >= 2
    assert sorted(pair.ears.heard()) == [(wire.NEW, port(number)) for number in range(90, 100)]
    for number in range(90, 100):
        pair.table.delete(udp(number))
    at_backup(pair, 0)
    assert sorted(pair.ears.heard()) == [(wire.DELETE, port(number)) for number in range(90, 100)]


def test_changes_of_young_flows_come_with_their_announcement(keeping):
    pair = keeping("SyncMinAge 1")
    pair.table.create(udp(1))
    pair.table.update(udp(1, mark=7))
    at_backup(pair, 1)
    assert pair.ears.heard() == [(wire.UPDATE, port(1))]
    assert pair.backup.external()[0]["mark"] == "7"
    pair.backup.client("-c")
    with ctnl.Table(pair.backup) as table:
        assert [flow["mark"] for flow in table.flows() if flow["orig"].get("sport") == port(1)] == [7]


def test_established_flows_may_be_announced_at_once(keeping):
    pair = keeping("SyncMinAge 600 SyncMinAgeEstablished on")
    pair.table.create(tcp(1, 1))
    pair.table.create(tcp(2, ESTABLISHED))
    pair.table.create(udp(3))
    at_backup(pair, 1)
    pair.table.update(tcp(1, ESTABLISHED))
    at_backup(pair, 2)
    pair.table.delete(tcp(1, ESTABLISHED))
    pair.table.delete(udp(3))
    at_backup(pair, 1)
    assert pair.ears.heard() == [(wire.NEW, port(2)), (wire.UPDATE, port(1)), (wire.DELETE, port(1))]


def test_what_a_peer_may_know_from_before_has_an_end(keeping):
    """A flow that was announced before a restart, and one of which the daemon knows nothing but that it is there."""
    pair = keeping("SyncMinAge 1")
    pair.table.create(udp(1))
    at_backup(pair, 1)
    pair.active.kill()
    pair.active.start()
    pair.table.delete(udp(1))
    at_backup(pair, 0)
    assert (wire.DELETE, port(1)) in pair.ears.heard()


def test_a_bulk_leaves_out_what_is_too_young(keeping):
    pair = keeping("SyncMinAge 3")
    pair.table.create(udp(1))
    at_backup(pair, 1, 6)
    pair.ears.heard()
    pair.table.create(udp(2))
    pair.active.client("-B")
    pair.backup.client("-n")
    time.sleep(1.5)
    heard = pair.ears.heard()
    assert (wire.NEW, port(1)) in heard and port(2) not in [number for _, number in heard]
    at_backup(pair, 2, 6)


def test_a_hand_over_announces_everything(keeping):
    pair = keeping("SyncMinAge 600 SyncCoalesce 1000")
    for number in range(3000):
        pair.table.create(udp(number))
    assert pair.backup.external_count() == 0
    done = pair.active.client("--handover")
    assert "the peers have all that this node has told" in done.stdout
    at_backup(pair, 3000)


def test_changes_are_announced_together(keeping):
    pair = keeping("SyncCoalesce 1000")
    pair.table.create(udp(1))
    for mark in range(1, 21):
        pair.table.update(udp(1, mark=mark))
    lab.wait_for(lambda: (pair.backup.external() or [{}])[0].get("mark") == "20", 3, "the last of them")
    heard = pair.ears.heard()
    assert heard[0][0] == wire.NEW or heard[0][0] == wire.UPDATE
    # The first ones may have been read together; nodes that compare what they have cut a time short.
    assert 2 <= len(heard) <= 4 and all(number == port(1) for _, number in heard), heard
    time.sleep(1.5)
    began = time.monotonic()
    pair.table.update(udp(1, mark=21))
    lab.wait_for(lambda: pair.backup.external()[0]["mark"] == "21", 3, "the one after a rest", 0.005)
    assert time.monotonic() - began < 0.9
    pair.table.update(udp(1, mark=22))
    pair.table.delete(udp(1))
    at_backup(pair, 0, 0.9)
    assert pair.ears.heard()[-1] == (wire.DELETE, port(1))


def test_nodes_that_keep_back_are_in_sync(our_pair):
    our_pair.configure(options="\t\tSyncMinAge 1\n\t\tSyncCoalesce 300").start().greeted()
    with ctnl.Table(our_pair.active) as table:
        end = time.monotonic() + 6
        number = 0
        while number < 400 or time.monotonic() < end:  # on a busy machine a round may take 50 ms
            table.create(udp(number % 3000))
            table.update(udp(number % 3000, mark=1))
            if number >= 200:
                table.update(udp((number - 200) % 3000, mark=2))
                table.delete(udp((number - 200) % 3000))
            number += 1
            time.sleep(0.005)
    assert len(our_pair.active.internal()) == 200
    lab.wait_for(lambda: "in sync" in our_pair.backup.out("-s", "peers"), 10, lambda: our_pair.backup.out("-s", "peers"))
    at_backup(our_pair, 200)
    assert "mended" not in our_pair.backup.log() and "mended" not in our_pair.active.log()


def test_without_internal_cache_it_is_refused(node):
    node.configure("\tMode NOTRACK {\n\t\tDisableInternalCache on\n\t}\n\tOptions {\n\t\tSyncMinAge 5\n\t}\n" +
                   lab.link_block("UDP", "10.77.9.1", "10.77.9.2"))
    node.start(wait=False)
    assert node.daemon.wait(timeout=5) == 1
    assert "`SyncMinAge' and `SyncCoalesce' need the internal cache" in node.console()
