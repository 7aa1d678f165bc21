# SPDX-License-Identifier: GPL-2.0-or-later
"""Expectations and the flows of helpers: FTP control connections through the kernel's helper fail over, and then active and
passive transfers open on the survivor, translated and not; every mode, ours with ours and mixed with stock; the helper list;
overruns; related flows and their masters."""
import os
import re
import signal
import socket
import struct
import time

import pytest

import ctnl
import ftp
import lab
import text
import wire
from conftest import PAIRS
from testbed import CLIENT, SERVER, SYN, Site

# Longer and shorter texts than the addresses they stand for, so translation moves the sequence numbers of the connection.
SERVICE, OUTSIDE = "172.31.161.111", "192.168.162.101"
RULES = f"""
table ip filter {{
    ct helper ftp-helper {{
        type "ftp" protocol tcp
    }}
    ct helper tftp-helper {{
        type "tftp" protocol udp
    }}
    chain assign {{
        type filter hook prerouting priority 0;
        tcp dport 21 ct helper set "ftp-helper"
        udp dport 69 ct helper set "tftp-helper"
    }}
    chain forward {{
        type filter hook forward priority 0; policy drop;
        ct state invalid counter drop
        ct state established,related accept
        iifname "in0" oifname "out0" tcp dport 21 {SYN}
        iifname "in0" oifname "out0" udp dport 69 accept
    }}
}}
table ip nat {{
    chain prerouting {{
        type nat hook prerouting priority -100;
        ip daddr {SERVICE} tcp dport 21 dnat to {SERVER}
    }}
    chain postrouting {{
        type nat hook postrouting priority 100;
        tcp sport {{ 41001, 41003, 41005, 41007 }} tcp dport 21 snat to {OUTSIDE}
    }}
}}
"""
# (NAT, data connection announced before the fail-over): (source port, destination) of the control connection
CONTROLS = {("plain", "PASV"): (41000, SERVER), ("snat", "PASV"): (41001, SERVER), ("dnat", "PASV"): (41002, SERVICE),
            ("both", "PASV"): (41003, SERVICE), ("plain", "PORT"): (41004, SERVER), ("snat", "PORT"): (41005, SERVER),
            ("dnat", "PORT"): (41006, SERVICE), ("both", "PORT"): (41007, SERVICE)}
# The expectation needs its NAT parts, which stock does not commit.
TRANSLATED = {("snat", "PORT"), ("dnat", "PASV"), ("both", "PASV"), ("both", "PORT")}

SYNC = "\t\tExpectationSync On"
SETUPS = {"FTFW": {}, "NOTRACK": {"mode": "NOTRACK"}, "ALARM": {"mode": "ALARM"},
          "no-internal-cache": {"mode_block": "\tMode NOTRACK {\n\t\tDisableInternalCache On\n\t}\n"},
          "direct-injection": {"mode_block": "\tMode FTFW {\n\t\tDisableExternalCache On\n\t}\n"},
          "no-caches": {"mode_block": "\tMode NOTRACK {\n\t\tDisableInternalCache On\n\t\tDisableExternalCache On\n\t}\n"},
          "polling": {"general_extra": "\tPollSecs 1\n"}}
INJECTING = ("direct-injection", "no-caches")
BYPASSING = ("no-internal-cache", "no-caches")
PROOFS = [("ours-ours", setup) for setup in SETUPS] + [
    ("ours-stock", "FTFW"), ("ours-stock", "NOTRACK"), ("ours-stock", "ALARM"), ("stock-ours", "FTFW"), ("stock-ours", "NOTRACK")]


class FtpSite(Site):
    def __init__(self, *binaries):
        super().__init__(*binaries, rules=RULES)
        self.ftp = ftp.Server(self.server, SERVER)
        self.controls, self.announced = {}, {}

    def close(self):
        for control in self.controls.values():
            control.close()
        self.ftp.close()
        super().close()

    def dial(self):
        for name, (port, target) in CONTROLS.items():
            self.controls[name] = ftp.Client(self.client, (CLIENT, port), (target, 21))

    def announce(self):
        """One data connection on each control connection; none is opened yet."""
        self.announced = {name: control.announce(name[1]) for name, control in self.controls.items()}

    def failures(self, names, work):
        """{name: error} of the control connections on which `work` fails."""
        failed = {}
        for name in names:
            try:
                work(name, self.controls[name])
            except OSError as error:
                failed[name] = str(error)
        return failed


def transfers(*ways):
    def work(_, control):
        for way in ways:
            for word in ("RETR", "STOR"):
                control.transfer(control.announce(way), word)
    return work


def expectations(node):
    """What the kernel of a node has, without the times."""
    with ctnl.Table(node) as table:
        return sorted(({**e, "timeout": None} for e in table.expectations()), key=repr)


def adjustments(node):
    """{source port of the control connection: sequence adjustments}."""
    with ctnl.Table(node) as table:
        return {flow["orig"]["sport"]: (flow.get("seqadj_orig"), flow.get("seqadj_reply"))
                for flow in table.flows() if flow["orig"].get("dport") == 21}


def without_age(dump):
    return sorted(re.sub(r" \[(active since|expires in) \d+s\]", "", line) for line in dump.splitlines())


@pytest.mark.parametrize("names,setup", PROOFS, ids=[f"{pair}-{setup}" for pair, setup in PROOFS])
def test_ftp_goes_on_after_failover(names, setup):
    with FtpSite(*PAIRS[names]) as site:
        active, backup = site.nodes()
        site.configure(options=SYNC, **SETUPS[setup]).start()
        if setup != "ALARM":
            site.greeted()
        site.dial()
        assert not site.failures(CONTROLS, transfers("PASV", "PORT"))
        site.announce()
        mine = expectations(active)
        assert len(mine) == len(CONTROLS) and sum(e["nat"] is not None for e in mine) > 4
        known = (lambda: expectations(backup)) if setup in INJECTING else lambda: backup.out("-e", "expect").splitlines()
        # Exactly these: the expectations of the transfers before are gone again.
        lab.wait_for(lambda: len(known()) == len(CONTROLS), 8, lambda: f"8 expectations on the backup: {known()}")
        if setup not in INJECTING + BYPASSING:
            assert without_age(active.out("-i", "expect")) == without_age(backup.out("-e", "expect"))
            assert text.parse_stats(active.out("-s", "expect"))["internal"]["active"] == len(CONTROLS)
            assert text.parse_stats(backup.out("-s", "expect"))["external"]["active"] == len(CONTROLS)
        if active.stock:
            active.client("-R")  # stock learns sequence adjustments from a dump only
            active.client("-B")
        moved = adjustments(active)
        assert sum(bool(orig and (orig[2] or reply[2])) for orig, reply in moved.values()) == len(TRANSLATED) + 2
        if setup in INJECTING:
            lab.wait_for(lambda: adjustments(backup) == moved, 3, lambda: f"{moved} on the backup: {adjustments(backup)}")
        else:
            time.sleep(1.2 if setup == "polling" else 0.3)  # dumps do not show them
        active.kill()
        if setup not in INJECTING:
            assert not expectations(backup)
            backup.client("-c")
        assert adjustments(backup) == moved, backup.log()
        theirs = expectations(backup)
        if backup.stock:
            assert all(e["nat"] is None and e["function"] is None for e in theirs)
            mine = [{**e, "nat": None, "function": None} for e in mine]
        assert theirs == mine, backup.log()
        site.through(2)
        good = [name for name in CONTROLS if not (backup.stock and name in TRANSLATED)]
        before = site.failures(good, lambda name, control: control.transfer(site.announced[name], "RETR"))
        assert not before, "announced before the fail-over"
        after = site.failures(good, transfers("PASV", "PORT", "EPSV", "EPRT"))
        assert not after, "announced after the fail-over"


def test_ftp_stalls_without_commit_of_expectations():
    """The rules are strict enough for the test above to prove something."""
    with FtpSite(lab.OURS, lab.OURS) as site:
        site.configure(options=SYNC).start().greeted()
        site.dial()
        site.announce()
        lab.wait_for(lambda: len(site.backup.out("-e", "expect").splitlines()) == len(CONTROLS), 5, "8 expectations")
        site.active.kill()
        site.backup.client("-c", "ct")
        site.through(2)
        control = site.controls["plain", "PASV"]
        control.control.settimeout(1)
        assert control.command("NOOP")  # the control connection is there
        blocked = site.client.socket()
        blocked.settimeout(0.7)
        with pytest.raises(TimeoutError), blocked:
            blocked.connect(site.announced["plain", "PASV"].target)


@pytest.mark.parametrize("bypass", [False, True], ids=["internal-cache", "no-internal-cache"])
def test_expectation_made_by_the_first_packet(bypass):
    """TFTP: the event of the expectation comes before that of its master. The server answers from another port, on the
    survivor."""
    with FtpSite(lab.OURS, lab.OURS) as site:
        active, backup = site.nodes()
        site.configure("NOTRACK", mode_block=SETUPS["no-internal-cache"]["mode_block"] if bypass else None, options=SYNC).start()
        server, client, answering = (net.socket(socket.AF_INET, socket.SOCK_DGRAM)
                                     for net in (site.server, site.client, site.server))
        server.bind((SERVER, 69))
        answering.bind((SERVER, 50000))
        client.bind((CLIENT, 50069))
        for waiting in (server, client):
            waiting.settimeout(3)
        client.sendto(b"\0\1file\0octet\0", (SERVER, 69))
        assert server.recvfrom(100)[1] == (CLIENT, 50069)
        lab.wait_for(lambda: "helper=tftp" in backup.out("-e", "expect"), 3, "the expectation on the backup")
        active.kill()
        backup.client("-c")
        site.through(2)
        answering.sendto(b"\0\3\0\1data", (CLIENT, 50069))
        assert client.recvfrom(100) == (b"\0\3\0\1data", (SERVER, 50000))


# Made by hand from here on

MASK = {"src": "255.255.255.255", "dst": "255.255.255.255", "sport": 0, "dport": 65535}
MASK6 = {**MASK, "src": "ffff:" * 7 + "ffff", "dst": "ffff:" * 7 + "ffff"}
NAT = (1, {"src": "192.0.2.1", "dst": "0.0.0.0", "sport": 30022, "dport": 0})
MASTERS = {"ftp": (6, "10.1.0.1", "10.2.0.1", 21), "tftp": (17, "10.1.0.2", "10.2.0.2", 69),
           "ftp6": (6, "fd00:1::1", "fd00:2::1", 21), "sip": (17, "10.1.0.3", "10.2.0.3", 5060)}


def master_flow(name):
    proto, source, destination, port = MASTERS[name]
    flow = {"proto": proto, "orig": {"src": source, "dst": destination, "sport": 20000, "dport": port}, "timeout": 3000,
            "status": 0xE, "helper": name.rstrip("6")}
    return {**flow, "tcp": {"state": 3}} if proto == 6 else flow


def expectation(name, port=30021, **rest):
    master = master_flow(name)
    ends = {key: master["orig"][key] for key in ("src", "dst")}
    return {"master": (master["proto"], master["orig"]), "proto": master["proto"], "tuple": {**ends, "sport": 0, "dport": port},
            "mask": MASK6 if name.endswith("6") else MASK, "timeout": 300, "helper": master["helper"],
            "class": name == "sip", **rest}  # 1: audio


def make(node, *names):
    with ctnl.Table(node) as table:
        for name in names:
            table.create(master_flow(name))
            table.expect(expectation(name))


def shown(node, which):
    """Names of MASTERS whose expectations a cache has."""
    dump = node.out(which, "expect")
    return {name for name, master in MASTERS.items() if f" master-src={master[1]} " in dump}


@pytest.fixture(scope="module")
def filtering():
    """One firewall with all the masters and expectations in its kernel; its daemon starts with each test."""
    with lab.Node("n", lab.OURS) as node:
        node.run("ip", "link", "add", "sync0", "type", "veth", "peer", "name", "sync0p")
        node.address("sync0", "10.77.9.1/24")
        node.run("ip", "link", "set", "sync0p", "up")
        node.sysctl("net.netfilter.nf_conntrack_events", 1)  # also of masters that begin while nobody listens
        make(node, *MASTERS)
        yield node


@pytest.mark.parametrize("words,passing", [
    ("{ ftp }", {"ftp", "ftp6"}), ("{ FT }", {"ftp", "ftp6"}), ("{ pptp tftp }", {"tftp"}), ("{ tftp ftp }", {"ftp", "ftp6", "tftp"}),
    ("{ sip-5060 }", set()), ("{ si }", {"sip"}), ("{ }", set(MASTERS)), ("On", set(MASTERS)), ("Off", set())])
def test_helper_list(filtering, words, passing):
    node = filtering
    node.configure(f"\tMode FTFW {{\n\t}}\n{lab.link_block('UDP', '10.77.9.1', '10.77.9.2')}"
                   f"\tOptions {{\n\t\tExpectationSync {words}\n\t}}\n")
    node.start()
    assert shown(node, "-i") == passing, "from the first dump"
    assert bool(node.out("-s", "expect")) == (words != "Off")
    filtered = lambda: text.counters(node.out("-s", "runtime"))["events filtered"]
    before = filtered()
    with ctnl.Table(node) as table:
        for name in MASTERS:
            table.unexpect(expectation(name))
            table.expect(expectation(name))
    refused = 0 if words == "Off" else 2 * (len(MASTERS) - len(passing))
    lab.wait_for(lambda: shown(node, "-i") == passing and filtered() - before == refused, 3,
                 lambda: f"{passing}, {refused} filtered; there are {shown(node, '-i')}, {filtered() - before}")
    if words != "Off":
        made = text.parse_stats(node.out("-s", "expect"))["internal"]
        assert made["destroyed"] == len(passing) and made["created"] == 2 * len(passing)
    node.stop()


def test_a_master_that_is_too_young_is_announced_with_its_expectation(our_pair):
    our_pair.configure(options=SYNC + "\n\t\tSyncMinAge 600").start().greeted()
    with ctnl.Table(our_pair.active) as table:
        table.create(ctnl.udp_flow(1))
    make(our_pair.active, "ftp")
    lab.wait_for(lambda: shown(our_pair.backup, "-e") == {"ftp"}, 3, "the expectation on the backup")
    assert [flow["orig"]["dport"] for flow in our_pair.backup.external()] == ["21"]
    our_pair.backup.client("-c")
    assert len(expectations(our_pair.backup)) == 1


def normal_form(line):
    line = re.sub(r"(\d+\.){3}\d+|[0-9a-f]*:[0-9a-f:]+", "ADDRESS", line)
    return re.sub(r"\d+", "N", line)


def test_text_forms_and_commit(pair):
    """Dumps and statistics look as recorded from conntrackd; -c expect writes every attribute; without masters it fails."""
    recorded = {(node, command): output for node, command, output in
                text.golden(os.path.join(lab.ROOT, "tests/data/outputs/1.4.9-ftfw-udp-expect.txt"))}
    pair.configure(options=SYNC).start().greeted()
    make(pair.active, *MASTERS)
    with ctnl.Table(pair.active) as table:
        table.expect(expectation("ftp", 30022, nat=NAT, function="nat-follow-master"))  # takes the place of the one before
    have = lambda: sorted(map(int, re.findall(r" sport=0 dport=(3\d+) ", pair.backup.out("-e", "expect"))))
    lab.wait_for(lambda: have() == [30021, 30021, 30021, 30022], 3, lambda: f"4 expectations on the backup: {have()}")
    for node, options in ((pair.active, ("-i", "expect")), (pair.backup, ("-e", "expect"))):
        for more in ((), ("-x",)):
            golden = recorded["f1", " ".join(("conntrackd", "-i", "expect", *more))]
            want = normal_form(golden.strip())
            lines = [line for line in node.out(*options, *more).splitlines() if "10.1.0.1" in line]
            assert [normal_form(line) for line in lines] == [want]
    assert text.form(pair.active.out("-s", "expect")) == text.form(recorded["f1", "conntrackd -s expect"])
    with ctnl.Table(pair.backup) as table:
        pair.backup.client("-c", "expect")
        assert not table.expectations()
        assert "4 expectations can't be committed" in pair.backup.log()
        for _ in range(2):  # the second time they exist already
            pair.backup.client("-c")
            made = {e["helper"] + e["tuple"]["src"]: e for e in table.expectations()}
            assert {name: e["tuple"]["dport"] for name, e in made.items()} == {
                "ftp10.1.0.1": 30022, "tftp10.1.0.2": 30021, "ftpfd00:1::1": 30021, "sip10.1.0.3": 30021}
            assert made["sip10.1.0.3"]["class"] == (0 if pair.backup.stock else 1)
            ftp4 = made["ftp10.1.0.1"]
            assert ftp4["master"] == (6, master_flow("ftp")["orig"]) and ftp4["mask"] == MASK
            assert (ftp4["nat"], ftp4["function"]) == ((None, None) if pair.backup.stock else (NAT, "nat-follow-master"))


def test_expectations_after_overrun(our_pair):
    """Events lost while the daemon did not read: what ended meanwhile goes from the peer, what came meanwhile arrives."""
    pair = our_pair
    pair.configure(options=SYNC, general_extra="\tNetlinkOverrunResync 1\n")
    config = re.sub(r"(NetlinkBufferSize(MaxGrowth)?) \d+", r"\1 65536", open(pair.active.config_path, encoding="utf-8").read())
    pair.active.write_config(config)
    pair.start().greeted()
    make(pair.active, "ftp", "tftp")
    lab.wait_for(lambda: shown(pair.backup, "-e") == {"ftp", "tftp"}, 3, "expectations on the backup")
    pair.active.daemon.send_signal(signal.SIGSTOP)
    pair.active.run(lab.FLOWGEN, "create", 2000)
    with ctnl.Table(pair.active) as table:
        table.unexpect(expectation("tftp"))
        table.create(master_flow("ftp6"))
        table.expect(expectation("ftp6"))
    pair.active.daemon.send_signal(signal.SIGCONT)
    lab.wait_for(lambda: shown(pair.backup, "-e") == {"ftp", "ftp6"}, 5,
                 lambda: f"the new expectation alone: {shown(pair.backup, '-e')}")
    assert text.counters(pair.active.out("-s", "runtime"))["netlink overrun"] > 0
    assert shown(pair.active, "-i") == {"ftp", "ftp6"}


@pytest.mark.parametrize("injecting", [False, True], ids=["external-cache", "direct-injection"])
def test_bulk_without_internal_cache_has_expectations(our_pair, injecting):
    """-B reads the kernel: expectations come after their masters."""
    mode = "\tMode NOTRACK {\n\t\tDisableInternalCache On\n%s\t}\n" % ("\t\tDisableExternalCache On\n" * injecting)
    our_pair.configure(mode_block=mode, options="\t\tExpectationSync { ftp }")
    our_pair.active.sysctl("net.netfilter.nf_conntrack_events", 1)  # also of masters that begin while nobody listens
    make(our_pair.active, *MASTERS)
    our_pair.start()
    assert not shown(our_pair.backup, "-e") and not expectations(our_pair.backup)
    our_pair.active.client("-B")
    if injecting:
        lab.wait_for(lambda: expectations(our_pair.backup), 3, "expectations in the backup's kernel")
        lab.wait_for(lambda: {e["helper"] for e in expectations(our_pair.backup)} == {"ftp"}, 3, "those of FTP")
    else:
        lab.wait_for(lambda: shown(our_pair.backup, "-e") == {"ftp", "ftp6"}, 3, "the listed expectations on the backup")
    # And with every event; -s expect counts them.
    with ctnl.Table(our_pair.active) as table:
        table.unexpect(expectation("ftp"))
        table.expect(expectation("ftp", 30023))
    now = lambda: {e["tuple"]["dport"] for e in expectations(our_pair.backup)} if injecting else set(
        map(int, re.findall(r" dport=(3\d+) ", our_pair.backup.out("-e", "expect"))))
    lab.wait_for(lambda: now() == {30021, 30023}, 3, lambda: f"the change on the backup: {now()}")
    told = text.parse_stats(our_pair.active.out("-s", "expect"))["bypass"]
    assert (told["new"], told["destroyed"]) == (1, 1)
    if injecting:
        assert text.parse_stats(our_pair.backup.out("-s", "expect"))["inject"]["destroyed"] == 1


# Related flows

def flow_message(source, sport, master=None):
    extra = b""
    if master:
        extra = wire.attr(8, socket.inet_aton(master[0]) + socket.inet_aton("10.2.0.1")) + wire.attr(10, b"\6")
        extra += wire.attr(11, struct.pack(">HH", master[1], 80))
    return wire.flow(source, "10.2.0.1", sport, 80, status=0xF if master else 0xE, extra=extra)


def masters(node):
    """{source of a flow: source of its master, or None}."""
    with ctnl.Table(node) as table:
        return {flow["orig"]["src"]: flow["master"] and flow["master"][1]["src"] for flow in table.flows()
                if flow["orig"].get("dport") == 80}


@pytest.mark.parametrize("injecting", [False, True], ids=["commit", "direct-injection"])
def test_related_flows_in_any_order(node, injecting):
    """A chain of related flows that arrives backwards is in the kernel in the end; one whose master nobody knows is refused
    and told, as conntrackd does."""
    node.run("ip", "link", "delete", "sync0")
    mode = "\tMode NOTRACK {\n%s\t}\n" % ("\t\tDisableExternalCache On\n" * injecting)
    node.configure(mode + lab.link_block("UDP", "10.77.9.1", "10.77.9.2"))
    with wire.Peer(node) as peer:
        node.start()
        peer.say(wire.NEW, flow_message("10.1.0.3", 3, ("10.1.0.2", 2)))
        peer.say(wire.NEW, flow_message("10.1.0.2", 2, ("10.1.0.1", 1)))
        peer.say(wire.NEW, flow_message("10.1.0.1", 1))
        peer.say(wire.NEW, flow_message("10.1.0.9", 9, ("10.1.0.8", 8)))
        peer.say(wire.NEW, flow_message("10.1.0.4", 4))
        if injecting:
            lab.wait_for(lambda: len(masters(node)) >= 2, 3, lambda: f"2 flows: {masters(node)}")
            # Repeated, they find their masters.
            peer.say(wire.NEW, flow_message("10.1.0.2", 2, ("10.1.0.1", 1)))
            peer.say(wire.NEW, flow_message("10.1.0.3", 3, ("10.1.0.2", 2)))
            lab.wait_for(lambda: masters(node).get("10.1.0.3") == "10.1.0.2", 3, lambda: f"the chain: {masters(node)}")
            assert "could not add new ct entry" in node.log()
        else:
            lab.wait_for(lambda: node.external_count() == 5, 3, "5 flows in the external cache")
            node.client("-c")
            assert "Committed 4 new entries" in node.log() and "1 entries can't be committed" in node.log()
            assert node.log().count("commit-create: No such file or directory") == 1
    assert masters(node) == {"10.1.0.1": None, "10.1.0.2": "10.1.0.1", "10.1.0.3": "10.1.0.2", "10.1.0.4": None}


@pytest.mark.parametrize("injecting", [False, True], ids=["commit", "direct-injection"])
def test_refused_entries_do_not_flood_the_log(node, injecting):
    node.run("ip", "link", "delete", "sync0")
    mode = "\tMode NOTRACK {\n%s\t}\n" % ("\t\tDisableExternalCache On\n" * injecting)
    node.configure(mode + lab.link_block("UDP", "10.77.9.1", "10.77.9.2"))
    with wire.Peer(node) as peer:
        node.start()
        for number in range(200):
            peer.say(wire.NEW, wire.flow("10.1.0.1", "10.2.0.1", 1000 + number, 80, extra=wire.attr(27, b"nobody\0")))
        if injecting:
            lab.wait_for(lambda: text.parse_stats(node.out("-s"))["inject"]["create_failed"] == 200, 3, "200 failures")
        else:
            lab.wait_for(lambda: node.external_count() == 200, 3, "200 flows in the external cache")
            node.client("-c")
            assert "200 entries can't be committed" in node.log() and "are only counted" in node.log()
    refused = re.findall("commit-create: |could not add new ct entry: ", node.log())
    assert 1 <= len(refused) <= (3 if injecting else 20)
