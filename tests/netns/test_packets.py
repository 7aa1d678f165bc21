# SPDX-License-Identifier: GPL-2.0-or-later
"""Flows made by real packets through a firewall with NAT, marks, zones, labels and a helper: whatever the active kernel
knows in the end, the backup has in its external cache and, after -c, in its kernel."""
import contextlib
import re
import socket
import struct
import threading
import time
import types

import pytest

import ctnl
import lab
from testbed import CLIENT, CLIENT6, PUBLIC, SERVER, SERVER6, Site

RULES = f"""
table inet filter {{
    ct helper ftp-helper {{
        type "ftp" protocol tcp
    }}
    chain early {{
        type filter hook prerouting priority -300;
        tcp dport 5009 ct zone set 9
        tcp sport 5009 ct zone set 9
    }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
        tcp dport 5010 ct mark set 0xbeef
        tcp dport 5011 ct label set 5
        tcp dport 21 ct helper set "ftp-helper"
    }}
}}
table ip nat {{
    chain prerouting {{
        type nat hook prerouting priority -100;
        ip daddr {PUBLIC} tcp dport 80 dnat to {SERVER}:5000
        ip daddr {PUBLIC} udp dport 53 dnat to {SERVER}:5300
    }}
    chain postrouting {{
        type nat hook postrouting priority 100;
        tcp sport 41001 snat to 10.62.0.1:50591
        udp sport 41002 snat to 10.62.0.1
        icmp type echo-request icmp id 99 snat to 10.62.0.1
    }}
}}
table ip6 nat {{
    chain prerouting {{
        type nat hook prerouting priority -100;
        ip6 daddr fd00:61::1 tcp dport 80 dnat to [{SERVER6}]:5000
    }}
    chain postrouting {{
        type nat hook postrouting priority 100;
        tcp sport 41006 snat to fd00:62::1
    }}
}}
"""
LISTENED = (21, 5000, 5009, 5010, 5011)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return ~crc & 0xFFFFFFFF


def echo_request(identifier):
    body = struct.pack(">BBHHH", 8, 0, 0, identifier, 1) + b"hello"
    return body[:2] + struct.pack(">H", checksum(body)) + body[4:]


def sctp_init(tag):
    chunk = struct.pack(">BBHIIHHI", 1, 0, 20, tag, 65536, 1, 1, 1)
    packet = struct.pack(">HHII", 5001, 5002, 0, 0) + chunk
    return packet[:8] + struct.pack("<I", crc32c(packet)) + packet[12:]


def udp_echo(server, address, port):
    sock = server.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                data, sender = sock.recvfrom(2048)
                sock.sendto(data, sender)
    threading.Thread(target=serve, daemon=True).start()


class Traffic:
    """What the client sends; the sockets stay open."""

    def __init__(self, site):
        self.site, self.open = site, []
        for address, family in ((SERVER, socket.AF_INET), (SERVER6, socket.AF_INET6)):
            for port in LISTENED:
                listener = site.server.socket(family, socket.SOCK_STREAM)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((address, port))
                listener.listen()
                self.open.append(listener)
            udp_echo(site.server, address, 5300)

    def tcp(self, target, port, source=0):
        family, local = (socket.AF_INET6, CLIENT6) if ":" in target else (socket.AF_INET, CLIENT)
        connection = self.site.client.socket(family, socket.SOCK_STREAM)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.settimeout(3)
        connection.bind((local, source))
        connection.connect((target, port))
        self.open.append(connection)
        return connection

    def udp(self, target, port, source=0, answered=True):
        family, local = (socket.AF_INET6, CLIENT6) if ":" in target else (socket.AF_INET, CLIENT)
        sock = self.site.client.socket(family, socket.SOCK_DGRAM)
        sock.settimeout(3)
        sock.bind((local, source))
        sock.sendto(b"hello", (target, port))
        if answered:
            sock.recv(100)
        self.open.append(sock)

    def raw(self, protocol, payload, target=SERVER):
        family, local = (socket.AF_INET6, CLIENT6) if ":" in target else (socket.AF_INET, CLIENT)
        sock = self.site.client.socket(family, socket.SOCK_RAW, protocol)
        sock.bind((local, 0))
        sock.sendto(payload, (target, 0))
        self.open.append(sock)

    def everything(self):
        for port in LISTENED:
            self.tcp(SERVER, port)
            self.tcp(SERVER6, port)
        self.tcp(SERVER, 5000, 41001)
        self.tcp(PUBLIC, 80)
        self.tcp(SERVER6, 5000, 41006)
        self.tcp("fd00:61::1", 80)
        self.tcp(SERVER, 5000).shutdown(socket.SHUT_WR)  # half closed
        self.tcp(SERVER, 5000).close()
        reset = self.tcp(SERVER, 5000)
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.close()
        self.udp(SERVER, 5300)
        self.udp(SERVER6, 5300)
        self.udp(SERVER, 5300, 41002)
        self.udp(PUBLIC, 53)
        self.udp(SERVER, 9999, answered=False)
        self.raw(socket.IPPROTO_ICMP, echo_request(77))
        self.raw(socket.IPPROTO_ICMP, echo_request(99))
        self.raw(socket.IPPROTO_ICMPV6, struct.pack(">BBHHH", 128, 0, 0, 78, 1), SERVER6)
        self.raw(132, sctp_init(0x11223344))
        self.raw(47, struct.pack(">HH", 0, 0x0800) + b"inner")
        self.raw(253, b"experiment")
        self.raw(99, b"experiment", SERVER6)


@pytest.fixture(scope="module")
def carried(binaries):
    """The active kernel's flows, the backup's external cache and kernel after the commit."""
    with Site(*binaries, rules=RULES) as site:
        site.configure().start().greeted()
        traffic = Traffic(site)
        traffic.everything()
        mine = lambda flows: {ctnl.key(f): f for f in flows if f["orig"]["src"] in (CLIENT, CLIENT6)}
        with ctnl.Table(site.active) as table:
            count = len(mine(table.flows()))
            lab.wait_for(lambda: site.backup.external_count() == count, 5,
                         lambda: f"{count} flows on the backup: {site.backup.external_count()}")
            time.sleep(0.5)
            external = site.backup.external()
            active = mine(table.flows())
        site.backup.client("-c")
        with ctnl.Table(site.backup) as table:
            yield types.SimpleNamespace(active=active, external=external, backup=mine(table.flows()), site=site)
        for sock in traffic.open:
            sock.close()


def test_the_traffic_is_of_every_kind(carried):
    """So that the tests below do not pass for want of flows."""
    flows = list(carried.active.values())
    assert {flow["proto"] for flow in flows} == {6, 17, 1, 58, 132, 47, 253, 99}
    assert {flow["tcp"]["state"] for flow in flows if flow["proto"] == 6} >= {3, 8}
    assert [flow["orig"] for flow in flows if flow["zone"] == 9] and [f for f in flows if f["mark"] == 0xBEEF]
    assert [flow for flow in flows if flow["labels"] == {5}] and [f for f in flows if f["helper"] == "ftp"]
    assert len([flow for flow in flows if flow["status"] & 0x10]) == 4 and len([f for f in flows if f["status"] & 0x20]) == 3


def test_external_cache_has_them_all(carried):
    name = lambda proto, words: (proto, words["src"], words["dst"], str(words.get("sport", "")) if proto in (6, 17, 132) else "")
    wanted = sorted(name(flow["proto"], flow["orig"]) for flow in carried.active.values())
    assert sorted(name(flow["proto"], flow["orig"]) for flow in carried.external) == wanted


def test_kernel_has_them_all(carried):
    assert set(carried.backup) == set(carried.active), carried.site.backup.log()


@pytest.mark.parametrize("what", ["reply", "mark", "labels", "helper", "zone", "status", "state", "timeout"])
def test_kernel_agrees(carried, what):
    wrong = []
    for key, flow in carried.active.items():
        copy = carried.backup[key]
        if what == "status":
            # Which NAT hooks were set up is the kernel's own business.
            same = (flow["status"] ^ copy["status"]) & 0x3F == 0
        elif what == "state":
            same = flow.get("tcp", {}).get("state") == copy.get("tcp", {}).get("state")
        elif what == "timeout":
            # Refreshes do not raise events: only flows that did not move keep step.
            same = abs(flow["timeout"] - copy["timeout"]) <= 8
        else:
            same = flow[what] == copy[what]
        if not same:
            wrong.append((flow, copy))
    assert not wrong


def test_forwarding_is_by_these_flows(carried):
    """The commit put them where packets find them: the kernel's own list shows the NAT."""
    listing = carried.site.backup.run("conntrack", "-L").stdout
    assert re.search(r"sport=41001 dport=5000 src=10\.60\.0\.2 dst=10\.62\.0\.1 sport=5000 dport=50591", listing)
