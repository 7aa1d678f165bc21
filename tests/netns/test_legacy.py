# SPDX-License-Identifier: GPL-2.0-or-later
"""Files in the form that distributions and integrators have written for years work unchanged, on ours as on stock."""
import re

import pytest

import ctnl
import lab
import text

DATA = f"{lab.ROOT}/tests/data/legacy"
PAIRS = {"ours-ours": (lab.OURS, lab.OURS), "ours-stock": (lab.OURS, lab.STOCK), "stock-ours": (lab.STOCK, lab.OURS)}


def take(node, name, replace=()):
    """The file as it is, but for the paths, which must lie in the node's directory, and what the other node has otherwise."""
    with open(f"{DATA}/{name}.conf", encoding="utf-8") as file:
        config = file.read()
    config = re.sub(r"(?m)^(\s*LockFile) .*$", rf"\1 {node.lock_path}", config)
    config = re.sub(r"(?m)^(\s*Path) .*$", rf"\1 {node.control_path}", config)
    config = config.replace("LogFile on", f"LogFile {node.stats_log_path}")
    for old, new in replace:
        config = config.replace(old, new)
    node.write_config(config)


def start(node):
    """With -d, as integrators do; returns what it said."""
    done = node.start_background()
    assert done.returncode == 0
    lab.wait_for(lambda: node.client("-s", check=False).returncode == 0, 5, "the daemon to answer")
    return done.stderr + done.stdout


def flows(count=20):
    made = []
    for n in range(1, count + 1):
        made.append({"proto": 17, "orig": {"src": "10.1.0.1", "dst": "10.2.0.1", "sport": n, "dport": 53}, "status": 8,
                     "timeout": 600})
        made.append({"proto": 6, "orig": {"src": "10.1.0.1", "dst": "10.2.0.1", "sport": n, "dport": 80}, "status": 14,
                     "timeout": 600, "tcp": {"state": 3}})
    return made


@pytest.mark.parametrize("binary", [lab.OURS, lab.STOCK], ids=["ours", "stock"])
def test_debian_default(binary):
    with lab.Node("n", binary) as node:
        take(node, "debian-default")
        said = start(node)
        assert "deprecated unix backlog configuration, ignoring." in said
        assert text.counters(node.out("-s", "runtime"))["current buffer size (in bytes)"] == 262142
        made = flows() + [{"proto": 132, "orig": {"src": "10.1.0.1", "dst": "10.2.0.1", "sport": 1, "dport": 1}, "status": 8,
                           "timeout": 600, "sctp": {"state": 4, "vtag_orig": 1, "vtag_reply": 2}}]
        with ctnl.Table(node) as table:
            for flow in made:
                table.create(flow)
            lab.wait_for(lambda: text.parse_stats(node.out("-s"))["stats"]["active"] == 40, 3, "the flows")
            table.flush()
        lab.wait_for(lambda: open(node.stats_log_path, encoding="utf-8").read().count("\n") == 40, 3, "the lines")
        node.stop()


def replicates(active, backup):
    def live(node):
        """The peers have spoken to each other."""
        return node.stats()["link"]["packets_recv"] >= 2
    lab.wait_for(lambda: live(active) and live(backup), 8, "both nodes to hear each other", 0.1)
    with ctnl.Table(active) as table:
        for flow in flows():
            table.create(flow)
    lab.wait_for(lambda: backup.external_count() == 40, 8, lambda: f"{backup.external_count()} flows to be 40")
    backup.client("-c")
    with ctnl.Table(backup) as table:
        assert len([f for f in table.flows() if f["orig"]["src"] == "10.1.0.1"]) == 40
    with ctnl.Table(active) as table:
        table.flush()
    lab.wait_for(lambda: backup.external_count() == 0, 8, lambda: f"{backup.external_count()} flows to be 0")


@pytest.fixture(params=PAIRS.values(), ids=PAIRS)
def nodes(request):
    with lab.Node("f1", request.param[0]) as active, lab.Node("f2", request.param[1]) as backup:
        yield active, backup


def test_neutron(nodes):
    active, backup = nodes
    lab.veth(active, "ha-0c2b7e2f-5d", backup, "ha-0c2b7e2f-5d")
    for node, last in ((active, 5), (backup, 6)):
        node.address("ha-0c2b7e2f-5d", f"169.254.192.{last}/18")
        take(node, "neutron-ha-router", [("169.254.192.5", f"169.254.192.{last}")])
        start(node)
        assert text.counters(node.out("-s", "runtime"))["current buffer size (in bytes)"] == 262142
    replicates(active, backup)
    if not active.stock:
        assert text.counters(active.out("-s", "runtime"))["events filtered"] == 0, "filtered in the kernel"
    for node in nodes:
        node.stop()


def test_vyos(nodes):
    """Ours does not run helpers yet: it says so and does the rest."""
    active, backup = nodes
    for device, net in (("eth2", 100), ("eth3", 101)):
        lab.veth(active, device, backup, device)
        active.address(device, f"192.168.{net}.1/24")
        backup.address(device, f"192.168.{net}.2/24")
    swapped = [(".1\n", ".x\n"), (".2\n", ".1\n"), (".x\n", ".2\n")]
    for node, replace in ((active, []), (backup, swapped)):
        take(node, "vyos-conntrack-sync", replace)
        if node.stock and node.start_background(check=False).returncode != 0:
            # Of a kernel that knows no user-space helpers stock demands them all the same.
            take(node, "vyos-conntrack-sync", replace)
            with open(node.config_path, encoding="utf-8") as file:
                config = file.read()
            node.write_config(re.sub(r"(?s)Helper \{.*?\n\}\n", "", config))
        said = "" if node.pids() else start(node)
        if not node.stock:
            assert re.search(r"\[ERROR\] user-space helpers are not supported yet: the `Helper' section of \S+ is ignored", said)
        assert node.out("-s", "link").count("UDP traffic device=eth") == 2
    replicates(active, backup)
    # The second link takes over.
    active.run("ip", "link", "set", "eth2", "down")
    lab.wait_for(lambda: "active device=eth3" in active.out("-s", "network"), 5, "the other link")
    with ctnl.Table(active) as table:
        for flow in flows():
            table.create(flow)
    lab.wait_for(lambda: backup.external_count() == 40, 8, lambda: f"{backup.external_count()} flows to be 40")
    for node in nodes:
        node.stop()
