# SPDX-License-Identifier: GPL-2.0-or-later
"""FT-FW under everything at once, for seconds; tests/chaos/run does it for minutes. When it is over, each external cache holds
what the kernels of the others have, no more and no less, and every node says that it is in sync."""
import os
import random
import sys

import pytest

import lab

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "chaos"))
import chaos  # noqa: E402


@pytest.mark.parametrize("count", [2, 3])
def test_chaos(count):
    seed = random.randrange(1 << 32)
    with chaos.Group([lab.OURS] * count, flows=400, rate=200, seed=seed) as group:
        group.chaos(20)
        assert all(len(node.traffic.there) > 50 for node in group.nodes)
        outcome = group.peace()
        print(f"{count} nodes agree {outcome.equal} s after the last of {sum(group.faults.values())} faults, {group.changes()} changes")
        assert outcome.equal is not None and outcome.said is not None, f"seed {seed}: {group.faults} {outcome}"
