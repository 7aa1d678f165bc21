# SPDX-License-Identifier: GPL-2.0-or-later
"""200 000 flows at full speed: none missing, none extra, on the peer and after one commit in its kernel, and the daemons
answer -s within 50 ms all the while."""
import os
import re
import subprocess
import sys
import time

import pytest

import lab

FLOWS = int(os.environ.get("SCALE_FLOWS", "200000"))
LIMIT = 0.050

# A process of its own, scheduled before everything but the daemons: so it measures them, and not this interpreter's work. The
# time in which a runnable daemon or the probe had to wait for a processor (the other tests of a small machine, the kernel's
# limit for real-time processes) is not the daemon's and is taken off. A line for each late or empty answer, at the end the
# number of answers.
PROBE = """
import os, signal, socket, struct, sys, time
os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(50))
going = [True]
signal.signal(signal.SIGTERM, lambda *_: going.clear())
asked = 0
def waited():
    total = 0
    for who in (sys.argv[2], "self"):
        try:
            with open(f"/proc/{who}/schedstat") as file:
                total += int(file.read().split()[1])
        except OSError:
            pass  # a kernel that does not count it
    return total / 1e9
print("ready", flush=True)
while going:
    queued = waited()
    start = time.monotonic()
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(30)
        control.connect(sys.argv[1])
        control.sendall(struct.pack("=i", 21))
        size = 0
        while piece := control.recv(65536):
            size += len(piece)
    taken = time.monotonic() - start - (waited() - queued)
    asked += 1
    if taken > float(sys.argv[3]) or not size:
        print(start, taken, size, flush=True)
    time.sleep(0.01)
print("asked", asked)
"""


class Probe:
    """Asks a node for its statistics every 10 ms."""

    def __init__(self, node):
        self.node = node
        self.process = subprocess.Popen([sys.executable, "-c", PROBE, node.control_path, str(node.daemon.pid), str(LIMIT)],
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def finish(self):
        """(number of answers, [(when, seconds, bytes)] of the late ones)."""
        self.process.terminate()
        *late, last = self.process.communicate(timeout=60)[0].splitlines()
        return int(last.split()[1]), [tuple(map(float, line.split())) for line in late]


def keys(output):
    """(source, port) of every flow of the generator in a dump."""
    return re.findall(r" src=(10\.\S+) dst=192\.0\.2\.1 sport=(\d+) dport=80 ", output)


@pytest.mark.alone
def test_200000_flows(our_pair):
    pair = our_pair.configure().start().greeted()
    probes = [Probe(node) for node in pair.nodes()]
    phases = []

    def phase(name):
        phases.append((time.monotonic(), name))

    phase("create")
    made = pair.active.run(lab.FLOWGEN, "create", FLOWS, timeout=60)
    print(made.stdout)
    assert f"created {FLOWS} errors 0" in made.stdout
    lab.wait_for(lambda: pair.backup.external_count() == FLOWS, 15,
                 lambda: f"{FLOWS} flows on the backup, {pair.backup.external_count()} there", 0.1)
    stats = pair.active.stats()["internal"]
    assert (stats["active"], stats["create_failed"]) == (FLOWS, 0)

    phase("dump")
    external = keys(pair.backup.out("-e", timeout=60))
    assert len(external) == FLOWS, "extra or missing lines"
    assert len(set(external)) == FLOWS, "doubled lines"

    phase("commit")
    start = time.monotonic()
    pair.backup.client("-c", timeout=60)
    print(f"commit of {FLOWS}: {time.monotonic() - start:.2f} s")
    phase("check")
    assert f"Committed {FLOWS} new entries" in pair.backup.log()
    kernel = keys(pair.backup.run("conntrack", "-L", timeout=60).stdout)
    assert len(kernel) == FLOWS
    assert set(kernel) == set(external)

    phase("take-over")  # what the script does after -c
    for command in ("-f", "-R", "-B"):
        pair.backup.client(command, timeout=60)
    lab.wait_for(lambda: pair.active.external_count() == FLOWS, 15,
                 lambda: f"the bulk on the other node, {pair.active.external_count()} there", 0.1)

    phase("delete")
    pair.active.run(lab.FLOWGEN, "delete", FLOWS, timeout=60)
    lab.wait_for(lambda: pair.active.stats()["internal"]["active"] == 0, 15, "the deletions", 0.1)
    for probe in probes:
        asked, late = probe.finish()
        assert asked > 100
        named = [([name for start, name in phases if start <= when][-1:], f"{1000 * taken:.0f} ms", size)
                 for when, taken, size in late]
        assert not late, f"{probe.node.role} answered -s late: {named[:10]}"
    assert pair.active.stats()["malformed"] == pair.backup.stats()["malformed"] == 0
