# SPDX-License-Identifier: GPL-2.0-or-later
"""Our unit under a real systemd: it starts, is watched, reloads and stops."""
import os
import signal
import subprocess

import pytest

import lab

CONFIG = "/etc/conntrackd/conntrackd.conf"
LOG = "/var/log/conntrackd.log"
CONTROL = "/run/conntrackd.ctl"
LOCK = "/run/conntrackd.lock"


def systemctl(*args, timeout=60):
    return lab.run(["systemctl", *args], timeout=timeout)


def show(*keys):
    """Properties of the unit, all at the same time."""
    out = systemctl("show", "ctsyncd", *(f"--property={key}" for key in keys)).stdout
    found = dict(line.split("=", 1) for line in out.splitlines())
    return tuple(found[key] for key in keys) if len(keys) > 1 else found[keys[0]]


def client(*args):
    return lab.run(["ctsyncd", *args])


def log():
    with open(LOG, encoding="utf-8") as file:
        return file.read()


@pytest.fixture(scope="module", autouse=True)
def machine():
    """A link and a configuration, as on a site; the watchdog of the unit made quick."""
    lab.run(["ip", "link", "add", "sync0", "type", "veth", "peer", "name", "sync0p"])
    for device in ("sync0", "sync0p"):
        lab.run(["ip", "link", "set", device, "up"])
    lab.run(["ip", "address", "add", "10.77.9.1/24", "dev", "sync0"])
    os.makedirs(os.path.dirname(CONFIG), exist_ok=True)
    with open(CONFIG, "w", encoding="utf-8") as file:
        file.write(f"Sync {{\n\tMode FTFW {{\n\t}}\n{lab.link_block('UDP', '10.77.9.1', '10.77.9.2')}}}\n"
                   f"General {{\n\tHashSize 32768\n\tHashLimit 131072\n\tLogFile {LOG}\n\tLockFile {LOCK}\n"
                   f"\tUNIX {{\n\t\tPath {CONTROL}\n\t}}\n\tNetlinkBufferSize 2097152\n"
                   f"\tNetlinkBufferSizeMaxGrowth 8388608\n{lab.DEFAULT_FILTER}\n}}\n")
    os.makedirs("/etc/systemd/system/ctsyncd.service.d", exist_ok=True)
    with open("/etc/systemd/system/ctsyncd.service.d/watchdog.conf", "w", encoding="utf-8") as file:
        file.write("[Service]\nWatchdogSec=5\nTimeoutAbortSec=2\n")
    systemctl("daemon-reload")
    yield
    lab.run(["systemctl", "stop", "ctsyncd"], timeout=60)


@pytest.fixture
def service():
    """The main process of the unit, freshly started."""
    systemctl("stop", "ctsyncd")
    lab.run(["systemctl", "reset-failed", "ctsyncd"], check=False)  # a unit that never ran has nothing to reset
    systemctl("start", "ctsyncd")
    return int(show("MainPID"))


def restarted(old):
    """The unit runs again with another process, and serves."""
    lab.wait_for(lambda: show("ActiveState", "SubState") == ("active", "running") and int(show("MainPID")) not in (0, old),
                 40, lambda: f"a new process of the unit: {show('ActiveState', 'SubState', 'Result', 'MainPID')}", 0.3)
    assert client("-s").stdout.startswith("cache internal:")


def test_unit_is_sound():
    assert lab.run(["systemd-analyze", "verify", "--man=no", "/etc/systemd/system/ctsyncd.service"], timeout=60).stderr == ""


def test_starts_and_says_when_it_is_ready(service):
    assert show("Type", "ActiveState", "SubState", "Result") == ("notify", "active", "running", "success")
    assert client("-s").stdout.startswith("cache internal:"), "started, but does not serve"
    lab.wait_for(lambda: show("StatusText") == "FTFW: 0 flows internal, 0 external, 0 peers heard", 10,
                 lambda: f"the status text, not `{show('StatusText')}'", 0.3)
    # The sandbox of the unit has left it what it needs.
    scheduling = lab.run(["chrt", "--pid", str(service)]).stdout
    assert "SCHED_RR" in scheduling or "SCHED_FIFO" in scheduling, scheduling
    assert "[ERROR]" not in log()


def test_reload_opens_the_log_anew(service):
    earlier = log().count("shutdown received")  # by the services before this one
    os.rename(LOG, LOG + ".1")
    systemctl("reload", "ctsyncd")
    lab.wait_for(lambda: os.path.exists(LOG), 10, "a new log file")
    assert int(show("MainPID")) == service and show("ActiveState") == "active"
    assert client("-s").stdout.startswith("cache internal:")
    systemctl("stop", "ctsyncd")
    assert "shutdown received" in log()
    with open(LOG + ".1", encoding="utf-8") as file:
        assert file.read().count("shutdown received") == earlier


def test_a_daemon_that_hangs_is_replaced(service):
    os.kill(service, signal.SIGSTOP)
    lab.wait_for(lambda: int(show("NRestarts")) > 0, 40, "systemd to see that the watchdog is not fed", 0.3)
    restarted(service)
    journal = lab.run(["journalctl", "--unit=ctsyncd", "--output=cat", "--no-pager"]).stdout
    assert "Watchdog timeout" in journal, journal


def test_a_socket_in_tmp_is_found(service):
    with open(CONFIG, encoding="utf-8") as file:
        before = file.read()
    try:
        with open(CONFIG, "w", encoding="utf-8") as file:
            file.write(before.replace(CONTROL, "/tmp/sync.sock"))
        systemctl("restart", "ctsyncd")
        assert os.path.exists("/tmp/sync.sock")
        assert client("-s").stdout.startswith("cache internal:")
    finally:
        with open(CONFIG, "w", encoding="utf-8") as file:
            file.write(before)
    systemctl("stop", "ctsyncd")


def test_a_link_that_comes_late_is_waited_for():
    systemctl("stop", "ctsyncd")
    for change in ("sync0 down", "sync0 name late0"):
        lab.run(["ip", "link", "set", *change.split()])
    systemctl("start", "ctsyncd")
    assert show("ActiveState", "SubState", "NRestarts") == ("active", "running", "0")
    assert "sync0 status=DOWN" in client("-s", "link").stdout
    for change in ("late0 name sync0", "sync0 up"):
        lab.run(["ip", "link", "set", *change.split()])
    lab.wait_for(lambda: "sync0 status=RUNNING" in client("-s", "link").stdout, 20, lambda: client("-s", "link").stdout, 0.3)


def test_no_number_of_deaths_ends_the_restarts(service):
    """systemd's default gives up after five within ten seconds."""
    assert show("StartLimitIntervalUSec") == "0"
    for _ in range(6):
        os.kill(service, signal.SIGKILL)
        restarted(service)
        service = int(show("MainPID"))


def test_a_daemon_that_works_is_left_alone(service):
    """Three times the watchdog's limit."""
    with pytest.raises(AssertionError, match="waited"):
        lab.wait_for(lambda: int(show("MainPID")) != service, 15, "nothing", 1)
    assert show("ActiveState", "NRestarts") == ("active", "0")


def test_a_daemon_that_dies_is_started_again(service):
    """What it left behind, the socket and the lock, does not hinder the next one."""
    os.kill(service, signal.SIGKILL)
    restarted(service)


def test_stops(service):
    systemctl("stop", "ctsyncd")
    assert show("ActiveState", "Result", "ExecMainStatus") == ("inactive", "success", "0")
    assert not os.path.exists(f"/proc/{service}")
    assert not os.path.exists(CONTROL) and not os.path.exists(LOCK)
    assert subprocess.run(["ctsyncd", "-s"], capture_output=True).returncode != 0
