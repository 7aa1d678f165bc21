# SPDX-License-Identifier: GPL-2.0-or-later
"""The service manager's side: notifications (sd_notify), watchdog, reload, and the privileges that our unit leaves."""
import contextlib
import os
import re
import signal
import socket
import time

import pytest

import ctnl
import lab

SYNC = "\tMode FTFW {\n\t}\n" + lab.link_block("UDP", "10.77.9.1", "10.77.9.2")


class Manager:
    """What systemd is to a service: the socket it reports to."""

    def __init__(self, node):
        self.node, self.heard = node, []
        self.path = f"{node.dir}/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.started = time.monotonic()

    def start(self, *options, **environment):
        variables = {"NOTIFY_SOCKET": self.path, **environment}
        self.node.daemon = self.node.popen("env", *(f"{k}={v}" for k, v in variables.items()), self.node.binary, "-C",
                                           self.node.config_path, *options, stdout=-3, stderr=-3)
        return self.node.daemon

    def until(self, wanted, timeout=5):
        """Reads until a datagram matches `wanted` as a whole; returns the match. All are kept with their time."""
        deadline = time.monotonic() + timeout
        while True:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                text = self.socket.recv(4096).decode()
            except TimeoutError:
                raise AssertionError(f"no `{wanted}' in {timeout} s: {self.heard}") from None
            self.heard.append((time.monotonic(), text))
            if found := re.fullmatch(wanted, text):
                return found

    def texts(self):
        return [text for _, text in self.heard]

    def close(self):
        self.socket.close()


@pytest.fixture
def manager(node):
    made = Manager(node)
    with contextlib.closing(made):
        yield made


@pytest.mark.parametrize("option", [[], ["-d"]], ids=["console", "background"])
def test_life_of_a_service(manager, node, option):
    """As conntrackd: MAINPID with -d, READY, STOPPING; and of our own STATUS, RELOADING."""
    child = manager.start(*option)
    manager.until("READY=1")
    if option:
        assert child.wait(timeout=5) == 0
        (pid,) = node.pids()
        assert manager.texts() == [f"MAINPID={pid}", "READY=1"]
    else:
        pid = child.pid
        assert manager.texts() == ["READY=1"]
    assert node.client("-s").returncode == 0, "serving before it said so"
    manager.until("STATUS=FTFW: 0 flows internal, 0 external, 0 peers heard")
    before = time.monotonic_ns() // 1000
    os.kill(pid, signal.SIGHUP)
    usec = int(manager.until(r"RELOADING=1\nMONOTONIC_USEC=(\d+)")[1])
    assert before <= usec <= time.monotonic_ns() // 1000
    manager.until("READY=1")
    node.client("-k")
    manager.until("STOPPING=1")
    assert manager.texts()[(1 if option else 0):] == ["READY=1", "STATUS=FTFW: 0 flows internal, 0 external, 0 peers heard",
                                                     f"RELOADING=1\nMONOTONIC_USEC={usec}", "READY=1", "STOPPING=1"]


def test_status_follows_with_moderation(our_pair):
    our_pair.configure()
    node = our_pair.active
    with contextlib.closing(Manager(node)) as manager:
        manager.start()
        our_pair.backup.start()
        manager.until("READY=1")
        burst = node.popen(lab.FLOWGEN, "create", 3000, "--rate", 1000, stdout=-3)
        manager.until("STATUS=FTFW: 3000 flows internal, 0 external, 1 peer heard(, 1 in sync)?", 10)
        assert burst.wait(timeout=10) == 0
        at = [when for when, text in manager.heard if text.startswith("STATUS=")]
        assert all(later - earlier > 1.5 for earlier, later in zip(at, at[1:])), "more often than every few seconds"


@pytest.mark.parametrize("extra, option, fed", [
    ({}, [], True), ({}, ["-d"], True), ({"WATCHDOG_PID": "self"}, [], True), ({"WATCHDOG_PID": "self"}, ["-d"], True),
    ({"WATCHDOG_PID": "1"}, [], False), ({"WATCHDOG_PID": "garbage"}, [], False)])
def test_watchdog(manager, node, extra, option, fed):
    """Every half of WATCHDOG_USEC, if the variable is meant for the process that was started."""
    environment = {"WATCHDOG_USEC": 400000, **extra}
    if environment.get("WATCHDOG_PID") == "self":
        environment.pop("WATCHDOG_PID")
        assignments = " ".join(f"{k}={v}" for k, v in {"NOTIFY_SOCKET": manager.path, **environment}.items())
        command = f"{assignments} WATCHDOG_PID=$$ exec {node.binary} -C {node.config_path} {' '.join(option)}"
        node.daemon = node.popen("sh", "-c", command, stdout=-3, stderr=-3)
    else:
        manager.start(*option, **environment)
    manager.until("READY=1")
    if not fed:
        with pytest.raises(AssertionError):
            manager.until("WATCHDOG=1", 1)
        return
    for _ in range(6):
        manager.until("WATCHDOG=1", 1)
    at = [when for when, text in manager.heard if text == "WATCHDOG=1"][1:]
    steps = [later - earlier for earlier, later in zip(at, at[1:])]
    assert 0.15 < sum(steps) / len(steps) < 0.3, steps


def test_systemd_off(manager, node):
    node.configure(SYNC, node.general("\tSystemd off\n"))
    manager.start(WATCHDOG_USEC=200000)
    lab.wait_for(lambda: node.client("-s", check=False).returncode == 0, 5, "the daemon to answer")
    node.stop()
    with pytest.raises(AssertionError):
        manager.until(".*", 0.1)


def unit(key):
    with open(f"{lab.ROOT}/conf/ctsyncd.service", encoding="utf-8") as file:
        return re.search(rf"^{key}=(.*)$", file.read(), re.MULTILINE)[1]


def test_works_with_the_privileges_of_our_unit(our_pair):
    """The unit's capabilities and no new privileges: everything works, large buffers and real-time scheduling included."""
    caps = ",".join("+" + name.removeprefix("CAP_").lower() for name in unit("CapabilityBoundingSet").split())
    our_pair.configure()
    for node in our_pair.nodes():
        node.widen_link_buffers(12492724)
        node.daemon = node.popen("setpriv", "--bounding-set", f"-all,{caps}", "--inh-caps", "-all", "--no-new-privs",
                                 node.binary, "-C", node.config_path, stdout=-3, stderr=-3)
    active, backup = our_pair.nodes()
    for node in our_pair.nodes():
        lab.wait_for(lambda node=node: node.client("-s", check=False).returncode == 0, 5, node.log)
        with open(f"/proc/{node.daemon.pid}/status", encoding="ascii") as file:
            assert re.search(r"NoNewPrivs:\s+1", file.read())
        assert os.sched_getscheduler(node.daemon.pid) & ~getattr(os, "SCHED_RESET_ON_FORK", 0) == os.SCHED_RR
        assert "netlink event socket buffer size has been set to 33554432 bytes" in node.log()
    our_pair.greeted()
    with ctnl.Table(active) as table:
        for port in range(1, 11):
            table.create({"proto": 17, "orig": {"src": "10.1.0.1", "dst": "10.2.0.1", "sport": port, "dport": 2},
                          "status": 8, "timeout": 600, "helper": "tftp" if port == 1 else None})
    lab.wait_for(lambda: backup.external_count() == 10, 5, "the flows")
    backup.client("-c")
    with ctnl.Table(backup) as table:
        assert len([f for f in table.flows() if f["orig"]["src"] == "10.1.0.1"]) == 10
    active.client("-F")
    lab.wait_for(lambda: active.stats()["internal"]["active"] == 0, 3, "the flush")
    for node in our_pair.nodes():
        assert "ERROR" not in node.log() and "warning" not in node.log()
        assert node.stop() == 0
        assert not os.path.exists(node.lock_path) and not os.path.exists(node.control_path)
