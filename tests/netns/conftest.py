# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures of the namespace tests. Run as root, through tests/run or: pytest tests/netns.

CTSYNCD     the daemon under test, default build/release/ctsyncd
CONNTRACKD  Debian's conntrackd, default /usr/sbin/conntrackd
FLOWGEN     the flow generator, default build/release/tests/netns/tools/flowgen
With CTSYNCD=/usr/sbin/conntrackd the reference is tested against itself (known defects are expected then).
"""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402

PAIRS = {"ours-ours": (lab.OURS, lab.OURS), "ours-stock": (lab.OURS, lab.STOCK), "stock-ours": (lab.STOCK, lab.OURS)}


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: measures times, nothing else may run beside it")
    if os.geteuid() != 0:
        pytest.exit("the namespace tests need root", 1)
    for binary in (lab.OURS, lab.STOCK):
        if not os.access(binary, os.X_OK):
            pytest.exit(f"{binary} is missing: build the program, install Debian's conntrackd (tests/run does both)", 1)
    lab.sweep()


@pytest.fixture(scope="module", params=PAIRS, ids=PAIRS)
def binaries(request):
    """(active, backup) daemons: ours with ours, and mixed both ways."""
    return PAIRS[request.param]


@pytest.fixture
def pair(binaries):
    """A fresh pair of nodes, not configured, nothing started."""
    with lab.Pair(*binaries) as both:
        yield both


@pytest.fixture
def our_pair():
    with lab.Pair(lab.OURS, lab.OURS) as both:
        yield both


@pytest.fixture
def lazy(tmp_path):
    """A daemon that ignores -c, and knows no --takeover."""
    program = tmp_path / "lazy"
    program.write_text(f'#!/bin/sh\n[ "$3" = -c ] && exit 0\n[ "$3" = --takeover ] && exit 3\nexec {lab.OURS} "$@"\n')
    program.chmod(0o755)
    return str(program)


@pytest.fixture
def node():
    """One node of ours, with an unconnected dedicated link."""
    with lab.Node("n", lab.OURS) as single:
        single.run("ip", "link", "add", "sync0", "type", "veth", "peer", "name", "sync0p")
        single.address("sync0", "10.77.9.1/24")
        single.run("ip", "link", "set", "sync0p", "up")
        single.configure("\tMode FTFW {\n\t}\n" + lab.link_block("UDP", "10.77.9.1", "10.77.9.2"))
        yield single
