# SPDX-License-Identifier: GPL-2.0-or-later
"""The process: start in the background, files and their modes, one instance, stale files, signals, service notification,
and start-up failures, which must name their cause on the terminal, end with status 1 and leave nothing behind."""
import contextlib
import ctypes
import os
import platform
import re
import resource
import signal
import socket
import stat
import struct
import subprocess
import time

import pytest

import ctnl
import lab

SYNC = "\tMode FTFW {\n\t}\n" + lab.link_block("UDP", "10.77.9.1", "10.77.9.2")


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def background(node):
    """Starts with -d and returns the pid."""
    done = node.start_background()
    assert done.returncode == 0
    (pid,) = node.pids()
    return pid


def ended(node, timeout=5):
    lab.wait_for(lambda: not node.pids(), timeout, "the daemon to end")


# Background start


def test_background_start_serves_at_once(node):
    pid = background(node)
    assert node.client("-s").returncode == 0, "the parent exited before requests were served"
    assert "-- starting in daemon mode --" in node.log()
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    assert int(fields[1]) == 1, "no longer a child of the terminal"
    assert int(fields[3]) != os.getsid(0)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    # umask 0177 rules: nothing of the daemon is readable by others.
    for path in (node.control_path, node.lock_path, node.log_path):
        assert mode(path) == 0o600, path
    with open(node.lock_path, encoding="ascii") as file:
        assert file.read().split() == [str(pid)]
    assert node.stop() is None
    assert not os.path.exists(node.lock_path) and not os.path.exists(node.control_path)


def test_background_start_lets_go_of_the_terminal(node):
    """The shell's pipe must see end of file although the daemon lives on."""
    # Would time out while a descriptor stays open.
    done = node.run(node.binary, "-C", node.config_path, "-d", timeout=10, check=False)
    assert done.returncode == 0
    assert node.pids()


def test_realtime_scheduling(node):
    pid = background(node)
    assert os.sched_getscheduler(pid) & ~getattr(os, "SCHED_RESET_ON_FORK", 0) == os.SCHED_RR
    assert os.sched_getparam(pid).sched_priority == os.sched_get_priority_max(os.SCHED_RR)


@pytest.mark.parametrize("block, policy, priority", [
    ("Type RR\n\t\tPriority 20", os.SCHED_RR, 20), ("Type FIFO\n\t\tPriority 5", os.SCHED_FIFO, 5),
    ("Type FIFO\n\t\tPriority 0", os.SCHED_OTHER, 0)])
def test_scheduling_as_configured(node, block, policy, priority):
    node.configure(SYNC, node.general(f"\tScheduler {{\n\t\t{block}\n\t}}\n"))
    pid = background(node)
    assert os.sched_getscheduler(pid) & ~getattr(os, "SCHED_RESET_ON_FORK", 0) == policy
    assert os.sched_getparam(pid).sched_priority == priority
    assert ("scheduler configuration failed" in node.log()) == (policy == os.SCHED_OTHER)


def test_descriptors_beyond_those_of_select(node):
    """A daemon that was given more than 1024 open descriptors gets higher ones for its own sockets, and works."""
    room = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2000, room[1]))
    given = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        node.daemon = node.popen(node.binary, "-C", node.config_path, pass_fds=given)
        lab.wait_for(lambda: node.client("-s", check=False).returncode == 0, 5, "the daemon to answer")
    finally:
        for fd in given:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, room)
    own = [int(fd) for fd in os.listdir(f"/proc/{node.daemon.pid}/fd")]
    assert max(own) > 1024
    with ctnl.Table(node) as table:
        table.create({"proto": 17, "orig": {"src": "10.1.0.1", "dst": "10.2.0.1", "sport": 1, "dport": 2},
                      "status": 8, "timeout": 600})
    lab.wait_for(lambda: node.stats()["internal"]["active"] == 1, 3, "the flow")
    assert node.stop() == 0


# One instance, stale files


@pytest.mark.parametrize("option", [[], ["-d"]], ids=["console", "background"])
@pytest.mark.parametrize("first_option", ["console", "background"])
def test_second_instance_is_refused_and_told_the_pid(node, first_option, option):
    if first_option == "console":
        node.start()
        pid = node.daemon.pid
    else:
        pid = background(node)
    with ctnl.Table(node) as table:
        table.create({"proto": 17, "orig": {"src": "10.1.0.1", "dst": "10.2.0.1", "sport": 1, "dport": 2},
                      "status": 8, "timeout": 600})
    lab.wait_for(lambda: node.stats()["internal"]["active"] == 1, 3, "the flow")
    done = node.run(node.binary, "-C", node.config_path, *option, check=False, timeout=10)
    assert done.returncode == 1
    assert re.search(rf"\b{pid}\b", done.stderr) and node.lock_path in done.stderr, done.stderr
    # The first one is undisturbed.
    assert node.pids() == [pid]
    assert node.stats()["internal"]["active"] == 1
    assert os.path.exists(node.lock_path)


def test_stale_lock_and_socket_after_sigkill_do_not_block(node):
    node.start().kill(signal.SIGKILL)
    assert os.path.exists(node.lock_path) and os.path.exists(node.control_path)
    node.start()
    assert node.stop() == 0
    assert not os.path.exists(node.lock_path)


@pytest.mark.parametrize("content", ["", "1\n", "999999999\n", "garbage", "\0" * 5000],
                         ids=["empty-as-stock-leaves-it", "pid-of-another-process", "no-such-pid", "text", "zeros"])
def test_leftover_lock_of_any_content_does_not_block(node, content):
    with open(node.lock_path, "w", encoding="latin-1") as file:
        file.write(content)
    background(node)
    node.stop()


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_clean_stop(node, number):
    node.start()
    assert node.kill(number) == 0
    assert not os.path.exists(node.lock_path) and not os.path.exists(node.control_path)
    assert "---- shutdown received ----" in node.log()


@pytest.mark.parametrize("number", [signal.SIGPIPE, signal.SIGCHLD])
def test_harmless_signals(node, number):
    node.start()
    node.daemon.send_signal(number)
    time.sleep(0.3)
    assert node.alive()
    assert node.client("-s").returncode == 0


def test_stop_by_request(node):
    node.start()
    assert node.stop() == 0
    assert "---- shutdown received ----" in node.log()


def test_termination_during_a_burst_is_clean(node):
    node.start()
    burst = node.popen(lab.FLOWGEN, "create", 50000, stdout=subprocess.DEVNULL)
    time.sleep(0.05)
    assert node.kill(signal.SIGTERM) == 0
    assert burst.wait(timeout=20) == 0
    assert not os.path.exists(node.lock_path) and not os.path.exists(node.control_path)


# Service notification


@pytest.mark.parametrize("option", [[], ["-d"]], ids=["console", "background"])
def test_service_notification(node, option):
    path = f"{node.dir}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(5)
        child = node.popen("env", f"NOTIFY_SOCKET={path}", "WATCHDOG_USEC=1000000", node.binary, "-C", node.config_path,
                           *option, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        heard = []
        while "WATCHDOG=1" not in heard:
            heard += notify.recv(4096).decode().split("\n")
        first = heard.index("READY=1")
        if option:
            assert child.wait(timeout=5) == 0
            (pid,) = node.pids()
            assert heard[:first] == [f"MAINPID={pid}"]
        else:
            assert heard[:first] == []
        node.client("-k")
        while "STOPPING=1" not in heard:
            heard += notify.recv(4096).decode().split("\n")
        heard = [line for line in heard if not line.startswith("STATUS=")]
        assert set(heard) <= {"READY=1", "WATCHDOG=1", "STOPPING=1", *heard[:first]}


@pytest.mark.parametrize("transport", ["UDP", "Multicast", "TCP"])
@pytest.mark.parametrize("what", ["interface", "address"])
def test_a_link_that_comes_late_is_waited_for(node, transport, what):
    """The only one, as a bond or a VLAN at boot; the daemon that starts into the background tells of it."""
    node.run("ip", "address", "flush", "dev", "sync0", "scope", "global")
    if what == "interface":
        node.run("ip", "link", "set", "sync0", "down")
        node.run("ip", "link", "set", "sync0", "name", "other0")
    node.configure("\tMode FTFW {\n\t}\n" + lab.link_block(transport, "10.77.9.1", "10.77.9.2"))
    started = node.start_background()
    if what == "interface" or transport != "Multicast":  # by its interface alone it hears a group without an address
        assert "waiting for it" in started.stderr
    if what == "interface":
        assert "sync0 status=DOWN role=ACTIVE" in node.out("-s", "link")
        node.run("ip", "link", "set", "other0", "name", "sync0")
        node.run("ip", "link", "set", "sync0", "up")
    node.address("sync0", "10.77.9.1/24")
    lab.wait_for(lambda: "link on device `sync0' is open now" in node.log(), 5, "the link to be opened")
    assert "sync0 status=RUNNING role=ACTIVE" in node.out("-s", "link")
    assert len(re.findall("waiting for it", node.log())) == 1


# Failures of the start

OPTIONS = pytest.mark.parametrize("option", [[], ["-d"]], ids=["console", "background"])


def refused(node, option, *wanted, prefix=(), status=1):
    """The start fails with its status; stderr carries an error line that says each of `wanted`; nothing stays behind."""
    done = node.run(*prefix, node.binary, "-C", node.config_path, *option, check=False, timeout=15)
    assert done.returncode == status, f"status {done.returncode}: {done.stderr}"
    assert "[ERROR]" in done.stderr
    for word in wanted:
        assert re.search(word, done.stderr, re.IGNORECASE), f"no `{word}' in: {done.stderr}"
    ended(node)
    assert not os.path.exists(node.control_path)
    return done


@OPTIONS
def test_missing_config(node, option):
    node.config_path = f"{node.dir}/nosuch.conf"
    refused(node, option, "nosuch.conf")


@OPTIONS
def test_directory_as_config(node, option):
    node.config_path = node.dir
    refused(node, option, re.escape(node.dir), status=2)  # as upstream: opened, but not to be read


@OPTIONS
def test_unreadable_config(node, option):
    os.chmod(node.dir, 0o755)
    os.chmod(node.config_path, 0)
    refused(node, option, "c.conf", "permission", prefix=("setpriv", "--reuid", "65534", "--clear-groups"))


@OPTIONS
def test_syntax_error_names_the_line(node, option):
    node.write_config("General {\n\tHashSize 8192\n\tNoSuchWord 1\n}\n")
    refused(node, option, r"c\.conf", r"\b3\b")


@OPTIONS
def test_foreign_address(node, option):
    node.configure(SYNC.replace("IPv4_address 10.77.9.1", "IPv4_address 10.99.9.9"))
    refused(node, option, "10.99.9.9")


@OPTIONS
@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_port_in_use(node, option, transport):
    node.configure(SYNC.replace("UDP {", f"{transport} {{"))
    kind = socket.SOCK_DGRAM if transport == "UDP" else socket.SOCK_STREAM
    with node.socket(socket.AF_INET, kind) as holder:
        holder.bind(("10.77.9.1", lab.SYNC_PORT))
        if transport == "TCP":
            holder.listen()
        refused(node, option, str(lab.SYNC_PORT))


@OPTIONS
@pytest.mark.parametrize("what", ["LogFile", "LockFile", "Path"])
def test_file_in_missing_directory(node, option, what):
    with open(node.config_path, encoding="utf-8") as file:
        config = file.read()
    node.write_config(re.sub(rf"({what}) \S+", r"\1 /nosuch-directory/file", config))
    refused(node, option, "/nosuch-directory/file")


@OPTIONS
@pytest.mark.parametrize("what", ["LockFile", "LogFile", "Path"])
def test_directory_of_another_user(node, option, what):
    """Root as the unit has it, without CAP_DAC_OVERRIDE, may not write there: told with the path; with it, it may."""
    theirs = f"{node.dir}/theirs"
    os.mkdir(theirs)
    os.chmod(theirs, 0o755)
    os.chown(theirs, 1000, 1000)
    with open(node.config_path, encoding="utf-8") as file:
        config = file.read()
    node.write_config(re.sub(rf"({what}) \S+", rf"\1 {theirs}/x", config))
    few = "-all,+net_admin,+sys_nice"
    refused(node, option, f"{theirs}/x.*Permission denied", prefix=("setpriv", "--bounding-set", few, "--inh-caps", "-all"))
    if option:
        done = node.run("setpriv", "--bounding-set", f"{few},+dac_override", "--inh-caps", "-all", node.binary, "-C",
                        node.config_path, *option, check=False)
        assert done.returncode == 0, done.stderr
        assert os.path.exists(f"{theirs}/x")


@OPTIONS
def test_control_path_is_a_directory(node, option):
    node.write_config(node.general().replace(node.control_path, node.dir) + f"Sync {{\n{SYNC}}}\n")
    done = node.run(node.binary, "-C", node.config_path, *option, check=False, timeout=15)
    assert done.returncode == 1 and node.dir in done.stderr
    assert os.path.isdir(node.dir)


@OPTIONS
def test_as_nobody(node, option):
    os.chmod(node.dir, 0o777)
    refused(node, option, "permi", prefix=("setpriv", "--reuid", "65534", "--clear-groups"))


@OPTIONS
def test_root_without_net_admin(node, option):
    refused(node, option, "permi", prefix=("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"))


def without_conntrack():
    """In the child: a seccomp filter that refuses NETLINK_NETFILTER sockets like a kernel built without them."""
    number = {"x86_64": 41, "aarch64": 198}[platform.machine()]
    load, equal, give = 0x20, 0x15, 0x06

    def op(code, yes, no, value):
        return struct.pack("=HBBI", code, yes, no, value)
    program = b"".join([op(load, 0, 0, 0), op(equal, 0, 5, number),  # system call number: socket()?
                        op(load, 0, 0, 16), op(equal, 0, 3, socket.AF_NETLINK),  # its family
                        op(load, 0, 0, 32), op(equal, 0, 1, ctnl.NETLINK_NETFILTER),  # its protocol
                        op(give, 0, 0, 0x00050000 | 93),  # EPROTONOSUPPORT
                        op(give, 0, 0, 0x7FFF0000)])  # allow
    buffer = ctypes.create_string_buffer(program, len(program))
    argument = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    keep = ctypes.create_string_buffer(argument, len(argument))
    if lab._libc.prctl(38, 1, 0, 0, 0) or lab._libc.prctl(22, 2, ctypes.c_ulong(ctypes.addressof(keep)), 0, 0):
        os._exit(99)


@OPTIONS
def test_kernel_without_conntrack(node, option):
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("the seccomp filter of this test knows x86_64 and aarch64 only")
    done = node.run(node.binary, "-C", node.config_path, *option, timeout=15, check=False, preexec_fn=without_conntrack)
    assert done.returncode == 1, f"status {done.returncode}: {done.stderr}"
    assert re.search("conntrack|netlink", done.stderr.split("[ERROR]", 1)[1], re.IGNORECASE), done.stderr
    ended(node)
    assert not os.path.exists(node.control_path) and not os.path.exists(node.lock_path)


def test_failed_start_does_not_hurt_the_running_one(node):
    """A start that fails (any of the above) beside a running daemon takes away neither its lock nor its socket."""
    pid = background(node)
    with open(node.config_path, encoding="utf-8") as file:
        good = file.read()
    node.write_config(good.replace("Interface sync0", "Interface nosuch0"))
    done = node.start_background(check=False)
    node.write_config(good)
    assert done.returncode == 1
    assert node.pids() == [pid]
    assert node.client("-s").returncode == 0
    assert os.path.exists(node.lock_path)


def test_client_without_daemon(node):
    done = node.client("-s", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    reason = "No such file or directory"
    assert done.stderr.endswith(f"can't connect: is conntrackd running? appropriate permissions? ({node.control_path}: {reason})\n")


@pytest.mark.parametrize("option", ["-k", "--stop"])
def test_stop_removes_the_socket_of_a_daemon_that_was_killed(node, option):
    node.start()
    node.kill()
    assert os.path.exists(node.control_path)
    assert node.client("-s", check=False).returncode == 1 and os.path.exists(node.control_path)
    done = node.client(option, check=False)
    assert done.returncode == 1 and f"({node.control_path}: Connection refused)" in done.stderr
    assert not os.path.exists(node.control_path)


def test_client_as_nobody(node):
    node.start()
    os.chmod(node.dir, 0o755)
    os.chmod(node.config_path, 0o644)
    done = node.run("setpriv", "--reuid", "65534", "--clear-groups", node.binary, "-C", node.config_path, "-s", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"appropriate permissions? ({node.control_path}: Permission denied)" in done.stderr


def test_clients_do_not_repeat_the_warnings_of_the_configuration(node):
    with open(node.config_path, encoding="utf-8") as file:
        good = file.read()
    node.write_config(good.replace("General {", "General {\n\tNice -20\n\tFilter {\n\tProtocol Accept { FOO TCP }\n\t}", 1))
    node.start()
    assert "deprecated nice configuration" in node.console() and "cannot find protocol `FOO'" in node.console()
    assert node.client("-s").stderr == ""
    node.write_config(good + "Nonsense\n")
    assert "syntax error" in node.client("-s", check=False).stderr  # an error is told
    node.write_config(good)


@pytest.mark.parametrize("mistake", ["Sync {\n\tMode FTFV {\n\t}\n", "Sync {\n\tOptions {\n\t\tExpectationSync perhaps\n\t}\n",
                                     "Sync {\n\tResendQueueSize\n"])
def test_a_file_that_is_being_edited_stops_no_request(node, mistake):
    with open(node.config_path, encoding="utf-8") as file:
        good = file.read()
    node.start()
    node.write_config(good.replace("Sync {\n", mistake, 1))
    for option in ("-c", "-s", "--takeover"):
        done = node.client(option, check=False)
        assert done.returncode == 0 and "syntax error" in done.stderr, done.stderr
    assert "taking over" in node.log()
    # The daemon itself does not start with it.
    node.stop()
    assert node.client("-d", check=False).returncode != 0
    node.write_config(good)


@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
def test_the_log_has_the_warnings_of_the_configuration_too(node, background):
    """They are found before the log is open."""
    with open(node.config_path, encoding="utf-8") as file:
        good = file.read()
    node.write_config(good.replace("General {", "General {\n\tNice -20\n\tPollSecs 1\n\tNetlinkEventsReliable on", 1))
    if background:
        shown = node.start_background().stderr
    else:
        shown = node.start().console()
    pid = node.pids()[0]
    for warning in ("deprecated nice configuration", "its events are not used"):
        assert shown.count(warning) == 1
        lines = [line for line in node.log().splitlines() if warning in line]
        assert len(lines) == 1 and f"(pid={pid}) [warning]" in lines[0], "in the name of the daemon"
    node.stop()


def test_warnings_of_the_configuration_are_in_syslog(node):
    with open(node.config_path, encoding="utf-8") as file:
        good = file.read()
    node.write_config(good.replace("General {", "General {\n\tSyslog on\n\tNice -20", 1))
    with node.dev_log() as syslog:
        syslog.settimeout(5)
        node.start_with_dev_log()
        assert b"deprecated nice configuration" in syslog.recv(4096), "first of all"


def test_start_checks_what_only_a_daemon_minds(node):
    """Polling: warned about with options of events, refused without an internal cache."""
    with open(node.config_path, encoding="utf-8") as file:
        good = file.read()
    polling = good.replace("General {", "General {\n\tPollSecs 1\n\tNetlinkEventsReliable on", 1)
    node.write_config(polling)
    node.start()
    assert re.search(r"\[warning\] .*its events are not used: .*`NetlinkEventsReliable'", node.console())
    assert node.client("-s").stderr == ""
    node.stop()
    node.write_config(re.sub(r"Mode \w+ {", "Mode NOTRACK {\n\t\tDisableInternalCache on", polling, count=1))
    done = node.start_background(check=False)
    node.write_config(good)
    assert done.returncode == 1 and not os.path.exists(node.lock_path)
    assert "[ERROR]" in done.stderr and "nothing would be replicated with both `PollSecs' and" in done.stderr


def test_log_lines_have_date_pid_and_level(node):
    background(node)
    node.stop()
    for line in node.log().splitlines():
        assert re.fullmatch(r"\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\] \(pid=\d+\) \[(info|notice|warning|ERROR)\] .+",
                            line), line
    with contextlib.suppress(FileNotFoundError):
        assert os.stat(node.log_path).st_uid == 0


def test_a_container_gets_the_buffers_that_the_system_allows(node):
    """Root of a user namespace may not go beyond the system's maximum, and need not."""
    if subprocess.run(["unshare", "--user", "--map-root-user", "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this system makes no user namespaces")
    node.edit_config("Checksum on", "Checksum on\n\t\tRcvSocketBuffer 67108864\n\t\tSndSocketBuffer 67108864")
    setup = ("ip link add sync0 type veth peer name sync0p && ip link set sync0p up && "
             "ip address add 10.77.9.1/24 dev sync0 && ip link set sync0 up")
    with open(f"{node.dir}/console", "a", encoding="utf-8") as console:
        node.daemon = node.popen("unshare", "--user", "--map-root-user", "--net", "sh", "-c",
                                 f"{setup} && exec {node.binary} -C {node.config_path}", stdout=console, stderr=console)
    lab.wait_for(lambda: node.daemon.poll() is not None or "initialization completed" in node.log(), 10, "the start")
    assert node.alive(), node.console()
    lab.wait_for(lambda: node.client("-s", check=False).returncode == 0, 5, "it to answer")
    node.kill(signal.SIGTERM)
