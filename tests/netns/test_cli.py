# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line, the statistics and the dumps against the reference: option by option and exit status by exit status with
the golden outputs in tests/data/outputs, whole sessions in every mode with their logs, and dumps line by line with stock
conntrackd that sees the same flows at the same moment."""
import os
import re
import subprocess
import time

import pytest

import ctnl
import kinds
import lab
import text

DATA = os.path.join(lab.ROOT, "tests/data/outputs")
STOCK_UNDER_TEST = lab.is_stock(lab.OURS)


# Options


def option_cases():
    """The golden list: (arguments, stdout lines, stderr texts, status); the prefix of error lines is taken off."""
    path = f"{DATA}/{'1.4.7' if STOCK_UNDER_TEST else '1.4.9'}-cli-options.txt"
    with open(path, encoding="utf-8") as file:
        blocks = file.read().split("\n$ conntrackd")[1:]
    for block in blocks:
        lines = block.split("\n")
        arguments = tuple(lines[0].split(" ")[1:])
        out = [line[10:] for line in lines if line.startswith("  stdout| ")]
        err = [re.sub(r"^\[.*?\] \(pid=\d+\) ", "", line[10:]) for line in lines if line.startswith("  stderr| ")]
        status = int(re.search(r"exit status (\d+)", block)[1])
        if "CFG" in arguments or arguments in (("-v",), ("-h",), ("-v", "-h"), ("-h", "-v"), ("-v", "extra"), ("-C",)):
            # A status above 128 was a daemon that the recording killed; 1.4.7 starts one for a bare -C too.
            if status < 128 and not (STOCK_UNDER_TEST and arguments == ("-C",)):
                yield arguments, out, err, status


# An option is exactly "-X"; what conntrackd takes by accident because it looks at the second character only is refused.
ACCIDENTS = [("-help",), ("-version",), ("sv",), ("-sv",), ("-ix",), ("-i", "ct", "expect")]
NEW_LONG_OPTIONS = {"--help", "--version"}
CASES = list(option_cases())


def without_name(line):
    return line.replace("ctsyncd", "conntrackd")


@pytest.mark.parametrize("case", CASES, ids=[" ".join(case[0]) or "none" for case in CASES])
def test_option(node, case):
    arguments, out, err, status = case
    given = [node.config_path if word == "CFG" else word.replace("/nonexistent.conf", f"{node.dir}/nonexistent.conf")
             for word in arguments]
    done = node.run(node.binary, *given, check=False, timeout=10)
    if not STOCK_UNDER_TEST and arguments[2:] in ACCIDENTS:
        assert done.returncode == 1 and "Unknown option: " in done.stderr
        return
    if not STOCK_UNDER_TEST and "--daemon" in arguments:
        assert done.returncode == 0, done.stderr
        node.stop()
        return
    if not STOCK_UNDER_TEST and NEW_LONG_OPTIONS & set(arguments):
        assert done.returncode == 0 and done.stdout
        return
    assert done.returncode == status, done.stderr
    shown = [re.sub(r"^\[.*?\] \(pid=\d+\) ", "", line) for line in done.stderr.splitlines()]
    if not STOCK_UNDER_TEST:  # ours adds path and reason
        shown = [line.removesuffix(f" ({node.control_path}: No such file or directory)") for line in shown]
    assert [line.replace(node.dir, "") for line in shown] == err
    help_text = node.run(node.binary, "-h").stdout
    version = node.run(node.binary, "-v").stdout
    if out == ["<the whole -h text>"]:
        assert done.stdout == help_text
    elif out and out[0].startswith("Connection tracking userspace daemon") and "Licensed" in out[0]:
        assert done.stdout == version
        assert version.splitlines()[0].split()[0] in ("ctsyncd", "Connection")
    elif out:
        # The help: the same options with the same words; names and versions may differ, and there may be more.
        mine = [without_name(line) for line in done.stdout.splitlines()]
        options = [line for line in out if re.match(r"  -\w", line)]
        assert [line for line in mine if line in options] == options
        assert any(line.startswith("Usage: ") and line.endswith("[commands] [options]") for line in mine)
    else:
        assert done.stdout == ""


# Whole sessions in every mode


SESSIONS = ["ftfw-udp-expect", "ftfw-udp6", "ftfw-udp-noextcache", "ftfw-poll", "alarm-mcast", "notrack-tcp",
            "notrack-udp-nointcache", "notrack-udp-nocaches", "ftfw-udp-twolinks", "stats"]
# Golden lines that depend on the moment, or tell of stock's own faults (a crashing child, an empty kernel message).
INCIDENTAL = re.compile(r"\(scheduled\)|no dedicated links|becomes dedicated link|could not|commit-create|buffer size|"
                        r"child process|missing IPv[46] address")


def flows():
    """The traffic of the golden sessions in short: TCP, UDP, IPv6, and a control connection with a helper."""
    made = kinds.build()
    return [made[name] for name in ("tcp4-ESTABLISHED", "tcp4-TIME_WAIT", "udp4-two-way", "tcp6-ESTABLISHED", "snat",
                                    "helper-ftp")]


def expectation():
    master = kinds.build()["helper-ftp"]["orig"]
    return {"master": (6, master), "proto": 6, "tuple": {"src": master["src"], "dst": master["dst"], "sport": 0, "dport": 30021},
            "mask": {"src": "255.255.255.255", "dst": "255.255.255.255", "sport": 0, "dport": 65535}, "timeout": 300,
            "helper": "ftp"}


def session(name):
    """(commands of the golden session, log lines of f1 and f2)."""
    path = f"{DATA}/1.4.9-{name}.txt"
    with open(path, encoding="utf-8") as file:
        whole = file.read()
    logs = {node: [line for line in re.sub(r"\[[^]]*\] \(pid=\d+\) ", "", part).splitlines() if line.startswith("[")]
            for node, part in re.findall(r"---- (f[12])\.log ----\n(.*?)\nlock file left", whole, re.DOTALL)}
    commands, seen = [], set()
    for node, command, output in text.golden(path):
        if command == "conntrackd -s link" and (node, command) in seen:
            continue  # repeated only where links fail, which has a test of its own
        seen.add((node, command))
        commands.append((node, command, output))
    return commands, logs


@pytest.fixture(scope="module", params=SESSIONS)
def replayed(request):
    """The golden session again, command by command: [(node, command, golden output, our output, our status)], logs."""
    name = request.param
    commands, golden_logs = session(name)
    with lab.Pair(lab.OURS, lab.OURS) as pair:
        lab.veth(pair.active, "sync1", pair.backup, "sync1")
        pair.active.address("sync1", "10.77.8.1/24")
        pair.backup.address("sync1", "10.77.8.2/24")
        nodes = {"f1": pair.active, "f2": pair.backup}
        for short, node in nodes.items():
            path = f"{DATA}/configs/{name}.{short}.conf"
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    config = file.read()
                for word, to in ((f"/W/{short}.log", node.log_path), (f"/W/{short}.lock", node.lock_path),
                                 (f"/W/{short}.ctl", node.control_path), (f"/W/{short}-stats.log", node.stats_log_path)):
                    config = config.replace(word, to)
                assert "/W/" not in config
                node.write_config(config)
        done = []
        started = False
        for short, command, output in commands:
            node = nodes[short]
            words = command.split()
            if words[0] != "conntrackd":
                continue
            if words[1:] == ["-d"]:
                node.start_background()
                continue
            if not started:
                started = True
                if name != "stats":
                    time.sleep(2.2)  # hellos, connections
                with ctnl.Table(pair.active) as table:
                    for flow in flows():
                        table.create(flow)
                    if "expect" in name or "nocaches" in name:
                        table.expect(expectation())
                time.sleep(2.5 if "poll" in name else 1.2)
            result = node.client(*words[1:], check=False)
            done.append((short, command, output, result.stdout, result.returncode))
            if words[1] in ("-B", "-n", "-f", "-F", "-k"):
                time.sleep(0.15)
        logs = {short: [line for line in re.sub(r"\[[^]]*\] \(pid=\d+\) ", "", node.log()).splitlines()
                        if line.startswith("[")] for short, node in nodes.items()}
        yield name, done, golden_logs, logs


def layout(output):
    """The form of a statistics text, without what differs from run to run: the up-time's words and TCP's progress."""
    output = re.sub(r"(server|client)=(dis)?connected", r"\1=STATE", output)
    return text.form(re.sub(r"daemon uptime: .*", "daemon uptime: TIME", output))


def test_statistics_have_the_golden_layout(replayed):
    _, done, _, _ = replayed
    compared = 0
    for node, command, golden, mine, status in done:
        if not command.startswith("conntrackd -s") or command in ("conntrackd -s process", "conntrackd -s rsqueue"):
            continue
        if "can't connect" in golden:  # after -k
            assert status == 1 and mine == ""
            continue
        assert status == 0
        assert layout(mine) == layout(golden), f"[{node}] {command}"
        compared += 1
    assert compared >= 6


def test_commands_have_the_golden_status_and_silence(replayed):
    _, done, _, _ = replayed
    for node, command, golden, mine, status in done:
        if command.startswith(("conntrackd -s", "conntrackd -i", "conntrackd -e")):
            continue
        assert (status, mine) == (0, golden), f"[{node}] {command}"


def test_dumps_are_empty_where_the_golden_ones_are(replayed):
    name, done, _, _ = replayed
    if name == "notrack-tcp":
        pytest.skip("the golden dump was taken before the TCP link was up: empty by chance")
    for node, command, golden, mine, _ in done:
        if command.startswith(("conntrackd -i", "conntrackd -e")):
            assert bool(mine) == bool(golden), f"[{node}] {command}: {mine or 'nothing'}"


def test_resend_queue_lines(replayed):
    _, done, _, _ = replayed
    for _, command, golden, mine, _ in done:
        if command == "conntrackd -s rsqueue":
            if not golden:
                assert mine == ""
                continue
            lines = mine.splitlines()
            assert re.fullmatch(r"resent queue \(len=\d+\)", lines[0])
            assert all(re.fullmatch(r"control -> seq:\d+ flags:\d+|object -> seq:\d+", line) for line in lines[1:])


def test_log_has_the_golden_lines_in_order(replayed):
    """Every golden line, with other numbers, in the golden order; there may be more in between."""
    _, _, golden_logs, logs = replayed
    plain = lambda line: re.sub(r"[0-9.]+", "N", line)
    for short, golden in golden_logs.items():
        mine = iter([plain(line) for line in logs[short]])
        for line in golden:
            if INCIDENTAL.search(line):
                continue
            assert plain(line) in mine, f"{short}: no (further) `{line}' in:\n" + "\n".join(logs[short])


# Dumps


def ageless(output):
    return sorted(re.sub(r"\[(active since|expires in) \d+s\]", r"[\1 Ns]", line) for line in output.splitlines())


@pytest.fixture(scope="module")
def witnesses():
    """Two nodes; on the backup our daemon and a stock one hear the same multicast of a stock sender, on the active node ours
    and stock follow the same kernel. Yields {"external": (ours, stock), "internal": (ours, stock)} of clients."""
    with lab.Pair(lab.STOCK, lab.OURS) as pair:
        pair.active.nft("table inet t {\n chain c {\n type filter hook forward priority 0\n ct label set 1\n }\n}")
        clients = {}
        for node, local, peer in ((pair.active, "10.77.9.1", "10.77.9.2"), (pair.backup, "10.77.9.2", "10.77.9.1")):
            for word, binary in (("ours", lab.OURS), ("stock", lab.STOCK)):
                directory = f"{node.dir}/{word}"
                os.mkdir(directory)
                # On the active node ours only watches the kernel: it speaks to a port where nobody listens.
                port = 3999 if (node, word) == (pair.active, "ours") else lab.SYNC_PORT
                sync = (lab.Pair.MODES["NOTRACK"] + lab.link_block("Multicast", local, peer, port=port) +
                        "\tOptions {\n\t\tExpectationSync on\n\t}\n")
                with open(f"{directory}/c.conf", "w", encoding="utf-8") as file:
                    file.write(f"Sync {{\n{sync}}}\n" + node.general().replace(node.dir, directory))
                node.popen(binary, "-C", f"{directory}/c.conf", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                clients[node.role, word] = lambda *words, n=node, b=binary, c=f"{directory}/c.conf": n.run(
                    b, "-C", c, *words, check=False).stdout

        def ask(node, word, *arguments):
            return clients[node, word](*arguments)
        for node, word in clients:
            lab.wait_for(lambda: ask(node, word, "-s"), 10, f"{word} on {node}", 0.1)
        time.sleep(1.2)
        with ctnl.Table(pair.active) as table:
            for flow in kinds.build().values():
                table.create(flow)
            table.expect(expectation())
            made = len(kinds.build())
        for node, word in clients:
            lab.wait_for(lambda: len(ask(node, word, "-i" if node == "f1" else "-e").splitlines()) >= made, 5,
                         lambda: f"{made} flows in {word} on {node}")
        yield ask


@pytest.mark.parametrize("what", [("ct",), ("ct", "-x"), ("expect",), ("expect", "-x")], ids=" ".join)
@pytest.mark.parametrize("cache", ["internal", "external"])
def test_dump_is_that_of_stock(witnesses, cache, what):
    node, option = ("f1", "-i") if cache == "internal" else ("f2", "-e")
    ours, stock = (ageless(witnesses(node, word, option, *what)) for word in ("ours", "stock"))
    assert stock
    assert ours == stock


@pytest.mark.parametrize("option", [(), ("-x",)], ids=" ".join)
def test_list_of_the_kernel_is_that_of_stock(node, option):
    """-i without internal cache: whatever the kernel tells of its entries, accounting, times and one-way zones included."""
    sync = "\tMode NOTRACK {\n\t\tDisableInternalCache on\n\t}\n" + lab.link_block("UDP", "10.77.9.1", "10.77.9.2")
    node.configure(sync, node.general(event_filter=""))
    for switch in ("acct", "timestamp"):
        node.sysctl(f"net.netfilter.nf_conntrack_{switch}", 1)
    node.nft("table inet t {\n chain c {\n type filter hook forward priority 0\n ct label set 1\n }\n}")
    there = {"src": "10.91.0.1", "dst": "10.91.0.2", "sport": 1, "dport": 2}
    back = ctnl.inverse(17, there)
    flow = {"proto": 17, "timeout": 600, "status": 0x8}
    with ctnl.Table(node) as table:
        for made in kinds.build().values():
            table.create(made)
        table.create(flow | {"orig": there | {"zone": 5}, "reply": back})
        table.create(flow | {"orig": there, "reply": back | {"zone": 7}})
    shown = {}
    for binary in (lab.STOCK, lab.OURS):
        node.binary = binary
        node.start()
        lines = [line for line in node.out("-i", *option).splitlines() if "10.77." not in line]
        node.stop()
        shown[binary] = sorted(re.sub(r"(delta-time=|^\S+ +\d+ )\d+", r"\1N", line) for line in lines)
    assert len(shown[lab.STOCK]) >= len(kinds.build()) + 2
    for word in ("zone-orig=5", "zone-reply=7", "delta-time=N", "packets=0", "helper=ftp"):
        assert any(word in line for line in shown[lab.STOCK]), word
    assert shown[lab.OURS] == shown[lab.STOCK]


# What commands do


def test_purge_after_its_time(our_pair):
    pair = our_pair.configure(mode_block="\tMode FTFW {\n\t\tPurgeTimeout 2\n\t}\n").start()
    with ctnl.Table(pair.active) as table:
        for flow in flows():
            table.create(flow)
        lab.wait_for(lambda: pair.active.stats()["internal"]["active"] == len(flows()), 3, "the flows")
        pair.active.client("-t")
        time.sleep(1.0)
        assert pair.active.stats()["internal"]["active"] == len(flows()), "too early"
        lab.wait_for(lambda: pair.active.stats()["internal"]["active"] == 0, 4, "the purge")
        addresses = {flow["orig"]["src"] for flow in flows()}
        lab.wait_for(lambda: not addresses & {flow["orig"]["src"] for flow in table.flows()}, 2, "an empty kernel")
    log = pair.active.log()
    assert "flushing conntrack table in 2 secs" in log
    assert "flushing kernel conntrack table (scheduled)" in log


@pytest.mark.parametrize("cancelling", ["-c", "-f"])
def test_purge_is_cancelled(our_pair, cancelling):
    pair = our_pair.configure(mode_block="\tMode FTFW {\n\t\tPurgeTimeout 1\n\t}\n").start()
    with ctnl.Table(pair.active) as table:
        for flow in flows():
            table.create(flow)
        pair.active.client("-t")
        pair.active.client(cancelling)
        time.sleep(2)
        addresses = {flow["orig"]["src"] for flow in flows()}
        assert addresses <= {flow["orig"]["src"] for flow in table.flows()}
    assert "(scheduled)" not in pair.active.log()


def test_commit_works_with_a_small_hash(our_pair):
    """Stock never finishes a commit with HashSize 8192 or less (defect 4)."""
    pair = our_pair.configure(hash_size=1024, options="\t\tExpectationSync on").start().greeted()
    with ctnl.Table(pair.active) as table:
        for flow in flows():
            table.create(flow)
        table.expect(expectation())
    lab.wait_for(lambda: pair.backup.external_count() == len(flows()), 3, "the flows")
    lab.wait_for(lambda: pair.backup.out("-e", "expect"), 3, "the expectation")
    for _ in range(2):
        pair.backup.client("-c")
    with ctnl.Table(pair.backup) as table:
        assert [found["tuple"]["dport"] for found in table.expectations()] == [30021]
    pair.backup.client("-f")
    assert pair.backup.external_count() == 0
    assert "commit still in progress" not in pair.backup.log()


def test_two_links(our_pair):
    """The current link fails: the other one takes over; roles and states are shown; no flow is lost."""
    pair = our_pair
    lab.veth(pair.active, "sync1", pair.backup, "sync1")
    for node, local, peer in ((pair.active, 1, 2), (pair.backup, 2, 1)):
        node.address("sync1", f"10.77.8.{local}/24")
        node.configure("\tMode FTFW {\n\t}\n" + lab.link_block("UDP", f"10.77.9.{local}", f"10.77.9.{peer}", default=True) +
                       lab.link_block("UDP", f"10.77.8.{local}", f"10.77.8.{peer}", "sync1", 3781))
    pair.start().greeted()
    links = lambda node: re.findall(r"UDP traffic device=(\S+) status=(\S+) role=(\S+):", node.out("-s", "link"))
    assert links(pair.active) == [("sync0", "RUNNING", "ACTIVE"), ("sync1", "RUNNING", "BACKUP")]
    made = flows()
    with ctnl.Table(pair.active) as table:
        table.create(made[0])
        lab.wait_for(lambda: pair.backup.external_count() == 1, 3, "the first flow")
        for node in pair.nodes():
            node.run("ip", "link", "set", "sync0", "down")
        lab.wait_for(lambda: links(pair.active)[1][2] == "ACTIVE", 3, lambda: f"sync1 to become active: {links(pair.active)}")
        assert links(pair.active)[0] == ("sync0", "DOWN", "BACKUP")
        for flow in made[1:]:
            table.create(flow)
    lab.wait_for(lambda: pair.backup.external_count() == len(made), 4, "the flows on the other link")
    assert "device `sync1' becomes dedicated link" in pair.active.log()


def test_stats_mode_logs_destroyed_flows(node):
    node.sysctl("net.netfilter.nf_conntrack_acct", 1)
    node.configure(stats=True)
    node.start()
    with ctnl.Table(node) as table:
        for flow in flows():
            table.create(flow)
        lab.wait_for(lambda: text.parse_stats(node.out("-s"))["stats"]["active"] == len(flows()), 3, "the flows")
        for flow in flows():
            table.delete(flow)
    read = lambda: open(node.stats_log_path, encoding="utf-8").read().splitlines()
    lab.wait_for(lambda: len(read()) == len(flows()), 3, lambda: f"the log lines: {read()}")
    for line in read():
        date, entry = line.split("\t")
        assert re.fullmatch(r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}", date)
        assert re.match(r"(tcp|udp) +(6|17) .*src=\S+ dst=\S+ sport=\d+ dport=\d+ packets=0 bytes=0 ", entry)
        assert "active since" not in entry
