# SPDX-License-Identifier: GPL-2.0-or-later
"""Redundant links of every kind, cut and mended while flows come and go: nothing is missing in the end. Then interfaces that
come late or come back, what -s tells of links, and what is peculiar to TCP: its end noticed, its queue, its framing."""
import contextlib
import fcntl
import os
import re
import resource
import socket
import struct
import time

import pytest

import conftest
import crowd
import lab
import wire

SIZE = 10  # pairs at a time
NETS = {"sync0": 9, "sync1": 8, "sync2": 7, "sync3": 6}
EVERY = tuple(conftest.PAIRS)
OUR_ACTIVE = ("ours-ours", "ours-stock")
TRANSPORTS = ("Multicast", "UDP", "TCP")
FTFW = "\tMode FTFW {\n\t}\n"
IFF_RUNNING = 0x40


def first(node, of):
    return "1" if node is of.active else "2"


class Linked(crowd.Stage):
    """A pair with up to four cables, all new at the beginning of a scene."""

    def cast(self, active, backup):
        super().cast(active, backup)
        for node in self.nodes():
            node.run("nft", "flush", "ruleset")
        for device in NETS:
            self.active.run("ip", "link", "delete", device, check=False)
        return self

    def plug(self, devices):
        for device in devices:
            lab.veth(self.active, device, self.backup, device)
        for node in self.nodes():
            for device in devices:
                self.mend(node, device)
        for node in self.nodes():
            for device in devices:
                lab.wait_for(lambda: running(node, device), 5, f"the carrier of {device}")

    def mend(self, node, device):
        """Sets the interface up, with its addresses, as a network configuration does: IPv6 loses them when it is down."""
        host, net = first(node, self), NETS[device]
        node.run("ip", "-batch", "-", input=f"address replace 10.77.{net}.{host}/24 dev {device}\n"
                                            f"link set {device} up\n"
                                            f"address replace fd77:{net}::{host}/64 dev {device} nodad\n")

    def configure(self, transport, links=2, mode=FTFW, family=4, backup_mode=None, extra=""):  # pylint: disable=all
        ends = "10.77.{}.{}" if family == 4 else "fd77:{}::{}"
        for node, block in ((self.active, mode), (self.backup, backup_mode or mode)):
            host = first(node, self)
            for device in list(NETS)[:links]:
                link = lab.link_block(transport, ends.format(NETS[device], host),
                                      ends.format(NETS[device], "2" if host == "1" else "1"), device,
                                      port=lab.SYNC_PORT + int(device[-1]))
                block += link.replace("\t\tChecksum", f"{extra}\t\tChecksum")
            node.configure(block)
        return self

    def cut(self, device, how):
        node = self.active if how.startswith("active") else self.backup
        if how.endswith("down"):
            node.run("ip", "link", "set", device, "down")
        else:  # deaf: what arrives there is dropped without a word
            verdict = "drop" if how.endswith("deaf") else "meta l4proto tcp reject with tcp reset"
            node.nft(f"table inet cut {{\nchain c {{\ntype filter hook input priority 0\niifname {device} {verdict}\n}}\n}}")

    def restore(self, device, how):
        node = self.active if how.startswith("active") else self.backup
        if how.endswith("down"):
            self.mend(node, device)
        else:
            node.nft("delete table inet cut")


def running(node, device):
    with node.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        answer = fcntl.ioctl(asked, 0x8913, struct.pack("16sh14x", device.encode(), 0))  # SIOCGIFFLAGS
    return struct.unpack_from("16xh", answer)[0] & IFF_RUNNING


def links(node):
    """-s link: {device: (status, role)}."""
    return {found[1]: (found[2], found[3]) for found in re.finditer(
        r"^\S+ traffic device=(\S+) status=(\S+) role=(\w+):$", node.ask(crowd.STATS_LINK), re.MULTILINE)}


def current(node):
    return next(device for device, link in links(node).items() if link[1] == "ACTIVE")


def queue_of(node, name):
    """-s queue: (elements, maximum, errors)."""
    block = node.ask(crowd.STATS_QUEUE).split(f"queue {name}:")[1]
    return tuple(int(number) for number in re.findall(r":\s+(\d+)", block)[:3])


def flowgen(node, count, first_flow=0, rate=None):
    speed = ("--rate", rate) if rate else ()
    return node.popen(lab.FLOWGEN, "create", count, "--first", first_flow, *speed)


def has(node, count, spare=lambda: 0, timeout=25):
    """Until the node knows of `count` flows, or at most spare() less."""
    lab.wait_for(lambda: count - spare() <= node.external_count() <= count, timeout,
                 lambda: f"{count} flows on {node.role}: {node.external_count()}", 0.1)


def damaged(stage, node):
    """Defect 29: at the end of a TCP connection stock glues pieces of two streams together, and what it sends may lack the
    end of a message. A message whose payload is damaged so counts as received, and is not repeated."""
    return node.stats()["malformed"] if stage.active.stock or stage.backup.stock else 0


SCENES = {}


def scene(*pairs, **variants):
    """Registers a scene for these pairs of binaries; called with the values of `variants` one by one, if there are any."""
    def register(function):
        for pair in pairs:
            for name, value in (next(iter(variants.values())) if variants else {"": None}).items():
                full = "-".join(filter(None, (function.__name__, name, pair)))
                SCENES[full] = ((lambda stage, v=value: function(stage, *v)) if variants else function, pair)
        return function
    return register


# Links cut and mended


@scene(*EVERY, setup={f"{transport}-{number}-links-IPv{family}": (transport, number, family)
                      for transport in TRANSPORTS for number, family in ((2, 4), (3, 6), (4, 4))})
def nothing_is_missing(stage, transport, number, family):
    devices = list(NETS)[:number]
    stage.plug(devices)
    stage.configure(transport, number, family=family).start().greeted()
    count = 2000
    makers = [flowgen(stage.active, count, 0, 250), flowgen(stage.backup, count, 100000, 250)]
    down = {}
    for how in ("active-down", "backup-deaf", "backup-down", "active-deaf", "active-down"):
        if len(down) == number - 1:  # never cut the last one before the others are back
            stage.restore(*down.popitem())
            time.sleep(0.3)
        device = current(stage.active)
        if device in down:
            device = next(other for other in devices if other not in down)
        stage.cut(device, how)
        if how.endswith("down"):
            down[device] = how
        time.sleep(0.7)
        if how.endswith("deaf"):
            stage.restore(device, how)
    left = [device for device in devices if device not in down]
    for device in left:
        stage.cut(device, "backup-down")
    time.sleep(0.7)
    for device in left:
        stage.restore(device, "backup-down")
    for device, how in down.items():
        stage.restore(device, how)
    for maker in makers:
        assert maker.wait(timeout=30) == 0
    mixed_tcp = transport == "TCP" and (stage.active.stock or stage.backup.stock)
    for node in stage.nodes():
        has(node, count, (lambda: damaged(stage, node)) if mixed_tcp else lambda: 0)
        assert node.alive()
        assert mixed_tcp or node.stats()["malformed"] == 0


@scene(*EVERY, setup={transport: (transport,) for transport in TRANSPORTS})
def status_and_role(stage, transport):
    stage.plug(["sync0", "sync1"])
    stage.configure(transport).start().greeted()
    for node in stage.nodes():
        assert list(links(node).values()) == [("RUNNING", "ACTIVE"), ("RUNNING", "BACKUP")]
        assert "traffic (active device=sync0)" in node.ask(crowd.STATS)
    stage.cut("sync0", "active-down")
    for node, status in ((stage.active, "DOWN"), (stage.backup, "NO-CARRIER")):
        lab.wait_for(lambda: list(links(node).values()) == [(status, "BACKUP"), ("RUNNING", "ACTIVE")],
                     4, lambda: f"fail-over of {node.role}: {links(node)}")
        assert "traffic (active device=sync1)" in node.ask(crowd.STATS)
    assert any("[notice] device `sync1' becomes dedicated link" in node.log() for node in stage.nodes())
    stage.restore("sync0", "active-down")
    time.sleep(1.5)
    for node in stage.nodes():
        assert list(links(node).values()) == [("RUNNING", "BACKUP"), ("RUNNING", "ACTIVE")], "no return"
    stage.cut("sync1", "backup-down")
    for node in stage.nodes():
        lab.wait_for(lambda: current(node) == "sync0", 4, f"fail-over of {node.role} to sync0")
    stage.cut("sync0", "backup-down")
    for node in stage.nodes():  # defect 30: stock takes an interface that is only up
        lab.wait_for(lambda: node.stock or "[ERROR] no dedicated links available!" in node.log(), 4, "the complaint")
    stage.restore("sync0", "backup-down")
    flowgen(stage.active, 10)
    has(stage.backup, 10)


# Interfaces that come and go


@scene("ours-ours", setup={f"{transport}-IPv{family}": (transport, family) for transport in TRANSPORTS for family in (4, 6)})
def interface_made_anew(stage, transport, family):
    """The interface is deleted and comes back with another index: everything goes on over it, it being the only one."""
    stage.plug(["sync0"])
    stage.configure(transport, 1, family=family).start().greeted()
    flowgen(stage.active, 10)
    has(stage.backup, 10)
    stage.active.run("ip", "link", "delete", "sync0")
    for node in stage.nodes():
        lab.wait_for(lambda: links(node)["sync0"][0] == "DOWN", 3, "the loss to be noticed")
    flowgen(stage.active, 10, 100).wait(timeout=10)
    # Another interface takes the old index.
    stage.active.run("ip", "link", "add", "sync3", "type", "veth", "peer", "name", "sync3p")
    stage.plug(["sync0"])
    for node in stage.nodes():
        lab.wait_for(lambda: "link on device `sync0' is open now" in node.log(), 5, "the link to be opened again")
    flowgen(stage.active, 10, 200)
    flowgen(stage.backup, 10, 1000)
    has(stage.backup, 30)
    has(stage.active, 10)


@scene("ours-ours", setup={f"{transport}-IPv{family}": (transport, family) for transport in TRANSPORTS for family in (4, 6)})
def interface_comes_late(stage, transport, family):
    stage.plug(["sync1"])
    stage.configure(transport, 2, family=family).start()
    for node in stage.nodes():
        assert len(re.findall(r"\[warning\] .*sync0.*: waiting for it", node.log())) == 1
        lab.wait_for(lambda: current(node) == "sync1", 5, "the other link to take over")
    flowgen(stage.active, 10)
    has(stage.backup, 10)
    stage.plug(["sync0"])
    for node in stage.nodes():
        lab.wait_for(lambda: "link on device `sync0' is open now" in node.log(), 5, "the link to be opened")
        assert links(node)["sync0"] == ("RUNNING", "BACKUP")
        assert node.log().count("sync0'") == 2, "one warning, one notice"
    if transport == "TCP":
        time.sleep(1.5)  # for the connections of the late link
    stage.cut("sync1", "active-down")
    for node in stage.nodes():
        lab.wait_for(lambda: current(node) == "sync0", 4, "the late link to take over")
    flowgen(stage.active, 10, 100)
    has(stage.backup, 20)


@scene("ours-ours")
def lost_changes_that_cannot_be_read_at_once(stage):
    """So many changes that the kernel drops some, and no descriptor to read all interfaces anew: they are read as soon as
    that is possible, though no further change wakes the daemon."""
    stage.plug(["sync0", "sync1"])
    stage.configure("UDP").start().greeted()
    node, pid = stage.active, stage.active.daemon.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with node.stopped():
        node.run("ip", "-batch", "-", input="".join(f"link set sync1 mtu {1300 + i % 100}\n" for i in range(1000)))
        node.run("ip", "link", "set", "sync0", "down")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    complaint = "can't read the interfaces again, trying every second: can't open netlink socket: Too many open files"
    lab.wait_for(lambda: complaint in node.log(), 3, "the complaint")
    time.sleep(2.5)
    assert node.log().count(complaint) == 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    lab.wait_for(lambda: links(node)["sync0"] == ("DOWN", "BACKUP"), 3, lambda: f"the loss to be noticed: {links(node)}")


# Links that cannot send


@scene(*OUR_ACTIVE, setup={transport: (transport,) for transport in ("UDP", "TCP")})
def cannot_send(stage, transport):
    """The address of the current link is removed: the other one takes over although the interface is up, and back when that
    one loses its own."""
    stage.plug(["sync0", "sync1"])
    stage.configure(transport).start().greeted()
    flowgen(stage.active, 10)
    has(stage.backup, 10)
    for device, other, expected in (("sync0", "sync1", 20), ("sync1", "sync0", 30)):
        stage.active.run("ip", "address", "flush", "dev", device)
        flowgen(stage.active, 10, expected * 10).wait(timeout=10)
        # A connection without its address ends when nothing was acknowledged for 20 s.
        lab.wait_for(lambda: current(stage.active) == other, 4 if transport == "UDP" else 35, f"{other} to take over")
        assert links(stage.active)[device] == ("RUNNING", "BACKUP")
        assert stage.active.log().count(f"device `{other}' becomes dedicated link") == 1
        has(stage.backup, expected)
        stage.mend(stage.active, device)
        if transport == "TCP":
            time.sleep(3)  # for its connections
            continue
        lab.wait_for(lambda: f"link on device `{device}' can be used again" in stage.active.log(), 4, "the way to be seen")
        assert stage.active.log().count(f"link on device `{device}' cannot send: Network is unreachable") == 1
        assert current(stage.active) == other, "no return"


@scene("ours-ours", setup={"UDP": ("UDP",), "TCP": ("TCP",)})
def port_of_another_daemon(stage, transport):
    """A second daemon, with another lock file and control socket, wants the port of the first."""
    stage.plug(["sync0"])
    stage.configure(transport, 1)
    stage.active.start(wait=False)
    stage.active.served()
    with open(stage.active.config_path, encoding="utf-8") as file:
        second = file.read().replace("d.lock", "e.lock").replace("d.ctl", "e.ctl").replace("d.log", "e.log")
    path = f"{stage.active.dir}/second.conf"
    with open(path, "w", encoding="utf-8") as file:
        file.write(second)
    refused = stage.active.run(stage.active.binary, "-C", path, check=False, timeout=10)
    assert refused.returncode != 0
    name = os.path.basename(stage.active.binary)
    assert f"{transport} port {lab.SYNC_PORT} is taken (by {name}, pid {stage.active.daemon.pid})" in refused.stderr
    assert stage.active.alive()


# TCP


def state(node):
    """Of the current link: "server=... client=..."."""
    return re.search(r"^TCP traffic \(active device=\S+\) (.*):$", node.ask(crowd.STATS), re.MULTILINE)[1]


BOTH = "server=connected client=connected"
NEITHER = "server=disconnected client=disconnected"


def connected(*nodes):
    for node in nodes:
        lab.wait_for(lambda: state(node) == BOTH, 6, lambda: f"connections: {state(node)}")


@scene(*OUR_ACTIVE)
def end_of_the_peer_is_noticed(stage):
    stage.plug(["sync0"])
    stage.configure("TCP", 1).start()
    connected(stage.active)
    for _ in range(2):
        stage.backup.kill()
        lab.wait_for(lambda: state(stage.active) == NEITHER, 1, "the end to be noticed, with nothing to send")
        stage.backup.clean()
        stage.backup.start(wait=False)
        stage.backup.served()
        connected(stage.active)


@scene(*EVERY)
def peer_restarted(stage):
    """The peer is killed and started again while flows are made; it asks for what it missed. That is more than fits into
    the queue of buffers that a node keeps for a peer that is not connected."""
    stage.plug(["sync0"])
    stage.configure("TCP", 1, backup_mode="\tMode FTFW {\n\t\tStartupResync On\n\t}\n").start().greeted()
    flowgen(stage.active, 8000, 100000).wait(timeout=10)
    maker = flowgen(stage.active, 2000, 0, 500)
    for _ in range(2):
        time.sleep(0.6)
        stage.backup.kill()
        time.sleep(0.6)
        stage.backup.clean()
        stage.backup.start(wait=False)
        stage.backup.served()
    assert maker.wait(timeout=20) == 0
    has(stage.backup, 10000, lambda: damaged(stage, stage.backup))


@scene(*EVERY)
def connections_reset_again_and_again(stage):
    """Every connection is reset and new ones are refused for a while; nothing is lost and nothing comes out of step."""
    stage.plug(["sync0"])
    stage.configure("TCP", 1).start().greeted()
    makers = [flowgen(stage.active, 2000, 0, 500), flowgen(stage.backup, 2000, 100000, 500)]
    for how in ("backup-reject", "active-reject", "backup-reject"):
        time.sleep(0.4)
        stage.cut("sync0", how)
        time.sleep(0.5)
        stage.restore("sync0", how)
    for maker in makers:
        assert maker.wait(timeout=20) == 0
    for node in stage.nodes():
        has(node, 2000, lambda: damaged(stage, node))
        assert stage.active.stock or stage.backup.stock or node.stats()["malformed"] == 0


@scene(*OUR_ACTIVE)
def error_queue(stage):
    """What cannot be sent waits and leaves when the peer is there: a few buffers, flows that fit in no more wait where they
    are told only once, and of what must be sent nevertheless (a message a second) the oldest are dropped."""
    stage.plug(["sync0"])
    stage.configure("TCP", 1, extra="\t\tErrorQueueLength 5\n")
    stage.active.start(wait=False)
    stage.active.served()
    assert queue_of(stage.active, "errorq")[1:] == (5, 0)
    assert flowgen(stage.active, 300, 0, 300).wait(timeout=10) == 0
    elements, _, dropped = queue_of(stage.active, "errorq")
    assert 3 <= elements <= 5
    if not dropped:
        assert queue_of(stage.active, "txqueue")[0] >= 250
    lab.wait_for(lambda: queue_of(stage.active, "errorq")[2] > dropped, 5, "the oldest to be dropped")
    assert queue_of(stage.active, "errorq")[0] == 5
    assert state(stage.active) == NEITHER
    stage.backup.start(wait=False)
    stage.backup.served()
    for queue in "errorq", "txqueue":
        lab.wait_for(lambda: queue_of(stage.active, queue)[0] == 0, 5, f"{queue} to be sent")
    lab.wait_for(lambda: stage.backup.external_count() >= 250, 5, "the flows that waited")


@scene("ours-ours")
def framing_error_ends_the_connection(stage):
    stage.plug(["sync0"])
    stage.configure("TCP", 1)
    active = stage.active
    active.start(wait=False)
    active.served()

    def dial():
        caller = stage.backup.socket(socket.AF_INET, socket.SOCK_STREAM)
        caller.settimeout(3)
        caller.connect(("10.77.9.1", lab.SYNC_PORT))
        return contextlib.closing(caller)

    good = lambda number, flags=0: wire.message(
        wire.NEW, number, wire.flow("10.1.1.1", "10.2.2.2", 1000 + number, 80), flags)
    malformed = 0
    for round_, bad in enumerate((wire.message(wire.NEW, 900, length=0), wire.message(wire.NEW, 901, length=3),
                                  wire.message(wire.NEW, 902, length=40000))):
        with dial() as caller:
            caller.sendall(good(100 * round_ + 1, wire.HELLO))
            lab.wait_for(lambda: active.external_count() == 2 * round_ + 1, 3, "the first message")
            assert state(active).startswith("server=connected")
            # In two pieces, the second of which begins inside a header: that is no error.
            split = good(100 * round_ + 2)
            caller.sendall(split[:3])
            time.sleep(0.05)
            caller.sendall(split[3:] + bad)
            assert caller.recv(1) == b"", "closed"
        lab.wait_for(lambda: active.external_count() == 2 * round_ + 2, 3, "the message before the bad one")
        malformed += 1
        assert active.stats()["malformed"] == malformed
        assert state(active).startswith("server=disconnected")
    assert active.stats()["link"]["error_recv"] == malformed


@pytest.fixture(scope="module")
def outcome(request):
    """The outcome of a scene by name; all that were chosen are played at the same time."""
    chosen = {item.callspec.params["name"] for item in request.session.items
              if item.fspath == request.node.fspath and hasattr(item, "callspec")}
    with crowd.Crowd(SIZE, Linked) as players:
        for name, (function, pair) in SCENES.items():
            if name in chosen:
                players.add(name, function, conftest.PAIRS[pair])
        yield players.outcome


@pytest.mark.parametrize("name", SCENES)
def test_scene(outcome, name):
    outcome(name)
