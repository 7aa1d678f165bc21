# SPDX-License-Identifier: GPL-2.0-or-later
"""Several nodes behind one address: a relay copies the datagrams of each to all others (doc/differences.md 76)."""
import socket
import threading
import time

import pytest

import ctnl
import lab

FLOWS = 40  # of each node


class Relay(lab.Net):
    """A host of its own with a cable to each node; everything that it passes on comes from its address there."""

    def __init__(self, binaries):
        super().__init__("relay")
        self.ear = self.bound_socket()
        self.nodes = []
        for number, binary in enumerate(binaries, 1):
            node = lab.Node(f"f{number}", binary)
            lab.veth(self, f"r{number}", node, "sync0")
            self.address(f"r{number}", f"10.77.{number}.1/24")
            node.address("sync0", f"10.77.{number}.2/24")
            self.nodes.append(node)
        self.running = True
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def bound_socket(self):
        s = self.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("0.0.0.0", lab.SYNC_PORT))
        s.settimeout(0.1)
        return s

    def work(self):
        ends = [(f"10.77.{number}.2", lab.SYNC_PORT) for number in range(1, len(self.nodes) + 1)]
        while self.running:
            try:
                data, sender = self.ear.recvfrom(65536)
            except TimeoutError:
                continue
            for end in ends:
                if end[0] != sender[0]:
                    self.ear.sendto(data, end)

    def configure(self, mode):
        for number, node in enumerate(self.nodes, 1):
            node.configure(lab.Pair.MODES[mode] + lab.link_block("UDP", f"10.77.{number}.2", f"10.77.{number}.1"))

    def close(self):
        self.running = False
        self.thread.join()
        self.ear.close()
        for node in self.nodes:
            node.close()
        super().close()


@pytest.mark.parametrize("mode", ["FTFW", "NOTRACK"])
@pytest.mark.parametrize("sender", [lab.OURS, lab.STOCK], ids=["ours", "stock"])
def test_senders_behind_a_relay_are_kept_apart(mode, sender):
    with Relay([sender, sender, lab.OURS]) as relay:
        relay.configure(mode)
        one, two, listener = relay.nodes
        listener.start()
        one.start()
        time.sleep(1.2)
        two.start()
        with ctnl.Table(one) as first, ctnl.Table(two) as second:
            for number in range(FLOWS):
                first.create(ctnl.udp_flow(number))
                second.create(ctnl.udp_flow(1000 + number))
                time.sleep(0.1)
            # Of stock nodes in FT-FW mode, which have the same numbers, what came before that was seen is lost.
            lacking = 5 if (mode, sender) == ("FTFW", lab.STOCK) else 0
            lab.wait_for(lambda: listener.external_count() >= 2 * FLOWS - lacking, 20,
                         lambda: f"the flows of both; {listener.external_count()}\n{listener.log()}")
        if mode == "NOTRACK":
            assert listener.stats()["lost"] <= 2, f"{listener.log()}\n{listener.out('-s', 'peers')}"
        if (mode, sender) != ("NOTRACK", lab.STOCK):  # there nothing shows it, and nothing is wrong
            assert listener.log().count("several nodes ") == 1, listener.log()
