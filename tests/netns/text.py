# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading what the daemons print: statistics, dumps in text and XML, and a normal form to compare layouts with."""
import re
import xml.etree.ElementTree as ElementTree

NUMBER = r"\s+(\d+)"


def parse_stats(output):
    """The output of -s: {"internal": {...}, "external": {...}, "link": {...}, "malformed": n, "lost": n}."""
    stats = {}
    for block in output.strip().split("\n\n"):
        head = block.splitlines()[0]
        numbers = [int(number) for number in re.findall(r"(?<![\w.=])\d+(?![\w.])", block.split("\n", 1)[-1])]
        if head.startswith("cache "):
            keys = ("active", "created", "create_failed", "updated", "update_failed", "destroyed", "destroy_failed")
            stats[head[6:].rstrip(":")] = dict(zip(keys, numbers))
        elif head.startswith("external inject"):
            keys = ("created", "create_failed", "updated", "update_failed", "destroyed", "destroy_failed")
            stats["inject"] = dict(zip(keys, numbers))
        elif head.startswith("internal bypass"):
            stats["bypass"] = dict(zip(("new", "updated", "destroyed"), numbers))
        elif " traffic (active device=" in head:
            keys = ("bytes_sent", "bytes_recv", "packets_sent", "packets_recv", "error_send", "error_recv")
            stats["link"] = dict(zip(keys, numbers))
        elif head.startswith("message tracking"):
            stats["malformed"], stats["lost"] = numbers
        elif head.startswith("traffic processed"):
            stats["bytes"], stats["packets"] = numbers
    return stats


def parse_dump(output):
    """Lines of -i, -e or conntrack -L: dicts with proto, state, flags, orig and reply (dicts of key=value), the rest flat.

    The first src= opens the original tuple, the second the reply tuple.
    """
    flows = []
    for line in output.splitlines():
        if not line or line.startswith("conntrack v"):
            continue
        flow = {"line": line, "flags": re.findall(r"\[(UNREPLIED|ASSURED|OFFLOAD|HW_OFFLOAD)\]", line)}
        age = re.search(r"\[active since (\d+)s\]", line)
        flow["age"] = int(age[1]) if age else None
        words = re.sub(r"\[[^\]]*\]", "", line).split()
        flow["name"], flow["proto"] = words[0], int(words[1])
        tuples = []
        for word in words[2:]:
            key, equals, value = word.partition("=")
            if not equals:
                flow["timeout" if word.isdigit() else "state"] = word
            elif key == "src":
                tuples.append({"src": value})
            elif tuples and key in ("dst", "sport", "dport", "type", "code", "id", "srckey", "dstkey"):
                tuples[-1][key] = value
            else:
                flow[key] = value
        flow["orig"] = tuples[0] if tuples else {}
        flow["reply"] = tuples[1] if len(tuples) > 1 else None
        flows.append(flow)
    return flows


def parse_xml(output):
    """One <flow> element a line; every line must be a well-formed document of its own."""
    return [ElementTree.fromstring(line) for line in output.splitlines()]


def form(output):
    """The layout of an output with the values taken out, so that two runs of any daemons can be compared byte by byte.

    Numbers become N with their right edge kept where they are right-aligned (the column is part of the format);
    device names are kept.
    """
    lines = []
    for line in output.splitlines():
        line = re.sub(r"(device=)(\S+?)([ )])", r"\1DEV\3", line)
        line = re.sub(r"( *)(\d+)(?![\w.:])", lambda m: f"{'.' * len(m[0])}N" if len(m[0]) > 10 else f"{m[1]}N"
                      if m[1] else "N", line)
        lines.append(line)
    return "\n".join(lines)


def golden(path):
    """A golden output file as a list of (node, command, output); the output is that up to '(exit status N)'."""
    found, node, command, body = [], None, None, []
    with open(path, encoding="utf-8") as file:
        for line in file:
            head = re.match(r"\[(f[12])\]\$ (conntrackd?) ?([^#]*)", line)
            if head:
                node, command, body = head[1], f"{head[2]} {head[3].strip()}".strip(), []
            elif line.startswith("(exit status ") and command:
                found.append((node, command, "".join(body)))
                command = None
            elif command:
                body.append(line)
    return found


def counters(output):
    """Labelled numbers of -s network, runtime, queue or cache: {"Malformed messages": n, ...}.

    A label that stands twice (recv and send side) keeps its first value.
    """
    found = {}
    for label, value in re.findall(r"^\s*([^:\n]+):\s+(\d+)", output, re.MULTILINE):
        found.setdefault(label.strip(), int(value))
    return found
