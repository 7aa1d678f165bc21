# SPDX-License-Identifier: GPL-2.0-or-later
"""What begins and ends while a large commit runs, and the events of new connections are not heard (doc/differences.md 78)."""
import contextlib
import os
import socket
import threading
import time

import lab

FLOWS = int(os.environ.get("COMMIT_FLOWS", "60000"))


class Traffic:
    """New UDP and TCP connections of real packets inside a node, some thousands a second, each from a port of its own."""

    def __init__(self, node):
        node.address("lo", "10.88.0.1/24", "10.88.0.2/24", "10.88.0.3/24")
        node.nft("table ip t { chain c { type filter hook output priority 0; ct state new accept; }; }")
        self.node, self.going, self.sockets = node, True, []
        self.udp, self.tcp = 0, 0
        self.listener = node.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.bind(("10.88.0.2", 9))
        self.listener.listen(1024)
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        with self.node.enter():
            port = 10000
            while self.going and port < 60000:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                    s.bind(("10.88.0.1", port))
                    s.sendto(b"x", ("10.88.0.3", 9))
                    self.udp += 1
                if port % 8 == 0:
                    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                    s.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        s.connect(("10.88.0.2", 9))
                    if port % 16 == 0:
                        self.sockets.append(s)
                    else:
                        s.close()
                    self.tcp += 1
                port += 1
                time.sleep(0.0002)

    def stop(self):
        self.going = False
        self.thread.join()
        return self

    def close(self):
        self.stop()
        for s in [*self.sockets, self.listener]:
            s.close()


def test_what_begins_during_a_large_commit_is_in_the_caches_afterwards(our_pair):
    pair = our_pair.configure(hash_limit=4000000).start().greeted()
    pair.active.run(lab.FLOWGEN, "create", FLOWS, timeout=120)
    lab.wait_for(lambda: pair.backup.external_count() == FLOWS, 60, "the flows at the backup", 0.1)
    traffic = Traffic(pair.backup)
    try:
        with pair.active.stopped():  # as if it were dead: else its peer would go on telling it
            time.sleep(2.5)
            began = traffic.udp
            pair.backup.client("-c", "ct", timeout=120)
            during = traffic.udp - began
            time.sleep(0.3)
            traffic.stop()
        assert during >= 50, f"{during} connections began during the commit, of {traffic.udp}"
        expected = traffic.udp + traffic.tcp

        def seen(dump):
            return sum("src=10.88.0.1 " in line for line in dump.splitlines())

        lab.wait_for(lambda: seen(pair.backup.out("-i")) >= expected, 20,
                     lambda: f"{expected} connections in the internal cache, {seen(pair.backup.out('-i'))} are\n{pair.backup.log()}", 0.3)
        lab.wait_for(lambda: seen(pair.active.out("-e")) >= expected, 20,
                     lambda: f"{expected} connections at the peer, {seen(pair.active.out('-e'))} are", 0.3)
        assert pair.backup.stats()["internal"]["active"] == FLOWS + expected
        assert "began during the commit" in pair.backup.log()
        # Nothing was told to have differed, and new ones are heard again.
        numbers = pair.backup.out("-s", "peers").split("compared with the kernel:")[1].split()
        assert [n for n in numbers if n.isdigit()] == ["0"] * 4, numbers
    finally:
        traffic.close()
