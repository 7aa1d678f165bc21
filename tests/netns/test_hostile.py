# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad input at run time, on the link and on the control socket: it is counted or closed, the daemon goes on, loses nothing
and keeps answering. The link rules are those of spec replication.md 1.5, 2.7 and 3.2."""
import contextlib
import glob
import os
import random
import socket
import struct
import threading
import time

import pytest

import ctnl
import lab
import text
import wire

FLOW = wire.flow("10.1.0.1", "10.2.0.1", 1000, 80)
BAD = {"malformed": "Malformed messages", "version": "Wrong protocol version", "header": "Malformed header",
       "payload": "Malformed payload", "type": "Bad message type", "truncated": "Truncated message",
       "size": "Bad message size"}


@pytest.fixture
def peer(node):
    """The node runs FT-FW and has exchanged hellos with a handmade peer."""
    node.run("ip", "link", "delete", "sync0")
    with wire.Peer(node) as made:
        node.start()
        made.hello()
        assert made.hear_until(lambda heard: heard[1] & wire.HELLO_BACK), "no hello back"
        yield made


def network(node):
    found = text.counters(node.out("-s", "network"))
    return {short: found[label] for short, label in BAD.items()}


def settle(node, peer, number=[0]):
    """Sends one more good flow and waits for it: everything sent before has then been digested, and the node still works."""
    number[0] += 1
    source = f"10.200.{number[0] >> 8}.{number[0] & 255}"
    peer.say(wire.NEW, wire.flow(source, "10.2.0.1", 1, 80))
    lab.wait_for(lambda: f"src={source} " in node.out("-e"), 3, "a good flow after the bad input")


# message: what is sent (a function of the next sequence number), and which counter besides "malformed" it adds to
CASES = {
    "too short for a header": (lambda n: b"\x10\x00\x00", "truncated"),
    "length zero": (lambda n: wire.message(wire.NEW, n, FLOW, length=0), "size"),
    "length beyond the datagram": (lambda n: wire.message(wire.NEW, n, FLOW, length=4000), "size"),
    "length below the header": (lambda n: wire.message(wire.NEW, n, FLOW, length=7), "size"),
    "cut acknowledgement": (lambda n: wire.message(wire.CONTROL, n, b"\0\0\0\0", wire.ACK), "truncated"),
    "acknowledgement with short length": (lambda n: wire.message(wire.CONTROL, n, bytes(8), wire.ACK, length=12), "size"),
    "version 2": (lambda n: wire.message(wire.NEW, n, FLOW, version=2), "version"),
    "version 0": (lambda n: wire.message(wire.NEW, n, FLOW, version=0), "version"),
    "unknown type": (lambda n: wire.message(7, n, FLOW), "header"),
    "data with a control flag": (lambda n: wire.message(wire.NEW, n, FLOW, wire.ACK), "header"),
    "control without a kind": (lambda n: wire.message(wire.CONTROL, n), "header"),
    "backward acknowledgement": (lambda n: wire.message(wire.CONTROL, n, struct.pack(">II", 9, 3), wire.ACK), "header"),
    "backward NACK": (lambda n: wire.message(wire.CONTROL, n, struct.pack(">II", 9, 3), wire.NACK), "header"),
}
# These have good headers, so they use up their sequence number.
PAYLOADS = {
    "unknown attribute": FLOW + wire.attr(33, b"\0\0\0\0"),
    "attribute longer than the message": FLOW + wire.attr(6, b"\0\0\0\0", length=400),
    "attribute shorter than its header": FLOW + wire.attr(6, b"\0\0\0\0", length=3),
    "attribute of wrong size": FLOW + wire.attr(6, b"\0\0"),
    "helper name too long": FLOW + wire.attr(27, b"a-name-that-is-too-long\0"),
    "no attributes": b"",
    "no addresses": wire.attr(2, b"\6") + wire.attr(3, b"\0\1\0\2"),
    "no protocol": wire.attr(0, bytes(8)),
    "TCP without ports": wire.attr(0, bytes(8)) + wire.attr(2, b"\6"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_message_is_counted(node, peer, name):
    make, counter = CASES[name]
    before = network(node)
    peer.send(make(peer.sequence + 1))  # the sequence number is not used up
    settle(node, peer)
    assert {short: value - before[short] for short, value in network(node).items() if value != before[short]} == {
        "malformed": 1, counter: 1}
    assert "src=10.1.0.1 " not in node.out("-e")


@pytest.mark.parametrize("name", PAYLOADS)
def test_bad_payload_is_counted(node, peer, name):
    before = network(node)
    peer.say(wire.NEW, PAYLOADS[name])
    settle(node, peer)
    assert {short: value - before[short] for short, value in network(node).items() if value != before[short]} == {
        "malformed": 1, "payload": 1}
    assert text.counters(node.out("-s", "network"))["Packets lost"] == 0
    assert "src=10.1.0.1 " not in node.out("-e")


def test_what_was_malformed_is_told_once(node, peer):
    """One line for each kind and sender, with the reason: the numbers of `-s network' tell neither."""
    for data in (b"\x10\x00\x00", wire.message(wire.NEW, 1, FLOW, version=2), wire.message(7, 1, FLOW)):
        for _ in range(3):
            peer.send(data)
        time.sleep(1.1)
    for _ in range(3):
        peer.say(wire.NEW, PAYLOADS["unknown attribute"])
    settle(node, peer)
    told = [line.split("[warning] ")[1] for line in node.log().splitlines() if "malformed" in line]
    assert told == [f"malformed message from 10.77.9.2: {why}" for why in (
        "its end is missing", "another protocol version than 1", "type and flags mean nothing in this mode",
        "an attribute that is unknown or has a wrong size")]


def test_good_messages_before_a_bad_one_count(node, peer):
    one = wire.message(wire.NEW, peer.next(), FLOW)
    two = wire.message(wire.NEW, peer.next(), wire.flow("10.1.0.2", "10.2.0.1", 2, 80))
    peer.send(one + two + b"\x10")
    settle(node, peer)
    dump = node.out("-e")
    assert "src=10.1.0.1 " in dump and "src=10.1.0.2 " in dump


def test_empty_datagram(node, peer):
    peer.send(b"")
    settle(node, peer)


def test_every_truncation_of_a_message(node, peer):
    whole = wire.message(wire.NEW, 0, FLOW)
    for size in range(len(whole)):
        peer.send(whole[:size])
    settle(node, peer)
    assert "src=10.1.0.1 " not in node.out("-e")


def test_unterminated_helper_name_takes_no_foreign_bytes(node, peer):
    peer.say(wire.NEW, FLOW + wire.attr(27, b"abcdefghijkl") + wire.attr(7, b"ZZZZ"))
    settle(node, peer)
    (flow,) = [flow for flow in node.external() if flow["orig"]["src"] == "10.1.0.1"]
    assert flow["helper"] in ("abcdefghijkl", "abcdefghijk"), flow


def test_states_out_of_range_do_not_hurt_the_commit(node, peer):
    peer.say(wire.NEW, wire.flow("10.1.0.7", "10.2.0.1", 7, 80, state=200))
    peer.say(wire.NEW, FLOW)
    settle(node, peer)
    node.client("-c")
    with ctnl.Table(node) as table:
        committed = {flow["orig"]["src"] for flow in table.flows()}
    assert "10.1.0.1" in committed and "10.1.0.7" not in committed
    assert "commit-create: Numerical result out of range" in node.log() and " src=10.1.0.7 " in node.log()
    assert "1 entries can't be committed" in node.log()
    assert node.client("-s").returncode == 0


def memory(pid):
    """Resident kilobytes."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(next(line for line in file if line.startswith("VmRSS")).split()[1])


def datagrams():
    """UDP payloads of the reference captures."""
    found = []
    for path in sorted(glob.glob(os.path.join(lab.ROOT, "tests/data/captures/*.pcap"))):
        with open(path, "rb") as file:
            data = file.read()
        link = struct.unpack_from("<I", data, 20)[0]
        at = 24
        while at + 16 <= len(data):
            size = struct.unpack_from("<I", data, at + 8)[0]
            frame, at = data[at + 16:at + 16 + size], at + 16 + size
            header = {1: 14, 101: 0, 113: 16, 276: 20}.get(link, 14)
            packet = frame[header:]
            if packet and packet[0] >> 4 == 4 and packet[9] == 17:
                found.append(packet[(packet[0] & 15) * 4 + 8:])
    return [payload for payload in found if payload]


@pytest.mark.parametrize("kind", ["noise", "mutated captures"])
def test_flood_of_garbage(node, peer, kind):
    rng = random.Random(1)
    seeds = datagrams()
    assert len(seeds) > 100
    before, before_bad = memory(node.daemon.pid), network(node)["malformed"]
    for number in range(20000):
        if kind == "noise":
            data = rng.randbytes(rng.randrange(1, 400))
        else:
            data = bytearray(rng.choice(seeds))
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            data[1] &= ~wire.HELLO  # a hello would only start the session anew
        peer.send(bytes(data))
        if number % 50 == 0:
            time.sleep(0.002)
    assert node.alive(), node.console()
    peer.hello()
    settle(node, peer)
    assert network(node)["malformed"] - before_bad > (15000 if kind == "noise" else 2000)
    for dump in ("-i", "-e"):
        assert node.out(dump, "-x").count("<flow>") == len(text.parse_dump(node.out(dump)))
    assert memory(node.daemon.pid) - before < 64 * 1024


def test_giant_gap_and_endless_nack_are_survived(node, peer):
    with ctnl.Table(node) as table:
        for number in range(200):
            table.create({"proto": 17, "orig": {"src": "10.1.1.1", "dst": "10.2.0.1", "sport": number, "dport": 53},
                          "status": 8, "timeout": 600})
    peer.send(wire.message(wire.CONTROL, peer.next(), struct.pack(">II", 0, 0x7FFFFFFF), wire.NACK))
    for _ in range(50):
        peer.say(wire.CONTROL, bytes(8), wire.RESYNC)
    peer.sequence += 0x40000000
    peer.say(wire.NEW, FLOW)  # such a jump need be believed only when the next number follows it
    settle(node, peer)
    start = time.monotonic()
    assert node.request(21)
    assert time.monotonic() - start < 0.5


def test_flood_of_resync_requests_is_limited(node, peer):
    """16 bytes that make a node send its whole table: however many come, it does so once a second at most."""
    node.run(lab.FLOWGEN, "create", "5000")
    lab.wait_for(lambda: node.stats()["internal"]["active"] >= 5000, 5, "the flows")

    def sent():
        return node.stats()["link"]["bytes_sent"]

    def quiet():
        before = sent()
        time.sleep(1.2)
        return sent() - before < 1000  # what idle nodes exchange

    lab.wait_for(quiet, 10, "the end of what was being sent")
    before = sent()
    peer.say(wire.CONTROL, bytes(8), wire.RESYNC)
    lab.wait_for(quiet, 10, "the end of the bulk")
    one = sent() - before
    assert one > 5000 * 40
    before, start = sent(), time.monotonic()
    while time.monotonic() < start + 3:
        peer.say(wire.CONTROL, bytes(8), wire.RESYNC)
        time.sleep(0.01)
    last = time.monotonic()
    lab.wait_for(quiet, 10, "the end of the bulks")
    bulks = (sent() - before) / one
    # One at once, one each full second, and one for requests that came during the last of these.
    assert 2.5 < bulks < 2 + (last - start) + 0.5, f"{bulks:.1f} bulks in {last - start:.1f} seconds"


# The control socket


@contextlib.contextmanager
def client(node):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(node.control_path)
        yield connection


def prompt(node, limit=0.05, tries=20):
    """The daemon answers -s at once, most times: the machine may be busy."""
    times = []
    for _ in range(tries):
        start = time.monotonic()
        assert node.request(21).startswith(b"cache internal:")
        times.append(time.monotonic() - start)
    assert sorted(times)[tries * 3 // 4] < limit, times


def load(node, count):
    node.run(lab.FLOWGEN, "create", str(count), timeout=60)
    lab.wait_for(lambda: node.stats()["internal"]["active"] >= count, 10, "the flows")


def test_silent_client_stops_nobody(node):
    node.start()
    with client(node), client(node):
        prompt(node)
        assert node.client("-i", timeout=5).returncode == 0


def test_fifty_silent_clients(node):
    node.start()
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(client(node))
        prompt(node)
    prompt(node)


def test_client_that_does_not_read_stops_nobody(node):
    node.start()
    load(node, 20000)
    with client(node) as slow:
        slow.sendall(struct.pack("=i", 16))
        time.sleep(0.3)
        prompt(node)
        with ctnl.Table(node) as table:  # replication goes on
            table.create({"proto": 17, "orig": {"src": "10.99.0.1", "dst": "10.2.0.1", "sport": 1, "dport": 2},
                          "status": 8, "timeout": 600})
        lab.wait_for(lambda: node.stats()["internal"]["active"] >= 20001, 2, "the new flow")


def test_slow_reader_gets_everything(node):
    node.start()
    load(node, 5000)
    with client(node) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(struct.pack("=i", 16))
        data = b""
        while piece := slow.recv(65536):
            data += piece
            time.sleep(0.0005)
    assert len([flow for flow in text.parse_dump(data.decode()) if flow["orig"]["dst"] == "192.0.2.1"]) == 5000


def test_clients_that_leave(node):
    node.start()
    load(node, 20000)
    for request in (16, 24, 17, 21, 46, 44, 22):
        for _ in range(10):
            with client(node) as leaving:
                leaving.sendall(struct.pack("=i", request))
                if request in (16, 24):
                    leaving.recv(100)
    with client(node):
        pass
    prompt(node)
    assert len([flow for flow in node.internal() if flow["orig"]["dst"] == "192.0.2.1"]) == 20000


def test_nonsense_on_the_control_socket(node):
    node.start()
    rng = random.Random(2)
    for code in (-1, 9999, 27, 2, 3, 49, 1 << 30, -(1 << 31)):
        assert node.request(code) == b""
    for _ in range(200):
        data = rng.randbytes(rng.randrange(5, 2000))
        if struct.unpack_from("=i", data)[0] == 20:
            continue  # that would be a valid stop
        with contextlib.suppress(OSError), client(node) as noisy:
            noisy.sendall(data)
            noisy.shutdown(socket.SHUT_WR)
            noisy.recv(4096)
    for size in (0, 1, 2, 3):
        with client(node) as short:
            short.sendall(b"\x15\0\0"[:size])
            short.shutdown(socket.SHUT_WR)
            short.recv(4096)
    prompt(node)
    assert text.counters(node.out("-s", "runtime"))["local read failed"] >= 1


def test_many_clients_at_once(node):
    node.start()
    load(node, 2000)
    failures = []

    def ask():
        try:
            for _ in range(20):
                if not node.request(random.choice((16, 21, 24, 28, 30, 31)), timeout=20):
                    failures.append("empty")
        except OSError as error:
            failures.append(error)
    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not failures
    prompt(node)


def test_request_in_pieces(node):
    """The four bytes may come one by one."""
    node.start()
    with client(node) as slow:
        for byte in struct.pack("=i", 21):
            slow.sendall(bytes([byte]))
            time.sleep(0.05)
        assert slow.recv(65536).startswith(b"cache internal:")
