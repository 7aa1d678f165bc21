# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of the process: while long work is under way, and with a new start right behind it."""
import os
import signal
import subprocess

import pytest

import lab

FLOWS = 50000


def start_with_flows(node):
    node.start()
    node.run(lab.FLOWGEN, "create", FLOWS)


def test_stop_request_is_answered_when_all_is_given_up(node):
    """Also the memory of a large cache, and above all the lock: scripts start the daemon again at once."""
    start_with_flows(node)
    for _ in range(3):
        node.client("-k")
        assert not os.path.exists(node.lock_path) and not os.path.exists(node.control_path)
        old = node.daemon
        node.start()
        assert old.wait(timeout=5) == 0


@pytest.mark.parametrize("how", ["signal", "request"])
def test_stop_during_long_work_is_clean(node, how):
    start_with_flows(node)
    clients = [node.popen(node.binary, "-C", node.config_path, request, stdout=subprocess.DEVNULL)
               for request in ("-R", "-F", "-i", "-R")]
    started = ("flushing kernel conntrack table", "resync with master conntrack table")
    lab.wait_for(lambda: all(line in node.log() for line in started), 5, "the requests", 0.0005)
    assert (node.kill(signal.SIGTERM) if how == "signal" else node.stop()) == 0
    for client in clients:
        client.wait(timeout=5)
    assert not os.path.exists(node.lock_path) and not os.path.exists(node.control_path)


def test_list_that_the_end_cuts_says_so(node, tmp_path):
    """It looked whole, and so did the status of the client."""
    node.start()
    node.run(lab.FLOWGEN, "create", FLOWS)
    path = tmp_path / "list"
    for _ in range(10):
        with open(path, "wb") as output:
            client = node.popen(node.binary, "-C", node.config_path, "-i", stdout=output)
        lab.wait_for(lambda: path.stat().st_size != 0, 5, "the list to begin", 0.0005)
        assert node.kill(signal.SIGTERM) == 0
        client.wait(timeout=5)
        lines = path.read_text().splitlines()
        if len(lines) < FLOWS:
            assert lines[-1] == "the list is not complete: the daemon stops"
            return
        node.start()  # too late
    pytest.fail("no list was cut")


@pytest.mark.parametrize("option", [[], ["-d"]], ids=["console", "background"])
def test_start_without_standard_descriptors(node, option):
    """What the daemon opens must not get the numbers 0 to 2: log lines would be written into a netlink socket, and closing
    the standard input would give up the lock."""
    daemon = node.popen("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", node.binary, "-C", node.config_path, *option)
    lab.wait_for(lambda: node.client("-s", check=False).returncode == 0, 5, "the daemon to answer")
    (pid,) = node.pids()
    for number in range(3):
        assert os.readlink(f"/proc/{pid}/fd/{number}") == "/dev/null"
    assert node.start_background(check=False).returncode == 1, "the lock is held"
    node.stop()
    assert daemon.wait(timeout=5) == 0
