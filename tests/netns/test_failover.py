# SPDX-License-Identifier: GPL-2.0-or-later
"""Four live TCP echo connections (plain, SNAT, DNAT, both, each NAT with a port) go through the active firewall; it is cut
off, the backup commits, the routes move: all four must go on through strict rules, and must not without the commit. Every
protocol and transport, ours with ours and with stock on either side."""
import pytest

import lab
from testbed import CONNECTIONS, Site

SETUPS = {"FTFW-UDP": {}, "FTFW-Multicast": {"transport": "Multicast"}, "FTFW-TCP": {"transport": "TCP"},
          "FTFW-UDP6": {"ipv6": True}, "NOTRACK-UDP": {"mode": "NOTRACK"},
          "NOTRACK-TCP": {"mode": "NOTRACK", "transport": "TCP"},
          "ALARM-Multicast": {"mode": "ALARM", "transport": "Multicast"},
          "window-tracking": {"options": "\t\tTCPWindowTracking On"},
          "direct-injection": {"mode_block": "\tMode FTFW {\n\t\tDisableExternalCache On\n\t}\n"}}


@pytest.fixture
def site(binaries):
    with Site(*binaries) as made:
        yield made


def replicate(site, setup):
    site.configure(**SETUPS[setup]).start()
    if setup.startswith("ALARM"):
        site.connect()  # no hello and no link state in this protocol: refreshes bring what was missed
    else:
        site.greeted()
        site.connect()
    if setup == "direct-injection":
        lab.wait_for(lambda: len(site.flows(site.backup)) == 4, 5, "4 flows in the backup's kernel")
    else:
        known = lambda: [flow for flow in site.backup.external() if flow.get("state") == "ESTABLISHED"]
        lab.wait_for(lambda: len(known()) == 4, 8, lambda: f"4 flows on the backup: {known()}")


@pytest.mark.parametrize("setup", SETUPS)
def test_connections_go_on_after_commit(site, setup):
    replicate(site, setup)
    site.active.kill()
    if setup != "direct-injection":
        assert not site.flows(site.backup)
        site.backup.client("-c")
    mine, theirs = site.flows(site.active), site.flows(site.backup)
    assert {port: flow["reply"] for port, flow in theirs.items()} == {port: flow["reply"] for port, flow in mine.items()}
    site.through(2)
    assert site.echoes() == set(CONNECTIONS), site.backup.log()


def test_connections_stall_without_commit(site):
    """The rules are strict enough for the tests above to prove something."""
    replicate(site, "FTFW-UDP")
    site.active.kill()
    site.through(2)
    assert site.echoes(timeout=0.7) == set()
