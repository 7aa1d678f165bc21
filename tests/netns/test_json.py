# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers in JSON: each is one document, and says what the text says."""
import json

import pytest

import ctnl
import kinds
import lab
import text
import wire

TOPICS = ["ct", "expect", "network", "cache", "runtime", "link", "process", "queue", "peers"]


def ask(node, *words):
    return json.loads(node.out(*words, "--json"))


def expectation():
    master = kinds.build()["helper-ftp"]["orig"]
    return {"master": (6, master), "proto": 6, "tuple": {"src": master["src"], "dst": master["dst"], "sport": 0, "dport": 30021},
            "mask": {"src": "255.255.255.255", "dst": "255.255.255.255", "sport": 0, "dport": 65535}, "timeout": 300,
            "helper": "ftp"}


@pytest.fixture(scope="module")
def filled():
    """Two nodes with every kind of flow, and an expectation."""
    with lab.Pair(lab.OURS, lab.OURS) as pair:
        options = "\tOptions {\n\t\tExpectationSync on\n\t}\n"
        for node, local, peer in ((pair.active, "10.77.9.1", "10.77.9.2"), (pair.backup, "10.77.9.2", "10.77.9.1")):
            node.configure(lab.Pair.MODES["FTFW"] + lab.link_block("UDP", local, peer) + options)
            node.start()
        pair.greeted()
        with ctnl.Table(pair.active) as table:
            for flow in kinds.build().values():
                table.create(flow)
            table.expect(expectation())
        made = len(kinds.build())
        lab.wait_for(lambda: pair.backup.external_count() >= made and pair.backup.out("-e", "expect"), 8, f"{made} flows")
        yield pair


def words_of(flow):
    """What the text says of the flow, as far as both do."""
    original = flow["original"]
    return (flow["protocol"], original["src"], original["dst"], str(original.get("sport", "")), flow.get("state"),
            flow.get("helper"), flow.get("mark", 0), "ASSURED" in flow.get("flags", []))


def words_of_line(flow):
    original = flow["orig"]
    return (flow["proto"], original["src"], original["dst"], str(original.get("sport", "")), flow.get("state"),
            flow.get("helper"), int(flow.get("mark", 0) or 0), "ASSURED" in flow["flags"])


@pytest.mark.parametrize("option", ["-i", "-e"])
def test_flows_are_those_of_the_text(filled, option):
    node = filled.active if option == "-i" else filled.backup
    flows = ask(node, option)
    lines = text.parse_dump(node.out(option))
    assert len(flows) == len(lines) >= len(kinds.build())
    assert sorted(map(repr, map(words_of, flows))) == sorted(map(repr, map(words_of_line, lines)))
    assert all(isinstance(flow["active_since"], int) for flow in flows)
    if option == "-i":
        assert all("reply" in flow for flow in flows)
    else:
        assert any("nat" in flow for flow in flows)


@pytest.mark.parametrize("option", ["-i", "-e"])
def test_expectations(filled, option):
    (found,) = ask(filled.active if option == "-i" else filled.backup, option, "expect")
    made = expectation()
    assert found["master"]["src"] == made["master"][1]["src"] and found["expected"]["dport"] == 30021
    assert found["mask"]["sport"] == 0 and found["mask"]["src"] == "255.255.255.255"


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_is_an_object(filled, topic):
    answer = ask(filled.active, "--statistics", topic)
    assert answer["topic"] == topic and answer["mode"] == "sync"
    assert len(answer) > 2 or topic == "process"


def test_numbers_are_those_of_the_text(filled):
    shown, answer = filled.backup.stats(), ask(filled.backup, "-s")
    for cache in ("internal", "external"):
        assert answer[cache]["active"] == shown[cache]["active"] and answer[cache]["created"] == shown[cache]["created"]
    assert answer["external"]["active"] == len(ask(filled.backup, "-e"))
    (peer,) = ask(filled.backup, "-s", "peers")["peers"]
    assert peer["address"] == "10.77.9.1" and peer["connections_held"] == answer["external"]["active"]


def test_resend_queue(filled):
    master = kinds.build()["helper-ftp"]
    extra = master | {"orig": master["orig"] | {"sport": 99}, "reply": ctnl.inverse(6, master["orig"] | {"sport": 99})}
    with filled.backup.stopped():
        with ctnl.Table(filled.active) as table:
            table.create(extra)
        lab.wait_for(lambda: "object" in filled.active.out("-s", "rsqueue"), 5, "a message that waits")
        waiting = ask(filled.active, "-s", "rsqueue")
    assert any(message["kind"] == "object" and "flags" not in message for message in waiting)
    assert all(message["flags"] > 0 for message in waiting if message["kind"] == "control")
    numbers = [message["seq"] for message in waiting]
    assert numbers == sorted(numbers)


def test_what_is_not_there_is_an_empty_document(node):
    node.configure(stats=True)
    node.start()
    assert ask(node, "-i") == [] and ask(node, "-e") == [] and ask(node, "-e", "expect") == []
    assert ask(node, "-s", "rsqueue") == []
    assert ask(node, "-s")["mode"] == "statistics" and ask(node, "-s", "peers") == {"topic": "peers", "mode": "statistics"}


def test_list_of_the_kernel(node):
    """-i without internal cache."""
    sync = "\tMode NOTRACK {\n\t\tDisableInternalCache on\n\t}\n" + lab.link_block("UDP", "10.77.9.1", "10.77.9.2")
    node.configure(sync, node.general(event_filter=""))
    with ctnl.Table(node) as table:
        for made in kinds.build().values():
            table.create(made)
    node.start()
    flows = ask(node, "-i")
    assert len(flows) == len(node.out("-i").splitlines()) >= len(kinds.build())
    assert all(flow["timeout"] > 0 for flow in flows if "timeout" in flow)
    assert any("timeout" in flow for flow in flows)


@pytest.mark.parametrize("name", [b'"},{"a":"', b"\\", b"\n\t\x01", b"\xff\xc3\x28", b"</flow>"], ids=repr)
def test_strings_of_a_stranger_stay_strings(node, name):
    node.run("ip", "link", "delete", "sync0")
    with wire.Peer(node) as peer:
        node.start()
        peer.hello()
        peer.say(wire.NEW, wire.flow("10.1.0.1", "10.2.0.1", 1000, 80) + wire.attr(27, name + b"\0"))
        lab.wait_for(lambda: "src=10.1.0.1 " in node.out("-e"), 5, "the flow")
        (flow,) = ask(node, "-e")
    assert flow["helper"].encode("latin-1") == name


def test_a_large_list(node):
    flows = 100_000
    node.start()
    node.run(lab.FLOWGEN, "create", flows)
    lab.wait_for(lambda: ask(node, "-s")["internal"]["active"] >= flows, 30, f"{flows} flows")
    found = ask(node, "-i")
    assert len({json.dumps(flow["original"]) for flow in found}) == len(found) == len(node.out("-i").splitlines()) >= flows

