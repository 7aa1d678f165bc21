# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the configuration again (`--reload`, SIGHUP): what changes at once, what does not, and that nothing is lost."""
import os
import re
import signal

import pytest

import ctnl
import lab

FLOWS = 300


def reload(node, status=0):
    """The last line of the answer of `--reload`, which must end with `status`."""
    done = node.client("--reload", check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def tell(table, first, count=FLOWS):
    for number in range(first, first + count):
        table.create(ctnl.udp_flow(number))


def holds(node, count, timeout=10):
    lab.wait_for(lambda: node.external_count() == count, timeout, lambda: f"{node.external_count()} flows to be {count}")


@pytest.fixture
def pair(our_pair):
    return our_pair.configure().start().greeted()


def test_values_change_and_nothing_is_lost(pair):
    with ctnl.Table(pair.active) as table:
        tell(table, 0)
        holds(pair.backup, FLOWS)
        before = pair.active.out("-s", "cache")
        pair.active.edit_config("HashLimit 524288", f"HashLimit {FLOWS + 10}")
        pair.active.edit_config("Mode FTFW {", "Mode FTFW {\nResendQueueSize 64\nACKWindowSize 20\nPurgeTimeout 1\n")
        assert reload(pair.active) == ("configuration read again, changed: HashLimit, ResendQueueSize, ACKWindowSize, "
                                       "PurgeTimeout")
        assert pair.active.out("-s", "cache") == before
        tell(table, FLOWS, 20)  # of which ten fit
        holds(pair.backup, FLOWS + 10)
        assert pair.active.stats()["internal"]["active"] == FLOWS + 10
        pair.active.client("-t")
        lab.wait_for(lambda: not table.flows(), 5, "the purge after the new time")
        holds(pair.backup, 0)
    assert pair.backup.stats()["lost"] == 0


def test_filter_follows_in_both_directions(pair):
    with ctnl.Table(pair.active) as table:
        tell(table, 0)
        holds(pair.backup, FLOWS)
        pair.active.edit_config("Address Ignore {", "Protocol Accept {\n\t\t\tTCP\n\t\t}\n\t\tAddress Ignore {")
        assert reload(pair.active) == "configuration read again, changed: Filter"
        holds(pair.backup, 0)
        lab.wait_for(lambda: f"0 more connections pass than before, and {FLOWS} no longer" in pair.active.log(), 5,
                     "the line about it")
        pair.active.edit_config("\t\t\tTCP\n", "\t\t\tTCP\n\t\t\tUDP\n")
        reload(pair.active)
        holds(pair.backup, FLOWS)
        assert "mended" not in pair.active.log()


def test_filter_moves_to_the_kernel_and_back(pair):
    with ctnl.Table(pair.active) as table:
        for number, (here, there) in enumerate((("Userspace", "Kernelspace"), ("Kernelspace", "Userspace"))):
            pair.active.edit_config(f"From {here}", f"From {there}")
            assert reload(pair.active) == "configuration read again, changed: Filter"
            tell(table, number * FLOWS)
            holds(pair.backup, (number + 1) * FLOWS)


def test_a_file_with_errors_changes_nothing(pair):
    pair.active.edit_config("HashLimit 524288", "HashLimit 10\n\tHashLimmit 3")
    answer = pair.active.client("--reload", check=False)
    assert answer.returncode == 1
    assert f"{pair.active.config_path}:" in answer.stdout and "HashLimmit" in answer.stdout, answer.stdout
    assert answer.stdout.endswith(f"the configuration stays as it was: {pair.active.config_path} has errors\n")
    assert "HashLimmit" in pair.active.log()
    pair.active.daemon.send_signal(signal.SIGHUP)
    lab.wait_for(lambda: pair.active.log().count("stays as it was") == 2, 5, "the signal to be answered in the log")
    with ctnl.Table(pair.active) as table:
        tell(table, 0)
        holds(pair.backup, FLOWS)
    os.unlink(pair.active.config_path)
    pair.active.daemon.send_signal(signal.SIGHUP)
    lab.wait_for(lambda: pair.active.log().count("stays as it was") == 3, 5, "the signal to be answered in the log")
    os.mkfifo(pair.active.config_path)
    pair.active.daemon.send_signal(signal.SIGHUP)
    lab.wait_for(lambda: "is no regular file" in pair.active.log(), 5, "the signal to be answered in the log")
    assert pair.active.alive()


def test_what_needs_a_restart_is_named_and_stays(pair):
    pair.active.edit_config("Mode FTFW {", "Mode NOTRACK {\nDisableInternalCache On\n")
    assert reload(pair.active) == ("configuration read again, to change at the next restart: Mode, "
                                   "DisableInternalCache")
    with ctnl.Table(pair.active) as table:
        tell(table, 0)
        holds(pair.backup, FLOWS)
    pair.active.edit_config("Sync {", "Stats {\nLogFile On\n}\nSync {")
    assert "stays as it was" in reload(pair.active, 1)


def second_cable(pair):
    lab.veth(pair.active, "sync1", pair.backup, "sync1")
    pair.active.address("sync1", "10.77.8.1/24")
    pair.backup.address("sync1", "10.77.8.2/24")


@pytest.mark.parametrize("transport", ["UDP", "TCP", "Multicast"])
def test_links_come_and_go_under_traffic(our_pair, transport):
    pair = our_pair.configure(transport=transport).start().greeted()
    second_cable(pair)
    ends = {pair.active: ("10.77.8.1", "10.77.8.2"), pair.backup: ("10.77.8.2", "10.77.8.1")}
    firsts = {pair.active: ("10.77.9.1", "10.77.9.2"), pair.backup: ("10.77.9.2", "10.77.9.1")}
    burst = pair.active.popen(lab.FLOWGEN, "create", 6000, "--rate", 1000, stdout=-3)
    try:
        for node in pair.nodes():  # one more
            first = lab.link_block(transport, *firsts[node])
            node.edit_config(first, first + lab.link_block(transport, *ends[node], device="sync1", port=3781))
            assert reload(node) == "configuration read again, changed: links"
        for node in pair.nodes():  # and the first one goes
            node.edit_config(lab.link_block(transport, *firsts[node]), "")
            assert reload(node) == "configuration read again, changed: links"
        for node in pair.nodes():  # the one that is left moves
            node.edit_config("3781", "3782")
            reload(node)
        assert burst.wait(timeout=30) == 0
    finally:
        burst.kill()
        burst.wait()
    holds(pair.backup, 6000, 15)
    assert "sync1" in pair.active.out("-s", "link") and "sync0" not in pair.active.out("-s", "link")
    for node in pair.nodes():
        # One peer all the time, nobody has restarted.
        assert len(re.findall(r"^peer ", node.out("-s", "peers"), re.M)) <= 1, node.out("-s", "peers")
        assert "restarted" not in node.log(), node.log()


def test_a_link_that_cannot_be_opened_leaves_the_others(pair):
    first = lab.link_block("UDP", "10.77.9.1", "10.77.9.2")
    pair.active.edit_config(first, first.replace("3780", "3790") + lab.link_block("UDP", "192.0.2.77", "192.0.2.78"))
    assert "stays as it was" in reload(pair.active, 1)
    with ctnl.Table(pair.active) as table:
        tell(table, 0)
        holds(pair.backup, FLOWS)


def test_logs_move(pair):
    other = f"{pair.active.dir}/other.log"
    pair.active.edit_config(f"LogFile {pair.active.log_path}", f"LogFile {other}")
    assert reload(pair.active) == "configuration read again, changed: LogFile"
    with open(other, encoding="utf-8") as file:
        assert "changed: LogFile" in file.read()
    pair.active.edit_config(f"LogFile {other}", f"LogFile {pair.active.dir}/none/x.log")
    assert "none/x.log" in reload(pair.active, 1)
    with open(other, encoding="utf-8") as file:
        assert "stays as it was" in file.read()


def test_flow_log_moves(node):
    node.configure(stats=True)
    node.start()
    other = f"{node.dir}/other.log"
    with ctnl.Table(node) as table:
        tell(table, 0, 2)
        node.edit_config(f"LogFile {node.stats_log_path}", f"LogFile {other}")
        assert reload(node) == "configuration read again, changed: LogFile of Stats"
        table.delete(ctnl.udp_flow(0))

        def lines():
            with open(other, encoding="utf-8") as file:
                return file.readlines()

        lab.wait_for(lambda: len(lines()) == 1, 5, "the flow in the new log")


def test_a_relative_path_stays_the_same_file(our_pair):
    node = our_pair.configure().active
    with open(f"{node.dir}/console", "a", encoding="utf-8") as console:
        node.daemon = node.popen(node.binary, "-C", "c.conf", cwd=node.dir, stdout=console, stderr=console)
    lab.wait_for(lambda: node.client("-s", check=False).returncode == 0, 10, "the daemon")
    node.edit_config("HashLimit 524288", "HashLimit 1000")
    assert reload(node) == "configuration read again, changed: HashLimit"


def test_keepalived_is_followed_elsewhere(our_pair):
    fifo = f"{our_pair.active.dir}/fifo"
    our_pair.configure()
    block = "\tKeepalived {{\n\t\tNotifyFifo {}\n\t\tGroup G\n\t}}\n"
    our_pair.active.edit_config("Sync {\n", "Sync {\n" + block.format(fifo))
    pair = our_pair.start().greeted()
    pair.active.edit_config(fifo, fifo + "2")
    assert reload(pair.active) == "configuration read again, changed: Keepalived"
    lab.wait_for(lambda: os.path.exists(fifo + "2"), 5, "the other FIFO")
    with open(fifo + "2", "w", encoding="ascii") as file:
        file.write('GROUP "G" MASTER 100\n')
    lab.wait_for(lambda: "keepalived: GROUP" in pair.active.log(), 5, "the take-over")


def test_twice_a_second_under_traffic_nothing_changes(pair):
    burst = pair.active.popen(lab.FLOWGEN, "create", 3000, "--rate", 1500, stdout=-3)
    while burst.poll() is None:
        assert reload(pair.active) == "configuration read again: nothing has changed"
        assert reload(pair.backup) == "configuration read again: nothing has changed"
    holds(pair.backup, 3000)
