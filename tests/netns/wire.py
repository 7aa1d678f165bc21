# SPDX-License-Identifier: GPL-2.0-or-later
"""Replication messages as bytes, built and read independently of the daemon's own code: for hostile input on the link and
for looking at what a node really sends. Layout: spec of the wire format (doc/wire-format)."""
import contextlib
import socket
import struct
import time

import lab

SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 33, 263, 6
NEW, UPDATE, DELETE, EXPECT_NEW, EXPECT_UPDATE, EXPECT_DELETE, CONTROL = 0, 1, 2, 3, 4, 5, 10
RESYNC, NACK, ACK, ALIVE, HELLO, HELLO_BACK = 0x02, 0x04, 0x08, 0x10, 0x20, 0x40


def message(kind, sequence, payload=b"", flags=0, version=1, length=None):
    """One message; `length` overrides the true length field."""
    size = 8 + len(payload) if length is None else length
    return struct.pack(">BBHI", version << 4 | kind, flags, size, sequence & 0xFFFFFFFF) + payload


def attr(kind, data, length=None):
    size = 4 + len(data) if length is None else length
    return struct.pack(">HH", size, kind) + data + b"\0" * (-len(data) % 4)


def flow(source, destination, sport, dport, proto=6, state=3, timeout=1000, status=0xE, extra=b""):
    """The payload of a TCP or UDP flow message."""
    out = attr(0, socket.inet_aton(source) + socket.inet_aton(destination))
    out += attr(5, struct.pack(">I", status)) + attr(2, bytes([proto])) + attr(3, struct.pack(">HH", sport, dport))
    if proto == 6:
        out += attr(4, bytes([state]))
    return out + attr(6, struct.pack(">I", timeout)) + extra


def parse(datagram):
    """The messages of a datagram: (kind, flags, sequence, {attribute: bytes} or control range)."""
    found = []
    while len(datagram) >= 8:
        first, flags, length, sequence = struct.unpack_from(">BBHI", datagram)
        body, datagram = datagram[8:length], datagram[length:]
        if first & 15 == CONTROL:
            found.append((CONTROL, flags, sequence, struct.unpack(">II", body[:8]) if len(body) >= 8 else None))
            continue
        attributes = {}
        while len(body) > 4:
            size, kind = struct.unpack_from(">HH", body)
            attributes[kind] = body[4:size]
            body = body[(size + 3) & ~3:]
        found.append((first & 15, flags, sequence, attributes))
    return found


class Ears:
    """All messages about flows that the active node of a pair sends, as (kind, source port)."""

    def __init__(self, pair):
        self.socket = pair.backup.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 25)
        self.socket.bind(("sync0", 0x0800))

    def heard(self):
        """Since the last call."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = self.socket.recv(65536, socket.MSG_DONTWAIT)
                if packet[9] == socket.IPPROTO_UDP and packet[12:16] == socket.inet_aton("10.77.9.1"):
                    found += [(kind, struct.unpack(">HH", attributes[3])[0])
                              for kind, _, _, attributes in parse(packet[28:]) if kind <= DELETE]
        dropped = struct.unpack("=II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        assert not dropped, f"{dropped} packets were not heard"
        return found

    def close(self):
        self.socket.close()


class Peer:
    """A handmade peer on the dedicated link of a node: sends what it is told, hears what the node says.

    It lives in a namespace of its own at 10.77.9.2, so it is indistinguishable from a real one.
    """

    def __init__(self, node, local="10.77.9.2", remote="10.77.9.1"):
        self.net = lab.Net("peer")
        lab.veth(node, "sync0", self.net, "sync0")
        node.address("sync0", f"{remote}/24")
        self.net.address("sync0", f"{local}/24")
        self.remote = (remote, lab.SYNC_PORT)
        self.inbox = self.net.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inbox.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.inbox.bind((local, lab.SYNC_PORT))
        self.outbox = self.net.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sequence = int(time.time()) & 0xFFFFFFFF

    def close(self):
        self.inbox.close()
        self.outbox.close()
        self.net.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def next(self):
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        return self.sequence

    def send(self, data):
        """One datagram, as it is."""
        self.outbox.sendto(data, self.remote)

    def say(self, kind, payload=b"", flags=0):
        """One message in sequence."""
        self.send(message(kind, self.next(), payload, flags))

    def hello(self):
        """The greeting of a node that has just started."""
        self.say(CONTROL, b"", ALIVE | HELLO | HELLO_BACK)

    def hear(self, timeout=2.0):
        """The messages of the next datagram, [] if none comes in time."""
        self.inbox.settimeout(timeout)
        try:
            return parse(self.inbox.recv(65536))
        except (TimeoutError, BlockingIOError):
            return []

    def hear_until(self, wanted, timeout=4.0):
        """Collects messages until `wanted(message)` is true for one, and returns that one; None if none came."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            for heard in self.hear(left):
                if wanted(heard):
                    return heard
        return None


class Impostor:
    """Speaks to the backup of a pair in the name of the active node, with the numbers that this is about to use: what it says is
    believed, and what the node says next passes for old. So entries go wrong, and no number tells."""

    def __init__(self, pair):
        self.pair = pair

    @staticmethod
    def _last_number(ears):
        """Of all that comes until it is quiet. It must have heard everything: an old number is not believed, and nothing goes wrong."""
        found = None
        while True:
            try:
                packet = ears.recv(65536)
            except TimeoutError:
                dropped = struct.unpack("II", ears.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
                assert not dropped, f"{dropped} datagrams on the dedicated link were not heard"
                return found
            if packet[9] == socket.IPPROTO_UDP and packet[12:16] == socket.inet_aton("10.77.9.1"):
                found = parse(packet[28:])[-1][2]

    def say(self, *messages):
        """The active node stands still meanwhile, for a moment."""
        with self.pair.backup.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as ears:
            ears.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)  # a busy node says much in a tenth of a second
            ears.settimeout(0.02)
            ears.bind(("sync0", 0x0800))
            number = None
            while number is None:  # it says something each second
                time.sleep(0.1)
                with self.pair.active.stopped():
                    number = self._last_number(ears)
                    if number is not None:
                        self._speak(number, messages)

    def _speak(self, number, messages):
        said = [message(kind, number + 1 + i, payload) for i, (kind, payload) in enumerate(messages)]
        with self.pair.active.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            mouth.sendto(b"".join(said), ("10.77.9.2", lab.SYNC_PORT))
