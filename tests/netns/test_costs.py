# SPDX-License-Identifier: GPL-2.0-or-later
"""What a flow may cost on its way from the kernel to the peer's cache, counted, not timed: no allocation and no system call of its
own. How long it takes is measured by tests/bench/run."""
import os
import re
import struct
import subprocess

import pytest

import lab

FLOWS = 20000
RATE = 20000
COUNTERS = {"create": "created", "change": "updated", "delete": "destroyed"}


def replicate(pair, action):
    """Flows are created, changed or deleted at a rate, until the peer has them all."""
    counter = COUNTERS[action]
    goal = pair.backup.stats()["external"][counter] + FLOWS
    pair.active.run(lab.FLOWGEN, action, FLOWS, *(("--rate", RATE) if action != "delete" else ()), timeout=60)
    lab.wait_for(lambda: pair.backup.stats()["external"][counter] >= goal, 20, lambda: f"{action}: {pair.backup.stats()}", 0.2)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    made = tmp_path_factory.mktemp("count") / "count_allocations.so"
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tools", "count_allocations.c")
    lab.run(["cc", "-Wall", "-Wextra", "-Werror", "-O1", "-fno-builtin", "-shared", "-fPIC", "-o", str(made), source])
    return made


def allocations(node):
    with open(f"{node.dir}/allocations", "rb") as file:
        return struct.unpack("=Q", file.read())[0]


def test_flows_cost_no_allocations(our_pair, library):
    """What the statistics of a look and the timers of some seconds need is allowed, and next to nothing for so many flows."""
    pair = our_pair.configure()
    for node in pair.nodes():
        with open(f"{node.dir}/allocations", "wb") as file:
            file.write(bytes(8))
        node.daemon = node.popen("env", f"LD_PRELOAD={library}", f"ALLOCATIONS={node.dir}/allocations", node.binary, "-C",
                                 node.config_path)
    lab.wait_for(lambda: all(node.client("-s", check=False).returncode == 0 for node in pair.nodes()), 10, "the daemons to answer")
    pair.greeted()
    for action in COUNTERS:  # the tables grow to what they need
        replicate(pair, action)
    for action in COUNTERS:
        before = [allocations(node) for node in pair.nodes()]
        assert min(before) > 100, "nothing is counted"
        replicate(pair, action)
        grown = [allocations(node) - old for node, old in zip(pair.nodes(), before)]
        print(action, grown)
        assert max(grown) < FLOWS / 10, f"{action}: {grown} allocations for {FLOWS} flows"


class SystemCalls:
    """Counts those of a node's daemon within a block."""

    def __init__(self, node):
        self.node, self.path = node, f"{node.dir}/calls"

    def __enter__(self):
        self.child = subprocess.Popen(["strace", "-f", "-c", "-o", self.path, "-p", str(self.node.daemon.pid)],
                                      stderr=subprocess.PIPE, text=True)
        assert "attached" in self.child.stderr.readline()
        return self

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait(timeout=10)
        self.child.stderr.close()
        with open(self.path, encoding="utf-8") as file:
            lines = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", file.read(), re.MULTILINE)
        self.calls = {name: int(count) for count, name in lines}
        self.total = self.calls.pop("total")


def test_flows_cost_no_system_call_each(our_pair):
    pair = our_pair.configure().start().greeted()
    with SystemCalls(pair.active) as sender, SystemCalls(pair.backup) as receiver:
        replicate(pair, "create")
    for name, counted in (("sender", sender), ("receiver", receiver)):
        print(name, counted.total, counted.calls)
        assert counted.total > 20, "nothing is counted"
        assert counted.total < FLOWS, f"{name}: {counted.calls}"
