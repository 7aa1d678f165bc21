# SPDX-License-Identifier: GPL-2.0-or-later
"""--decode: what it tells of a capture is what an independent reader finds in it, whatever the link type and the file format."""
import collections
import contextlib
import glob
import json
import os
import re
import socket
import struct
import subprocess
import time

import pytest

import ctnl
import kinds
import lab
import wire

pytestmark = pytest.mark.skipif("without libpcap" in subprocess.run([lab.OURS, "-v"], capture_output=True, text=True, timeout=10,
                                                                    check=False).stdout, reason="built without libpcap")
CAPTURES = sorted(glob.glob(os.path.join(lab.ROOT, "tests/data/captures/*.pcap")))
ETHERNET, RAW, COOKED, COOKED2, NULL = 1, 101, 113, 276, 0  # LINKTYPE_
TYPES = {wire.NEW: "new", wire.UPDATE: "update", wire.DELETE: "delete", wire.EXPECT_NEW: "expect_new",
         wire.EXPECT_UPDATE: "expect_update", wire.EXPECT_DELETE: "expect_delete"}


def decode(*arguments, data=None, status=0):
    """(lines of standard output, standard error)"""
    done = subprocess.run([lab.OURS, "-C", "/nonexistent", "--decode", *arguments], input=data, capture_output=True, timeout=20,
                          check=False, env={**os.environ, "TZ": "UTC"})
    assert done.returncode == status, done.stderr
    return done.stdout.decode("ascii").splitlines(), done.stderr.decode("ascii")


def objects(*arguments, **kwargs):
    return [json.loads(line) for line in decode(*arguments, "--json", **kwargs)[0]]


# --- Independent reading and writing ---

def frames(path):
    """(seconds, microseconds, bytes)"""
    with open(path, "rb") as file:
        file.read(24)
        while head := file.read(16):
            seconds, micros, size, _ = struct.unpack("=IIII", head)
            yield seconds, micros, file.read(size)


def pcap(packets, link_type=ETHERNET, snap=262144):
    out = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snap, link_type)
    for seconds, micros, data in packets:
        out += struct.pack("=IIII", seconds, micros, min(snap, len(data)), len(data)) + data[:snap]
    return out


def pcapng(packets, link_type=ETHERNET):
    def block(kind, body):
        body += b"\0" * (-len(body) % 4)
        return struct.pack("=II", kind, len(body) + 12) + body + struct.pack("=I", len(body) + 12)

    out = block(0x0A0D0D0A, struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1)) + block(1, struct.pack("=HHI", link_type, 0, 0))
    for seconds, micros, data in packets:
        stamp = seconds * 1000000 + micros
        out += block(6, struct.pack("=IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(data), len(data)) + data)
    return out


def payloads(path):
    """The datagrams of a capture, and its TCP streams: fragments and segments of these captures are in order."""
    datagrams, streams, parts = [], collections.OrderedDict(), {}

    def transport(protocol, ends, data):
        if protocol == socket.IPPROTO_UDP:
            datagrams.append(data[8:struct.unpack_from(">H", data, 4)[0]])
        elif protocol == socket.IPPROTO_TCP:
            sport, dport, number = struct.unpack_from(">HHI", data)
            body, key = data[(data[12] >> 4) * 4:], (ends, sport, dport)
            if data[13] & 2:
                streams[key, len(streams)] = [number + 1, b""]
                return
            mine = [value for (name, _), value in streams.items() if name == key]
            if mine and body and mine[-1][0] == number:
                mine[-1][0] += len(body)
                mine[-1][1] += body

    for _, _, frame in frames(path):
        kind, packet = struct.unpack_from(">H", frame, 12)[0], frame[14:]
        if kind == 0x0800:
            total = struct.unpack_from(">H", packet, 2)[0]
            transport(packet[9], packet[12:20], packet[(packet[0] & 15) * 4:total])
        elif kind == 0x86DD:
            size, protocol = struct.unpack_from(">HB", packet, 4)
            body = packet[40:40 + size]
            if protocol == socket.IPPROTO_FRAGMENT:
                protocol, place, number = body[0], *struct.unpack_from(">HI", body, 2)
                parts[number] = parts.get(number, b"") + body[8:]
                if place & 1:
                    continue
                body = parts.pop(number)
            transport(protocol, packet[8:40], body)
    return datagrams, [stream for _, stream in streams.values()]


def kind_of(kind, flags):
    if kind != wire.CONTROL:
        return TYPES[kind]
    return next(name for bit, name in ((wire.ACK, "ack"), (wire.NACK, "nack"), (wire.RESYNC, "resync"), (wire.ALIVE, "alive"))
                if flags & bit)


def messages(path):
    datagrams, streams = payloads(path)
    return [found for data in datagrams + streams for found in wire.parse(data)]


# --- Recordings of conntrackd ---

@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: os.path.basename(path)[:-5])
def test_recordings_hold_what_an_independent_reader_finds(path):
    expected = messages(path)
    told = objects(path)
    assert {line["kind"] for line in told} == {"message"}

    def key(kind, sequence, control):
        return kind, sequence, tuple(control)
    assert sorted(key(line["type"], line["sequence"], (line.get("from", 0), line.get("to", 0))) for line in told) == \
        sorted(key(kind_of(kind, flags), sequence, rest if kind == wire.CONTROL and rest else (0, 0))
               for kind, flags, sequence, rest in expected)
    ports = {(flow["original"]["sport"], flow["original"]["dport"]) for flow in
             (line["flow"] for line in told if "flow" in line) if "sport" in flow["original"]}
    assert ports == {struct.unpack(">HH", rest[3]) for kind, _, _, rest in expected if kind <= wire.DELETE and 3 in rest}
    lines, summary = decode(path)
    assert len(lines) == len(told) == len(expected)
    assert f"{len(expected)} messages\n" in summary and "malformed" not in summary


def test_lines_name_kind_number_and_remark():
    lines, summary = decode(os.path.join(lab.ROOT, "tests/data/captures/ftfw-11-nack.pcap"))
    assert [line for line in lines if re.search(r" NACK seq \d+ \d+\.\.\d+", line)]
    assert all(re.match(r"2026-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} 192\.168\.100\.[12]:\d+ > 225\.0\.0\.50:3780 [A-Z|_ ]+ seq \d+", line)
               for line in lines)
    assert re.search(r"^192\.168\.100\.1: .*ACK.*; 0 missing, 0 repeated$", summary, re.MULTILINE)


def test_gaps_and_repetitions():
    path = os.path.join(lab.ROOT, "tests/data/captures/ftfw-23-mtu-packing-ipv4.pcap")
    whole = list(frames(path))
    sizes = [len(frame) for _, _, frame in whole]
    largest = sizes.index(max(sizes))
    inside = wire.parse(whole[largest][2][42:])
    cut = pcap(whole[:largest] + whole[largest + 1:])
    told = objects("-", data=cut)
    assert [line["missing"] for line in told if line["order"] == "gap"] == [len(inside)]
    twice = pcap(whole[:largest + 1] + whole[largest:])
    assert collections.Counter(line["order"] for line in objects("-", data=twice))["repeated"] == len(inside)


# --- Files and links ---

def as_link(frame, link_type):
    kind, packet = frame[12:14], frame[14:]
    return {ETHERNET: frame[:12] + struct.pack(">HH", 0x8100, 5) + kind + packet, RAW: packet,
            COOKED: struct.pack(">HHHQ", 0, 1, 6, 0) + kind + packet, NULL: struct.pack("=I", 2) + packet,
            COOKED2: kind + b"\0" * 18 + packet}[link_type]


@pytest.mark.parametrize("link_type", [ETHERNET, RAW, COOKED, COOKED2, NULL])
@pytest.mark.parametrize("name", ["ftfw-24-mtu-packing-ipv6-fragments", "ftfw-28-tcp-transport"])
def test_every_link_type_and_format_tells_the_same(name, link_type, tmp_path):
    path = os.path.join(lab.ROOT, f"tests/data/captures/{name}.pcap")
    expected = decode(path)
    packets = [(seconds, micros, as_link(frame, link_type)) for seconds, micros, frame in frames(path)]
    assert decode("-", data=pcap(packets, link_type)) == expected
    file = tmp_path / "c.pcapng"
    file.write_bytes(pcapng(packets, link_type))
    assert decode(str(file)) == expected


def test_ports_of_the_configuration_and_of_the_option(tmp_path):
    path = os.path.join(lab.ROOT, "tests/data/captures/ftfw-11-nack.pcap")
    config = tmp_path / "c.conf"
    block = lab.link_block("UDP", "192.0.2.1", "192.0.2.2")
    config.write_text("Sync {\n\tMode FTFW { }\n" + block.replace("3780", "999") + "}\nGeneral { UNIX { Path /run/x } }\n")
    assert "999" in config.read_text()
    assert "packets to port 999, 0 messages" in decode(path, "-C", str(config))[1]
    assert decode(path, "-C", str(config), "--port", "3780", "--port", "5")[0] == decode(path)[0] != []
    assert "packets to port 3780, 3781, 3782, 3783, " in decode(path)[1]


def test_a_capture_that_is_cut_or_damaged(tmp_path):
    path = os.path.join(lab.ROOT, "tests/data/captures/ftfw-23-mtu-packing-ipv4.pcap")
    told = objects("-", data=pcap(frames(path), snap=500))
    assert collections.Counter(line["kind"] for line in told)["cut_off"] == sum(len(frame) > 500 for _, _, frame in frames(path))
    assert {line["kind"] for line in told} == {"message", "cut_off"}
    with open(path, "rb") as file:
        whole = file.read()
    lines, error = decode("-", data=whole[:-100], status=1)
    assert 0 < len(lines) < len(decode(path)[0]) and "is damaged, the rest is not read: " in error and " messages\n" in error
    assert decode(str(tmp_path / "none"), status=1)[0] == []
    assert "nothing is known of link type" in decode("-", data=pcap([], 105), status=1)[1]


def test_what_is_written_to_a_closed_pipe_ends_it():
    """`| head` is enough."""
    path = os.path.join(lab.ROOT, "tests/data/captures/ftfw-23-mtu-packing-ipv4.pcap")
    packets = list(frames(path)) * 100
    with subprocess.Popen([lab.OURS, "--decode", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdin is not None
        child.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(pcap(packets))
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        assert child.wait(timeout=10) != 0


# --- A live pair ---

def test_a_live_pair_says_nothing_that_is_not_understood():
    """Every kind of flow, an expectation and the tails of two nodes, one of which restarts."""
    with lab.Pair(lab.OURS, lab.OURS) as pair:
        options = "\tOptions {\n\t\tExpectationSync on\n\t}\n"
        for node, local, peer in ((pair.active, "10.77.9.1", "10.77.9.2"), (pair.backup, "10.77.9.2", "10.77.9.1")):
            node.configure(lab.Pair.MODES["FTFW"] + lab.link_block("UDP", local, peer) + options)
        with pair.backup.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as ears:
            ears.setsockopt(socket.SOL_SOCKET, wire.SO_RCVBUFFORCE, 1 << 25)
            ears.bind(("sync0", 3))
            pair.active.start()
            pair.backup.start()
            pair.greeted()
            with ctnl.Table(pair.active) as table:
                for flow in kinds.build().values():
                    table.create(flow)
            made = len(kinds.build())
            lab.wait_for(lambda: pair.backup.external_count() >= made, 8, f"{made} flows")
            time.sleep(1.5)  # sums are told once a second
            packets = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    packets.append((int(time.time()), 0, ears.recv(65536, socket.MSG_DONTWAIT)))
    told = objects("-", data=pcap(packets))
    assert {line["kind"] for line in told} == {"message"}
    assert [line for line in told if "unknown_bytes" in line] == []
    assert {line["order"] for line in told} == {"next"}
    assert len({json.dumps(line["flow"]["original"]) + str(line["flow"].get("zone")) for line in told
                if line["type"] == "new" and "flow" in line}) >= made - 2  # zones of one direction
    tails = [line["tail"] for line in told if "tail" in line]
    assert {name for tail in tails for name in tail} >= {"capabilities", "addressee", "sums", "probe"}
    nodes = {tail["capabilities"]["node"] for tail in tails if "capabilities" in tail}
    assert len(nodes) == 2
    assert {tail["addressee"]["node"] for tail in tails if "addressee" in tail} <= nodes
    lines, summary = decode("-", data=pcap(packets))
    assert len(lines) == len(told) and "malformed" not in summary
    assert re.search(r"^10\.77\.9\.1: \d+ NEW.*; 0 missing, 0 repeated$", summary, re.MULTILINE)
