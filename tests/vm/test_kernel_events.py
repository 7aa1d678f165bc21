# SPDX-License-Identifier: GPL-2.0-or-later
"""Flows that send no events. Debian's kernel makes none of a flow that began while nobody listened, for as long as it lives
(net.netfilter.nf_conntrack_events is 2 by default): what becomes of those that were there before the daemon, or while it was
restarted, only a comparison with the kernel shows."""
import ctnl
import lab


def keys(flows):
    return {(flow["orig"]["src"], int(flow["orig"]["sport"])) for flow in flows
            if not flow["orig"]["src"].startswith(("10.77.", "127."))}


def in_the_kernel(node):
    with ctnl.Table(node) as table:
        return keys(table.flows())


def test_flows_that_send_no_events_are_looked_after():
    with lab.Pair(lab.OURS, lab.OURS) as pair:
        active, backup = pair.nodes()
        active.run(lab.FLOWGEN, "create", "300")
        pair.configure().start().greeted()
        assert "300 connections were there before" in active.log()
        lab.wait_for(lambda: backup.external_count() == 300, 20, lambda: f"{backup.external_count()} flows to be 300")
        active.run(lab.FLOWGEN, "create", "10", "--first", "1000")  # these send events
        active.run(lab.FLOWGEN, "delete", "200")
        lab.wait_for(lambda: backup.external_count() >= 310, 5, lambda: f"{backup.external_count()} flows to be 310: no event"
                     " tells of the ends")
        kernel = in_the_kernel(active)
        assert len(kernel) == 110
        lab.wait_for(lambda: keys(backup.external()) == kernel, 25, "the peer's cache to equal the kernel's table")
        assert keys(active.internal()) == kernel
        assert "mended 0 missing, 200 left over, 0 that differed" in active.log()
