# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon follows keepalived through its notify pipe (`Keepalived` in `Sync`; doc/differences.md 81)."""
import os
import stat
import time

import pytest

import ctnl
import lab

FLOWS = 200


@pytest.fixture
def followed(our_pair):
    """A pair whose backup knows the active's flows and follows group PAIR and instance ALONE."""
    pair = our_pair.configure()
    pair.fifo = f"{pair.backup.dir}/notify"
    follow = f"\tKeepalived {{\n\t\tNotifyFifo {pair.fifo}\n\t\tGroup PAIR\n\t\tInstance ALONE\n\t}}\n"
    pair.backup.edit_config("Sync {\n", "Sync {\n" + follow)
    pair.start().greeted()
    with ctnl.Table(pair.active) as table:
        for number in range(FLOWS):
            table.create(ctnl.udp_flow(number))
        lab.wait_for(lambda: pair.backup.external_count() == FLOWS, 10, "the flows at the backup")
    return pair


def tell(pair, text):
    fd = os.open(pair.fifo, os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def in_kernel(node):
    with ctnl.Table(node) as table:
        return len(table.flows())


def test_master_takes_over_and_backup_steps_down(followed):
    assert stat.S_IMODE(os.stat(followed.fifo).st_mode) == 0o600
    tell(followed, 'INSTANCE "OTHER" MASTER 100\nGROUP "PAIR" BACKUP 0\n')
    lab.wait_for(lambda: "standing by" in followed.backup.log(), 3, "the node to stand by")
    assert in_kernel(followed.backup) == 0
    tell(followed, 'GROUP "PAIR" MAS')  # in two parts
    time.sleep(0.1)
    tell(followed, "TER 0\n")
    lab.wait_for(lambda: in_kernel(followed.backup) == FLOWS, 3, "the commit")
    lab.wait_for(lambda: followed.active.external_count() == FLOWS, 5, "the flows at the former active")
    log = followed.backup.log()
    assert 'keepalived: GROUP "PAIR" MASTER 0' in log and "taking over" in log and "OTHER" not in log


def test_as_long_as_one_is_master_nothing_is_purged(followed):
    tell(followed, 'GROUP "PAIR" MASTER 0\nINSTANCE "ALONE" MASTER 100\nGROUP "PAIR" BACKUP 0\n')
    lab.wait_for(lambda: 'GROUP "PAIR" BACKUP' in followed.backup.log() or in_kernel(followed.backup) == FLOWS, 3, "the lines")
    time.sleep(0.3)
    assert "standing by" not in followed.backup.log()
    tell(followed, 'INSTANCE "ALONE" FAULT 100\n')
    lab.wait_for(lambda: "flushing conntrack table in" in followed.backup.log(), 3, "the purge to be scheduled")


def test_a_pipe_that_goes_is_made_again(followed):
    os.unlink(followed.fifo)
    lab.wait_for(lambda: os.path.exists(followed.fifo), 4, "the pipe to be made again")
    time.sleep(0.2)
    tell(followed, 'GROUP "PAIR" MASTER 0\n')
    lab.wait_for(lambda: in_kernel(followed.backup) == FLOWS, 3, "the commit")
    # What is there instead is not read, and told once.
    os.unlink(followed.fifo)
    with open(followed.fifo, "w", encoding="ascii"):
        pass
    lab.wait_for(lambda: "notify is no FIFO" in followed.backup.log(), 4, "the error")
    time.sleep(2.2)
    assert followed.backup.log().count("notify is no FIFO") == 1
    os.unlink(followed.fifo)
    lab.wait_for(lambda: "notify is there now" in followed.backup.log(), 4, "the pipe to be made again")


def test_nonsense_hurts_nobody(followed):
    fd = os.open(followed.fifo, os.O_WRONLY | os.O_NONBLOCK)
    try:
        for _ in range(2000):
            for junk in (b"x" * 4000, b"\n", os.urandom(3000), b'GROUP "PAIR" MASTER' + b"\0" * 20 + b"\n", b"\n" * 4000):
                try:
                    os.write(fd, junk)
                except BlockingIOError:
                    time.sleep(0.0005)
        began = time.monotonic()
        assert followed.backup.client("-s").returncode == 0
        assert time.monotonic() - began < 1
        lab.wait_for(lambda: drained(fd), 10, "the nonsense to be read", 0.1)
    finally:
        os.close(fd)
    tell(followed, '\nGROUP "PAIR" MASTER 0\n')
    lab.wait_for(lambda: in_kernel(followed.backup) == FLOWS, 5, "the commit")
    assert followed.backup.log().count("a line that keepalived does not write is skipped") <= 3


def drained(fd):
    """A whole page of the pipe is free: nothing waits in it."""
    import array
    import fcntl
    import termios
    waiting = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, waiting)
    return waiting[0] == 0


def test_keepalived_itself(followed):
    node = followed.backup
    conf = f"{node.dir}/keepalived.conf"
    with open(conf, "w", encoding="ascii") as file:
        file.write(f"""global_defs {{
    router_id f2
    vrrp_notify_fifo {followed.fifo}
}}
vrrp_sync_group PAIR {{
    group {{
        INSIDE
    }}
}}
vrrp_instance INSIDE {{
    interface sync0
    state BACKUP
    virtual_router_id 61
    version 3
    advert_int 0.1
    priority 100
    virtual_ipaddress {{
        10.77.9.254/24 dev sync0
    }}
}}
""")
    keepalived = node.popen("keepalived", "-n", "-l", "-f", conf, "-p", f"{node.dir}/k.pid", "-r", f"{node.dir}/v.pid",
                            stdout=open(f"{node.dir}/k.log", "wb"), stderr=-2)
    try:
        lab.wait_for(lambda: in_kernel(node) == FLOWS, 10, lambda: f"the take-over; {node.log()}")
        assert 'keepalived: GROUP "PAIR" MASTER' in node.log()
        node.run("ip", "link", "set", "sync0", "down")
        lab.wait_for(lambda: 'keepalived: GROUP "PAIR" FAULT' in node.log(), 10, lambda: f"the fault; {node.log()}")
    finally:
        keepalived.terminate()
        keepalived.wait(timeout=10)
    assert os.path.exists(followed.fifo), "whoever made it keeps it"
    assert node.client("-s").returncode == 0


@pytest.mark.parametrize("name", ["keepalived.conf", "keepalived-fast.conf", "keepalived-health.conf"])
def test_the_examples_are_good(name, tmp_path):
    """But for the scripts, which are not installed here."""
    with open(os.path.join(lab.ROOT, "conf", name), encoding="utf-8") as file:
        text = file.read()
    conf = tmp_path / "keepalived.conf"
    conf.write_text(text.replace("/etc/conntrackd/primary-backup.sh", "/bin/true").replace("/usr/sbin/ctsyncd", "/bin/true"))
    with lab.Net("k") as net:
        lab.veth(net, "int", net, "ext")
        done = net.run("keepalived", "-t", "-l", "-f", conf, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
