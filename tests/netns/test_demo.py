# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration passes with ours on both firewalls and with stock conntrackd on one, and fails when the streams die."""
import os
import subprocess
import sys

import pytest

import lab

DEMO = os.path.join(lab.ROOT, "tests/lab/failover.py")


def demo(*options, **environment):
    """(exit status, output) of a run; nothing of it may stay behind."""
    child = subprocess.Popen([sys.executable, DEMO, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env={**os.environ, **environment})
    try:
        output, _ = child.communicate(timeout=90)
    finally:
        child.terminate()
        child.wait(timeout=20)
    assert f"cts{child.pid}x" not in lab.run(["ip", "netns", "list"]).stdout
    return child.returncode, output


@pytest.mark.parametrize("options", [[], ["--with", "conntrackd"]], ids=["ours", "with-conntrackd"])
def test_demo(options):
    status, output = demo(*options)
    assert status == 0, output
    assert "PASS" in output
    assert output.count("every byte verified") == 4


def test_demo_fails_when_nothing_is_committed(tmp_path):
    """A daemon that ignores -c, and knows no --takeover: the streams die, and the demonstration says so."""
    lazy = tmp_path / "lazy"
    lazy.write_text(f'#!/bin/sh\n[ "$3" = -c ] && exit 0\n[ "$3" = --takeover ] && exit 3\nexec {lab.OURS} "$@"\n')
    lazy.chmod(0o755)
    status, output = demo(CTSYNCD=str(lazy))
    assert status == 1, output
    assert "FAIL" in output and "PASS" not in output
