# SPDX-License-Identifier: GPL-2.0-or-later
"""What is not synchronised if so wanted: marks and labels (`SyncMark`, `SyncLabels`; doc/differences.md 93)."""
import pytest

import ctnl
import lab

FLOW = {"proto": 6, "orig": {"src": "10.1.0.1", "dst": "10.2.0.1", "sport": 1, "dport": 80}, "status": 0xE, "timeout": 600,
        "tcp": {"state": 3}, "mark": 7, "labels": {3, 40}}
LABELS = "table inet labels {\nchain c {\ntype filter hook forward priority 0\nct label set 1\n}\n}\n"
EVERYTHING = (7, {3, 40})


def start(pair, options):
    for node, local, peer in ((pair.active, "10.77.9.1", "10.77.9.2"), (pair.backup, "10.77.9.2", "10.77.9.1")):
        node.nft(LABELS)  # without a rule the kernel keeps no labels
        link = lab.link_block("UDP", local, peer)
        node.configure(pair.MODES["FTFW"] + link + ("" if node.stock else f"\tOptions {{\n\t\t{options}\n\t}}\n"))
    pair.start().greeted()


def entry(node):
    """Mark and labels in the kernel."""
    with ctnl.Table(node) as table:
        flow, = (flow for flow in table.flows() if flow["orig"]["src"] == "10.1.0.1")
    return flow["mark"], flow["labels"]


@pytest.mark.parametrize("options, arrives", [("SyncMark on SyncLabels on", EVERYTHING), ("SyncMark off", (0, {3, 40})),
                                              ("SyncLabels off", (7, set())), ("SyncMark off SyncLabels off", (0, set()))])
def test_neither_sent_nor_taken(pair, options, arrives):
    start(pair, options)
    with ctnl.Table(pair.active) as table:
        table.create(FLOW)
    lab.wait_for(lambda: pair.backup.external_count() == 1, 3, "the flow")
    pair.backup.client("-c")
    assert entry(pair.active) == EVERYTHING
    assert entry(pair.backup) == arrives
    shown = pair.backup.out("-e")
    assert ("mark=7" in shown) == (arrives[0] == 7), shown
    if not pair.active.stock:
        assert "mark=7" in pair.active.out("-i"), "the internal cache mirrors the kernel"
    if not pair.active.stock and not pair.backup.stock:
        # What is compared is what is sent.
        lab.wait_for(lambda: "peer 10.77.9.1: in sync" in pair.backup.log(), 10, "them to be in sync")
        assert "mended" not in pair.backup.log()


def test_a_mark_of_this_node_survives_a_commit(our_pair):
    """The entry that is there already keeps its own."""
    start(our_pair, "SyncMark off SyncLabels off")
    with ctnl.Table(our_pair.active) as table, ctnl.Table(our_pair.backup) as own:
        table.create(FLOW)
        lab.wait_for(lambda: our_pair.backup.external_count() == 1, 3, "the flow")
        own.create({**FLOW, "mark": 9, "labels": {5}})
        our_pair.backup.client("-c")
    assert entry(our_pair.backup) == (9, {5})
