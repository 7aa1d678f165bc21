# SPDX-License-Identifier: GPL-2.0-or-later
"""Chaos with real daemons and real kernels: nodes of FT-FW on two switches, whose flows are created, changed and ended all the
time while links lose, go mute and flap, and while daemons are killed, stopped, overrun and given commands.

A run is made of rounds: chaos, then peace. In peace no flow changes, nothing is lost, every daemon runs; then the external cache
of each node must become equal to what the kernels of the other nodes have: every flow, its state, its flags and its mark. The
seed decides which faults come, when, and where.

Used by tests/chaos/run and, for seconds only, by tests/netns/test_chaos.py."""
import collections
import concurrent.futures
import contextlib
import dataclasses
import errno
import itertools
import random
import re
import socket
import struct
import threading
import time

import crowd
import ctnl
import lab

PEACE = 30  # seconds in which everything must have become equal
SERVER = "10.200.0.1"
PORTS = f"{lab.SYNC_PORT}-{lab.SYNC_PORT + 1}"
# Queues and event buffers that an outage of a second overruns. What an overrun hid is looked up after 5 seconds; the default of 30
# would make every peace longer.
SYNC = "\tMode FTFW {\n\t\tResendQueueSize 1000\n\t\tACKWindowSize 50\n\t}\n"
OVERRUN = "\tNetlinkOverrunResync 5\n"
EVENT_BUFFER = 262144  # bytes; a few hundred events
RESYNC_KERNEL, STATS_PEERS = 44, 1001
SEEN_REPLY, ASSURED, CONFIRMED = 2, 4, 8
TCP_STATES = ("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE")
LINE = re.compile(r"^\w+ +(\d+) (?:([A-Z_]+\d?) )?src=(\S+) dst=(\S+) sport=(\d+) dport=\d+ (.*)$", re.M)


def held(dump):
    """The flows of a text dump: {(protocol, source, port): (state, assured, mark)}."""
    found = {}
    for proto, state, source, destination, port, rest in LINE.findall(dump):
        if destination == SERVER:
            mark = re.search(r"\bmark=(\d+)", rest)
            found[int(proto), source, int(port)] = (state, "[ASSURED]" in rest, int(mark[1]) if mark else 0)
    return found


def in_kernel(table):
    """The same of a kernel."""
    return {(flow["proto"], flow["orig"]["src"], flow["orig"]["sport"]):
            (TCP_STATES[flow["tcp"]["state"]] if "tcp" in flow else "", bool(flow["status"] & ASSURED), flow["mark"])
            for flow in table.flows() if flow["orig"]["dst"] == SERVER}


def owner(key):
    """The number of the node whose flow it is."""
    return int(key[1].split(".")[1])


class Traffic(threading.Thread):
    """Creates, changes and ends the flows of one node, some `rate` a second, in requests of many at a time."""

    def __init__(self, node, number, flows, rate, rng):
        super().__init__(daemon=True)
        self.node, self.number, self.rate, self.rng = node, number, rate, rng
        self.socket = node.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, ctnl.NETLINK_NETFILTER)
        self.socket.bind((0, 0))
        self.tuples = [self._tuple(i) for i in range(flows)]
        self.there = {}  # number of a flow: (its step, its mark)
        self.running, self.idle = threading.Event(), threading.Event()
        self.idle.set()
        self.over = False
        self.done = collections.Counter()
        self.burst = 0
        self.start()

    def _tuple(self, i):
        proto = 6 if i % 2 else 17
        orig = {"src": f"10.{self.number}.{i // 250}.{i % 250 + 1}", "dst": SERVER, "sport": 1000 + i, "dport": 80}
        return proto, ctnl.pack_tuple(ctnl.TUPLE_ORIG, proto, orig), ctnl.pack_tuple(ctnl.TUPLE_REPLY, proto,
                                                                                       ctnl.inverse(proto, orig))

    def _request(self, command, flags, payload):
        body = struct.pack("=BBH", socket.AF_INET, 0, 0) + payload
        return struct.pack("=IHHII", 16 + len(body), ctnl.CT << 8 | command, flags | ctnl.F_REQUEST, 0, 0) + body

    def _step(self):
        i = self.rng.randrange(len(self.tuples))
        proto, orig, reply = self.tuples[i]
        known = self.there.get(i)
        step, mark = known or (0, 0)
        chance = self.rng.random()
        if known and (chance < 0.25 or step == 8):
            del self.there[i]
            self.done["ended"] += 1
            return self._request(ctnl.DELETE, 0, orig)
        if known and chance < 0.55:
            mark = self.rng.randrange(1 << 32)
        else:
            step += 1
        self.done["changed" if known else "created"] += 1
        self.there[i] = step, mark
        payload = orig + reply
        status = CONFIRMED | (SEEN_REPLY if step > 1 else 0) | (ASSURED if step > 2 else 0)
        # A few run out by themselves.
        timeout = self.rng.randrange(2, 15) if self.rng.random() < 0.02 else 3600
        payload += ctnl.attr(ctnl.STATUS, struct.pack(">I", status)) + ctnl.attr(ctnl.TIMEOUT, struct.pack(">I", timeout))
        payload += ctnl.attr(ctnl.MARK, struct.pack(">I", mark))
        if proto == 6:
            payload += ctnl.nest(ctnl.PROTOINFO, ctnl.nest(1, ctnl.attr(1, bytes([step]))))
        if not known and i % 8 == 0:
            payload += ctnl.pack_nat(ctnl.NAT_SRC, (f"10.240.{self.number}.1", 1000 + i if i % 16 else 30000 + i))
        return self._request(ctnl.NEW, ctnl.F_CREATE, payload)

    def _errors(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    data = self.socket.recv(1 << 16)
                except OSError as failure:
                    if failure.errno == errno.ENOBUFS:
                        continue
                    raise
                code = -struct.unpack_from("=i", data, 16)[0]
                self.done[f"refused: {errno.errorcode.get(code, code)}"] += 1

    def run(self):
        due = time.monotonic()
        while not self.over:
            if not self.running.is_set():
                self.idle.set()
                self.running.wait(0.2)
                due = time.monotonic()
                continue
            count = int((time.monotonic() - due) * self.rate)
            due += count / self.rate
            count, self.burst = count + self.burst, 0
            for first in range(0, count, 200):
                self.socket.send(b"".join(self._step() for _ in range(min(200, count - first))))
            self._errors()
            time.sleep(0.01)

    def go(self):
        self.idle.clear()
        self.running.set()

    def pause(self):
        """No request is under way when it returns."""
        self.running.clear()
        self.idle.wait()

    def end(self):
        self.over = True
        self.join()
        self.socket.close()


class Member(crowd.Actor):
    """A node of the group. `turn` is held by who stops, starts or asks its daemon."""

    def __init__(self, number, binary, switch):
        super().__init__(f"f{number}")
        self.number, self.binary, self.stock = number, binary, lab.is_stock(binary)
        self.name_shown = f"{self.role} ({'stock' if self.stock else 'ours'})"
        self.turn = threading.Lock()
        self.overruns = self.refusals = 0
        self.sysctl("net.ipv4.conf.all.rp_filter", 0)
        # As conf/sysctl.conf says: else flows that begin while the daemon is down send no events for as long as they live.
        self.sysctl("net.netfilter.nf_conntrack_events", 1)
        links = ""
        for device, net in (("sync0", 9), ("sync1", 8)):
            lab.veth(self, device, switch, f"{device}n{number}")
            switch.run("ip", "link", "set", f"{device}n{number}", "master", f"bridge{device[-1]}", "up")
            address = f"10.77.{net}.{number}"
            self.address(device, f"{address}/24")
            links += lab.link_block("Multicast", address, "", device, lab.SYNC_PORT + 9 - net, default=net == 9)
        general = self.general(OVERRUN)
        general = re.sub(r"(NetlinkBufferSize|NetlinkBufferSizeMaxGrowth) \d+", rf"\1 {EVENT_BUFFER}", general)
        self.configure(SYNC + links, general)

    def launch(self):
        """A daemon that does not start, because its link is down, say, is started again, as a service manager does."""
        end = time.monotonic() + 30
        while True:
            self.clean()
            self.children = [child for child in self.children if child.poll() is None]
            self.start(wait=False)
            lab.wait_for(lambda: not self.alive() or self.answers(), 30, f"daemon on {self.role} to answer", 0.05)
            if self.alive():
                return
            assert time.monotonic() < end, f"daemon on {self.role} does not start:\n{self.console()}"
            self.refusals += 1
            time.sleep(0.5)

    def check_alive(self):
        assert self.alive(), f"daemon on {self.name_shown} ended by itself, status {self.daemon.returncode}:\n{self.console()}"

    def shoot(self):
        """The daemon dies; what it counted of overruns is kept."""
        self.note_overruns()
        self.check_alive()
        self.kill()

    def note_overruns(self):
        with contextlib.suppress(OSError):
            found = re.search(r"netlink overrun:\s+(\d+)", self.ask(30))
            self.overruns += int(found[1]) if found else 0

    def foreign(self):
        """Removes the copies of others' flows that a commit has left in this kernel: the flows have gone back to their owners."""
        for flow in self.table.flows():
            if flow["orig"]["dst"] == SERVER and int(flow["orig"]["src"].split(".")[1]) != self.number:
                with contextlib.suppress(FileNotFoundError):
                    self.table.delete(flow)


# Faults. Each is a generator: up to its yield it begins, after that it ends. Those of one slot do not overlap on a node.


tables = itertools.count()


def filtered(node, rules):
    name = f"chaos{next(tables)}"  # on a busy machine one may begin before the last one has ended
    node.nft(f"table inet {name} {{\n{rules}\n}}\n")
    yield
    node.run("nft", "delete", "table", "inet", name)


def chain(hook, rule):
    return f"chain {hook} {{\ntype filter hook {hook} priority 0\nudp dport {PORTS} {rule}\n}}\n"


def loss(node, rng, _):
    chance = rng.choice((1, 10, 30))
    yield f"loss of {chance} %"
    yield from filtered(node, chain("input", f"numgen random mod 100 < {chance} drop"))


def burst_loss(node, rng, _):
    yield "burst loss"
    yield from filtered(node, chain("input", f"numgen inc mod 200 < {rng.randrange(5, 60)} drop"))


def mute(node, rng, _):
    """One way or both."""
    hooks = rng.choice((("input", "output"), ("input",), ("output",)))
    yield {1: f"mute, {hooks[0]} only", 2: "mute"}[len(hooks)]
    yield from filtered(node, "".join(chain(hook, "drop") for hook in hooks))


def deaf_to_one(node, rng, group):
    yield "deaf to one peer"
    other = rng.choice([peer for peer in group.nodes if peer is not node])
    hosts = f"{{ 10.77.9.{other.number}, 10.77.8.{other.number} }}"
    yield from filtered(node, chain("input", f"ip saddr {hosts} drop"))


def flapping(node, rng, group):
    """A link, or both, go down and up, at the node's end or at the switch's."""
    devices = rng.choice((("sync0",), ("sync1",), ("sync0", "sync1")))
    here = rng.random() < 0.5
    yield f"{' and '.join(devices)} down and up"
    net = node if here else group.switch
    names = devices if here else [f"{device}n{node.number}" for device in devices]
    for name in names:
        net.run("ip", "link", "set", name, "down")
    yield
    for name in names:
        net.run("ip", "link", "set", name, "up")


def killed(node, *_):
    yield "killed"
    node.shoot()
    yield
    node.launch()


def restarted(node, *_):
    yield "stopped with -k"
    node.note_overruns()
    node.ask(20)
    node.daemon.wait(timeout=30)
    yield
    node.launch()


def frozen(node, *_):
    yield "SIGSTOP"
    with node.stopped():
        yield


def overrun(node, rng, _):
    """Thousands of events at once while the daemon has no processor for a moment."""
    yield "burst of changes"
    with node.stopped():
        node.traffic.burst = rng.randrange(2000, 6000)
        time.sleep(0.3)
    yield


def commit(node, *_):
    yield "-c"
    node.ask(crowd.COMMIT)
    yield
    node.foreign()


def take_over(node, *_):
    """What the script does on a node that becomes primary, and that it becomes backup again."""
    yield "-c -f -R -B, later -n"
    for request in (crowd.COMMIT, crowd.FLUSH, RESYNC_KERNEL, crowd.BULK):
        node.ask(request)
    yield
    node.foreign()
    node.ask(crowd.REQUEST_RESYNC)


def flush(node, *_):
    yield "-f external, later -n"
    node.ask(crowd.FLUSH_EXTERNAL)
    yield
    node.ask(crowd.REQUEST_RESYNC)


def bulk(node, rng, _):
    name, request = rng.choice((("-n", crowd.REQUEST_RESYNC), ("-B", crowd.BULK), ("-R", RESYNC_KERNEL)))
    yield name
    node.ask(request)
    yield


def purge(node, *_):
    yield "-F"
    node.ask(43)
    yield


# (fault, slot, weight, shortest and longest duration in seconds)
FAULTS = [(loss, "filter", 6, 1, 8), (burst_loss, "filter", 2, 1, 6), (mute, "filter", 4, 0.3, 6), (mute, "filter", 1, 11, 16),
          (deaf_to_one, "filter", 2, 0.5, 8), (flapping, "cable", 5, 0.1, 4), (killed, "daemon", 4, 0.1, 6),
          (killed, "daemon", 1, 11, 16), (restarted, "daemon", 1, 0.1, 3), (frozen, "daemon", 3, 0.3, 5),
          (overrun, "daemon", 3, 0, 0.5), (commit, "daemon", 2, 0.2, 3), (take_over, "daemon", 1, 0.5, 4),
          (flush, "daemon", 1, 0.1, 2), (bulk, "daemon", 3, 0, 0.1), (purge, "daemon", 1, 0, 0.1)]


@dataclasses.dataclass
class Outcome:
    """Of a peace. Times are seconds since its begin; None: it did not come."""
    equal: float | None = None  # every external cache was what the kernels have
    ours_equal: float | None = None  # the same, of our nodes about each other
    said: float | None = None  # our nodes have said of each other that they are in sync
    untrue: int = 0  # looks, after five seconds, at which "in sync" was said and there was a difference
    found: dict = dataclasses.field(default_factory=dict)  # the last differences until then
    silent: list = dataclasses.field(default_factory=list)  # (holder, peer) where the last look found no "in sync"
    now: float = 0


class Group:
    """Nodes on two switches."""

    def __init__(self, binaries, flows, rate, seed):
        self.seed, self.rng = seed, random.Random(seed)
        self.switch = lab.Net("sw")
        for number in (0, 1):
            self.switch.run("ip", "link", "add", "name", f"bridge{number}", "type", "bridge", "mcast_snooping", "0")
            self.switch.run("ip", "link", "set", f"bridge{number}", "up")
        self.nodes = [Member(number, binary, self.switch) for number, binary in enumerate(binaries, 1)]
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.traffic = Traffic(node, node.number, flows, rate, random.Random(f"{seed} traffic {node.number}"))
        self.faults = collections.Counter()
        self.pool = concurrent.futures.ThreadPoolExecutor(4 * len(self.nodes))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            node.traffic.end()
        self.pool.shutdown(wait=True, cancel_futures=True)
        for node in self.nodes:
            node.close()
        self.switch.close()

    # Chaos

    def plan(self, seconds):
        """(begin, duration, fault, node, its random numbers) of a round, in order."""
        planned, busy, now = [], {}, 0.0
        while (now := now + self.rng.expovariate(0.6 * len(self.nodes))) < seconds:
            fault, slot, _, shortest, longest = self.rng.choices(FAULTS, [f[2] for f in FAULTS])[0]
            node = self.rng.choice(self.nodes)
            duration = min(self.rng.uniform(shortest, longest), seconds - now)
            if busy.get((node, slot), 0) <= now:
                busy[node, slot] = now + duration + 0.2
                planned.append((now, duration, fault, slot, node, random.Random(self.rng.random())))
        return planned

    def suffer(self, duration, fault, slot, node, rng):
        with node.turn if slot == "daemon" else contextlib.nullcontext():
            try:
                steps = fault(node, rng, self)
                self.faults[next(steps)] += 1
                next(steps)
                time.sleep(duration)
                for _ in steps:
                    pass
            except (OSError, AssertionError) as failure:
                if not node.stock:
                    raise
                # It goes on, as at a site, and is told.
                self.faults[f"failure of stock: {str(failure).splitlines()[0]}"] += 1

    def chaos(self, seconds, told=lambda: None):
        """Calls told() about once a second."""
        for node in self.nodes:
            node.traffic.go()
        began = time.monotonic()
        running = []
        for begin, *fault in self.plan(seconds):
            while (left := began + begin - time.monotonic()) > 0:
                time.sleep(min(left, 1))
                told()
            running.append(self.pool.submit(self.suffer, *fault))
        while (left := began + seconds - time.monotonic()) > 0:
            time.sleep(min(left, 1))
            told()
        for one in running:
            one.result(timeout=90)
        for node in self.nodes:
            node.traffic.pause()
            node.foreign()
            if node.stock and not node.alive():
                self.faults["stock ended by itself"] += 1
                node.launch()
            node.check_alive()

    # Peace

    def differences(self):
        """{(node that holds, node whose flow it is): {"missing": keys, "ghosts": keys, "wrong": {key: (held, true)}}}."""
        true = {}
        for node in self.nodes:
            for key, value in in_kernel(node.table).items():
                if owner(key) == node.number:
                    true[key] = value
        found = {}
        for node in self.nodes:
            got = held(node.ask(crowd.DUMP_EXTERNAL))
            for number in range(1, len(self.nodes) + 1):
                wanted = {key: true[key] for key in true if owner(key) == number != node.number}
                there = {key: got[key] for key in got if owner(key) == number}
                found[node.number, number] = {
                    "missing": wanted.keys() - there.keys(), "ghosts": there.keys() - wanted.keys(),
                    "wrong": {key: (there[key], wanted[key]) for key in wanted.keys() & there.keys() if wanted[key] != there[key]}}
        return found

    def in_sync(self, node):
        """The numbers of the peers that a node of ours says it is in sync with."""
        found = set()
        for block in node.ask(STATS_PEERS).split("\n\n"):
            peer = re.search(r"^peer 10\.77\.[89]\.(\d+) ", block, re.M)
            if peer and re.search(r"^\s*state:\s+in sync", block, re.M):
                found.add(int(peer[1]))
        return found

    def ours(self, holder, whose):
        """Whether a figure is about nodes of ours alone. What is held of one's own flows can be of a stock node's telling."""
        stock = [node.stock for node in self.nodes]
        return not (stock[holder - 1] or stock[whose - 1] or (holder == whose and any(stock)))

    def peace(self, seconds=PEACE):
        """Waits until all is equal and nodes of ours say so."""
        began = time.monotonic()
        outcome = Outcome()
        while True:
            said = {node: self.in_sync(node) for node in self.nodes if not node.stock}
            found = self.differences()
            outcome.now = time.monotonic() - began
            unequal = {pair for pair, kinds in found.items() if any(kinds.values())}
            if outcome.equal is None:  # later ones can only be flows that run out between two looks
                outcome.found = found
            if outcome.now > 5:
                outcome.untrue += sum((node.number, number) in unequal for node in said for number in said[node])
            pairs = [(node.number, other.number) for node in said for other in said if node is not other]
            outcome.silent = [(holder, whose) for holder, whose in pairs if whose not in said[self.nodes[holder - 1]]]
            if not unequal and outcome.equal is None:
                outcome.equal = outcome.now
            if not any(self.ours(*pair) for pair in unequal) and outcome.ours_equal is None:
                outcome.ours_equal = outcome.now
            if not outcome.silent and outcome.said is None:
                outcome.said = outcome.now
            if outcome.now > seconds or None not in (outcome.equal, outcome.said):
                return outcome
            time.sleep(0.1)

    def sums(self, found, ours):
        """(missing, ghosts, wrong) of the pairs that are nodes of ours alone, or of the others."""
        return tuple(sum(len(kinds[kind]) for pair, kinds in found.items() if self.ours(*pair) == ours)
                     for kind in ("missing", "ghosts", "wrong"))

    # Figures

    def done(self):
        return sum((node.traffic.done for node in self.nodes), collections.Counter())

    def changes(self):
        return sum(count for name, count in self.done().items() if not name.startswith("refused"))

    def overruns(self):
        for node in self.nodes:
            node.note_overruns()
        return sum(node.overruns for node in self.nodes)

    @staticmethod
    def told(node):
        """How often a node's log says some things."""
        log = node.log()
        return {words: log.count(words) for words in ("resend queue is full", "has restarted", "is lost", "were lost", "were given up",
                                                      "that ended at peer", "mended from peer", "again and again") if words in log}
