# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration passes with ours on both firewalls and with stock conntrackd on one, and fails when the streams die."""
import pytest

import lab

DEMO = "failover.py"


@pytest.mark.parametrize("options", [[], ["--with", "conntrackd"]], ids=["ours", "with-conntrackd"])
def test_demo(options):
    status, output = lab.laboratory(DEMO, *options)
    assert status == 0, output
    assert "PASS" in output
    assert output.count("every byte verified") == 4


def test_demo_fails_when_nothing_is_committed(lazy):
    """The streams die, and the demonstration says so."""
    status, output = lab.laboratory(DEMO, CTSYNCD=lazy)
    assert status == 1, output
    assert "FAIL" in output and "PASS" not in output
