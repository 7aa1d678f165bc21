#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How long users notice a fail-over: two firewalls with keepalived, ours and Debian's conntrackd by turns.

The laboratory is that of the demonstration (failover.py), and the tables hold many connections besides. A datagram a millisecond,
from outside back through source NAT to a client inside, passes the second firewall only when its own connection has been
committed there; live TCP streams in both directions must go on. Two faults, by turns:

    death   all processes of the active firewall are killed and its links cut
    cable   the outside cable of the active firewall is pulled

Afterwards that firewall begins again with empty tables, as backup, and once it knows all connections it is the other's turn.
Printed are, in milliseconds, the median and the 99th percentile (of up to 100 fail-overs that is the largest):

    detect  from the fault until keepalived on the other firewall enters the master state
    react   from there until the first connections are written into its kernel
    commit  from there until the last ones are (both are missing where the kernel has the connections before the fault)
    first   from keepalived's master state until the first datagram has passed; 0 if one had before
    gap     the longest silence of the datagrams

Both firewalls share a kernel, in which a commit takes about twice as long while any daemon of the machine listens to new
connections: after `cable` the other firewall's does, so there and beside other tests ctsyncd is slower than on two machines.

A stream is broken if it has failed or is not back within 15 s. A flap is a change of the master that no fault caused: on this
machine such fast adverts do not hold. Each step has a time limit. Exit status 0, or 1 if ctsyncd broke a stream or a fail-over
did not happen as it should.
"""
import argparse
import contextlib
import dataclasses
import itertools
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import time

import failover
import lab  # found by failover
from failover import Setting

ROUNDS = 5  # with both faults each, before the laboratory is built anew
FEW = 10  # connections that may come and go beside those of a commit
FAULTS = ("death", "cable")
FIGURES = ("detect", "react", "commit", "first", "gap")

SCRIPT = Setting()
PIPE = Setting(script=False, globals="    vrrp_notify_fifo $dir/fifo\n",
               sync="\tKeepalived {\n\t\tNotifyFifo $dir/fifo\n\t\tGroup PAIR\n\t}\n")
WARM = dataclasses.replace(PIPE, mode="\t\tWarmStandby on\n")


def faster(setting, advert):
    """As conf/keepalived-fast.conf."""
    return dataclasses.replace(setting, advert=advert,
                               globals=setting.globals + "    vrrp_version 3\n    vrrp_rt_priority 20\n")


def bfd(setting):
    """The most that BFD is good for in keepalived 2.2.7: the end of the session raises the backup's priority, and that shortens
    its wait for an advert from 1.96 intervals to 1.22. The delay is for the session: before it is up the wait is the short one."""
    return dataclasses.replace(
        setting, priorities=(200, 199), globals=setting.globals + "    bfd_rt_priority 20\n    vrrp_startup_delay 3\n",
        instance="    down_timer_adverts 1\n", group="    track_bfd {\n        PEER weight 190 reverse\n    }\n",
        blocks="bfd_instance PEER {\n    neighbor_ip 10.77.9.$peer\n    source_ip 10.77.9.$number\n    min_rx 20\n"
               "    min_tx 20\n    multiplier 3\n}\n")


@dataclasses.dataclass(frozen=True)
class Variant:
    binary: str
    setting: Setting
    pause: float = 1  # before each fault, for what still goes on in the background


def variants(adverts):
    """{name: Variant}, in the order of the table."""
    ways = {"conntrackd, script": (lab.STOCK, SCRIPT), "ctsyncd, script": (lab.OURS, SCRIPT), "ctsyncd, pipe": (lab.OURS, PIPE),
            "ctsyncd, warm": (lab.OURS, WARM)}
    found = {}
    for name, (binary, setting) in ways.items():
        found[f"1 s, {name}"] = Variant(binary, setting)
    for advert in ("0.1", *adverts):
        for name, (binary, setting) in ways.items():
            found[f"{advert} s, {name}"] = Variant(binary, faster(setting, advert))
    found["0.1 s and BFD, ctsyncd, pipe"] = Variant(lab.OURS, bfd(faster(PIPE, "0.1")), 4)
    return found


class Firewall(failover.Firewall):
    """Its keepalived writes to the probe, and calls the script as on a site."""

    def __init__(self, *args):
        super().__init__(*args)
        self.keepalived_log.close()
        self.log_end, self.keepalived_log = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "wb")))
        with self.enter():
            self.counter = open("/proc/sys/net/netfilter/nf_conntrack_count", "rb", buffering=0)

    def close(self):
        super().close()
        for file in (self.log_end, self.keepalived_log, self.counter):
            file.close()

    def notify_script(self):
        return failover.SCRIPT

    def general(self, *args, **kwargs):
        return super().general(*args, hash_size=262144, **kwargs)

    def configure(self, *args, **kwargs):
        super().configure(*args, **kwargs)
        self.widen_link_buffers(67108864)


class Laboratory(failover.Laboratory):
    """The pair with many connections, and what the probe has seen."""

    def __init__(self, variant, flows):
        super().__init__([variant.binary] * 2, variant.setting, Firewall)
        self.flows, self.pause = flows, variant.pause
        self.last, self.gaps, self.counts, self.lines = 0.0, [], [], []
        self.masters_seen = 0
        self.sender, self.receiver = (host.socket(socket.AF_INET, socket.SOCK_DGRAM) for host in (self.server, self.client))
        self.sender.bind((failover.SERVER, failover.PROBE_PORT))
        files = (self.sender, self.receiver, *(firewall.counter for firewall in self.firewalls),
                 *(firewall.log_end for firewall in self.firewalls))
        descriptors = [file.fileno() for file in files]
        self.probe = subprocess.Popen(
            [sys.executable, os.path.join(os.path.dirname(__file__), "probe.py"), *map(str, descriptors)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=descriptors, start_new_session=True)

    def close(self):
        self.probe.stdin.close()
        self.probe.wait(timeout=5)
        self.probe.stdout.close()
        self.sender.close()
        self.receiver.close()
        super().close()

    # What the probe has seen

    def look(self):
        self.probe.stdin.write("\n")
        self.probe.stdin.flush()
        notes = json.loads(self.probe.stdout.readline())
        self.last = notes["last"]
        self.gaps += notes["gaps"]
        self.counts += notes["counts"]
        self.lines += [(at, self.firewalls[number], line) for at, number, line in notes["log"]]

    def wait(self, condition, timeout, what):
        def look():
            self.look()
            return condition()
        return lab.wait_for(look, timeout, what, 0.05)

    def wait_state(self, firewall, state, since):
        """When keepalived there has entered a state."""
        def when():
            return next((at for at, where, line in self.lines
                         if at > since and where is firewall and f"Entering {state} STATE" in line), None)
        return self.wait(when, 15, f"{firewall.role} to enter the {state} state")

    def changes(self):
        """[(when, firewall, line)] of all states that an instance has entered."""
        return [(at, where, line) for at, where, line in self.lines if "(INSIDE) Entering" in line]

    def active(self):
        """The firewall that is master, if only one is."""
        states = {where: line.split("Entering ")[1].split()[0] for _, where, line in self.changes()}
        masters = [firewall for firewall in self.firewalls if states.get(firewall) == "MASTER"]
        assert len(masters) == 1, f"{len(masters)} firewalls are master"
        return masters[0]

    def flaps(self):
        """How often the master has changed since the last question, beyond the once that was wanted."""
        masters = sum("MASTER" in line for _, _, line in self.changes())
        flaps = masters - self.masters_seen - 1
        self.masters_seen = masters
        return flaps

    # What happens

    def begin(self):
        """fw1 is master of many connections, and fw2 knows them."""
        first, second = self.firewalls
        now = time.monotonic()
        first.boot()
        self.wait_state(first, "MASTER", now)
        self.boot_backup(second)
        first.run(lab.FLOWGEN, "create", self.flows, "--rate", 40000, timeout=60)
        self.sender.settimeout(3)
        self.receiver.sendto(b"hello", (failover.SERVER, failover.PROBE_PORT))
        self.sender.connect(self.sender.recvfrom(64)[1])
        self.connect(idle=0)
        self.learnt(second)
        self.flaps()

    def boot_backup(self, firewall):
        now = time.monotonic()
        firewall.boot()
        self.wait_state(firewall, "BACKUP", now)

    def learnt(self, firewall):
        wanted = self.flows + len(self.streams) + 1
        lab.wait_for(lambda: firewall.external_count() >= wanted, 60,
                     lambda: f"{firewall.role} to know {wanted} connections, it knows {firewall.external_count()}", 0.1)

    def fail_over(self, fault):
        """{figure: seconds} of one fail-over, and the streams that broke; afterwards the roles are exchanged."""
        self.look()
        active = self.active()
        backup = next(firewall for firewall in self.firewalls if firewall is not active)
        time.sleep(self.pause + random.uniform(0, float(active.setting.advert)))
        expected = backup.external_count()
        self.look()
        had = [count for _, number, count in self.counts if self.firewalls[number] is backup][-1]
        at = self.strike(fault, active)
        master = self.wait_state(backup, "MASTER", at)
        self.wait(lambda: self.last > master, 10, "the first datagram")
        figures = {"detect": master - at}

        def reached(count):
            return next((when for when, number, now in self.counts
                         if when > at and self.firewalls[number] is backup and now >= count), None)
        if had + 2 * FEW < expected:
            done = self.wait(lambda: reached(had + expected - FEW), 20, "the end of the commit")
            began = reached(had + FEW)
            figures |= {"react": began - master, "commit": done - began}
        time.sleep(0.2)
        self.look()
        silences = [gap for gap in self.gaps if gap[1] > at]
        if silences:  # a warm standby may have passed it before keepalived told
            figures |= {"first": min((end for _, end in silences if end > master), default=master) - master,
                        "gap": max(end - start for start, end in silences)}
        else:  # the fault came during a flap and hit nobody
            figures = {}
        self.repair(active)
        broken = self.broken()
        self.learnt(active)
        self.look()
        return figures, broken

    def broken(self):
        """How many streams do not go on; all are begun anew then."""
        before = {stream: stream.records for stream in self.streams}
        deadline = time.monotonic() + 15
        while (waiting := [stream for stream in before if stream.records == before[stream]]) and time.monotonic() < deadline:
            if all(stream.error for stream in waiting):
                break
            time.sleep(0.05)
        if waiting:
            for stream in self.streams:
                stream.finish()
            self.streams.clear()
            self.connect(idle=0)
        return len(waiting)

    def strike(self, fault, firewall):
        """Does it, and tells when."""
        if fault == "death":
            return firewall.die()
        when = time.monotonic()
        failover.cut(self.switch, f"outside{firewall.number}")
        return when

    def repair(self, firewall):
        """The firewall starts again after a power cut."""
        firewall.power(False)
        self.switch.run("ip", "link", "set", f"outside{firewall.number}", "up")
        firewall.power(True)
        self.boot_backup(firewall)


class Row:
    """The fail-overs of one variant with so many connections and one fault."""

    def __init__(self, name, flows, fault, ours):
        self.label = f"{name:36}{flows:>8} {fault}"
        self.fault, self.ours = fault, ours
        self.figures = {figure: [] for figure in FIGURES}
        self.broken = self.flaps = self.failed = 0

    def add(self, figures, broken, flaps):
        for name, seconds in figures.items():
            self.figures[name].append(seconds)
        self.broken += broken
        self.flaps += flaps

    @staticmethod
    def head():
        return (f"{'adverts, daemon, notice':36}{'flows':>8} fault     n" + "".join(f"{figure:>14}" for figure in FIGURES) +
                "  broken flaps failed")

    def line(self):
        number = len(self.figures["gap"])
        columns = "".join(f"{percentile(of, 0.5):>8}{percentile(of, 0.99):>6}" for of in self.figures.values())
        return f"{self.label}{number:>6}{columns}{self.broken:>8}{self.flaps:>6}{self.failed:>7}"


def percentile(seconds, share):
    """Nearest rank, in milliseconds."""
    if not seconds:
        return "-"
    return f"{1000 * sorted(seconds)[math.ceil(share * len(seconds)) - 1]:.0f}"


def session(rows, variant, flows, rounds):
    """Some rounds in one laboratory."""
    with Laboratory(variant, flows) as laboratory:
        row = rows[0]
        try:
            laboratory.begin()
            for _ in range(rounds):
                for row in rows:
                    figures, broken = laboratory.fail_over(row.fault)
                    row.add(figures, broken, laboratory.flaps())
        except (AssertionError, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            row.failed += 1
            print(f"{row.label}: {error}")
            for at, firewall, line in laboratory.changes()[-8:]:
                print(f"  {at - time.monotonic():6.1f} s {firewall.role}{line.partition(': ')[2]:>36}", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="tests/lab/gap", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="fail-overs of each row, default %(default)s")
    parser.add_argument("--flows", default="1000,100000", help="connections, each up to 200000, default %(default)s")
    parser.add_argument("--adverts", default="0.03", help="further intervals of adverts, in seconds, default %(default)s")
    parser.add_argument("--only", default="", help="the variants whose name contains this")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also if started in the background
    lab.sweep()
    chosen = {name: variant for name, variant in variants(filter(None, options.adverts.split(","))).items() if options.only in name}
    rows = {(name, flows): [Row(name, flows, fault, variant.binary == lab.OURS) for fault in FAULTS]
            for flows in map(int, options.flows.split(",")) for name, variant in chosen.items()}
    print(f"{failover.version(lab.OURS)}; {failover.version(lab.STOCK)}", flush=True)
    started = time.monotonic()
    whole = False
    with contextlib.suppress(KeyboardInterrupt):
        for done in range(0, options.rounds, ROUNDS):
            for (name, flows), pair in rows.items():
                session(pair, chosen[name], flows, min(ROUNDS, options.rounds - done))
                print(f"  {time.monotonic() - started:5.0f} s  {name}, {flows} connections", flush=True)
        whole = bool(rows)
    print(f"\nmilliseconds, median and 99th percentile\n{Row.head()}")
    for row in itertools.chain(*rows.values()):
        print(row.line())
    bad = any(row.failed or row.ours and row.broken for row in itertools.chain(*rows.values()))
    return 0 if whole and not bad else 1


if __name__ == "__main__":
    sys.exit(main())
