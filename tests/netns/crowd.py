# SPDX-License-Identifier: GPL-2.0-or-later
"""Many pairs of nodes at a time: a number of pairs stand in namespaces of their own, and scenes are played on whichever is
free. Replication is mostly waiting, so a whole matrix takes little longer than its longest scene.

A scene is a function of a Stage. Crowd.outcome() returns what it returned, or raises what it raised.
"""
import concurrent.futures
import contextlib
import os
import queue
import time

import ctnl
import lab
import text

# Requests of the control socket: a client process for each look would take more time than everything else.
DUMP_INTERNAL, DUMP_EXTERNAL, DUMP_EXTERNAL_EXPECT = 16, 17, 41
STATS, STATS_LINK, STATS_QUEUE = 21, 31, 36
COMMIT, FLUSH, FLUSH_INTERNAL, FLUSH_EXTERNAL = 46, 45, 33, 34
BULK, REQUEST_RESYNC, PURGE = 22, 23, 26


class Actor(lab.Node):
    """A node that is asked over its control socket, with its kernel's table at hand."""

    def __init__(self, role):
        super().__init__(role, lab.OURS)
        self.table = ctnl.Table(self)

    def close(self):
        self.table.close()
        super().close()

    def play(self, binary):
        """Forgets the scene before: no daemon, no files, an empty table. Another daemon will be started."""
        if self.alive():
            self.kill()
        self.clean()
        for path in (self.log_path, f"{self.dir}/console"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self.children.clear()
        self.table.flush()
        self.binary, self.stock, self.daemon = binary, lab.is_stock(binary), None

    def clean(self):
        """Removes what a killed daemon leaves behind; stock does not start beside it."""
        for path in (self.control_path, self.lock_path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def ask(self, request):
        return self.request(request, timeout=15).decode()

    def answers(self):
        with contextlib.suppress(OSError):
            return bool(self.ask(STATS))
        return False

    def served(self, timeout=15):
        lab.wait_for(lambda: not self.alive() or self.answers(), timeout, f"daemon on {self.role} to answer", 0.05)
        assert self.alive(), f"daemon on {self.role} ended at start:\n{self.console()}"

    def stats(self):
        return text.parse_stats(self.ask(STATS))

    def external(self, *_):
        return text.parse_dump(self.ask(DUMP_EXTERNAL))

    def internal(self, *_):
        return text.parse_dump(self.ask(DUMP_INTERNAL))

    def kernel(self):
        """Entries of the kernel by original source address."""
        return {flow["orig"]["src"]: flow for flow in self.table.flows()}

    def cached(self):
        """Entries of the external cache by original source address."""
        return {flow["orig"]["src"]: flow for flow in self.external()}


class Stage(lab.Pair):
    """A pair that is used again and again. Link-local addresses: fe80::7701 and fe80::7702."""

    def __init__(self):
        self.active, self.backup = Actor("f1"), Actor("f2")
        self.cable("sync0", 9)
        for node in self.nodes():
            node.sysctl("net.ipv4.conf.all.rp_filter", 0)

    def cable(self, device, net):
        lab.veth(self.active, device, self.backup, device)
        for number, node in enumerate(self.nodes(), 1):
            node.address(device, f"10.77.{net}.{number}/24", f"fd77:{net}::{number}/64", f"fe80::770{number}/64")

    def cast(self, active, backup):
        self.active.play(active)
        self.backup.play(backup)
        return self

    def start(self):
        for node in self.nodes():
            node.start(wait=False)
        for node in self.nodes():
            node.served()
        return self

    def greeted(self, timeout=15):
        lab.wait_for(lambda: all(node.stats()["link"]["packets_recv"] >= 2 for node in self.nodes()), timeout,
                     "both nodes to hear each other", 0.1)
        time.sleep(1.2)  # the hello-back travels with the next timer message, one second later
        return self


class Crowd:
    """Plays scenes on up to `size` stages at a time. Use as a context manager."""

    def __init__(self, size, stage=Stage):
        self.stage = stage
        self.pool = concurrent.futures.ThreadPoolExecutor(size)
        self.free, self.built, self.played = queue.SimpleQueue(), [], {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown(wait=True, cancel_futures=True)
        for stage in self.built:
            stage.close()

    def _play(self, scene, active, backup):
        try:
            stage = self.free.get_nowait()
        except queue.Empty:
            stage = self.stage()
            self.built.append(stage)
        try:
            return scene(stage.cast(active, backup))
        except AssertionError as failure:
            failure.add_note("".join(f"--- log of {node.role} ({node.binary})\n{node.log()[-2000:]}\n"
                                     for node in stage.nodes()))
            raise
        finally:
            self.free.put(stage)

    def add(self, name, scene, binaries):
        self.played[name] = self.pool.submit(self._play, scene, *binaries)

    def outcome(self, name):
        return self.played[name].result(timeout=170)
