# SPDX-License-Identifier: GPL-2.0-or-later
"""The laboratory that measures fail-overs (tests/lab/gap) works, and sees when connections are not committed."""
import os
import re
import subprocess
import sys

import lab

GAP = os.path.join(lab.ROOT, "tests/lab/gap.py")


def gap(only, **environment):
    """(exit status, output) of a round with few connections; nothing of it may stay behind."""
    child = subprocess.Popen([sys.executable, GAP, "--rounds", "1", "--flows", "1000", "--only", only],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment})
    try:
        output, _ = child.communicate(timeout=90)
    finally:
        child.terminate()
        child.wait(timeout=20)
    assert f"cts{child.pid}x" not in lab.run(["ip", "netns", "list"]).stdout
    return child.returncode, output


def test_gap():
    status, output = gap("1 s, ctsyncd, pipe")
    assert status == 0, output
    rows = re.findall(r"^(?:1 s, ctsyncd, pipe) +1000 (death|cable) +1 ([\d ]+)$", output, re.MULTILINE)
    assert [fault for fault, _ in rows] == ["death", "cable"], output
    for _, row in rows:
        detect, _, react, _, commit, _, first, _, silence, _, broken, _, failed = map(int, row.split())
        assert (broken, failed) == (0, 0), output
        assert detect > 1500 and silence >= detect + first - 50 and first >= react and commit < 1000, output


def test_gap_sees_that_nothing_is_committed(tmp_path):
    """A daemon that ignores -c, and knows no --takeover: no datagram passes, and the laboratory says so."""
    lazy = tmp_path / "lazy"
    lazy.write_text(f'#!/bin/sh\n[ "$3" = -c ] && exit 0\n[ "$3" = --takeover ] && exit 3\nexec {lab.OURS} "$@"\n')
    lazy.chmod(0o755)
    status, output = gap("1 s, ctsyncd, script", CTSYNCD=str(lazy))
    assert status == 1 and "in vain for: the first datagram" in output, output
