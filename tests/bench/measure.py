# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests/bench/run measures. Each part, a function of PARTS and the like at the end, takes a contender ("ours", "stock" or "limit") and a Plan and
returns {name of a row (rows.py): value}; for the limit, a bare program with the same netlink and UDP calls, only the rows that
have one. Processor times are the scheduler's own account of the process (/proc/PID/schedstat)."""
import array
import contextlib
import dataclasses
import os
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netns"))
import ctnl  # noqa: E402
import lab  # noqa: E402
import testbed  # noqa: E402
import text  # noqa: E402
from holes import flowgen, wait_quiet  # noqa: E402

TOOLS = os.path.join(lab.ROOT, "build/release/tests/bench/tools")
BARE, WIRETAP, TRAFFIC = (os.path.join(TOOLS, name) for name in ("bare", "wiretap", "traffic"))
ARRIVALS = os.path.join(TOOLS, "libarrivals.so")
BINARIES = {"ours": lab.OURS, "stock": lab.STOCK}
PAUSE = 450  # microseconds: what our daemon rests at most between two looks, and so the bare program where rates are high
STATISTICS = 21  # the request -s
LOSS = 10  # per cent


@dataclasses.dataclass
class Plan:
    """How much is done."""
    flows: int = 100000
    seconds: int = 10  # of what takes place at a rate
    long: int = 300
    sizes: tuple = ()  # of the growth


# The kernel

class KernelRoom:
    """Lets the kernel track so many flows in a namespace, all namespaces having the same limit, and undoes that."""

    NAMES = ("/proc/sys/net/netfilter/nf_conntrack_max", "/proc/sys/net/netfilter/nf_conntrack_buckets")

    def __init__(self, flows):
        self.flows = flows

    def __enter__(self):
        self.before = [int(read(name)) for name in self.NAMES]
        for name, value in zip(self.NAMES, self.before):
            if value < self.flows:
                write(name, self.flows)
        return self

    def __exit__(self, *_):
        for name, value in zip(self.NAMES, self.before):
            if int(read(name)) != value:
                write(name, value)


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def write(path, value):
    with open(path, "w", encoding="ascii") as file:
        file.write(str(value))


def settle(flows):
    """Waits until the processors have next to nothing to do, for so long as the kernel may need to take away namespaces with so many
    flows: it does that in the background."""
    end = time.monotonic() + flows / 50000
    while time.monotonic() < end and busy_share(0.2) > 0.1:
        pass


def busy_share(length):
    """Of the processors' time."""
    def idle():
        return sum(map(int, read("/proc/stat").split("\n", 1)[0].split()[4:6])) / os.sysconf("SC_CLK_TCK")
    before = idle()
    time.sleep(length)
    return 1 - (idle() - before) / length / os.cpu_count()


# Processes

def cpu(process):
    """Seconds of processor time of a process so far."""
    return int(read(f"/proc/{process.pid}/schedstat").split()[0]) / 1e9


def rss(process):
    return int(re.search(r"VmRSS:\s+(\d+)", read(f"/proc/{process.pid}/status"))[1]) * 1024


class Spent:
    """Processor time of processes from its creation on."""

    def __init__(self, *processes):
        self.processes = processes
        self.before = [cpu(process) for process in processes]

    def us_each(self, count):
        """Microseconds a flow, of each process."""
        return [(cpu(process) - before) / count * 1e6 for process, before in zip(self.processes, self.before)]


def bare(net, *args):
    child = net.popen(BARE, *args, stdout=subprocess.PIPE, text=True)
    time.sleep(0.1)
    assert child.poll() is None, f"bare {' '.join(map(str, args))} ended at once"
    return child


def ended(child):
    """Ends one of the tools; the numbers that it prints."""
    child.send_signal(signal.SIGTERM)
    told = child.communicate(timeout=20)[0]
    return {name: float(value) for name, value in re.findall(r"(\w+) ([\d.]+)", told)}


def dump_seconds(net):
    """How long the bare program takes to read the kernel's table."""
    return float(re.search(r"seconds ([\d.]+)", net.run(BARE, "dump", timeout=120).stdout)[1])


@contextlib.contextmanager
def awake(net):
    """No processor sleeps: each has something to do that anything else interrupts."""
    spinners = [net.popen("taskset", "-c", number, "chrt", "-i", "0", "timeout", "120", "sh", "-c", "while :; do :; done")
                for number in os.sched_getaffinity(0)]
    try:
        time.sleep(0.2)
        yield
    finally:
        for spinner in spinners:
            os.killpg(spinner.pid, signal.SIGKILL)
            spinner.wait(timeout=5)


# Nodes

def counters(node, cache):
    """Of a cache, asked without a process for the client."""
    return text.parse_stats(node.request(STATISTICS, timeout=60).decode())[cache]


def seconds(node, *options):
    """How long the client takes for these requests, one after the other; what it prints goes nowhere."""
    began = time.monotonic()
    for option in options:
        with node.enter():
            client = subprocess.Popen([node.binary, "-C", node.config_path, option], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # A wait with a timeout would look for the end every 50 ms only.
        ended = os.pidfd_open(client.pid)
        in_time = select.select([ended], [], [], 600)[0]
        os.close(ended)
        if not in_time:
            client.kill()
        assert client.wait() == 0, f"{node.binary} {option}: status {client.returncode}"
    return time.monotonic() - began


@contextlib.contextmanager
def statistics_node(who, flows):
    """A node in statistics mode: only events and the internal cache. Not started."""
    with lab.Node("n", BINARIES[who]) as node:
        node.configure(stats=True, general=node.general(hash_size=max(32768, flows // 4), hash_limit=2 * flows + 200000))
        node.sysctl("net.netfilter.nf_conntrack_events", 1)
        yield node


@contextlib.contextmanager
def running_pair(who, flows, **configuration):
    """Two nodes in FT-FW mode, or the bare program in the place of each."""
    with lab.Pair(BINARIES.get(who, BARE), BINARIES.get(who, BARE)) as pair:
        if who == "limit":
            pause = configuration.get("pause", PAUSE)
            pair.active.daemon = bare(pair.active, "relay", "10.77.9.2", pause)
            pair.backup.daemon = bare(pair.backup, "receive", pause)
        else:
            configuration.pop("pause", None)
            pair.configure(hash_limit=2 * flows + 400000, hash_size=max(32768, flows // 4), **configuration)
            for node in pair.nodes():
                node.widen_link_buffers(67108864)
            pair.start().greeted()
        yield pair


# Times of single flows

class Watch:
    """When each of `count` flows or changes was begun, was on the wire, and was in the peer's cache. Used as a context around what
    happens; the flows begin with number `first`."""

    def __init__(self, pair, count, first=0, flows=None):
        self.pair, self.count, self.first, self.flows = pair, count, first, flows or count
        self.dir = tempfile.TemporaryDirectory(prefix="cts")
        for name in ("begun", "wire", "cached"):
            with open(self.path(name), "wb") as file:
                file.truncate(8 * count)

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def preload(self):
        """What the receiver has to be started with, so that it tells when a flow is in its cache."""
        return {"LD_PRELOAD": ARRIVALS, "ARRIVALS": self.path("cached"), "ARRIVALS_FIRST": str(self.first),
                "ARRIVALS_FLOWS": str(self.flows)}

    def __enter__(self):
        self.tap = self.pair.backup.popen(WIRETAP, self.path("wire"), self.first, self.flows, stdout=subprocess.PIPE, text=True)
        assert self.tap.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        self.told = ended(self.tap)
        self.times = {name: self.load(name) for name in ("begun", "wire", "cached")}
        self.dir.cleanup()

    def load(self, name):
        times = array.array("Q")
        with open(self.path(name), "rb") as file:
            times.frombytes(file.read())
        return times

    def generate(self, action, rate, *args):
        """The generator goes before everything else: nobody is to make it late."""
        self.pair.active.run("chrt", "-f", 99, lab.FLOWGEN, action, self.count, "--rate", rate, "--first", self.first,
                             "--times", self.path("begun"), *args, timeout=self.count / rate + 60)
        time.sleep(0.5)

    def microseconds(self, name):
        """From the begin of each flow, in order of length; a flow that never came spoils the measurement."""
        taken = sorted((seen - begun) / 1000 for begun, seen in zip(self.times["begun"], self.times[name]) if seen)
        missing = self.count - len(taken)
        assert missing <= self.count // 1000, f"{missing} of {self.count} flows never came ({name}); {self.told}"
        return taken


def share(ordered, part):
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


# The parts

def ingest(who, plan):
    """A burst of new flows, and 20 000 a second, into the internal cache."""
    if who == "limit":
        with lab.Node("n", BARE) as node:
            reader = bare(node, "events", PAUSE)
            spent = Spent(reader)
            flowgen(node, "create", plan.flows)
            time.sleep(0.3)
            burst = spent.us_each(plan.flows)[0]
            steady = at_rate(node, plan, reader)[0]
            assert ended(reader)["items"] > plan.flows, "the bare program heard no events"
        return {"ingest burst": burst, "ingest 20 000/s": steady}
    with statistics_node(who, plan.flows) as node:
        node.start()
        base = rss(node.daemon)
        spent = Spent(node.daemon)
        flowgen(node, "create", plan.flows)
        got = wait_quiet(lambda: active_connections(node))  # stock loses events of a burst
        burst = spent.us_each(got)[0]
        memory = (rss(node.daemon) - base) / got
        steady = at_rate(node, plan, node.daemon)[0]
    return {"ingest burst": burst, "ingest 20 000/s": steady, "memory, internal": memory}


def active_connections(node):
    return int(re.search(r"active connections:\s+(\d+)", node.request(STATISTICS, timeout=60).decode())[1])


def at_rate(node, plan, *processes, rate=20000):
    """Processor time a flow of these processes while flows are created at a rate."""
    count = min(60000, plan.flows)
    spent = Spent(*processes)
    flowgen(node, "create", count, "--first", 1 << 22, "--rate", rate)
    time.sleep(0.3)
    return spent.us_each(count)


def ftfw(who, plan):
    """FT-FW: at a rate, at full speed, a bulk, and requests beside full caches."""
    figures = {}
    with running_pair(who, plan.flows) as pair:
        a, b = (node.daemon for node in pair.nodes())
        base = rss(b)
        figures["FT-FW 20 000/s, sender"], figures["FT-FW 20 000/s, receiver"] = at_rate(pair.active, plan, a, b)
        if who == "limit":
            spent = Spent(b)
            flowgen(pair.active, "create", plan.flows)
            time.sleep(0.5)
            each = spent.us_each(plan.flows)[0]
            assert ended(a)["items"] > plan.flows and ended(b)["items"] > 0, "the bare program has relayed nothing"
            # To receive is the same whatever a message says.
            return figures | {f"FT-FW full speed, receiver, {kind}": each for kind in ("new", "update", "destroy")} | {
                "-R": dump_seconds(pair.active)}
        for action, kind, counter in (("create", "new", "created"), ("change", "update", "updated")):
            figures[f"FT-FW full speed, receiver, {kind}"] = full_speed(pair, plan, action, counter)
        held = counters(pair.backup, "external")["active"]
        figures["memory, external"] = (rss(b) - base) / held
        spent = Spent(a, b)
        came = pair.backup.stats()["link"]["bytes_recv"]
        pair.active.client("-B")
        wait_quiet(lambda: pair.backup.stats()["link"]["bytes_recv"] // 10000)
        assert pair.backup.stats()["link"]["bytes_recv"] - came > held * 50, "there was no bulk"
        figures["bulk, sender"], figures["bulk, receiver"] = spent.us_each(held)
        figures["-R"] = seconds(pair.active, "-R", "-s")  # one that answers at once is done when it answers the next
        figures["-i"] = seconds(pair.active, "-i")
        figures["-e"] = seconds(pair.backup, "-e")
        figures["FT-FW full speed, receiver, destroy"] = full_speed(pair, plan, "delete", "destroyed")
    return figures


def full_speed(pair, plan, action, counter):
    """Processor time of the receiver for each flow that reaches it."""
    before = counters(pair.backup, "external")[counter]
    spent = Spent(pair.backup.daemon)
    flowgen(pair.active, action, plan.flows)
    came = wait_quiet(lambda: counters(pair.backup, "external")[counter]) - before
    assert came > plan.flows // 10, f"{action}: only {came} of {plan.flows} flows came to the peer"
    return spent.us_each(came)[0]


def idle_latency(who, plan):
    """From an event to the wire while nothing else happens, with processors that sleep and that do not."""
    figures = {}
    count = min(300, plan.flows)
    with running_pair(who, plan.flows, pause=0) as pair:
        for number, (name, state) in enumerate((("asleep", contextlib.nullcontext()), ("awake", awake(pair.active)))):
            with state, Watch(pair, count, first=number * count) as watch:
                watch.generate("create", 100)
            taken = watch.microseconds("wire")
            figures[f"event to wire, idle, {name}, p50"] = share(taken, 0.5)
            figures[f"event to wire, idle, {name}, p99"] = share(taken, 0.99)
    return figures


CACHES = {"": {}, ", no external cache": {"mode_block": "\tMode FTFW {\n\t\tDisableExternalCache On\n\t}\n"},
          ", no caches": {"mode_block": "\tMode NOTRACK {\n\t\tDisableInternalCache On\n\t\tDisableExternalCache On\n\t}\n"}}


def busy_latency(who, plan):
    """From an event to the wire at 10 000 new flows a second."""
    figures = {}
    count = min(30000, plan.flows)
    for name, configuration in CACHES.items():
        if who == "limit" and name:  # it has no caches
            figures |= {figure.replace("10 000/s", f"10 000/s{name}"): value for figure, value in figures.items()
                        if figure.count(",") == 1}
            continue
        with running_pair(who, plan.flows, pause=0, **configuration) as pair:
            with Watch(pair, count) as watch:
                spent = Spent(pair.active.daemon)
                watch.generate("create", 10000)
                each = spent.us_each(count)[0]
            taken = watch.microseconds("wire")
        figures[f"event to wire at 10 000/s{name}, p50"] = share(taken, 0.5)
        figures[f"event to wire at 10 000/s{name}, p99"] = share(taken, 0.99)
        figures[f"event to wire at 10 000/s{name}, sender"] = each
    return figures


def cache_latency(who, plan):
    """From an event to the peer's cache at 10 000 new flows a second."""
    taken = to_the_peers_cache(who, plan, min(10000 * plan.seconds, plan.flows))
    return {"event to the peer's cache, p99": share(taken, 0.99), "event to the peer's cache, p99.9": share(taken, 0.999)}


def long_latency(who, plan):
    """The same for long, of changes: so many flows would not fit."""
    if who == "limit":
        return {}
    taken = to_the_peers_cache(who, plan, 10000 * plan.long, flows=plan.flows)
    return {"event to the peer's cache, longest": taken[-1]}


def to_the_peers_cache(who, plan, count, flows=None):
    with lab.Pair(BINARIES.get(who, BARE), BINARIES.get(who, BARE)) as pair:
        watch = Watch(pair, count, flows=flows)
        if who == "limit":
            pair.active.daemon = bare(pair.active, "relay", "10.77.9.2")
            with environment(watch.preload()):
                pair.backup.daemon = bare(pair.backup, "receive")
        else:
            pair.configure(hash_limit=2 * count, hash_size=max(32768, plan.flows // 4))
            for node in pair.nodes():
                node.widen_link_buffers(67108864)
            pair.active.start()
            if flows:  # what is changed has to be there; the receiver starts after it and is told by a bulk
                flowgen(pair.active, "create", flows, "--rate", 20000)
            with environment(watch.preload()):
                pair.backup.start()
            pair.greeted()
            if flows:
                pair.active.client("-B")
                lab.wait_for(lambda: counters(pair.backup, "external")["active"] >= flows, 60, "the flows at the peer", 0.2)
                time.sleep(1)
                write_zeros(watch)
        with watch:
            watch.generate("change" if flows else "create", 10000, *(("--flows", flows) if flows else ()))
    return watch.microseconds("cached")


def write_zeros(watch):
    """Forgets what came so far; the file stays where the receiver has it in its memory."""
    with open(watch.path("cached"), "r+b") as file:
        file.write(bytes(8 * watch.count))


@contextlib.contextmanager
def environment(values):
    """Of what is started in the block."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]


# Take-over

def standby(who, flows):
    """A pair whose active has just died; the backup knows its connections."""
    pair = lab.Pair(BINARIES[who], BINARIES[who])
    pair.configure(hash_limit=2 * flows + 100000, hash_size=max(32768, flows // 4))
    for node in pair.nodes():
        node.widen_link_buffers(67108864)
    pair.start().greeted()
    flowgen(pair.active, "create", flows, "--rate", 40000)
    lab.wait_for(lambda: counters(pair.backup, "external")["active"] >= flows, 120, "the flows at the backup", 0.2)
    pair.active.kill()
    died = time.monotonic()
    # All namespaces share one hash table; at a site the backup's kernel has it for itself.
    with ctnl.Table(pair.active) as table:
        table.flush()
    settle(flows)
    # So long keepalived takes to believe it, with the default timers.
    time.sleep(max(0, died + 3 - time.monotonic()))
    return pair


def commit(who, flows, again=True):
    """Seconds of -c into an empty kernel, and once more."""
    settle(flows)
    if who == "limit":
        with lab.Net("n") as net:
            return [generator_seconds(net, action, flows) for action in ("create", "change")]
    with standby(who, flows) as pair:
        taken = [seconds(pair.backup, "-c")]
        assert kernel_count(pair.backup) >= flows, "the commit has left something out"
        if again:
            time.sleep(1 + flows / 100000)  # what goes on in the background
            taken.append(seconds(pair.backup, "-c"))
    return taken


def kernel_count(net):
    with net.enter():
        return int(read("/proc/sys/net/netfilter/nf_conntrack_count"))


def generator_seconds(net, *args):
    return float(re.search(r"seconds ([\d.]+)", flowgen(net, *args).stdout)[1])


def whole(who, flows):
    """Seconds of all that primary-backup.sh does."""
    settle(flows)
    if who == "limit":
        with lab.Net("n") as net:
            return generator_seconds(net, "create", flows)
    with standby(who, flows) as pair:
        return seconds(pair.backup, *(("-c", "-f", "-R", "-B") if pair.backup.stock else ("--takeover",)))


def takeover(who, plan, suffix=""):
    fresh, again = commit(who, plan.flows)
    return {f"commit, fresh{suffix}": fresh, f"commit, again{suffix}": again, f"take-over{suffix}": whole(who, plan.flows)}


def big_takeover(who, plan):
    return takeover(who, dataclasses.replace(plan, flows=1000000), ", 1 000 000 flows")


# WarmStandby, which only ours has

WARM = "\tMode FTFW {\n\t\tWarmStandby on\n\t}\n"
PEERS = 1001  # the request -s peers


def warm(who, plan):
    """What it costs the backup to keep the kernel as its cache, and -c when a part of the flows has just changed."""
    if who != "ours":
        return {}
    with running_pair(who, plan.flows, mode_block=WARM) as pair:
        each = at_rate(pair.active, plan, pair.backup.daemon)[0]
    figures = {"warm standby, 20 000/s, backup": each * 20000 / 10000}
    for name, part in (("0.1", 1000), ("1", 100)):
        figures[f"warm standby, -c, {name} % changed"] = 1000 * warm_commit(who, plan.flows, plan.flows // part)
    return figures


def big_warm(who, plan):
    figures = warm(who, dataclasses.replace(plan, flows=1000000))
    return {f"{name}, 1 000 000 flows": value for name, value in figures.items() if "-c" in name}


def warm_commit(who, flows, changed):
    """Seconds of -c after that many changes that the backup has had no time to write yet; the active is dead."""
    settle(flows)
    with running_pair(who, flows, mode_block=WARM) as pair:
        flowgen(pair.active, "create", flows, "--rate", 20000)
        lab.wait_for(lambda: kernel_count(pair.backup) >= flows and waiting(pair.backup) == 0, 180, "the flows in its kernel", 0.2)
        time.sleep(2)
        flowgen(pair.active, "change", changed, "--flows", flows)
        pair.active.kill()
        assert waiting(pair.backup) > changed // 2, "too late: the changes are written already"
        taken = seconds(pair.backup, "-c")
        lab.wait_for(lambda: counters(pair.backup, "internal")["active"] >= flows, 60, "them to be the backup's", 0.2)
    return taken


def waiting(node):
    return int(re.search(r"waiting to be written:\s+(\d+)", node.request(PEERS, timeout=60).decode())[1])


def start(who, plan):
    """With a full kernel, until all of it is in the cache."""
    if who == "limit":
        with lab.Net("n") as net:
            flowgen(net, "create", plan.flows)
            return {"start, full kernel": dump_seconds(net)}
    with statistics_node(who, plan.flows) as node:
        flowgen(node, "create", plan.flows)
        return {"start, full kernel": start_seconds(node, plan.flows)}


def start_seconds(node, flows):
    def filled():
        with contextlib.suppress(OSError):
            return active_connections(node) >= flows
        return False
    began = time.monotonic()
    node.start(wait=False)
    lab.wait_for(filled, 120, "the kernel's flows in the cache", 0.005)
    return time.monotonic() - began


# Other modes, faults, traffic

def alarm(who, plan):
    """ALARM mode with conntrackd's defaults: processor time of one round of repetitions, 15 s, in per cent of a processor."""
    if who == "limit":
        return {}
    mode = "\tMode ALARM {\n\t\tRefreshTime 15\n\t\tCacheTimeout 180\n\t}\n"
    with lab.Pair(BINARIES[who], BINARIES[who]) as pair:
        pair.configure(mode_block=mode, hash_limit=2 * plan.flows + 100000, hash_size=max(32768, plan.flows // 4))
        for node in pair.nodes():
            node.widen_link_buffers(67108864)
        pair.start()
        flowgen(pair.active, "create", plan.flows, "--rate", 40000)
        lab.wait_for(lambda: counters(pair.backup, "external")["active"] >= plan.flows, 30, "the flows at the peer", 0.2)
        time.sleep(2)
        length = 15 if plan.seconds >= 10 else 3  # a whole round, or a look
        spent = Spent(*(node.daemon for node in pair.nodes()))
        time.sleep(length)
        sender, receiver = (each / 1e4 for each in spent.us_each(length))
    return {"ALARM, flows idle, sender": sender, "ALARM, flows idle, receiver": receiver}


# Of the datagrams with flows the first one is lost.
ONE_LOST = "@th,68,4 0-2 limit rate 1/day burst 1 packets counter drop"
SOME_LOST = f"numgen random mod 100 < {LOSS} drop"


def lossy(node, rule):
    node.nft(f"table ip lost {{ chain i {{ type filter hook input priority 0; udp dport {lab.SYNC_PORT} {rule}; }}; }}")


def repair(who, plan):
    """A flow whose only datagram is lost: until the peer has it."""
    if who == "limit":
        return {}
    taken = []
    with running_pair(who, plan.flows) as pair, ctnl.Table(pair.active) as table:
        for number in range(min(10, 1 + plan.flows // 1000)):
            lossy(pair.backup, ONE_LOST)
            before = counters(pair.backup, "external")["active"]
            time.sleep(0.13 * number)  # at no fixed moment of anybody's second
            began = time.monotonic()
            table.create(ctnl.udp_flow(number))
            lab.wait_for(lambda: counters(pair.backup, "external")["active"] > before, 30, "the lost flow at the peer", 0.002)
            taken.append((time.monotonic() - began) * 1000)
            assert "counter packets 1 " in pair.backup.run("nft", "list", "table", "ip", "lost").stdout, "nothing was lost"
            pair.backup.run("nft", "delete", "table", "ip", "lost")
    return {"repair of a lost last datagram": statistics.median(taken)}


def resent(who, plan):
    """How many messages go more than once while every tenth datagram is lost, both ways."""
    if who == "limit":
        return {}
    count = min(50000, plan.flows)
    with running_pair(who, plan.flows) as pair:
        for node in pair.nodes():
            lossy(node, SOME_LOST)
        with Watch(pair, count) as watch:
            watch.generate("create", 10000)
            lab.wait_for(lambda: counters(pair.backup, "external")["active"] >= count * 0.999, 60, "the flows at the peer", 0.2)
            wait_quiet(lambda: pair.backup.stats()["link"]["bytes_recv"] // 5000)
        first = sum(1 for when in watch.times["wire"] if when)
        again = watch.told["messages"] - first
        assert again > 0, f"nothing was resent: {watch.told}"
    return {"resent with 10 % loss": 1000 * again / first}


class Road(testbed.Site):
    """A client and a server on both sides of a firewall, with traffic between them."""

    PORT = 6000

    def __init__(self, who):
        binary = BINARIES.get(who, BARE)
        rules = "table ip f { chain forward { type filter hook forward priority 0; ct state invalid drop; }; }"
        super().__init__(binary, binary, rules=rules)
        self.server.popen(TRAFFIC, "serve", self.PORT)
        lab.wait_for(self.listens, 5, "the server to listen")
        self.client.sysctl("net.ipv4.ip_local_port_range", "20000 60999")
        self.who = who

    def listens(self):
        with self.server.enter():
            return f":{self.PORT:04X} 00000000:0000 0A" in read("/proc/self/net/tcp")

    def on(self):
        if self.who == "limit":
            self.active.daemon = bare(self.active, "relay", "10.77.9.2", PAUSE)
            self.backup.daemon = bare(self.backup, "receive", PAUSE)
        else:
            self.start().greeted()

    def off(self):
        for node in self.nodes():
            if self.who == "limit":
                ended(node.daemon)
            else:
                node.stop()  # conntrackd does not start where it was killed

    def connects(self, length):
        done = self.client.run(TRAFFIC, "connect", testbed.SERVER, self.PORT, length, timeout=length + 20)
        return int(re.search(r"connections (\d+)", done.stdout)[1]) / length

    def pingpong(self, length):
        """The 99th percentile while 1000 connections a second come and go."""
        others = self.client.popen(TRAFFIC, "connect", testbed.SERVER, self.PORT, length + 1, 1000, stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        done = self.client.run(TRAFFIC, "pingpong", testbed.SERVER, self.PORT, length, timeout=length + 20)
        assert others.wait(timeout=20) == 0, "the other connections failed"
        return int(re.search(r"p99 (\d+)", done.stdout)[1])


def forwarding(who, plan):
    """What the traffic through a firewall loses by the daemon: with and without it by turns."""
    length, turns = (2, 5) if plan.seconds >= 10 else (1, 1)
    rates, pings = ([], []), ([], [])
    with Road(who) as road:
        if who != "limit":
            road.configure()
        road.connects(1)
        for turn in range(2 * turns):
            with_daemon = turn % 2
            if with_daemon:
                road.on()
            rates[with_daemon].append(road.connects(length))
            pings[with_daemon].append(road.pingpong(length))
            if with_daemon:
                road.off()
    without, beside = map(statistics.median, rates)
    ping_without, ping_beside = map(statistics.median, pings)
    return {"forwarding, connections/s": 100 * (1 - beside / without), "forwarding, ping-pong p99": 100 * (ping_beside / ping_without - 1)}


# Growth

def growth(who, plan):
    """Tables of several sizes: memory, an update at 20 000 a second, -i, and a commit."""
    figures = {}
    for size in plan.sizes:
        figures |= {f"growth, {size}, {name}": value for name, value in one_size(who, size).items()}
    return figures


def one_size(who, size):
    settle(size)
    changes = min(60000, size)
    change = ("change", changes, "--rate", 20000, "--flows", size, "--step", 7919)
    if who == "limit":
        with lab.Net("n") as net:
            net.sysctl("net.netfilter.nf_conntrack_events", 1)
            flowgen(net, "create", size)
            reader = bare(net, "events", PAUSE)
            spent = Spent(reader)
            flowgen(net, *change)
            figures = {"update": spent.us_each(changes)[0]}
            assert ended(reader)["items"] >= changes // 2
    else:
        with statistics_node(who, size) as node:
            node.start()
            base = rss(node.daemon)
            node.stop()
            flowgen(node, "create", size)
            start_seconds(node, size)
            figures = {"memory": (rss(node.daemon) - base) / size}
            spent = Spent(node.daemon)
            flowgen(node, *change)
            figures["update"] = spent.us_each(changes)[0]
            if size <= 1000000:
                figures["-i"] = seconds(node, "-i")
    if size <= 100000:  # larger ones are rows of their own
        figures["commit"] = commit(who, size, again=False)[0]
    return figures


def named(*parts):
    return {part.__name__: part for part in parts}


# Measured in every round, and in the last one alone.
PARTS = named(ingest, ftfw, idle_latency, busy_latency, cache_latency, takeover, warm, start, alarm, repair, resent)
ONCE = named(forwarding)
BIG_PARTS = named(big_takeover, big_warm)
BIG_ONCE = named(growth, long_latency)
