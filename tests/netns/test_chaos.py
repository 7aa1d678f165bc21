# SPDX-License-Identifier: GPL-2.0-or-later
"""FT-FW under everything at once: real daemons and kernels on one multicast group, flows that come, change and go all the time,
loss, mute links, daemons killed and started again, resend queues that are too small. When it is over, each external cache holds
what the kernels of the others have, no more and no less, and every node says that it is in sync."""
import random
import re
import time

import pytest

import ctnl
import lab

GROUP_CONFIG = "\tMode FTFW {\n\t\tResendQueueSize 1000\n\t\tACKWindowSize 50\n\t}\n"
FLOWS = 400  # different ones of a node
CHAOS, PEACE = 20, 30  # seconds


class Group:
    """Nodes on a switch."""

    def __init__(self, binaries):
        self.switch = lab.Net("sw")
        self.switch.run("ip", "link", "add", "name", "bridge0", "type", "bridge", "mcast_snooping", "0")
        self.switch.run("ip", "link", "set", "bridge0", "up")
        self.nodes = []
        for number, binary in enumerate(binaries, 1):
            node = lab.Node(f"f{number}", binary)
            self.nodes.append(node)
            lab.veth(node, "sync0", self.switch, f"p{number}")
            self.switch.run("ip", "link", "set", f"p{number}", "master", "bridge0", "up")
            node.address("sync0", f"10.77.9.{number}/24")
            node.configure(GROUP_CONFIG + lab.link_block("Multicast", f"10.77.9.{number}", ""))
            node.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            node.close()
        self.switch.close()


class Traffic:
    """Creates, changes and deletes the flows of one node at random."""

    def __init__(self, node, number, rng):
        self.table = ctnl.Table(node)
        self.number = number
        self.rng = rng
        self.there = set()
        self.steps = 0

    def step(self):
        self.steps += 1
        i = self.rng.randrange(FLOWS)
        flow = {"proto": 17, "orig": {"src": f"10.{self.number}.{i // 200}.{i % 200 + 1}", "dst": "10.200.0.1", "sport": 1000 + i,
                                      "dport": 53}, "status": 0xE, "timeout": 600, "mark": self.rng.randrange(1, 1000)}
        if i not in self.there:
            self.table.create(flow)
            self.there.add(i)
        elif self.rng.random() < 0.7:
            self.table.update(flow)
        else:
            self.table.delete(flow)
            self.there.discard(i)

    def flows(self):
        return {flow["orig"]["src"]: flow["mark"] for flow in self.table.flows()}


def held(node):
    """The external cache: {source: mark}."""
    return {m[1]: int(m[2]) for m in re.finditer(r" src=(\S+) .* mark=(\d+)", node.out("-e"))}


def mishap(group, rng):
    """One fault; returns what ends it."""
    node = rng.choice(group.nodes)
    kind = rng.randrange(3)
    if kind == 0:
        node.kill()
        return node.start
    if kind == 1:
        chance = rng.choice((1, 10, 30))
        node.nft("table inet chaos {\nchain c {\ntype filter hook input priority 0\n"
                 f"udp dport {lab.SYNC_PORT} numgen random mod 100 < {chance} drop\n}}\n}}\n")
        return lambda: node.run("nft", "delete", "table", "inet", "chaos")
    node.nft(f"table inet chaos {{\nchain c {{\ntype filter hook input priority 0\nudp dport {lab.SYNC_PORT} drop\n}}\n"
             f"chain d {{\ntype filter hook output priority 0\nudp dport {lab.SYNC_PORT} drop\n}}\n}}\n")
    return lambda: node.run("nft", "delete", "table", "inet", "chaos")


@pytest.mark.parametrize("count", [2, 3])
def test_chaos(count):
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    with Group([lab.OURS] * count) as group:
        traffic = [Traffic(node, number, rng) for number, node in enumerate(group.nodes, 1)]
        end = time.monotonic() + CHAOS
        while time.monotonic() < end:
            over = mishap(group, rng)
            until = min(time.monotonic() + rng.uniform(0.2, 4), end)
            while time.monotonic() < until:
                rng.choice(traffic).step()
            over()

        def wrong():
            found = []
            for i, node in enumerate(group.nodes):
                wanted = {}
                for j, other in enumerate(traffic):
                    if i != j:
                        wanted |= other.flows()
                got = held(node)
                if got != wanted:
                    found.append(f"f{i + 1}: missing {sorted(wanted.keys() - got.keys())}, ghosts {sorted(got.keys() - wanted.keys())}, "
                                 f"wrong {[a for a in got.keys() & wanted.keys() if got[a] != wanted[a]]}")
            return found
        assert all(len(one.flows()) > FLOWS / 8 for one in traffic)
        began = time.monotonic()
        lab.wait_for(lambda: not wrong(), PEACE, lambda: f"agreement (seed {seed}): {wrong()}", 0.2)
        print(f"{count} nodes agree {time.monotonic() - began:.1f} s after the last fault and {sum(one.steps for one in traffic)} changes")
        for node in group.nodes:
            lab.wait_for(lambda node=node: node.out("-s", "peers").count("in sync") == count - 1, 15,
                         lambda node=node: f"{node.role} to be in sync:\n{node.out('-s', 'peers')}")
        assert not wrong()
