# SPDX-License-Identifier: GPL-2.0-or-later
"""Some 600 small configurations, each given to ours and to Debian's conntrackd: both start or both refuse, with the same
exit status, and what one warns about, the other does. DIFFERENCES lists where ours is meant to behave differently.

The configurations are tests/data/outputs/config-cases.txt (with what upstream's 1.4.9 did) and config_cases_own.txt here.
"test_config.py record" writes what Debian's daemon does with the latter into it.
"""
import contextlib
import os
import queue
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402

GOLDEN = os.path.join(lab.ROOT, "tests/data/outputs/config-cases.txt")
OWN = os.path.join(lab.ROOT, "tests/netns/config_cases_own.txt")
WORKERS = 6
STARTED = "-- starting in console mode --"  # in the log of whoever runs
LINK_LOCAL = "fe80::d0"

RUNS, REFUSED = ("runs", 0), ("exits", 1)

# What ours is meant to do otherwise: outcome and reason.
DIFFERENCES = {
    "huge-number-hashsize": (REFUSED, "conntrackd corrupts memory and aborts"),
    "hashsize-2^31": (REFUSED, "conntrackd crashes"),
    "general-hashsize-2^32": (REFUSED, "conntrackd wraps to 0, the default; out of range is out of range"),
    "huge-number-2e9": (None, "tables grow with need here, HashSize is no allocation: both outcomes are right"),
    "general-pollsecs-2^32": (RUNS, "conntrackd wraps to 0 and refuses"),
    "general-scheduler-priority-2^32": (REFUSED, "conntrackd wraps to 0; out of range is out of range"),
    "value-pipe-chars": (REFUSED, "slip of conntrackd's scanner: | for a letter of on and off"),
    "value-o-pipe": (REFUSED, "slip of conntrackd's scanner: | for a letter of on and off"),
    "text-comment-at-end-without-newline": (RUNS, "a comment may end with the file"),
    "text-nul-at-top-level": (REFUSED, "conntrackd silently ignores the rest of the file"),
    "text-latin1-at-top-level": (REFUSED, "conntrackd silently ignores the rest of the file"),
    "text-bom-in-the-middle": (REFUSED, "conntrackd silently ignores the rest of the file"),
    "sync-options-expectation-on-off": (RUNS, "conntrackd 1.4.7 fails an assertion"),
    "sync-options-expectation-list-off": (RUNS, "conntrackd 1.4.7 fails an assertion"),
    "text-path-with-nul": (REFUSED, "no file can have this name; conntrackd cuts it"),
    "filter-unknown-statement": (RUNS, "a filter by port, which conntrackd does not know"),
    "mcast-no-ipv4-interface": (RUNS, "the group is joined on the interface, no route is needed"),
    "sync-link-mcast-bad-interface-address": (RUNS, "as without the address: the group is joined on the interface"),
    "tcp-ipv6-linklocal": (None, "conntrackd does not apply the interface to the connecting side; a link that works may start"),
}

# Warnings of conntrackd that ours has no reason for.
OMITTED_WARNINGS = {
    "mcast-ipv6-iface-then-addr": "the order of Interface and IPv6_address makes no difference here",
    "sync-link-interface-nack": "an old mode name is only warned about where a mode is named",
    "filter-address-network-huge": "the text names the number as written, not its low 32 bits",
}

# Said after parsing and not about the file.
LATER_WARNINGS = ("scheduler configuration failed",)
# Without the file conntrackd knows no protocol name, ours those that are built in.
FILE_WARNING = "getprotobyname() cannot find protocol"
# In a file that both accept: whether this kernel takes a user-space helper is not a matter of the configuration.
HELPER_FAILURE = "trying to configure cthelper"
NO_INTERFACE = "can't open channel socket: No such device"


def read_text(path):
    with open(path, encoding="latin-1") as file:
        return file.read()


class Case:
    def __init__(self, name):
        self.name = name
        self.lines = []        # as in the file, unescaped by text()
        self.outcome_149 = None  # what 1.4.9 did, if recorded
        self.busy = None       # UDP address that somebody else holds
        self.path = None       # given to -C instead of a file with text()

    def text(self):
        raw = "\n".join(self.lines).encode() + b"\n"
        raw = raw[:-3] if raw.endswith(b"\\c\n") else raw
        raw = re.sub(rb"<(\d+) times the letter a>", lambda m: b"a" * int(m[1]), raw)
        plain = {b"r": b"\r", b"f": b"\f", b"0": b"\0"}
        return re.sub(rb"\\(?:x([0-9a-f]{2})|([rf0]))", lambda m: bytes([int(m[1], 16)]) if m[1] else plain[m[2]], raw)

    def like(self, other, *changes):
        self.lines = list(other.lines)
        for old, new in changes:
            self.lines = [line.replace(old, new) for line in self.lines]


def read_cases(path):
    cases, version = {}, None
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            line = line.rstrip("\n")
            if line.startswith("### "):
                case = cases[line[4:]] = Case(line[4:])
                version, runs = None, True
            elif not cases:
                continue
            elif re.fullmatch(r"1\.4\.\d:", line):
                version, runs = line[:-1], True
            elif version is None and line.startswith("    "):
                case.lines.append(line[4:])
            elif version == "1.4.9" and "[ERROR]" in line:
                runs = False
            elif version == "1.4.9" and line.startswith("  exit="):
                status = int(line[7:])
                case.outcome_149 = ("runs" if runs and status == 0 else "exits", status)
    return cases


def golden_cases():
    cases = read_cases(GOLDEN)
    # These are only described in the file.
    udp6, mcast6 = cases["udp-ipv6"], cases["mcast-ipv6-addr-then-iface"]
    for scope in ("ff08", "ff05", "ff02"):
        cases[f"mcast-ipv6-{scope}"].like(mcast6, ("ff12::50", scope + "::50"))
    cases["mode-PERSISTENT"].like(cases["mode-nack"], ("NACK", "PERSISTENT"))
    link_local = (("fd00:cf::1", LINK_LOCAL), ("fd00:cf::2", "fe80::1234"))
    cases["udp-ipv6-linklocal"].like(udp6, *link_local)
    cases["tcp-ipv6-linklocal"].like(udp6, ("UDP", "TCP"), *link_local)
    cases["tcp-ipv6"].like(udp6, ("UDP", "TCP"))
    busy = cases["port-in-use (udp 3780 busy)"]
    busy.like(cases["no-mode-sync"])
    busy.busy = ("192.0.2.1", 3780)
    cases["nonexistent-file"].path = "/W/NOPE.conf"
    cases["config-is-directory"].path = "/W"
    return cases


CASES = {**golden_cases(), **read_cases(OWN)}


class Result:
    """What a daemon did: (runs|exits, status), and its standard error without dates, pids and working directory."""

    def __init__(self, outcome, errors):
        self.outcome = outcome
        self.errors = errors

    def warnings(self):
        return [line.split("[warning] ", 1)[1] for line in self.errors if "[warning] " in line]

    def __str__(self):
        return "%s, status %d\n" % self.outcome + "\n".join("  " + line for line in self.errors)


class Place:
    """A namespace with the interface cf-d0 in which daemons are tried one after the other."""

    def __init__(self, role):
        self.net = lab.Net(role)
        self.net.run("ip", "link", "add", "cf-d0", "type", "veth", "peer", "name", "cf-d1")
        self.net.run("ip", "link", "set", "cf-d1", "up")
        self.net.address("cf-d0", "192.0.2.1/24", "fd00:cf::1/64", LINK_LOCAL + "/64")

    def attempt(self, case, binary):
        work = tempfile.mkdtemp(prefix="cf", dir="/tmp")
        try:
            with contextlib.ExitStack() as stack:
                if case.busy:
                    holder = stack.enter_context(self.net.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    holder.bind(case.busy)
                return self._attempt(case, binary, work)
        finally:
            shutil.rmtree(work)

    def _attempt(self, case, binary, work):
        path = os.path.join(work, "c")
        with open(path, "wb") as file:
            file.write(case.text().replace(b"/W", work.encode()))
        if case.path:
            path = case.path.replace("/W", work)
        # Default lock and log files of a case are its own.
        script = 'mount -t tmpfs none /run/lock && mount -t tmpfs none /var/log && exec "$@"'
        output_path = os.path.join(work, "out")
        with open(output_path, "wb") as output, open(os.path.join(work, "err"), "w+b") as errors:
            with self.net.enter():
                child = subprocess.Popen(
                    ["unshare", "--mount", "sh", "-c", script, "sh", "stdbuf", "-oL", binary, "-C", path],
                    stdin=subprocess.DEVNULL, stdout=output, stderr=errors, cwd=work)
            try:
                lab.wait_for(lambda: child.poll() is not None or STARTED in read_text(output_path), 30,
                             f"{binary} to start or to refuse {case.name}")
                if child.poll() is not None:
                    outcome = ("exits", child.returncode)
                else:
                    child.terminate()
                    outcome = ("runs", child.wait(timeout=20))
            except (AssertionError, subprocess.TimeoutExpired):
                child.kill()
                outcome = ("hangs", child.wait())
            errors.seek(0)
            shown = errors.read().decode("latin-1").replace(work, "/W")
        return Result(outcome, [re.sub(r"^\[[^]]*\] \(pid=\d+\) ", "", line) for line in shown.splitlines() if line])


def verdict(case, ours, stock):
    """None if the two did the same, as far as they are meant to, else what is wrong."""
    expected, reason = DIFFERENCES.get(case.name, (stock.outcome, ""))
    if expected is None:
        return None if ours.outcome in (RUNS, REFUSED) else "neither starts nor refuses"
    if any(HELPER_FAILURE in line for line in stock.errors):
        complaints = [line for line in ours.errors if re.search(r"\[ERROR\].*/W/c:\d+:\d+:", line)]
        return f"refuses a valid Helper block: {complaints}" if complaints else None
    if ours.outcome == RUNS != expected and any(NO_INTERFACE in line for line in stock.errors):  # it may come
        return None if any(line.endswith(": waiting for it") for line in ours.errors) else "does not say that it waits"
    if ours.outcome != expected and (reason or ours.outcome != case.outcome_149):
        return f"expected {expected} {reason}"
    if case.name in OMITTED_WARNINGS or ours.outcome == REFUSED and any("syntax error" in line for line in stock.errors):
        return None  # a refused statement is left out as a whole, with what conntrackd warned about while reading it
    said = "\n".join(ours.errors)
    needless = LATER_WARNINGS if os.path.exists("/etc/protocols") else (*LATER_WARNINGS, FILE_WARNING)
    missing = [text for text in stock.warnings() if text not in said and not text.startswith(needless)]
    return f"does not warn: {missing}" if missing and not reason else None


def try_all(cases, work):
    """work(case, place) for each case, in several namespaces at a time."""
    waiting = queue.Queue()
    for case in cases:
        waiting.put(case)
    failures = []

    def worker(place):
        while not failures:
            try:
                case = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                work(case, place)
            except Exception as failure:  # pylint: disable=broad-except
                failures.append(failure)

    places = [Place(f"cf{i}") for i in range(WORKERS)]
    try:
        threads = [threading.Thread(target=worker, args=(place,)) for place in places]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for place in places:
            place.net.close()
    if failures:
        raise failures[0]


@pytest.fixture(scope="module")
def results(request):
    """Name of each chosen case: what ours did, what stock did, what is wrong."""
    chosen = [item.callspec.params["name"] for item in request.session.items
              if item.fspath == request.node.fspath and hasattr(item, "callspec")]
    done = {}

    def work(case, place):
        stock, ours = place.attempt(case, lab.STOCK), place.attempt(case, lab.OURS)
        done[case.name] = (ours, stock, verdict(case, ours, stock))

    try_all([CASES[name] for name in chosen], work)
    return done


@pytest.mark.parametrize("name", CASES)
def test_same_verdict_as_conntrackd(results, name):
    ours, stock, wrong = results[name]
    assert not wrong, f"{wrong}\n{CASES[name].text().decode('latin-1')}\nours: {ours}\nconntrackd: {stock}"


def test_there_are_enough_cases():
    assert len(CASES) > 590
    assert set(DIFFERENCES) <= set(CASES) and set(OMITTED_WARNINGS) <= set(CASES)


def record():
    cases, done = read_cases(OWN), {}
    try_all(cases.values(), lambda case, place: done.update({case.name: place.attempt(case, lab.STOCK)}))
    with open(OWN, encoding="utf-8", newline="\n") as file:
        head = file.read().split("\n### ", 1)[0].rstrip("\n")
    with open(OWN, "w", encoding="utf-8", newline="\n") as file:
        file.write(head + "\n")
        for case in cases.values():
            result = done[case.name]
            file.write(f"\n### {case.name}\n" + "".join(f"    {line}\n" for line in case.lines) + "1.4.7:\n")
            if result.outcome[0] == "runs":
                file.write("  (starts and runs; the usual start and shutdown notices left out)\n")
            for line in result.errors:
                file.write("  stderr| " + ("[DATE] (pid=N) " if line.startswith("[") else "") + line + "\n")
            file.write(f"  exit={result.outcome[1]}\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["record"]:
        sys.exit("usage: test_config.py record")
    record()
