# SPDX-License-Identifier: GPL-2.0-or-later
"""--takeover, --standby and --handover: one request where conntrackd takes several (doc/differences.md 80)."""
import contextlib
import os
import re
import subprocess
import time

import pytest

import ctnl
import lab
import wire

FLOWS = 500


@pytest.fixture
def pair(our_pair):
    return our_pair.configure(options="\t\tExpectationSync On", general_extra="").start().greeted()


def ask(node, *option, timeout=30):
    """(status, output, seconds)"""
    began = time.monotonic()
    done = node.client(*option, check=False, timeout=timeout)
    return done.returncode, done.stdout + done.stderr, time.monotonic() - began


def test_takeover_commits_answers_and_tells_the_peers(pair):
    with ctnl.Table(pair.active) as table, ctnl.Table(pair.backup) as taken:
        for number in range(FLOWS):
            table.create(ctnl.udp_flow(number))
        lab.wait_for(lambda: pair.backup.external_count() == FLOWS, 10, "the flows at the backup")
        taken.create(ctnl.udp_flow(FLOWS))  # one of its own
        status, output, _ = ask(pair.backup, "--takeover")
        assert status == 0 and re.fullmatch(
            rf"took over: {FLOWS} connections and 0 expectations are committed, in 0\.\d+ seconds\n", output), output
        assert len(taken.flows()) == FLOWS + 1
        assert pair.backup.stats()["internal"]["active"] == FLOWS + 1
        lab.wait_for(lambda: pair.backup.external_count() == 0, 5, "the external cache to be empty")
        lab.wait_for(lambda: pair.active.external_count() == FLOWS + 1, 10, "the flows at the former active")
        # What no event has told is found as well.
        lab.wait_for(lambda: "comparisons:\t\t\t           1" in pair.backup.out("-s", "peers"), 10, "the kernel to be read")


def test_takeover_stops_the_purge(our_pair):
    pair = our_pair.configure(mode_block="\tMode FTFW {\n\t\tPurgeTimeout 2\n\t}\n").start().greeted()
    with ctnl.Table(pair.active) as table, ctnl.Table(pair.backup) as taken:
        table.create(ctnl.udp_flow(1))
        lab.wait_for(lambda: pair.backup.external_count() == 1, 10, "the flow at the backup")
        taken.create(ctnl.udp_flow(2))
        status, output, _ = ask(pair.backup, "--standby")
        assert status == 0 and "in 2 seconds" in output
        lab.wait_for(lambda: "resync requested by other node" in pair.active.log(), 5, "the resync at the peer")
        assert ask(pair.backup, "--takeover")[0] == 0
        time.sleep(3)
        assert len(taken.flows()) == 2
        ask(pair.backup, "--standby")
        lab.wait_for(lambda: not taken.flows(), 5, "the purge")


def test_handover_waits_for_the_peers(pair):
    with ctnl.Table(pair.active) as table:
        for number in range(FLOWS):
            table.create(ctnl.udp_flow(number))
        status, output, seconds = ask(pair.active, "--handover")
        assert (status, output) == (0, "the peers have all that this node has told\n")
        assert seconds < 2.5
        assert pair.backup.external_count() == FLOWS
        with pair.backup.stopped():
            table.create(ctnl.udp_flow(FLOWS))
            status, output, seconds = ask(pair.active, "--handover")
            assert status == 1 and "have not acknowledged everything within 3 seconds" in output
            assert 2.5 < seconds < 5
    pair.backup.kill()
    lab.wait_for(lambda: "nobody is there" in ask(pair.active, "--handover")[1], 15, "the peer to be gone", 0.5)
    assert ask(pair.active, "--handover")[0] == 1


def test_long_names_tell_their_outcome_and_letters_nothing(pair):
    with ctnl.Table(pair.active) as table, ctnl.Table(pair.backup) as taken:
        for number in range(FLOWS):
            table.create(ctnl.udp_flow(number))
        lab.wait_for(lambda: pair.backup.external_count() == FLOWS, 10, "the flows at the backup")
        status, output, _ = ask(pair.backup, "--commit")
        assert status == 0 and re.fullmatch(
            rf"committed {FLOWS} connections and 0 expectations, 0 entries failed, in 0\.\d+ seconds\n", output), output
        assert len(taken.flows()) == FLOWS
        for letter in "cfFRBnt":
            assert ask(pair.backup, f"-{letter}")[:2] == (0, ""), letter
    with ctnl.Table(pair.active) as table:
        assert ask(pair.active, "--flush-kernel")[:2] == (0, "the kernel's connections and expectations are deleted\n")
        assert not table.flows()
        table.create(ctnl.udp_flow(1))
    assert ask(pair.active, "--resync-kernel")[:2] == (
        0, "the internal cache has the kernel's connections and expectations\n")
    assert ask(pair.active, "--flush-kernel", "expect")[1] == "the kernel's expectations are deleted\n"
    assert ask(pair.active, "--resync-kernel", "ct")[1] == "the internal cache has the kernel's connections\n"
    assert pair.active.stats()["internal"]["active"] == 1
    assert ask(pair.active, "--flush")[:2] == (0, "flushed\n")
    assert pair.active.stats()["internal"]["active"] == 0
    for option, words in (("--bulk-send", "are sent"), ("--request-resync", "are asked"), ("--purge", "are deleted")):
        status, output, _ = ask(pair.active, option)
        assert status == 0 and words in output and output.count("\n") == 1, option


def test_a_commit_that_fails_says_so(node):
    node.run("ip", "link", "delete", "sync0")
    with wire.Peer(node) as peer:
        node.start()
        peer.hello()
        for number, state in ((1, 3), (2, 200)):  # there is no state 200
            peer.say(wire.NEW, wire.flow(f"10.1.0.{number}", "10.2.0.1", 7, 80, state=state))
        lab.wait_for(lambda: node.external_count() == 2, 5, "both flows")
        status, output, _ = ask(node, "--commit")
        assert status == 1 and output.startswith("committed 1 connections and 0 expectations, 1 entries failed, in "), output


@pytest.mark.parametrize("option", ["--commit", "-c"])
def test_who_waits_at_a_terminal_sees_for_how_long(node, option):
    node.start()
    reader, writer = os.openpty()
    os.set_blocking(reader, False)
    shown = bytearray()

    def read():
        with contextlib.suppress(BlockingIOError):
            shown.extend(os.read(reader, 1000))
        return b"waiting for the daemon: 2 s" in shown
    with node.stopped():
        client = node.popen(node.binary, "-C", node.config_path, option, stdout=subprocess.PIPE, stderr=writer)
        if option == "-c":
            time.sleep(2.2)
        else:
            lab.wait_for(read, 10, "the line")
    output, _ = client.communicate(timeout=10)
    read()
    os.close(writer)
    os.close(reader)
    assert client.returncode == 0 and b"waiting" not in output
    if option == "-c":
        assert not shown and not output
    else:
        assert output.startswith(b"committed 0 connections")
        assert shown.startswith(b"\rwaiting for the daemon: 1 s\r") and shown.endswith(b"\r\x1b[K")


def test_what_has_no_effect_is_not_told_as_done(node):
    node.configure(stats=True)
    node.start()
    for option in ("--commit", "--bulk-send", "--request-resync", "--purge"):
        assert ask(node, option)[0] == 1 and "no `Sync' section" in ask(node, option)[1], option
    node.stop()
    node.configure("\tMode ALARM {\n\t}\n" + lab.link_block("UDP", "10.77.9.1", "10.77.9.2"))
    node.start()
    assert ask(node, "--bulk-send")[:2] == (1, "this has no effect in ALARM mode\n")


def test_statistics_mode_has_no_role(our_pair):
    node = our_pair.active
    node.configure(stats=True)
    node.start()
    for option in ("--takeover", "--standby", "--handover"):
        assert ask(node, option)[:2] == (1, "a node in statistics mode has no role\n")


def test_conntrackd_does_not_know_them(our_pair):
    pair = our_pair.configure()
    pair.active.binary = lab.STOCK
    pair.active.start()
    for option in ("--takeover", "--standby", "--handover"):
        done = pair.active.client(option, check=False, binary=lab.OURS)
        assert done.returncode == 3 and "does not know this request" in done.stdout + done.stderr
    assert pair.active.client("-s").returncode == 0
