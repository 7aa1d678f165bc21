# SPDX-License-Identifier: GPL-2.0-or-later
"""WarmStandby where the backup's kernel has no room for all copies. The limit holds for the whole kernel, so a machine of its
own is needed."""
import pytest

import ctnl
import lab

LIMIT = "/proc/sys/net/netfilter/nf_conntrack_max"
ROOM, OWN, FLOWS = 500, 400, 300
ASSURED, WARM = 0xE, "\tMode FTFW {\n\t\tWarmStandby on\n\t}\n"


def flow(number, network):
    return {"proto": 6, "orig": {"src": f"10.{network}.0.{number % 200 + 1}", "dst": "10.2.0.1", "sport": 2000 + number,
                                 "dport": 80}, "status": ASSURED, "timeout": 432000, "tcp": {"state": 3}}


@pytest.fixture
def pair():
    with open(LIMIT, encoding="ascii") as file:
        before = file.read()
    with lab.Pair() as made:
        made.configure(mode_block=WARM)
        made.active.edit_config("\t\tWarmStandby on\n", "")  # it would have copies of the backup's own
        yield made.start().greeted()
    with open(LIMIT, "w", encoding="ascii") as file:
        file.write(before)


def set_limit(entries):
    with open(LIMIT, "w", encoding="ascii") as file:
        file.write(str(entries))


def fill(pair, active, backup):
    """The backup's kernel is full of its own flows and of as many copies as there is room for."""
    for number in range(OWN):
        backup.create(flow(number, 3))
    set_limit(ROOM)
    for number in range(FLOWS):
        active.create(flow(number, 4))
    lab.wait_for(lambda: pair.backup.external_count() == FLOWS, 30, "the flows in the cache")
    lab.wait_for(lambda: len(backup.flows()) >= ROOM, 30, "the kernel's table to be full", 0.3)


def test_copies_that_find_no_room_wait_for_it(pair):
    with ctnl.Table(pair.active) as active, ctnl.Table(pair.backup) as backup:
        fill(pair, active, backup)
        assert len(backup.flows()) < OWN + FLOWS
        # As many as there is room for, and the cache has the rest.
        set_limit(10 * ROOM)
        lab.wait_for(lambda: len(backup.flows()) == OWN + FLOWS, 60, lambda: f"{len(backup.flows())} flows to be all", 0.5)
        status = pair.backup.client("--commit", check=False)
        assert status.returncode == 0, status.stdout + status.stderr


def test_a_commit_into_a_full_table_tells_what_is_missing(pair):
    with ctnl.Table(pair.active) as active, ctnl.Table(pair.backup) as backup:
        fill(pair, active, backup)
        done = pair.backup.client("--takeover", check=False, timeout=60)
        missing = f"{OWN + FLOWS - ROOM} entries can't be committed (see the log)"
        assert done.returncode == 0 and missing in done.stdout, done.stdout + done.stderr  # it has taken over all the same
        assert pair.backup.alive()
