# SPDX-License-Identifier: GPL-2.0-or-later
"""Two nodes that both work, each primary for one group of addresses: the steps of section 10 of the manual, with what
keepalived says through its pipe (test_keepalived.py has keepalived itself)."""
import os
import re
import time

import ctnl
import lab
from test_keepalived import in_kernel, tell

FLOWS = 100


def block_of_the_manual():
    with open(os.path.join(lab.ROOT, "doc/manual.md"), encoding="utf-8") as file:
        section = re.search(r"\n## 10 Active-active\n(.*?)\n## ", file.read(), re.DOTALL)[1]
    return re.search(r"^ {4,}Keepalived \{\n.*?^ {4,}\}\n", section, re.DOTALL | re.MULTILINE)[0]


def numbers(node):
    """The ports of the connections in its kernel."""
    with ctnl.Table(node) as table:
        return {flow["orig"]["sport"] for flow in table.flows()}


def create(node, first):
    with ctnl.Table(node) as table:
        for number in range(first, first + FLOWS):
            table.create(ctnl.udp_flow(number))


def test_each_serves_its_group_and_takes_over_the_others(our_pair):
    pair = our_pair.configure(mode_block="\tMode FTFW {\n\t\tPurgeTimeout 1\n\t}\n")
    one, two = pair.nodes()
    block = block_of_the_manual()
    assert "/run/ctsyncd.fifo" in block
    for node in (one, two):
        node.fifo = f"{node.dir}/notify"
        node.edit_config("Sync {\n", "Sync {\n" + block.replace("/run/ctsyncd.fifo", node.fifo))
    pair.start().greeted()
    for node, own in ((one, "EAST"), (two, "WEST")):
        tell(node, f'GROUP "EAST" BACKUP 0\nGROUP "WEST" BACKUP 0\nGROUP "{own}" MASTER 0\n')
    lab.wait_for(lambda: "taking over" in one.log() and "taking over" in two.log(), 3, "both to be primary")
    create(one, 0)
    create(two, FLOWS)
    lab.wait_for(lambda: one.external_count() == two.external_count() == FLOWS, 5, "each to know the other's connections")
    lab.wait_for(lambda: all("in sync" in node.out("-s", "peers") for node in (one, two)), 12, "both to be in sync")
    east, west = numbers(one), numbers(two)
    assert len(east) == len(west) == FLOWS and not east & west

    # The second one dies. Nothing of the first group is touched.
    two.kill()
    tell(one, 'GROUP "WEST" MASTER 0\n')
    lab.wait_for(lambda: numbers(one) == east | west, 3, "the connections of both groups")

    # It returns with an empty kernel, learns, and takes its group back.
    with ctnl.Table(two) as table:
        table.flush()
    two.start()
    tell(two, 'GROUP "EAST" BACKUP 0\nGROUP "WEST" BACKUP 0\n')
    lab.wait_for(lambda: two.external_count() == 2 * FLOWS, 5, "the connections of both groups")
    tell(two, 'GROUP "WEST" MASTER 0\n')
    tell(one, 'GROUP "WEST" BACKUP 0\n')
    lab.wait_for(lambda: west <= numbers(two), 3, "the connections of its group")
    time.sleep(1.5)  # PurgeTimeout
    assert numbers(one) == east | west, "the first one is still primary for EAST"
    assert west <= numbers(two) and in_kernel(two) == 2 * FLOWS
    for node in (one, two):
        assert "flushing kernel conntrack table" not in node.log()


def test_the_example_is_in_order_for_keepalived(tmp_path):
    with lab.Net("n") as net:
        for device in ("int", "ext"):
            net.run("ip", "link", "add", device, "type", "veth", "peer", "name", device + "p")
            net.address(device, {"int": "10.50.0.1/24", "ext": "10.60.0.1/24"}[device])
        path = os.path.join(lab.ROOT, "conf/keepalived-active-active.conf")
        with open(path, encoding="ascii") as file:
            text = file.read().replace("/run/ctsyncd.fifo", f"{tmp_path}/fifo")
        copy = tmp_path / "keepalived.conf"
        copy.write_text(text)
        done = net.run("keepalived", "-t", "-l", "-f", copy, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        assert sorted(re.findall(r"vrrp_sync_group (\w+)", text)) == sorted(re.findall(r"Group (\w+)", block_of_the_manual()))
