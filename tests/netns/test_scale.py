# SPDX-License-Identifier: GPL-2.0-or-later
"""200 000 flows at full speed: none missing, none extra, on the peer and after one commit in its kernel, and the daemons
answer -s within 50 ms all the while."""
import os
import re
import threading
import time

import pytest

import lab

FLOWS = int(os.environ.get("SCALE_FLOWS", "200000"))
STATISTICS, LIMIT = 21, 0.050


class Probe(threading.Thread):
    """Asks a node for its statistics every 10 ms and keeps the slowest answer. Scheduled before everything but the daemons,
    so that it measures them and not its own place in the queue of a small machine."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.asked, self.ending = node, 0, False
        self.slow = []
        self.phase = "start"
        self.start()

    def run(self):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(50))
        while not self.ending:
            start = time.monotonic()
            answer = self.node.request(STATISTICS, timeout=30)
            taken = time.monotonic() - start
            self.asked += 1
            if taken > LIMIT or not answer:
                self.slow.append((self.phase, round(1000 * taken, 1), len(answer)))
            time.sleep(0.01)

    def finish(self):
        self.ending = True
        self.join(timeout=35)


def keys(output):
    """(source, port) of every flow of the generator in a dump."""
    return re.findall(r" src=(10\.\S+) dst=192\.0\.2\.1 sport=(\d+) dport=80 ", output)


@pytest.mark.alone
def test_200000_flows(our_pair):
    pair = our_pair.configure().start().greeted()
    probes = [Probe(node) for node in pair.nodes()]

    def phase(name):
        for probe in probes:
            probe.phase = name

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
        probe.finish()
    for probe in probes:
        assert probe.asked > 100
        assert not probe.slow, f"{probe.node.role} answered -s late: (phase, ms, bytes) {probe.slow[:10]}"
    assert pair.active.stats()["malformed"] == pair.backup.stats()["malformed"] == 0
