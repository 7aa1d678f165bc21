# SPDX-License-Identifier: GPL-2.0-or-later
"""Logs that take nothing: a console whose pipe is full, a syslog daemon that hangs, pipes without a reader. The daemon goes on
as if nothing were the matter, ends when it is told to, and says what was lost. And a loop that may not wait as it likes."""
import ctypes
import fcntl
import os
import platform
import random
import re
import select
import signal
import socket
import struct
import time

import pytest

import guest
import lab
import text
from test_events import flowgen, runtime

FLUSH_CACHES, STATS = 19, 21  # requests: each flush is a line in the log


def fill(fd, chunk):
    """Writes until nothing more fits, and tells how many chunks did. The descriptor blocks as before, then."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    written = 0
    try:
        while True:
            os.write(fd, chunk)
            written += 1
    except BlockingIOError:
        pass
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)
    return written


def serves(node):
    """Answers within 100 ms (the best of some tries, as others use this machine too) while lines are logged."""
    times = []
    for _ in range(10):
        node.request(FLUSH_CACHES)
        start = time.monotonic()
        assert node.request(STATS)
        times.append(time.monotonic() - start)
    assert min(times) < 0.1, times


def ends(node, number=signal.SIGTERM):
    start = time.monotonic()
    assert node.kill(number) == 0
    assert time.monotonic() - start < 2
    assert not os.path.exists(node.lock_path) and not os.path.exists(node.control_path)


def answers(node):
    lab.wait_for(lambda: node.daemon.poll() is not None or os.path.exists(node.control_path), 10, "the control socket")
    lab.wait_for(lambda: node.client("-s", check=False).returncode == 0, 10, "the daemon to answer")


def start_on(node, console):
    node.daemon = node.popen(node.binary, "-C", node.config_path, stdout=console, stderr=console)
    answers(node)


def read_all(fd):
    data = b""
    while select.select([fd], [], [], 0.5)[0] and (piece := os.read(fd, 1 << 16)):
        data += piece
    return data


def test_console_that_nobody_reads(node):
    """Stock and we stood still. When somebody reads again, each line comes, once and in order."""
    reader, writer = os.pipe()
    fill(writer, b"\0" * 4096)
    start_on(node, writer)
    serves(node)
    assert not fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK, "others share the console"
    console = read_all(reader).replace(b"\0", b"").decode()
    assert console == node.log()
    assert console.count("flushing caches") == 10
    fill(writer, b"\0" * 4096)
    serves(node)
    ends(node)
    os.close(writer)
    os.close(reader)


def test_console_that_has_gone(node):
    reader, writer = os.pipe()
    start_on(node, writer)
    os.close(reader)
    serves(node)
    ends(node)
    os.close(writer)
    assert node.log().count("flushing caches") == 10


def test_background_start_on_a_console_that_nobody_reads(node):
    """The lines of the start have nowhere to go, which is no reason not to start."""
    reader, writer = os.pipe()
    fill(writer, b"\0" * 4096)
    with open(node.config_path, encoding="utf-8") as file:
        node.write_config(file.read().replace("General {\n", "General {\n\tSyslog nonsense\n"))  # a warning
    parent = node.popen(node.binary, "-C", node.config_path, "-d", stdout=writer, stderr=writer)
    assert parent.wait(timeout=10) == 0
    assert node.client("-s").returncode == 0
    assert node.stop() is None
    os.close(writer)
    assert not read_all(reader).replace(b"\0", b""), "the pipe ends, with nothing of the daemon in it"
    os.close(reader)


@pytest.mark.parametrize("how", ["pipe", "stdout"])
def test_log_file_that_is_a_pipe_without_reader(node, how):
    """SIGHUP opens it anew, which waited for a reader for ever."""
    pipe = f"{node.dir}/pipe"
    os.mkfifo(pipe)
    with open(node.config_path, encoding="utf-8") as file:
        config = file.read()
    node.write_config(config.replace(f"LogFile {node.log_path}", f"LogFile {pipe if how == 'pipe' else '/dev/stdout'}"))
    stdout = f"{node.dir}/stdout"  # a pipe with a name too, as under containerd
    os.mkfifo(stdout)
    reader, writer = os.open(stdout, os.O_RDONLY | os.O_NONBLOCK), os.open(stdout, os.O_WRONLY)
    with open(f"{node.dir}/console", "a", encoding="utf-8") as console:
        node.daemon = node.popen(node.binary, "-C", node.config_path, stdout=writer, stderr=console)
    os.close(writer)
    answers(node)
    os.close(reader)
    for _ in range(3):
        node.daemon.send_signal(signal.SIGHUP)
        serves(node)
    if how == "pipe":
        late = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        found = read_all(late).decode()
        os.close(late)
        assert found.count("log files opened anew") == 3 and found.count("flushing caches") == 30, found
    ends(node)


def with_syslog(node):
    """Starts the daemon with a /dev/log of its own, whose daemon does not read; returns the socket."""
    log = node.dev_log()
    room = True
    while room:  # one sender alone may not fill the queue
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.connect(log.getsockname())
            room = fill(filler.fileno(), b"filling")
    node.start_with_dev_log()
    answers(node)
    return log


def heard(log):
    found = []
    while select.select([log], [], [], 0.5)[0]:
        message = log.recv(65536).decode()
        if message != "filling":
            found.append(message.split(": ", 1)[1])
    return found


def test_syslog_that_hangs(node):
    with open(node.config_path, encoding="utf-8") as file:
        node.write_config(file.read().replace("General {\n", "General {\n\tSyslog on\n"))
    with with_syslog(node) as log:
        serves(node)
        found = heard(log)
        assert found == [line.split("] ", 2)[2] if "[" in line else line.split("\t", 1)[1] for line in node.log().splitlines()]
        assert found.count("flushing caches") == 10
    os.unlink(f"{node.dir}/dev/log")  # the syslog daemon ends, and another one starts
    serves(node)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(f"{node.dir}/dev/log")
        assert heard(log).count("flushing caches") == 10
        ends(node)


def test_statistics_with_a_syslog_that_hangs():
    """Kernel events are read on, at 5000 flows a second that all go to syslog; the flow log in the file is complete."""
    total = 10000
    with lab.Node("n", lab.OURS) as host:
        host.sysctl("net.netfilter.nf_conntrack_events", 1)
        node = guest.Guest(host)
        node.write_config(node.general() + f"Stats {{\n\tLogFile {node.stats_log_path}\n\tSyslog on\n}}\n")
        with with_syslog(node):
            flowgen(host, "create", total)
            start = time.monotonic()
            flowgen(host, "delete", total, "--rate", 5000)
            serves(node)
            lab.wait_for(lambda: runtime(node)["events received"] == 2 * total, 5, "the events")
            assert time.monotonic() - start < 6
            counted = runtime(node)
            assert (counted["netlink overrun"], counted["catch event failed"]) == (0, 0)
            with open(node.stats_log_path, encoding="utf-8") as file:
                assert len(file.readlines()) == total
            ends(node)
        node.close()


# The start


def executes(process, binary):
    """Whether the process has got as far as to run the program, be it that it has ended since: then it has no `exe'."""
    try:
        return os.path.basename(os.readlink(f"/proc/{process.pid}/exe")) == os.path.basename(binary)
    except FileNotFoundError:
        return True


def stop_at(node, made, delay, *option):
    """Starts, sends SIGTERM `delay` seconds after the program was executed and `made` exists; returns the status."""
    with open(f"{node.dir}/console", "a", encoding="utf-8") as console:
        started = node.popen(node.binary, "-C", node.config_path, *option, stdout=console, stderr=console)
    while not executes(started, node.binary):
        time.sleep(0.0002)
    deadline = time.monotonic() + 10
    while not os.path.exists(made) and time.monotonic() < deadline:
        pass  # no sleep: what is to be hit is a matter of microseconds
    time.sleep(delay)
    started.send_signal(signal.SIGTERM)
    status = started.wait(timeout=10)
    node.children.remove(started)
    return status


@pytest.mark.parametrize("option", [[], ["-d"]], ids=["console", "background"])
def test_stop_in_the_first_milliseconds_leaves_nothing_behind(node, option):
    """Now and then the lock file stayed; with -d the start went on."""
    chance = random.Random(1)
    for number in range(200):
        # From the very first on, from the first file on, and right after the lock.
        made, most = (("/", 0.02), (node.log_path, 0.005), (node.lock_path, 0))[number % 3]
        delay = chance.uniform(0, most)
        status = stop_at(node, made, delay, *option)
        when = f"{delay} after {made}"
        if option and status == 0:  # the command may have been through already: then the daemon serves
            lab.wait_for(lambda: not node.pids() or node.client("-k", check=False).returncode == 0, 5, when)
        lab.wait_for(lambda: not node.pids(), 5, when)
        left = [path for path in (node.lock_path, node.control_path) if os.path.exists(path)]
        assert not left, f"{left} {when}, status {status}"
        if made == "/" and status == -signal.SIGTERM:
            assert not os.path.exists(node.log_path), "it had begun"
        else:
            assert status == 0, f"{status} {when}: {node.console()}"
            os.unlink(node.log_path)


# The loop


def refusing(calls, error):
    """In the child: a seccomp filter that refuses these system calls."""
    def op(code, yes, no, value):
        return struct.pack("=HBBI", code, yes, no, value)
    program = op(0x20, 0, 0, 0)  # the number of the call
    for number in calls:
        program += op(0x15, 0, 1, number) + op(0x06, 0, 0, 0x00050000 | error)
    program += op(0x06, 0, 0, 0x7FFF0000)  # allow
    buffer = ctypes.create_string_buffer(program, len(program))
    argument = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    keep = ctypes.create_string_buffer(argument, len(argument))

    def apply():
        if lab._libc.prctl(38, 1, 0, 0, 0) or lab._libc.prctl(22, 2, ctypes.c_ulong(ctypes.addressof(keep)), 0, 0):
            os._exit(99)
    apply.keep = buffer
    return apply


EPOLL_PWAIT2 = 441
EPOLL_WAIT = {"x86_64": (232, 281), "aarch64": (22,)}.get(platform.machine(), ())


@pytest.mark.parametrize("error", [1, 38], ids=["EPERM", "ENOSYS"])
def test_kernel_without_the_fine_wait(node, error):
    """All of a processor was used, no request and no signal was heard."""
    with open(f"{node.dir}/console", "a", encoding="utf-8") as console:
        node.daemon = node.popen(node.binary, "-C", node.config_path, stdout=console, stderr=console,
                                 preexec_fn=refusing([EPOLL_PWAIT2], error))
    answers(node)

    def used():
        with open(f"/proc/{node.daemon.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    before = used()
    time.sleep(1)
    assert used() - before < 0.2
    assert text.parse_stats(node.out("-s"))
    ends(node)


def test_loop_that_cannot_wait_ends(node):
    if not EPOLL_WAIT:
        pytest.skip("this test knows the system calls of x86_64 and aarch64 only")
    with open(f"{node.dir}/console", "a", encoding="utf-8") as console:
        daemon = node.popen(node.binary, "-C", node.config_path, stdout=console, stderr=console,
                            preexec_fn=refusing([EPOLL_PWAIT2, *EPOLL_WAIT], 1))
    assert daemon.wait(timeout=10) == 1
    assert re.search(r"\[ERROR\] the event loop failed: epoll_wait: Operation not permitted\n$", node.log())
    assert node.console().endswith(node.log()[-60:])
    assert not os.path.exists(node.lock_path) and not os.path.exists(node.control_path)
