# SPDX-License-Identifier: GPL-2.0-or-later
"""--watch on a real terminal (tmux): what it shows, at any size, and that the terminal is afterwards as it was before; through
a pipe; with a daemon that goes away and comes back."""
import atexit
import itertools
import os
import re
import shlex
import signal
import socket
import subprocess
import time

import pytest

import lab

_serial = itertools.count(1)


class Terminal:
    """A terminal with a shell in it."""

    def __init__(self, directory, columns, rows):
        self.dir = str(directory)
        self.tmux_command = ["tmux", "-u", "-L", f"cts{os.getpid()}x{next(_serial)}", "-f", "/dev/null"]
        self.env = {"PATH": os.environ["PATH"], "HOME": self.dir, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8",
                    "TMUX_TMPDIR": self.dir}
        atexit.register(self.close)
        self.tmux("new-session", "-d", "-x", columns, "-y", rows, "/bin/sh", ";", "set-option", "-g", "status", "off")
        lab.wait_for(lambda: self.screen().strip(), 10, "the shell")
        self.type("PS1='ready$ '")
        lab.wait_for(lambda: self.screen().rstrip().endswith("\nready$"), 5, self.screen)
        self.resize(columns, rows)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the server of this terminal. May be called twice."""
        lab.run([*self.tmux_command, "kill-server"], env=self.env, check=False)

    def tmux(self, *words):
        return lab.run([*self.tmux_command, *map(str, words)], env=self.env).stdout

    def resize(self, columns, rows):
        self.tmux("resize-window", "-x", columns, "-y", rows)
        lab.wait_for(lambda: self.state()[2:] == [columns, rows], 5, f"{columns}x{rows}")

    def state(self):
        """[alternate screen, cursor to be seen, columns, rows]"""
        return [int(word) for word in self.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag} #{pane_width} #{pane_height}").split()]

    def screen(self, *options):
        return self.tmux("capture-pane", "-p", *options)

    def press(self, *keys):
        self.tmux("send-keys", *keys)

    def type(self, command):
        self.tmux("send-keys", "-l", command)
        self.press("Enter")

    def modes(self):
        """What stty says, once the shell has come so far."""
        path = f"{self.dir}/stty{next(_serial)}"
        self.type(f"stty -g > {path}.new; mv {path}.new {path}")
        lab.wait_for(lambda: os.path.exists(path), 5, "stty")
        with open(path, encoding="ascii") as file:
            return file.read()


class Watching(Terminal):
    """A terminal in which --watch runs."""

    def __init__(self, node, directory, columns=80, rows=24, environment="", words=()):
        super().__init__(directory, columns, rows)
        self.before = self.modes()
        pid = f"{self.dir}/pid{next(_serial)}"
        client = shlex.join([lab.OURS, "-C", node.config_path, "--watch", *words])
        self.type(f"echo what was there before; {environment} sh -c 'echo $$ > {pid}; exec {client}'; echo status $?")
        lab.wait_for(lambda: os.path.exists(pid) and self.state()[0] == 1, 5, "the alternate screen")
        with open(pid, encoding="ascii") as file:
            self.pid = int(file.read())

    def shows(self, pattern, timeout=6):
        """Waits for it; returns what was found."""
        return lab.wait_for(lambda: re.search(pattern, self.screen(), re.MULTILINE), timeout,
                            lambda: f"{pattern} in\n{self.screen()}", 0.05)

    def is_clean(self, status=0):
        """It has ended, and left the terminal as it was."""
        lab.wait_for(lambda: f"\nstatus {status}\n" in self.screen(), 5, self.screen)
        assert self.state()[:2] == [0, 1], "main screen, and the cursor is to be seen"
        assert "what was there before" in self.screen() and "ctsyncd 0" not in self.screen()
        assert self.modes() == self.before
        assert not os.path.exists(f"/proc/{self.pid}")


@pytest.fixture(scope="module")
def in_step():
    """Two nodes that know each other."""
    with lab.Pair(lab.OURS, lab.OURS) as pair:
        pair.configure().start().greeted()
        yield pair


def test_what_it_shows(in_step, tmp_path):
    node = in_step.active
    with Watching(node, tmp_path) as terminal:
        terminal.shows(r"^ctsyncd [0-9.]+ .* up 00:0\d:\d\d .* \d\d:\d\d:\d\d  every 1 s")
        assert terminal.state() == [1, 0, 80, 24], "alternate screen, no cursor"
        terminal.shows(r"^10\.77\.9\.2 +in sync +0 s .*▁▁")
        terminal.shows(r"^sync0 udp +active +[0-9.]+ k?B/s +[0-9.]+ k?B/s +0$")
        terminal.shows(r"^internal +\d+ +\d+ +0 +0 +0 +0$")
        node.run(lab.FLOWGEN, "create", 3000)
        terminal.shows(r"^kernel +[1-9]\d* events/s")
        terminal.shows(r"^internal +3\d\d\d +3\d\d\d ")
        assert 3000 <= node.stats()["internal"]["active"] < 4000
        terminal.shows("q quits, space pauses")
        terminal.press("q")
        terminal.is_clean()


def test_rates(in_step, tmp_path):
    """A rate is there while something happens, and is 0 again afterwards."""
    node = in_step.backup
    with Watching(node, tmp_path) as terminal:
        terminal.shows(r"^external +\d+ +\d+ +0 ")
        in_step.active.run(lab.FLOWGEN, "create", 2000, "--first", 10000)
        terminal.shows(r"^external +\d+ +\d+ +[1-9][\s\S]*^messages +[1-9][0-9.]* received/s")
        terminal.shows(r"^external +\d+ +\d+ +0 +0 +0 +0")


@pytest.mark.parametrize("size", [(40, 10), (20, 5), (120, 40)], ids="{0[0]}x{0[1]}".format)
def test_follows_the_size_of_the_terminal(in_step, tmp_path, size):
    columns, rows = size
    with Watching(in_step.active, tmp_path) as terminal:
        terminal.shows("q quits, space pauses")
        terminal.resize(columns, rows)
        lab.wait_for(lambda: ("q quits" in terminal.screen()) == (rows > 20), 5, terminal.screen)
        lines = terminal.screen().splitlines()
        assert lines[0].startswith("ctsyncd ") and len(lines) == rows and max(map(len, lines)) <= columns
        if rows < 20:
            assert re.fullmatch(r"\.\.\. \d+ more line.*", lines[-1])
        terminal.resize(80, 24)
        terminal.shows("q quits, space pauses")
        terminal.press("q")
        terminal.is_clean()


def test_begun_in_a_small_terminal(in_step, tmp_path):
    with Watching(in_step.active, tmp_path, 40, 10) as terminal:
        lines = terminal.shows(r"^ctsyncd [\s\S]*^internal +\d+ +\d+[\s\S]*^\.\.\. ")[0].splitlines()
        assert len(lines) == 10 and max(map(len, lines)) <= 40
        terminal.press("q")
        terminal.is_clean()


@pytest.mark.parametrize("how", ["q", "C-c", "C-d", "C-\\", signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=str)
def test_the_terminal_is_as_before(in_step, tmp_path, how):
    with Watching(in_step.active, tmp_path) as terminal:
        terminal.shows("^internal")
        if isinstance(how, str):
            terminal.press(how)
        else:
            os.kill(terminal.pid, how)
        terminal.is_clean()


def test_suspended_and_brought_back(in_step, tmp_path):
    with Watching(in_step.active, tmp_path) as terminal:
        terminal.shows("^internal")
        terminal.press("C-z")
        terminal.shows("what was there before")
        assert terminal.state()[:2] == [0, 1] and terminal.modes() == terminal.before
        terminal.type("fg")
        terminal.shows("^internal")
        assert terminal.state()[:2] == [1, 0]
        terminal.press("q")
        lab.wait_for(lambda: terminal.state()[:2] == [0, 1], 5, "the main screen")
        assert terminal.modes() == terminal.before


def test_a_terminal_that_goes_away(in_step, tmp_path):
    with Watching(in_step.active, tmp_path) as terminal:
        terminal.shows("^internal")
        terminal.tmux("kill-session")
        lab.wait_for(lambda: not os.path.exists(f"/proc/{terminal.pid}"), 5, "its end")


def test_space_pauses(in_step, tmp_path):
    with Watching(in_step.active, tmp_path) as terminal:
        terminal.shows("every 1 s")
        terminal.press("Space")
        terminal.shows("  paused  ")
        still = terminal.screen()
        time.sleep(1.5)
        assert terminal.screen() == still
        terminal.press("Space")
        lab.wait_for(lambda: "paused" not in terminal.screen(), 5, "going on")
        shown = terminal.shows(r"\d\d:\d\d:\d\d  every")[0]
        lab.wait_for(lambda: shown not in terminal.screen(), 5, "the next second")


@pytest.mark.parametrize("no_colour", ["", "1"], ids=["colour", "NO_COLOR"])
def test_colour(in_step, tmp_path, no_colour):
    with Watching(in_step.active, tmp_path, environment=f"NO_COLOR={no_colour}") as terminal:
        terminal.shows("^10.77.9.2 +in sync", 15)
        assert ("\x1b[" in terminal.screen("-e")) == (no_colour == "")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_daemon_that_goes_away_and_comes_back(node, tmp_path):
    node.start()
    with Watching(node, tmp_path) as terminal:
        terminal.shows("^internal")
        with node.stopped():
            terminal.shows("^daemon does not answer, since [2-9] s")
        lab.wait_for(lambda: "does not answer" not in terminal.screen(), 5, "the answer")
        node.kill()
        terminal.shows("^daemon does not answer, since [1-9] s  Connection refused")
        used = cpu_seconds(terminal.pid)
        time.sleep(2)
        assert cpu_seconds(terminal.pid) - used < 0.2, "it waits without working"
        os.remove(node.control_path)
        terminal.shows("^daemon does not answer, since [1-9] s  No such file")
        node.start()
        lab.wait_for(lambda: "does not answer" not in terminal.screen(), 5, "the answer")
        terminal.shows("up 00:00:0")
        terminal.press("q")
        terminal.is_clean()


def frames(node, count, *words, environment=None):
    """So many texts that come through a pipe, and the exit status after the reader has gone."""
    child = subprocess.Popen([lab.OURS, "-C", node.config_path, "--watch", *words], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    found = [""]
    try:
        for line in child.stdout:
            if line == "\n" and found[-1].startswith("ctsyncd") and "resend" in found[-1]:
                found.append("")
                if len(found) > count:
                    break
            elif line != "\n":
                found[-1] += line
        child.stdout.close()
        child.wait(timeout=5)
    finally:
        child.kill()
    return found[:-1], child.returncode


def test_through_a_pipe(in_step):
    start = time.monotonic()
    texts, status = frames(in_step.active, 3)
    assert 1.9 < time.monotonic() - start < 10 and status == -signal.SIGPIPE
    for text in texts:
        assert "\x1b" not in text and "\nexternal " in text and "q quits" not in text
        assert max(map(len, text.splitlines())) <= 80
    times = [re.search(r"\d\d:\d\d:\d\d  every", text)[0] for text in texts]
    assert len(set(times)) == len(times)


def test_on_a_terminal_that_can_nothing(in_step, tmp_path):
    """Plain text there, too."""
    with Terminal(tmp_path, 80, 24) as terminal:
        terminal.type(f"TERM=dumb {lab.OURS} -C {in_step.active.config_path} --watch")
        lab.wait_for(lambda: "\ninternal " in terminal.screen(), 5, terminal.screen)
        assert terminal.state()[:2] == [0, 1]
        terminal.press("C-c")


def test_one_request_an_interval(tmp_path):
    """A daemon that counts its clients."""
    path = f"{tmp_path}/socket"
    with open(f"{tmp_path}/c.conf", "w", encoding="ascii") as file:
        file.write(f"General {{\n\tUNIX {{\n\t\tPath {path}\n\t}}\n}}\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(5)
        child = subprocess.Popen([lab.OURS, "-C", f"{tmp_path}/c.conf", "--watch", "1"], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, text=True)
        try:
            times = []
            for _ in range(4):
                with listener.accept()[0] as client:
                    times.append(time.monotonic())
                    assert client.recv(16) == (1201).to_bytes(4, "little")
                    client.sendall(b"ctsyncd_uptime_seconds 1\n# EOF\n")
            assert 2.5 < times[-1] - times[0] < 5
            assert cpu_seconds(child.pid) < 0.5
        finally:
            child.kill()
            child.communicate(timeout=5)


def test_a_daemon_that_does_not_know_the_request(tmp_path):
    with lab.Pair(lab.STOCK, lab.STOCK) as pair:
        pair.configure()
        pair.active.start()
        done = pair.active.client("--watch", check=False, binary=lab.OURS)
        assert done.returncode == 3 and "does not know this request" in done.stderr
        with Terminal(tmp_path, 80, 24) as terminal:
            before = terminal.modes()
            terminal.type(f"{lab.OURS} -C {pair.active.config_path} --watch; echo status $?")
            lab.wait_for(lambda: "\nstatus 3\n" in terminal.screen(), 5, terminal.screen)
            assert terminal.screen("-J").count("does not know this request") == 1, terminal.screen()
            assert terminal.state()[:2] == [0, 1] and terminal.modes() == before
