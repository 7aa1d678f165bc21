# SPDX-License-Identifier: GPL-2.0-or-later
"""Every kind of flow that replication has to carry, as ctnetlink creates it. One flow a kind, found by its address."""

SEEN_REPLY, ASSURED, CONFIRMED = 2, 4, 8
NEW, TWO_WAY, SURE = CONFIRMED, CONFIRMED | SEEN_REPLY, CONFIRMED | SEEN_REPLY | ASSURED
TCP_STATES = ["NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",
              "SYN_SENT2"]


def _tuple(version, number, **proto):
    prefix = ("10.1.0.", "10.2.0.") if version == 4 else ("fd00:1::", "fd00:2::")
    return {"src": f"{prefix[0]}{number}", "dst": f"{prefix[1]}1", **proto}


def _ports(number):
    return {"sport": 10000 + number, "dport": 80}


def build():
    """{name: flow}; masters come before their related flows."""
    flows = {}

    def add(name, proto, version=4, **rest):
        number = len(flows) + 1
        words = rest.pop("words", _ports(number) if proto in (6, 17, 132, 136) else {})
        flow = {"proto": proto, "orig": _tuple(version, number, **words), "timeout": 3000 + number, "status": TWO_WAY}
        if proto == 6:
            flow["tcp"] = {"state": rest.pop("state", 3)}
            flow["status"] = SURE
        flow.update(rest)
        flows[name] = flow
        return flow

    for version in (4, 6):
        for state in range(1, 10):
            status = NEW if state == 1 else TWO_WAY if state == 2 else SURE
            add(f"tcp{version}-{TCP_STATES[state]}", 6, version, state=state, status=status)
        add(f"udp{version}-new", 17, version, status=NEW)
        add(f"udp{version}-two-way", 17, version)
        add(f"udp{version}-stream", 17, version, status=SURE)
        for state, word in ((1, "closed"), (2, "cookie-wait"), (3, "cookie-echoed"), (4, "established")):
            add(f"sctp{version}-{word}", 132, version, status=SURE if state == 4 else TWO_WAY,
                sctp={"state": state, "vtag_orig": 0x11223300 + state, "vtag_reply": 0x55667700 + state})
        add(f"udplite{version}", 136, version)
        add(f"gre{version}", 47, version, words={"sport": 0, "dport": 0})
        add(f"gre{version}-keys", 47, version, words={"sport": 0x1234, "dport": 0x5678})
        add(f"unknown253-{version}", 253, version)
        add(f"unknown99-new-{version}", 99, version, status=NEW)
    add("icmp-echo", 1, words={"type": 8, "code": 0, "id": 0x1234})
    add("icmp-timestamp", 1, words={"type": 13, "code": 0, "id": 7})
    add("icmp6-echo", 58, 6, words={"type": 128, "code": 0, "id": 0x5678})

    # NAT: address, port, both ends, and IPv6
    add("snat", 6, snat=("192.0.2.1", None))
    add("snat-port", 6, snat=("192.0.2.2", 50591))
    add("port-only", 6, snat=("10.1.0.{}", 50592))
    add("dnat", 6, dnat=("192.0.2.3", None))
    add("dnat-port", 6, dnat=("192.0.2.4", 5000))
    add("both-nat", 6, snat=("192.0.2.5", 50593), dnat=("192.0.2.6", 5001))
    add("snat-udp", 17, snat=("192.0.2.7", 50594))
    add("dnat-udp", 17, dnat=("192.0.2.8", 5300))
    add("snat-icmp", 1, words={"type": 8, "code": 0, "id": 99}, snat=("192.0.2.9", None))
    add("snat-sctp", 132, sctp={"state": 4, "vtag_orig": 1, "vtag_reply": 2}, snat=("192.0.2.10", 50595))
    add("snat-gre", 47, words={"sport": 0, "dport": 0}, snat=("192.0.2.11", None))
    add("snat-unknown", 253, snat=("192.0.2.12", None))
    add("snat66", 6, 6, snat=("fd00:3::1", None))
    add("snat66-port", 6, 6, snat=("fd00:3::2", 50596))
    add("dnat66-port", 6, 6, dnat=("fd00:3::3", 5002))
    add("both-nat66", 6, 6, snat=("fd00:3::4", 50597), dnat=("fd00:3::5", 5003))
    add("snat66-icmp6", 58, 6, words={"type": 128, "code": 0, "id": 98}, snat=("fd00:3::6", None))
    flows["port-only"]["snat"] = (flows["port-only"]["orig"]["src"], 50592)

    # What few flows have
    add("mark", 6, mark=0xDEADBEEF)
    add("mark-udp6", 17, 6, mark=1)
    add("zone", 6, zone=9)
    add("zone-udp6", 17, 6, zone=65535)
    add("label-low", 6, labels={5})
    add("label-high", 6, labels={0, 31, 32, 127})
    ftp = add("helper-ftp", 6, helper="ftp", words={"sport": 21000, "dport": 21})
    add("helper-tftp", 17, helper="tftp", words={"sport": 21001, "dport": 69})
    ftp6 = add("helper-ftp6", 6, 6, helper="ftp", words={"sport": 21002, "dport": 21})
    add("related", 6, master=(6, ftp["orig"]))
    add("related6", 6, 6, master=(6, ftp6["orig"]))
    add("related-udp", 17, master=(6, ftp["orig"]))
    add("sequence-adjustment", 6, helper="ftp", words={"sport": 21003, "dport": 21}, snat=("192.0.2.13", 50598),
        status=SURE, seqadj_orig=(0x7CB70EBA, 0, 3), seqadj_reply=(0x01020304, 0xFFFFFFFE, 0xFFFFFFFB))
    add("synproxy", 6, synproxy=(0x01020304, 0x05060708, 0x090A0B0C))
    add("window-scale", 6, tcp={"state": 3, "wscale_orig": 7, "wscale_reply": 10})
    add("everything", 6, mark=0x12345678, zone=42, labels={64}, helper="ftp", snat=("192.0.2.14", 50599),
        dnat=("192.0.2.15", 5004), words={"sport": 21004, "dport": 21})
    return flows
