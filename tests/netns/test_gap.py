# SPDX-License-Identifier: GPL-2.0-or-later
"""The laboratory that measures fail-overs (tests/lab/gap) works, and sees when connections are not committed."""
import re

import lab


def gap(only, **environment):
    """A round with few connections."""
    return lab.laboratory("gap.py", "--rounds", "1", "--flows", "1000", "--only", only, **environment)


def test_gap():
    status, output = gap("1 s, ctsyncd, pipe")
    assert status == 0, output
    rows = re.findall(r"^(?:1 s, ctsyncd, pipe) +1000 (death|cable) +1 ([\d ]+)$", output, re.MULTILINE)
    assert [fault for fault, _ in rows] == ["death", "cable"], output
    for _, row in rows:
        detect, _, react, _, commit, _, first, _, silence, _, broken, _, failed = map(int, row.split())
        assert (broken, failed) == (0, 0), output
        assert detect > 1500 and silence >= detect + first - 50 and first >= react and commit < 1000, output


def test_gap_sees_that_nothing_is_committed(lazy):
    """No datagram passes, and the laboratory says so."""
    status, output = gap("1 s, ctsyncd, script", CTSYNCD=lazy)
    assert status == 1 and "in vain for: the first datagram" in output, output
