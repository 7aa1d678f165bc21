# SPDX-License-Identifier: GPL-2.0-or-later
"""Four live TCP echo connections (plain, SNAT, DNAT, both, each NAT with a port) go through the active firewall; it is cut
off, the backup commits, the routes move: all four must go on through strict rules, and must not without the commit. Every
protocol and transport, ours with ours and with stock on either side."""
import contextlib
import socket
import threading

import pytest

import ctnl
import lab

CLIENT, SERVER = "10.50.0.2", "10.60.0.2"
PUBLIC = "10.61.0.1"  # DNATed to the server
SYN = "tcp flags & (fin|syn|rst|ack) == syn ct state new accept"
RULES = f"""
table ip filter {{
    chain forward {{
        type filter hook forward priority 0; policy drop;
        ct state invalid counter drop
        ct state established,related accept
        iifname "in0" oifname "out0" {SYN}
    }}
}}
table ip nat {{
    chain prerouting {{
        type nat hook prerouting priority -100;
        ip daddr {PUBLIC} tcp dport 80 dnat to {SERVER}:5000
    }}
    chain postrouting {{
        type nat hook postrouting priority 100;
        tcp sport 41001 snat to 10.62.0.1:50591
        tcp sport 41003 snat to 10.62.0.1:50593
    }}
}}
"""
# name: (source port, destination)
CONNECTIONS = {"plain": (41000, (SERVER, 5000)), "snat": (41001, (SERVER, 5000)), "dnat": (41002, (PUBLIC, 80)),
               "both": (41003, (PUBLIC, 80))}
SETUPS = {"FTFW-UDP": {}, "FTFW-Multicast": {"transport": "Multicast"}, "FTFW-TCP": {"transport": "TCP"},
          "FTFW-UDP6": {"ipv6": True}, "NOTRACK-UDP": {"mode": "NOTRACK"},
          "NOTRACK-TCP": {"mode": "NOTRACK", "transport": "TCP"},
          "ALARM-Multicast": {"mode": "ALARM", "transport": "Multicast"},
          "window-tracking": {"options": "\t\tTCPWindowTracking On"},
          "direct-injection": {"mode_block": "\tMode FTFW {\n\t\tDisableExternalCache On\n\t}\n"}}


class Site(lab.Pair):
    """The pair with a client inside and a server outside, each cabled to both firewalls."""

    def __init__(self, *binaries):
        super().__init__(*binaries)
        self.client, self.server = lab.Net("client"), lab.Net("server")
        self.connections = {}
        for number, node in enumerate(self.nodes(), 1):
            for host, address, device, middle in ((self.client, CLIENT, "in0", 51), (self.server, SERVER, "out0", 52)):
                lab.veth(host, f"fw{number}", node, device)
                host.address(f"fw{number}", f"10.{middle}.{number}.2/24")
                node.address(device, f"10.{middle}.{number}.1/24")
                node.route(f"{address}/32", f"10.{middle}.{number}.2")
            node.strict_forwarding()
            node.nft(RULES)
        self.client.address("lo", f"{CLIENT}/32")
        self.server.address("lo", f"{SERVER}/32")
        self.through(1)

    def close(self):
        for connection in self.connections.values():
            connection.close()
        self.client.close()
        self.server.close()
        super().close()

    def through(self, number):
        """Both hosts send by way of firewall 1 or 2."""
        self.client.run("ip", "route", "replace", "default", "via", f"10.51.{number}.1", "src", CLIENT)
        self.server.run("ip", "route", "replace", "default", "via", f"10.52.{number}.1", "src", SERVER)

    def connect(self):
        listener = self.server.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((SERVER, 5000))
        listener.listen(8)
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        for name, (port, target) in CONNECTIONS.items():
            connection = self.client.socket()
            connection.settimeout(3)
            connection.bind((CLIENT, port))
            connection.connect(target)
            self.connections[name] = connection
        assert self.echoes() == set(CONNECTIONS)

    def echoes(self, timeout=3.0):
        """The names of the connections that still give back what they are sent."""
        alive = set()
        for connection in self.connections.values():
            with contextlib.suppress(OSError):
                connection.sendall(b"x" * 1000)
        for name, connection in self.connections.items():
            with contextlib.suppress(OSError):
                connection.settimeout(timeout)
                data = b""
                while len(data) < 1000 and (piece := connection.recv(1000 - len(data))):
                    data += piece
                if data == b"x" * 1000:
                    alive.add(name)
        return alive

    def flows(self, node):
        with ctnl.Table(node) as table:
            return {flow["orig"]["sport"]: flow for flow in table.flows() if flow["orig"].get("sport") in range(41000, 41004)
                    and flow["tcp"]["state"] == 3}


def serve(listener):
    def echo(connection):
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)
    while True:
        try:
            threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
        except OSError:
            return


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
