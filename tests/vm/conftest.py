# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that run inside the virtual machine of tests/vm/run, on the means of the namespace tests."""
import os
import sys

import pytest

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "netns"))


def pytest_configure():
    if not os.path.exists("/dev/disk/by-id/virtio-tree"):
        pytest.exit("these tests take over the machine they run on: start them with tests/vm/run", 1)
