# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that meet events and each other: what the caches hold afterwards is what the kernel holds."""
import subprocess

import lab


def kernel_count(node):
    return int(node.run("conntrack", "-C").stdout)


def test_flush_during_a_stream_of_flows_leaves_no_ghosts(node):
    """Events of flows that -F deletes may still wait to be read when it does."""
    node.start()
    stream = node.popen(lab.FLOWGEN, "create", 60000, "--timeout", 600, stdout=subprocess.DEVNULL)
    while stream.poll() is None:
        node.client("-F")
    node.client("-F")
    assert kernel_count(node) == 0
    lab.wait_for(lambda: node.stats()["internal"]["active"] == 0, 3, "the cache to be empty as the kernel is")


def test_requests_at_once(node):
    """All kinds of long work together, several of each: every client is answered, and the cache is right."""
    node.start()
    node.run(lab.FLOWGEN, "create", 20000, "--timeout", 600)
    requests = ["-R", "-c", "-i", "-e", "-B", "-R", "-c", "-f", "-R", "-s", "-n", "-i"]
    clients = [node.popen(node.binary, "-C", node.config_path, r, stdout=subprocess.DEVNULL) for r in requests]
    for client, request in zip(clients, requests):
        assert client.wait(timeout=20) == 0, request
    node.client("-R")
    assert node.stats()["internal"]["active"] == kernel_count(node) == 20000
