# SPDX-License-Identifier: GPL-2.0-or-later
"""Holes in the replication: how long no news leave a node while it does something else.

FullPair runs two nodes that have the same number of flows in both caches, makes 2000 new flows a second on the active one,
runs a command there and says for how long no datagram with flows came out. Times are those at which the kernel took the
datagrams from the link. The generator runs at the highest real-time priority, the active node below it, its peer below that,
everything else at none: so neither the rest of the machine nor our own tools make holes, and the generator tells its own
longest pause.
"""
import contextlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import typing

import lab

SO_TIMESTAMPNS, SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS, PACKET_IGNORE_OUTGOING = 35, 33, 263, 6, 23
RATE = 2000
RESEND_QUEUE = 131072  # conntrackd's default
# Numbers of the first flow of the active node, of its peer, and of those that are new: 10.0.0.0, 10.16.0.0, 10.240.0.0.
OWN, PEERS, NEW = 0, 1 << 24, 0xF0 << 20

# 64 clients at once: each asks one of some things, again and again for some time, or once.
CLIENTS = """
import selectors, socket, struct, sys, time
ready = selectors.DefaultSelector()
requests = [int(word) for word in sys.argv[3:]]
def ask(number):
    control = socket.socket(socket.AF_UNIX)
    control.connect(sys.argv[1])
    control.sendall(struct.pack("=i", requests[number % len(requests)]))
    control.setblocking(False)
    ready.register(control, selectors.EVENT_READ, number)
for number in range(64):
    ask(number)
seconds = float(sys.argv[2])
end = time.monotonic() + seconds
while ready.get_map() and (not seconds or time.monotonic() < end):
    for key, _ in ready.select(0.1):
        try:
            if key.fileobj.recv(1 << 18):
                continue
        except BlockingIOError:
            continue
        ready.unregister(key.fileobj)
        key.fileobj.close()
        if seconds:
            ask(key.data)
"""
# Seconds, then requests: -i, -e, -s; -R. The kernel may take real-time priority from who is busy for longer than 0.95 s
# in a second (kernel.sched_rt_runtime_us): hence a short row and a long one.
CLIENT_ROWS = {"64 clients, 0.5 s": (0.5, 16, 17, 21), "64 clients, 4 s": (4, 16, 17, 21), "64 times -R": (0, 44)}


def flowgen(net, *args, check=True, timeout=300):
    return net.run(lab.FLOWGEN, *args, check=check, timeout=timeout)


def wait_quiet(value, timeout=60, still=0.7):
    """Waits until value() stays the same for a while; returns it."""
    last, since = value(), time.monotonic()
    end = since + timeout
    while time.monotonic() < end and time.monotonic() - since < still:
        time.sleep(0.1)
        now = value()
        if now != last:
            last, since = now, time.monotonic()
    return last


def has_flows(datagram):
    """Whether one of the messages of a datagram is of a flow."""
    while len(datagram) >= 8:
        kind, _, length = struct.unpack_from(">BBH", datagram)
        if kind & 15 <= 2:
            return True
        if length < 8:
            break
        datagram = datagram[length:]
    return False


class Recorder:
    """Takes down every datagram that arrives at a namespace's end of the dedicated link. The kernel stamps and keeps them, so
    it does not matter when the recorder gets a processor."""

    def __init__(self, net):
        self.socket = net.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 28)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.socket.bind(("sync0", 0x0800))
        self.socket.settimeout(0.2)
        self.heard = []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self):
        while True:
            try:
                data, control, _, _ = self.socket.recvmsg(65536, 64)
            except TimeoutError:
                if self.stopped.is_set():
                    return
                continue
            self.heard.append((control[0][2], data))

    def finish(self):
        """When datagrams with flows came, in seconds, in order."""
        self.stopped.set()
        self.thread.join()
        dropped = struct.unpack("=II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        self.socket.close()
        assert not dropped, f"{dropped} datagrams were not recorded"
        times = []
        for stamp, packet in self.heard:
            if packet[9] == socket.IPPROTO_UDP and has_flows(packet[28:]):
                seconds, nanos = struct.unpack("=qq", stamp[:16])
                times.append(seconds + nanos / 1e9)
        return sorted(times)


def run_queue_wait(pid):
    """Seconds that a process was runnable and had no processor, so far."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[1]) / 1e9


class Hole(typing.NamedTuple):
    """All in milliseconds: the longest time without news, the longest pause of the generator, and for how long in all the
    daemon had no processor. Where one of the last two is as long as the first, the machine made the hole."""
    longest: float
    pause: float
    waited: float


class FullPair(lab.Pair):
    def __init__(self, binary, flows, warm=False):
        super().__init__(binary, binary)
        self.flows = flows
        self.warm = warm
        standby = "\t\tWarmStandby On\n" if warm else ""
        urgent = "\tScheduler {\n\t\tType FIFO\n\t\tPriority 98\n\t}\n"
        self.configure(mode_block=f"\tMode FTFW {{\n\t\tPurgeTimeout 1\n{standby}\t}}\n", general_extra=urgent, hash_size=flows,
                       hash_limit=4 * flows + 400000)
        for node in self.nodes():
            node.widen_link_buffers(16777216)
        # The peer has a machine of its own: here it must not take the processor from the node that is measured.
        self.backup.edit_config("Priority 98", "Priority 50")
        self.active.sysctl("net.netfilter.nf_conntrack_udp_timeout", 5)  # new flows go when they have been recorded
        self.active.run("ip", "route", "add", "local", "10.240.0.0/12", "dev", "lo")
        self.active.nft("table ip t {\n\tchain i {\n\t\ttype filter hook input priority 0;\n"
                        "\t\tip daddr 10.240.0.0/12 ct state new drop\n\t}\n}\n")
        self.start().greeted()
        pace = ("--rate", 40000) if lab.is_stock(binary) else ()  # more would overrun it
        flowgen(self.active, "create", flows, "--first", OWN, *pace)
        flowgen(self.backup, "create", flows, "--first", PEERS, *pace)
        self.refill("start")

    def cached(self, side):
        return self.active.stats()[side]["active"]

    def refill(self, after):
        """Makes both caches of the active node full again after a command."""
        if after in ("-c", "--takeover"):
            flowgen(self.active, "delete", self.flows, "--first", PEERS, check=False)
        if after in ("-F", "-t"):
            wait_quiet(lambda: self.cached("internal"))  # the purge may take a while, and would take the new ones too
            flowgen(self.active, "create", self.flows, "--first", OWN, check=False)
        if after == "-f":
            self.active.client("-R", timeout=120)
        if after in ("-f", "--takeover"):
            self.backup.client("-B", timeout=120)
        if self.warm:
            kernel = "/proc/sys/net/netfilter/nf_conntrack_count"
            lab.wait_for(lambda: int(self.active.run("cat", kernel).stdout) >= 2 * self.flows, 120, "the copies", 0.2)
        for side in ("internal", "external"):
            lab.wait_for(lambda side=side: self.cached(side) >= self.flows, 120,
                         lambda side=side: f"the {side} cache to be full, {self.cached(side)} there", 0.2)
        wait_quiet(lambda: self.active.stats()["link"]["bytes_sent"] // 20000)

    def run(self, name):
        """Runs a command on the active node; its output is of no interest."""
        background = 1.5 + self.flows / 200000  # for how long what a command only begins may go on
        if name == "nothing":
            return time.sleep(background)
        if name in CLIENT_ROWS:
            argv = [sys.executable, "-c", CLIENTS, self.active.control_path, *CLIENT_ROWS[name]]
        else:
            argv = [self.active.binary, "-C", self.active.config_path, *name.split()]
        self.active.popen(*argv, stdout=subprocess.DEVNULL).wait(timeout=120)
        if name in ("-t", "-n", "-B", "--takeover"):  # these only begin something
            time.sleep(background)

    def measure(self, name):
        """The longest hole while a command runs."""
        try:
            with self.full_resend_queue() if name == "-s rsqueue" else contextlib.nullcontext():
                return self.record(name)
        finally:
            self.refill(name)

    @contextlib.contextmanager
    def full_resend_queue(self):
        """The peer stands still and acknowledges nothing of what goes and comes again."""
        self.backup.daemon.send_signal(signal.SIGSTOP)
        try:
            for action in ("delete", "create"):
                flowgen(self.active, action, RESEND_QUEUE // 2, "--first", OWN)
            yield
        finally:
            self.backup.daemon.send_signal(signal.SIGCONT)

    def record(self, name):
        recorder = Recorder(self.backup)
        generator = self.active.popen("chrt", "-f", "99", lab.FLOWGEN, "send", 1000000, "--rate", RATE, "--first", NEW,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        waited = run_queue_wait(self.active.daemon.pid)
        try:
            time.sleep(0.5)
            self.run(name)
            time.sleep(0.5)
        finally:
            waited = run_queue_wait(self.active.daemon.pid) - waited
            end = time.time()  # what comes later is no hole: the generator ends
            generator.terminate()
            told = generator.communicate(timeout=20)[0]
            times = [at for at in recorder.finish() if at <= end]
        assert " errors 0 " in told, f"the generator failed, is the kernel's table full? {told}"
        assert len(times) > 100, f"only {len(times)} datagrams with flows were heard"
        pause = float(re.search(r" pause ([\d.]+)", told)[1])
        return Hole(1000 * max(b - a for a, b in zip(times, times[1:])), 1000 * pause, 1000 * waited)
