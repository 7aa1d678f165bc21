# SPDX-License-Identifier: GPL-2.0-or-later
"""Flows that a flow table (nftables) has taken off the usual path. The kernel tells of them without state and time-out, with
a status bit that means nothing elsewhere. They must arrive in the kernel of the other node as ordinary live flows."""
import pytest

import lab
import testbed

OFFLOAD = 1 << 14  # status bits: linux/netfilter/nf_conntrack_common.h
HARDWARE_OFFLOAD = 1 << 15
ASSURED = 1 << 2
ESTABLISHED = 3
PORTS = {port for port, _ in testbed.CONNECTIONS.values()}
FLOW_TABLE = """
table ip fast {
    flowtable fast {
        hook ingress priority 0
        devices = { in0, out0 }
    }
    chain forward {
        type filter hook forward priority 10
        ct state established ip protocol tcp flow add @fast
    }
}
"""


@pytest.fixture
def site():
    """Two firewalls with connections through the first one, which has a flow table."""
    with testbed.Site(lab.OURS, lab.OURS) as made:
        made.active.nft(FLOW_TABLE)
        made.configure()
        yield made


def offloaded(node):
    listed = node.run("conntrack", "-L", "-p", "tcp").stdout.splitlines()
    return {int(line.split("sport=")[1].split()[0]) for line in listed if "[OFFLOAD]" in line} & PORTS


def all_offloaded(site):
    assert site.echoes() == set(testbed.CONNECTIONS)
    return offloaded(site.active) == PORTS


def replicated(node):
    return {int(flow["orig"].get("sport", 0)) for flow in node.external()} & PORTS == PORTS


@pytest.mark.parametrize("when", ["before", "after"])
def test_offloaded_flow_is_committed_as_a_live_one(site, when):
    """`before`: the daemons see how the flows begin and are offloaded. `after`: they find them offloaded, in a dump."""
    if when == "before":
        site.start()
    site.connect()
    lab.wait_for(lambda: all_offloaded(site), 20, lambda: f"offloaded flows, not {offloaded(site.active)} only", 0.2)
    if when == "after":
        site.start()
    site.active.client("-R")
    site.active.client("-B")
    lab.wait_for(lambda: replicated(site.backup), 20, lambda: f"the flows on the other node:\n{site.backup.out('-e')}", 0.2)
    assert "OFFLOAD" not in site.backup.out("-e")
    site.active.kill()
    site.backup.client("-c")

    flows = site.flows(site.backup)  # those in state ESTABLISHED
    assert set(flows) == PORTS, site.backup.run("conntrack", "-L").stdout
    for flow in flows.values():
        assert flow["status"] & ASSURED and not flow["status"] & (OFFLOAD | HARDWARE_OFFLOAD), flow
        # The kernel's default for established connections is five days; never that of an opening or closing one.
        assert 86400 < flow["timeout"] <= 432000, flow
    site.through(2)
    assert site.echoes() == set(testbed.CONNECTIONS), "connections did not survive"
