# SPDX-License-Identifier: GPL-2.0-or-later
"""The service moves to and fro within PurgeTimeout, by a script that leaves out `-f`: what was closed meanwhile stays closed
(doc/differences.md 95)."""
import ctnl
import lab

ROUNDS, FLOWS, CLOSED, BEGUN = 4, 300, 60, 20


def live_in(table):
    return {flow["orig"]["sport"] for flow in table.flows() if flow["orig"]["src"].startswith("10.1.")}


def move(new, old):
    """As the script does that is in use in many places: without `-f` after `-c`."""
    for option in ("-c", "-R", "-B"):
        new.client(option)
    for option in ("-t", "-n"):
        old.client(option)


def test_what_was_closed_does_not_come_back(our_pair):
    pair = our_pair.configure().start().greeted()
    with ctnl.Table(pair.active) as first, ctnl.Table(pair.backup) as second:
        tables = {pair.active: first, pair.backup: second}
        for number in range(FLOWS):
            first.create(ctnl.udp_flow(number))
        live, closed = set(range(FLOWS)), 0
        lab.wait_for(lambda: pair.backup.external_count() == FLOWS, 10, "the flows at the backup")
        new, old = pair.active, pair.backup
        for number in range(ROUNDS):
            new, old = old, new
            move(new, old)
            assert live_in(tables[new]) == {1000 + flow for flow in live}, f"take-over {number + 1}"
            lab.wait_for(lambda: old.external_count() == len(live), 5, lambda: f"{old.external_count()} to be {len(live)}")
            for flow in sorted(live)[:CLOSED]:
                tables[new].delete(ctnl.udp_flow(flow))
                live.remove(flow)
                closed += 1
            for flow in range(FLOWS + BEGUN * number, FLOWS + BEGUN * (number + 1)):
                tables[new].create(ctnl.udp_flow(flow))
                live.add(flow)
            lab.wait_for(lambda: old.external_count() == len(live), 5, lambda: f"{old.external_count()} to be {len(live)}")
        move(old, new)
        assert live_in(tables[old]) == {1000 + flow for flow in live}, f"of {closed} closed"
        lab.wait_for(lambda: new.external_count() == len(live), 5, lambda: f"{new.external_count()} to be {len(live)}")
        assert "it had ended there" not in pair.active.log() + pair.backup.log(), "found by comparison only"
