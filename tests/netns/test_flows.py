# SPDX-License-Identifier: GPL-2.0-or-later
"""Every kind of flow reaches the peer's external cache and, after -c, its kernel: tuples, NAT, status, timeout, protocol
state, mark, labels, zone, helper, master, sequence adjustment, synproxy. Ours with ours and both mixed pairs.

Where a stock daemon is known to lose something the test expects the loss and names the defect by its number in the list of
known defects of conntrackd (doc/differences); the loss is asserted where it is certain, so that a fix would be noticed.
"""
import socket
import types

import pytest

import ctnl
import kinds
import lab
import text

KINDS = kinds.build()
SEEN_REPLY, ASSURED, CONFIRMED = 2, 4, 8
SNAT, DNAT, SEQADJ, EXPECTED = 0x10, 0x20, 0x40, 0x1


def rules(net):
    """Labels exist in a namespace only while a rule speaks of them."""
    net.nft("""
        table inet labels {
            chain c {
                type filter hook forward priority 0
                ct label set 1
            }
        }""")


@pytest.fixture(scope="module")
def replicated(binaries):
    """All kinds created on the active node; external cache, both kernels and dumps of the backup after -R -B and -c."""
    with lab.Pair(*binaries) as pair:
        for node in pair.nodes():
            rules(node)
        pair.configure().start().greeted()
        result = types.SimpleNamespace(pair=pair, refused={}, rejected=set())
        with ctnl.Table(pair.active) as table:
            for name, flow in KINDS.items():
                try:
                    table.create(flow)
                except OSError as error:
                    result.refused[name] = str(error)
            created = len(KINDS) - len(result.refused)
            lab.wait_for(lambda: pair.backup.external_count() >= created, 10,
                         lambda: f"{created} flows on the backup: {pair.backup.external_count()}")
            result.from_events = by_address(pair.backup.external())
            pair.active.client("-R")
            pair.active.client("-B")
            bulk = lambda: pair.backup.stats()["external"]["updated"] + pair.backup.stats()["external"]["created"]
            lab.wait_for(lambda: bulk() >= 2 * created, 10, lambda: f"the bulk: {bulk()}")
            result.external = by_address(pair.backup.external())
            result.xml = pair.backup.out("-e", "-x")
            result.internal = by_address(pair.active.internal())
            pair.backup.client("-c")
            result.active_kernel = {flow["orig"]["src"]: flow for flow in table.flows()}
        with ctnl.Table(pair.backup) as table:
            result.backup_kernel = {flow["orig"]["src"]: flow for flow in table.flows()}
        result.stats = pair.backup.stats()
        result.log = pair.backup.log()
        yield result


def by_address(flows):
    found = {}
    for flow in flows:
        assert flow["orig"]["src"] not in found, f"two entries for one flow: {flow['line']}"
        found[flow["orig"]["src"]] = flow
    return found


def refused(replicated, name):
    if name in replicated.refused:
        pytest.skip(f"this kernel does not create such a flow: {replicated.refused[name]}")


def stock_sender(replicated):
    return replicated.pair.active.stock


def stock_receiver(replicated):
    return replicated.pair.backup.stock


@pytest.mark.parametrize("name", KINDS)
def test_external_cache(replicated, name):
    refused(replicated, name)
    flow = KINDS[name]
    shown = replicated.from_events[flow["orig"]["src"]]
    assert shown["proto"] == flow["proto"]
    assert shown["reply"] is None, "only the original tuple travels"
    assert shown["orig"]["dst"] == flow["orig"]["dst"]
    for word, value in carried(replicated, flow).items():
        shown_as = {"sport": "srckey", "dport": "dstkey"}.get(word, word) if flow["proto"] == 47 else word
        assert shown["orig"][shown_as] == (hex(value) if flow["proto"] == 47 and word != "src" else str(value)), word
    assert ("UNREPLIED" in shown["flags"]) == (not flow["status"] & SEEN_REPLY)
    assert ("ASSURED" in shown["flags"]) == bool(flow["status"] & ASSURED)
    if flow["proto"] == 6:
        assert shown["state"] == kinds.TCP_STATES[flow["tcp"]["state"]]
    if flow.get("mark"):
        assert shown["mark"] == str(flow["mark"])
    assert shown.get("zone") == (str(flow["zone"]) if flow.get("zone") else None)
    assert shown.get("helper") == flow.get("helper")
    assert shown["age"] is not None and shown["age"] <= 20


def carried(replicated, flow):
    """The ports, keys or ICMP words that arrive. A stock sender loses GRE keys and UDP-Lite ports (defect 11)."""
    words = {word: value for word, value in flow["orig"].items() if word not in ("src", "dst")}
    if flow["proto"] in (47, 136) and stock_sender(replicated):
        return dict.fromkeys(words, 0)
    return words


def committed(replicated, name):
    """The kernel entries of both nodes."""
    refused(replicated, name)
    address = KINDS[name]["orig"]["src"]
    assert address in replicated.backup_kernel, f"not committed; log of the backup:\n{replicated.log}"
    return replicated.active_kernel[address], replicated.backup_kernel[address]


@pytest.mark.parametrize("name", KINDS)
def test_kernel_after_commit(replicated, name):
    origin, copy = committed(replicated, name)
    words = carried(replicated, KINDS[name])
    assert copy["orig"] == {**origin["orig"], **words}
    reply = dict(origin["reply"])
    if origin["proto"] in (47, 136) and words:
        reply.update(sport=words["dport"], dport=words["sport"])
    if origin["proto"] == 132 and stock_receiver(replicated):
        # Stock's netlink library writes port ranges for TCP and UDP only: SCTP keeps the address but loses the port NAT.
        reply.update(sport=origin["orig"]["dport"], dport=origin["orig"]["sport"])
    assert copy["reply"] == reply, "the NAT mapping is in the reply tuple"
    assert copy["zone"] == origin["zone"]
    assert copy["mark"] == origin["mark"]
    assert copy["labels"] == origin["labels"]
    assert copy["helper"] == origin["helper"]
    assert copy["master"] == origin["master"]
    wanted = SEEN_REPLY | ASSURED | CONFIRMED | SNAT | DNAT | EXPECTED
    assert copy["status"] & wanted == origin["status"] & wanted
    assert abs(copy["timeout"] - origin["timeout"]) <= 8
    if origin["proto"] == 6:
        assert copy["tcp"]["state"] == origin["tcp"]["state"]
        # Recovered flows are marked liberal, since nobody knows their windows.
        assert copy["tcp"]["flags_orig"] & 8 and copy["tcp"]["flags_reply"] & 8
    if origin["proto"] == 132:
        assert copy["sctp"]["state"] == origin["sctp"]["state"]
        assert copy["sctp"]["vtag_reply"] == origin["sctp"]["vtag_reply"]
        if stock_receiver(replicated):
            # Defect 6: the last byte of the original tag is overwritten with the TCP flag value.
            assert copy["sctp"]["vtag_orig"] == origin["sctp"]["vtag_orig"] & ~0xFF | 0x08
        else:
            assert copy["sctp"]["vtag_orig"] == origin["sctp"]["vtag_orig"]


def test_sequence_adjustment(replicated):
    origin, copy = committed(replicated, "sequence-adjustment")
    assert origin["seqadj_orig"] == KINDS["sequence-adjustment"]["seqadj_orig"]
    assert copy["seqadj_orig"] == origin["seqadj_orig"]
    assert copy["seqadj_reply"] == origin["seqadj_reply"]
    assert copy["status"] & SEQADJ


def test_synproxy(replicated):
    origin, copy = committed(replicated, "synproxy")
    assert origin["synproxy"] == KINDS["synproxy"]["synproxy"]
    assert copy["synproxy"] == origin["synproxy"]


def test_nothing_missing_and_nothing_extra(replicated):
    wanted = {flow["orig"]["src"] for name, flow in KINDS.items() if name not in replicated.refused}
    assert set(replicated.from_events) == wanted
    assert set(replicated.external) == wanted
    strangers = {a for a in replicated.backup_kernel if not a.startswith(("10.77.9.", "fd77:9:", "fe80:", "127.", "::1"))}
    assert strangers <= wanted
    assert replicated.stats["malformed"] == 0
    assert replicated.stats["lost"] == 0
    assert replicated.stats["external"]["create_failed"] == 0


def test_xml_agrees_with_text(replicated):
    """The XML dump is well-formed line by line and tells the same flows as the text dump."""
    found = {}
    for flow in text.parse_xml(replicated.xml):
        original, reply, _ = flow.findall("meta")
        found[original.find("layer3/src").text] = flow
        assert reply.find("layer3").get("protoname") == "unknown"
    assert set(found) == set(replicated.external)
    for address, flow in found.items():
        shown = replicated.external[address]
        assert flow.find("meta/layer4").get("protonum") == str(shown["proto"])
        independent = flow.findall("meta")[2]
        assert independent.findtext("mark") == shown.get("mark")
        assert independent.findtext("zone") == shown.get("zone")
        assert (independent.find("assured") is not None) == ("ASSURED" in shown["flags"])
        assert (independent.find("unreplied") is not None) == ("UNREPLIED" in shown["flags"])
        assert flow.findtext("helper") == shown.get("helper")
        if shown["proto"] == 6:
            assert independent.findtext("state") == shown["state"]


@pytest.mark.parametrize("what", ["mark", "state", "labels"])
def test_update_reaches_the_peer(replicated, what):
    """A change on a live flow arrives as an update of the same entry."""
    pair = replicated.pair
    flow = dict(KINDS["tcp4-SYN_SENT"])
    address = flow["orig"]["src"]
    change = {"proto": 6, "orig": flow["orig"]}
    if what == "mark":
        change["mark"] = 77
        arrived = lambda entry: entry.get("mark") == "77"
    elif what == "state":
        change["tcp"] = {"state": 4}
        arrived = lambda entry: entry.get("state") == "FIN_WAIT"
    else:
        change["labels"] = {3}
        arrived = lambda entry: True
    before = pair.backup.stats()["external"]["updated"]
    with ctnl.Table(pair.active) as table:
        table.update(change)
    lab.wait_for(lambda: pair.backup.stats()["external"]["updated"] > before and
                 arrived(by_address(pair.backup.external())[address]), 3, f"the new {what}")


def test_destroy_reaches_the_peer(replicated):
    """Deleted flows leave the peer's external cache, the others stay. Runs last: it empties the active node."""
    pair = replicated.pair
    gone = [flow for name, flow in KINDS.items() if name.startswith(("udp", "icmp", "zone", "unknown"))
            and name not in replicated.refused]
    before = len(pair.backup.external())
    with ctnl.Table(pair.active) as table:
        for flow in gone:
            table.delete(flow)
    lab.wait_for(lambda: pair.backup.external_count() == before - len(gone), 5, "the deletions")
    left = by_address(pair.backup.external())
    assert not [flow for flow in gone if flow["orig"]["src"] in left]


def one_way_zones(net, direction, zones):
    """A UDP flow from each source port, this direction of it ("original", "reply") in a zone of its own, as a rule makes them."""
    rules = "".join(f"udp sport {port} ct {direction} zone set {zone}\n" for port, zone in zones.items())
    net.nft(f"""
        table ip zones {{
            chain raw {{
                type filter hook output priority raw
                {rules}
            }}
            chain post {{
                type filter hook postrouting priority 100
            }}
        }}""")
    net.run("ip", "link", "add", "elsewhere", "type", "veth", "peer", "name", "elsewherep")
    net.address("elsewhere", "10.50.0.1/24")
    net.run("ip", "link", "set", "elsewherep", "up")
    for port in zones:
        with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            mouth.bind(("10.50.0.1", port))
            mouth.sendto(b"x", ("10.50.0.99", 7))


def zones_in_the_kernel(net):
    with ctnl.Table(net) as table:
        return {flow["orig"]["sport"]: (flow["orig"].get("zone"), flow["reply"].get("zone"), flow["zone"])
                for flow in table.flows() if flow["orig"]["dst"] == "10.50.0.99"}


def shown(node, side):
    return {int(flow["orig"]["sport"]): flow["line"] for flow in text.parse_dump(node.out(side))
            if flow["orig"]["dst"] == "10.50.0.99"}


@pytest.mark.parametrize("direction", ["original", "reply"])
def test_zone_of_one_direction(our_pair, direction):
    our_pair.configure().start().greeted()
    active, backup = our_pair.nodes()
    zones = {4001: 5, 4002: 6}
    one_way_zones(active, direction, zones)
    expected = {port: (zone, None, 0) if direction == "original" else (None, zone, 0) for port, zone in zones.items()}
    assert zones_in_the_kernel(active) == expected
    lab.wait_for(lambda: len(shown(backup, "-e")) == 2, 5, "the flows at the peer")
    for port, zone in zones.items():
        for node, side in ((active, "-i"), (backup, "-e")):
            assert f"zone-{'orig' if direction == 'original' else 'reply'}={zone}" in shown(node, side)[port]
    backup.client("-c")
    assert zones_in_the_kernel(backup) == expected
    with ctnl.Table(active) as table:
        for flow in table.flows():
            if flow["orig"]["dst"] == "10.50.0.99":
                table.delete(flow)
    lab.wait_for(lambda: shown(backup, "-e") == {}, 5, "the flows to end at the peer")


@pytest.mark.parametrize("direction", ["original", "reply"])
@pytest.mark.parametrize("binaries", [(lab.OURS, lab.STOCK), (lab.STOCK, lab.OURS)], ids=["ours-stock", "stock-ours"])
def test_a_stock_peer_never_sees_a_zone_of_one_direction(binaries, direction):
    with lab.Pair(*binaries) as pair:
        pair.configure().start().greeted()
        one_way_zones(pair.active, direction, {4001: 5, 4002: 6})
        lab.wait_for(lambda: len(shown(pair.backup, "-e")) == 2, 5, "the flows at the peer")
        assert all("zone" not in line for line in shown(pair.backup, "-e").values())
        assert [node.stats()["malformed"] for node in pair.nodes()] == [0, 0]
