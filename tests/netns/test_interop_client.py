# SPDX-License-Identifier: GPL-2.0-or-later
"""Our client with a stock daemon, and the stock client with ours: every command works and prints the same through both."""
import re

import pytest

import ctnl
import kinds
import lab

SETS = {"our-client-stock-daemon": (lab.STOCK, lab.OURS), "stock-client-our-daemon": (lab.OURS, lab.STOCK)}
SILENT = ["-c", "-c ct", "-c expect", "-R", "-R ct", "-R expect", "-B", "-n", "-f internal", "-f external", "-f", "-t", "-F ct",
          "-F expect", "-F"]
PRINTING = ["-s", "-s network", "-s cache", "-s runtime", "-s link", "-s rsqueue", "-s process", "-s queue", "-s ct",
            "-s expect", "-i", "-i ct", "-i -x", "-e", "-e ct", "-e -x", "-i expect", "-i expect -x", "-e expect", "-s netw",
            "-s multicast"]


@pytest.fixture(scope="module", params=SETS, ids=SETS)
def served(request):
    """(node with a daemon of one make, the client of the other make)."""
    daemon, client = SETS[request.param]
    with lab.Pair(daemon, daemon) as pair:
        pair.configure(options="\t\tExpectationSync on").start().greeted()
        made = kinds.build()
        with ctnl.Table(pair.active) as table:
            for name in ("tcp4-ESTABLISHED", "udp4-new", "tcp6-CLOSE", "mark", "zone", "helper-ftp"):
                table.create(made[name])
        lab.wait_for(lambda: pair.backup.external_count() == 6, 5, "the flows")
        yield pair, client


def still(output):
    """Without what moves by itself: ages, traffic of the link, sequence numbers."""
    output = re.sub(r"active since \d+s", "active since Ns", output)
    output = re.sub(r"seq:\d+", "seq:N", output)
    return re.sub(r" +\d+ (Bytes|Pckts) (sent|recv)", r" N \1 \2", output)


@pytest.mark.parametrize("command", PRINTING)
@pytest.mark.parametrize("node", ["active", "backup"])
def test_prints_the_same(served, node, command):
    pair, client = served
    node = getattr(pair, node)
    for _ in range(3):  # a message may come between the two, and go again
        foreign = node.client(*command.split(), binary=client)
        own = node.client(*command.split())
        if still(foreign.stdout) == still(own.stdout):
            break
    assert still(foreign.stdout) == still(own.stdout)
    if command.split()[0] == "-s" and command not in ("-s process", "-s rsqueue"):
        assert foreign.stdout.strip()


@pytest.mark.parametrize("command", SILENT)
def test_is_done(served, command):
    """The daemon's log tells that it did what the foreign client asked for."""
    pair, client = served
    node = pair.backup
    before = len(node.log())
    done = node.client(*command.split(), binary=client)
    assert (done.returncode, done.stdout) == (0, "")
    words = {"-c": "committing", "-R": "resync with master", "-B": "sending bulk update", "-n": "resync requested",
             "-f": "flushing .*cache", "-t": "flushing conntrack table in", "-F": "flushing kernel"}
    lab.wait_for(lambda: re.search(words[command.split()[0]], node.log()[before:]), 3, f"a log line of {command}")


def test_stop_comes_last(served):
    pair, client = served
    pair.backup.client("-k", binary=client)
    assert pair.backup.daemon.wait(timeout=5) == 0
    done = pair.backup.client("-s", binary=client, check=False)
    assert done.returncode == 1 and "can't connect" in done.stderr
