# SPDX-License-Identifier: GPL-2.0-or-later
"""conf/primary-backup.sh around a daemon that is dead, or alive and deaf. The pair of daemons and a whole take-over with it
are in test_demo.py."""
import os
import re
import signal
import time

import pytest

import lab

SCRIPT = os.path.join(lab.ROOT, "conf/primary-backup.sh")
SYNC = "\tMode FTFW {\n\t}\n" + lab.link_block("UDP", "10.77.9.1", "10.77.9.2", device="lo")


class Host(lab.Node):
    """A node whose script writes into a file what it would tell syslog, and knows no process of others."""

    def __init__(self, binary):
        super().__init__("s", binary)
        self.address("lo", "10.77.9.1/24")
        self.configure(SYNC)
        os.mkdir(f"{self.dir}/bin")
        self.fake("logger", f'echo "$@" >> {self.dir}/syslog')
        self.fake("pidof", f'test -e {self.dir}/is-alive')

    def fake(self, name, body):
        with open(f"{self.dir}/bin/{name}", "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\n{body}\n")
            os.fchmod(file.fileno(), 0o755)

    def becomes(self, role):
        environment = os.environ | {"CONNTRACKD_BIN": self.binary, "CONNTRACKD_CONFIG": self.config_path,
                                    "CONNTRACKD_LOCK": self.lock_path, "PATH": f"{self.dir}/bin:{os.environ['PATH']}"}
        return self.run(SCRIPT, role, env=environment, check=False, timeout=40).returncode

    def syslog(self):
        try:
            with open(f"{self.dir}/syslog", encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""


@pytest.fixture(params=[lab.OURS, lab.STOCK], ids=["ours", "stock"])
def host(request):
    with Host(request.param) as made:
        yield made


def test_a_daemon_that_was_killed_is_started(host):
    host.start()
    host.kill()
    assert os.path.exists(host.lock_path)
    assert host.becomes("backup") == 0
    assert len(host.pids()) == 1 and host.client("-s").returncode == 0
    assert "does not run, starting it" in host.syslog() and "daemon.err" not in host.syslog()
    assert host.becomes("backup") == 0 and len(host.pids()) == 1, "the one that runs is left alone"


def test_a_stopped_daemon_keeps_its_lock_and_gets_no_twin(host):
    host.start()
    lock = os.stat(host.lock_path)
    open(f"{host.dir}/is-alive", "w", encoding="ascii").close()  # pidof would find it
    host.daemon.send_signal(signal.SIGSTOP)
    before = time.monotonic()
    assert host.becomes("backup") == 1
    assert time.monotonic() - before < 20
    assert host.pids() == [host.daemon.pid]
    assert os.stat(host.lock_path).st_ino == lock.st_ino
    assert "daemon.err backup: the daemon does not answer, but it is alive" in host.syslog()
    host.daemon.send_signal(signal.SIGCONT)
    assert host.becomes("backup") == 0


def test_a_daemon_that_can_do_it_in_one_request_is_asked_so(host):
    host.start()
    for role, outcome in ("primary", "took over: 0 connections"), ("backup", "standing by: "):
        assert host.becomes(role) == 0
        assert (f"daemon.notice {role}: {outcome}" in host.syslog()) == (not host.stock)
        assert "daemon.err" not in host.syslog()
    lab.wait_for(lambda: "flushing conntrack table in" in host.log(), 5, "the purge to be scheduled")
    assert "committing all external caches" in host.log() or "taking over" in host.log()


@pytest.mark.parametrize("role", ["primary", "fault"])
def test_a_stopped_daemon_is_not_waited_for_without_end(host, role):
    # What conntrackd refuses at once is not asked of the daemon.
    first = "-t" if role == "fault" else "-c" if host.stock else "--takeover"
    host.start()
    # Every bound becomes two seconds.
    host.fake("timeout", f'echo "$@" >> {host.dir}/bounds; shift 3; exec /usr/bin/timeout -k 1 2 "$@"')
    host.daemon.send_signal(signal.SIGSTOP)
    before = time.monotonic()
    assert host.becomes(role) == 1
    assert time.monotonic() - before < 10
    assert host.syslog().count("daemon.err") == 1
    assert re.search(rf"daemon.err {role}: '.* {first}' was not answered within \d+ seconds, giving up", host.syslog())
    host.daemon.send_signal(signal.SIGCONT)
    assert host.becomes(role) == 0
    with open(f"{host.dir}/bounds", encoding="ascii") as file:
        bounds = {line.split()[-1]: int(line.split()[2]) for line in file}
    assert bounds[first] >= (300 if role == "primary" else 60), "large tables take their time"
    assert host.syslog().count("daemon.err") == 1


def test_a_daemon_without_its_socket_keeps_its_lock_and_gets_no_twin(host):
    host.start()
    open(f"{host.dir}/is-alive", "w", encoding="ascii").close()
    os.unlink(host.control_path)
    assert host.becomes("backup") == 1
    assert host.pids() == [host.daemon.pid] and os.path.exists(host.lock_path)
    assert "not starting another one" in host.syslog()
