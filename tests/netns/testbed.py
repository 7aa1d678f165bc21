# SPDX-License-Identifier: GPL-2.0-or-later
"""A pair of firewalls with a client inside and a server outside, and real traffic between them."""
import contextlib
import socket
import threading

import ctnl
import lab

CLIENT, SERVER = "10.50.0.2", "10.60.0.2"
CLIENT6, SERVER6 = "fd00:50::2", "fd00:60::2"
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


class Site(lab.Pair):
    """The pair with a client inside and a server outside, each cabled to both firewalls."""

    def __init__(self, *binaries, rules=RULES):
        super().__init__(*binaries)
        self.client, self.server = lab.Net("client"), lab.Net("server")
        # What the tests bind to themselves must not have been given to an earlier connection.
        self.client.sysctl("net.ipv4.ip_local_port_range", "52000 60999")
        self.connections = {}
        for number, node in enumerate(self.nodes(), 1):
            node.strict_forwarding()
            for host, addresses, device, middle in ((self.client, (CLIENT, CLIENT6), "in0", 51),
                                                    (self.server, (SERVER, SERVER6), "out0", 52)):
                lab.veth(host, f"fw{number}", node, device)
                host.address(f"fw{number}", f"10.{middle}.{number}.2/24", f"fd00:{middle}:{number}::2/64")
                node.address(device, f"10.{middle}.{number}.1/24", f"fd00:{middle}:{number}::1/64")
                node.route(f"{addresses[0]}/32", f"10.{middle}.{number}.2")
                node.route(f"{addresses[1]}/128", f"fd00:{middle}:{number}::2")
            node.nft(rules)
        self.client.address("lo", f"{CLIENT}/32", f"{CLIENT6}/128")
        self.server.address("lo", f"{SERVER}/32", f"{SERVER6}/128")
        self.through(1)

    def close(self):
        for connection in self.connections.values():
            connection.close()
        self.client.close()
        self.server.close()
        super().close()

    def through(self, number):
        """Both hosts send by way of firewall 1 or 2."""
        for host, address, address6, middle in ((self.client, CLIENT, CLIENT6, 51), (self.server, SERVER, SERVER6, 52)):
            host.run("ip", "route", "replace", "default", "via", f"10.{middle}.{number}.1", "src", address)
            host.run("ip", "-6", "route", "replace", "default", "via", f"fd00:{middle}:{number}::1", "src", address6)

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
