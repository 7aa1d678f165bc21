# SPDX-License-Identifier: GPL-2.0-or-later
"""WarmStandby: what the peers have is in the kernel before a take-over (doc/differences.md 84)."""
import time

import pytest

import ctnl
import lab

FLOWS = 400


def block(mode="FTFW", timeout=600, purge=60):
    return f"\tMode {mode} {{\n\t\tWarmStandby on\n\t\tMirrorTimeout {timeout}\n\t\tPurgeTimeout {purge}\n\t}}\n"


def tcp_flow(number, **more):
    return {"proto": 6, "orig": {"src": f"10.3.{number // 200}.{number % 200 + 1}", "dst": "10.2.0.1", "sport": 2000 + number,
                                 "dport": 80}, "status": 0xE, "timeout": 432000, "tcp": {"state": 3}, **more}


def numbers(node):
    """(in the kernel, waiting, failed) of the last block of -s peers"""
    text = node.out("-s", "peers").split("warm standby:")[1]
    return tuple(int(line.split(":")[1]) for line in text.split("\n") if ":" in line)


def by_key(table):
    return {ctnl.key(f): f for f in table.flows()}


def start(pair, stock_active=False, **how):
    pair.configure(mode_block=block(**how))
    if stock_active:
        pair.active.edit_config("\t\tWarmStandby on\n", "")
        pair.active.edit_config(f"\t\tMirrorTimeout {how.get('timeout', 600)}\n", "")
    pair.start()
    return pair.greeted() if how.get("mode", "FTFW") == "FTFW" else pair


def wait_mirrored(pair, there, count):
    lab.wait_for(lambda: len(there.flows()) == count, 10,
                 lambda: f"{count} flows in the backup's kernel, {len(there.flows())} are\n{pair.backup.log()}")


def create_mirrored(pair, table, there, count, **more):
    for number in range(count):
        table.create(tcp_flow(number, **more))
    wait_mirrored(pair, there, count)


@pytest.mark.parametrize("mode", ["FTFW", "ALARM", "NOTRACK"])
def test_what_the_active_has_is_in_the_backups_kernel(our_pair, mode):
    pair = start(our_pair, mode=mode)
    with ctnl.Table(pair.active) as table, ctnl.Table(pair.backup) as there:
        for number in range(FLOWS):
            table.create(tcp_flow(number, mark=number, snat=("192.0.2.7", None)))
        wait_mirrored(pair, there, FLOWS)
        ours, theirs = by_key(there), by_key(table)
        for key, flow in theirs.items():
            copy = ours[key]
            assert (copy["reply"], copy["mark"], copy["tcp"]["state"]) == (flow["reply"], flow["mark"], 3)
            assert 500 <= copy["timeout"] <= 600
        # Changes and ends follow.
        changed = tcp_flow(0, mark=77)
        table.update(changed)
        for number in range(1, 101):
            table.delete(tcp_flow(number))
        wait_mirrored(pair, there, FLOWS - 100)
        lab.wait_for(lambda: by_key(there)[ctnl.key(changed)]["mark"] == 77, 5, "the new mark in the backup's kernel")
        # They are the active's: the backup neither has them nor tells them.
        assert pair.backup.stats()["internal"]["active"] == 0
        assert pair.active.external_count() == 0
        lab.wait_for(lambda: numbers(pair.backup) == (FLOWS - 100, 0, 0), 5, lambda: f"order, {numbers(pair.backup)}")


def test_a_take_over_makes_them_this_nodes(our_pair):
    pair = start(our_pair)
    with ctnl.Table(pair.active) as table, ctnl.Table(pair.backup) as there:
        create_mirrored(pair, table, there, FLOWS, mark=3)
        pair.active.kill()
        pair.backup.client("-c")
        assert f"Committed {FLOWS} new entries" in pair.backup.log()
        for option in (("-f", "external"), ("-R",), ("-B",)):  # as primary-backup.sh does with a daemon of stock
            pair.backup.client(*option)
        lab.wait_for(lambda: pair.backup.stats()["internal"]["active"] == FLOWS, 5, "them in the internal cache")
        assert pair.backup.external_count() == 0
        flows = there.flows()
        assert len(flows) == FLOWS and all(f["timeout"] > 400000 and f["mark"] == 3 for f in flows)
        # The other one comes back and has them all, in its kernel, too.
        table.flush()
        pair.active.start()
        lab.wait_for(lambda: len(table.flows()) == FLOWS, 15, "them in the kernel of the other")
        # One ends here: there it is removed.
        there.delete(tcp_flow(5))
        lab.wait_for(lambda: len(table.flows()) == FLOWS - 1, 5, "the end there")
        assert len(there.flows()) == FLOWS - 1


def test_a_second_commit_while_copies_are_adopted(our_pair):
    """As when an operator is in doubt, and a script besides."""
    pair = start(our_pair)
    count = 20000
    with ctnl.Table(pair.active) as table, ctnl.Table(pair.backup) as there:
        pair.active.run(lab.FLOWGEN, "create", count, "--rate", 20000)
        for number in range(100):
            table.create(tcp_flow(number, mark=3))
        lab.wait_for(lambda: numbers(pair.backup) == (count + 100, 0, 0), 15, lambda: f"the copies, {numbers(pair.backup)}")
        pair.active.kill()
        for option in ("-c", "-c", "-c", "--takeover"):
            pair.backup.client(option)
        lab.wait_for(lambda: pair.backup.stats()["internal"]["active"] >= count + 100, 10,
                     lambda: f"them in the internal cache, which has {pair.backup.stats()['internal']['active']}")
        flows = [flow for flow in there.flows() if flow["orig"]["src"].startswith("10.3.")]
        assert len(flows) == 100 and all(flow["timeout"] > 400000 and flow["mark"] == 3 for flow in flows)
        assert "can't be committed" not in pair.backup.log()
        there.delete(tcp_flow(5))
        lab.wait_for(lambda: "sport=2005 " not in pair.backup.out("-i"), 5, "an end to be heard")


def test_takeover_in_one_request(our_pair):
    pair = start(our_pair)
    with ctnl.Table(pair.active) as table, ctnl.Table(pair.backup) as there:
        create_mirrored(pair, table, there, FLOWS)
        done = pair.backup.client("--takeover")
        assert f"{FLOWS} connections" in done.stdout
        lab.wait_for(lambda: pair.active.external_count() == FLOWS, 5, "them at the former active")
        assert pair.backup.stats()["internal"]["active"] == FLOWS
        lab.wait_for(lambda: pair.backup.external_count() == 0, 5, "the external cache to be empty")


def test_copies_run_out_unheard_and_are_made_anew(our_pair):
    pair = start(our_pair, timeout=6)
    with ctnl.Table(pair.active) as table, ctnl.Table(pair.backup) as there, ctnl.Destroyed(pair.backup) as destroyed:
        create_mirrored(pair, table, there, 20)
        time.sleep(9)
        assert destroyed.flows() == [], "they are refreshed before they run out"
        assert all(1 <= f["timeout"] <= 6 for f in there.flows())
        for number in range(10):
            there.delete(tcp_flow(number))
        assert len(destroyed.flows()) == 10
        time.sleep(1)
        assert pair.backup.external_count() == 20 and len(table.flows()) == 20
        assert pair.active.stats()["external"]["destroyed"] == 0, "nobody was told"
        wait_mirrored(pair, there, 20)


def test_what_lives_here_is_left_alone(our_pair):
    pair = start(our_pair)
    with ctnl.Table(pair.active) as table, ctnl.Table(pair.backup) as there:
        there.create(tcp_flow(1, mark=5))
        lab.wait_for(lambda: pair.active.external_count() == 1, 5, "the flow at the active")
        table.create(tcp_flow(1, mark=7))
        table.create(tcp_flow(2, mark=7))
        wait_mirrored(pair, there, 2)
        time.sleep(1)
        live = by_key(there)[ctnl.key(tcp_flow(1))]
        assert live["mark"] == 5 and live["timeout"] > 400000
        table.delete(tcp_flow(1))
        table.delete(tcp_flow(2))
        wait_mirrored(pair, there, 1)
        time.sleep(0.5)
        assert by_key(there)[ctnl.key(tcp_flow(1))]["mark"] == 5
        # A copy that something changes here is this node's from then on: its end elsewhere does not end it.
        table.create(tcp_flow(3))
        wait_mirrored(pair, there, 2)
        there.update(tcp_flow(3, mark=9))
        lab.wait_for(lambda: pair.backup.stats()["internal"]["active"] == 2, 5, "it in the internal cache")
        table.delete(tcp_flow(3))
        time.sleep(1)
        assert ctnl.key(tcp_flow(3)) in by_key(there)


def test_flushes_spare_copies(our_pair):
    pair = start(our_pair, purge=1)
    with ctnl.Table(pair.active) as table, ctnl.Table(pair.backup) as there:
        create_mirrored(pair, table, there, 20)
        there.create(tcp_flow(100))
        pair.backup.client("-F")
        wait_mirrored(pair, there, 20)
        there.create(tcp_flow(100))
        there.create(tcp_flow(20, mark=1))  # lives here, and at the active as well
        table.create(tcp_flow(20, mark=2))
        time.sleep(0.5)
        assert by_key(there)[ctnl.key(tcp_flow(20))]["mark"] == 1
        pair.backup.client("-t")
        lab.wait_for(lambda: len(there.flows()) == 21 and by_key(there)[ctnl.key(tcp_flow(20))]["mark"] == 2, 5,
                     "the purge, and the copy in the place of what lived here")
        pair.backup.client("-f", "external")
        wait_mirrored(pair, there, 0)


def test_a_restart_of_the_standby(our_pair):
    pair = start(our_pair, timeout=5)
    with ctnl.Table(pair.active) as table, ctnl.Table(pair.backup) as there:
        create_mirrored(pair, table, there, 20)
        pair.backup.kill()
        pair.backup.start()
        lab.wait_for(lambda: pair.backup.external_count() == 20, 10, "the flows at the backup again")
        # What was in the kernel passes for the backup's until it runs out.
        lab.wait_for(lambda: pair.backup.stats()["internal"]["active"] == 0, 15, "the old copies to run out")
        wait_mirrored(pair, there, 20)
        time.sleep(3)
        assert len(there.flows()) == 20 and len(table.flows()) == 20 and pair.backup.external_count() == 20
        lab.wait_for(lambda: pair.active.external_count() == 0, 10, "the active to know that they are its own alone")


def test_beside_conntrackd():
    with lab.Pair(lab.STOCK, lab.OURS) as pair:
        start(pair, stock_active=True)
        with ctnl.Table(pair.active) as table, ctnl.Table(pair.backup) as there:
            create_mirrored(pair, table, there, FLOWS)
            for number in range(100):
                table.delete(tcp_flow(number))
            wait_mirrored(pair, there, FLOWS - 100)
            assert pair.active.external_count() == 0
            pair.active.kill()
            pair.backup.client("-c")
            lab.wait_for(lambda: pair.backup.stats()["internal"]["active"] == FLOWS - 100, 5, "them in the internal cache")
