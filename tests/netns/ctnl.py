# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's connection tracking table over ctnetlink: create, list and delete entries with every attribute.

Values are plain Python: addresses as strings, ports and ids as integers, labels as a set of bit numbers. A flow is a dict:
  family, proto, orig, reply   tuples: dicts of src, dst and sport/dport, type/code/id or key words of their protocol, zone of this
                               direction (only used to create)
  zone, status, timeout, mark, labels, helper, master (tuple), tcp {state, wscale_orig, wscale_reply, flags_orig, ...},
  sctp {state, vtag_orig, vtag_reply}, seqadj_orig/seqadj_reply (pos, before, after), synproxy (isn, its, tsoff),
  snat/dnat: (address, port or None); only used to create
Constants are those of linux/netfilter/nfnetlink_conntrack.h.
"""
import errno
import os
import socket
import struct

NETLINK_NETFILTER = 12
CT, EXP = 1, 2
NEW, GET, DELETE = 0, 1, 2
F_REQUEST, F_ACK, F_DUMP, F_EXCL, F_CREATE = 1, 4, 0x300, 0x200, 0x400
NESTED = 0x8000

(TUPLE_ORIG, TUPLE_REPLY, STATUS, PROTOINFO, HELP, NAT_SRC, TIMEOUT, MARK) = range(1, 9)
(NAT_DST, TUPLE_MASTER, SEQ_ADJ_ORIG, SEQ_ADJ_REPLY) = range(13, 17)
ZONE, LABELS, SYNPROXY = 18, 22, 24

ICMP_REPLY = {8: 0, 13: 14, 15: 16, 17: 18}
ICMP6_REPLY = {128: 129, 139: 140}


def attr(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def nest(kind, *parts):
    return attr(kind | NESTED, b"".join(parts))


def attrs(data):
    """Attribute list as {type: bytes}."""
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3:]
    return found


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def pack_tuple(kind, proto, t):
    family = family_of(t["src"])
    base = 3 if family == socket.AF_INET6 else 1
    ip = nest(1, attr(base, socket.inet_pton(family, t["src"])), attr(base + 1, socket.inet_pton(family, t["dst"])))
    parts = [attr(1, struct.pack("B", proto))]
    if "sport" in t:
        parts += [attr(2, struct.pack(">H", t["sport"])), attr(3, struct.pack(">H", t["dport"]))]
    if "type" in t:
        first = 7 if proto == 58 else 4
        parts += [attr(first, struct.pack(">H", t["id"])), attr(first + 1, struct.pack("B", t["type"])),
                  attr(first + 2, struct.pack("B", t["code"]))]
    zone = [attr(3, struct.pack(">H", t["zone"]))] if "zone" in t else []
    return nest(kind, ip, nest(2, *parts), *zone)


def parse_tuple(data):
    outer = attrs(data)
    ip, proto = attrs(outer[1]), attrs(outer[2])
    t = {}
    if 1 in ip:
        t["src"], t["dst"] = socket.inet_ntop(socket.AF_INET, ip[1]), socket.inet_ntop(socket.AF_INET, ip[2])
    else:
        t["src"], t["dst"] = socket.inet_ntop(socket.AF_INET6, ip[3]), socket.inet_ntop(socket.AF_INET6, ip[4])
    if 2 in proto:
        t["sport"], t["dport"] = struct.unpack(">H", proto[2])[0], struct.unpack(">H", proto[3])[0]
    for first in (4, 7):
        if first in proto:
            t["id"] = struct.unpack(">H", proto[first])[0]
            t["type"], t["code"] = proto[first + 1][0], proto[first + 2][0]
    if 3 in outer:
        t["zone"] = struct.unpack(">H", outer[3])[0]
    return proto[1][0], t


def inverse(proto, t):
    """The reply tuple of a flow without NAT."""
    back = {"src": t["dst"], "dst": t["src"]}
    if "sport" in t:
        back.update(sport=t["dport"], dport=t["sport"])
    if "type" in t:
        answers = ICMP6_REPLY if proto == 58 else ICMP_REPLY
        back.update(type=answers.get(t["type"], t["type"]), code=t["code"], id=t["id"])
    return back


def pack_nat(kind, nat):
    address, port = nat
    family = family_of(address)
    parts = [attr(4 if family == socket.AF_INET6 else 1, socket.inet_pton(family, address))]
    if port is not None:
        parts.append(nest(3, attr(1, struct.pack(">H", port)), attr(2, struct.pack(">H", port))))
    return nest(kind, *parts)


def pack_seqadj(kind, values):
    return nest(kind, *(attr(n + 1, struct.pack(">I", v & 0xFFFFFFFF)) for n, v in enumerate(values)))


def pack_flow(flow):
    """The attributes of a create request."""
    proto = flow["proto"]
    out = pack_tuple(TUPLE_ORIG, proto, flow["orig"])
    out += pack_tuple(TUPLE_REPLY, proto, flow.get("reply") or inverse(proto, flow["orig"]))
    if flow.get("master"):
        out += pack_tuple(TUPLE_MASTER, flow["master"][0], flow["master"][1])
    for kind, key in ((STATUS, "status"), (TIMEOUT, "timeout"), (MARK, "mark")):
        if flow.get(key) is not None:
            out += attr(kind, struct.pack(">I", flow[key]))
    if "tcp" in flow:
        tcp = flow["tcp"]
        parts = [attr(1, struct.pack("B", tcp["state"]))]
        for kind, key in ((2, "wscale_orig"), (3, "wscale_reply")):
            if key in tcp:
                parts.append(attr(kind, struct.pack("B", tcp[key])))
        for kind, key in ((4, "flags_orig"), (5, "flags_reply")):
            if key in tcp:
                parts.append(attr(kind, struct.pack("BB", tcp[key], tcp[key])))
        out += nest(PROTOINFO, nest(1, *parts))
    if "sctp" in flow:
        sctp = flow["sctp"]
        out += nest(PROTOINFO, nest(3, attr(1, struct.pack("B", sctp["state"])),
                                    attr(2, struct.pack(">I", sctp["vtag_orig"])),
                                    attr(3, struct.pack(">I", sctp["vtag_reply"]))))
    if flow.get("helper"):
        out += nest(HELP, attr(1, flow["helper"].encode() + b"\0"))
    if flow.get("snat"):
        out += pack_nat(NAT_SRC, flow["snat"])
    if flow.get("dnat"):
        out += pack_nat(NAT_DST, flow["dnat"])
    if flow.get("seqadj_orig"):
        out += pack_seqadj(SEQ_ADJ_ORIG, flow["seqadj_orig"])
        out += pack_seqadj(SEQ_ADJ_REPLY, flow["seqadj_reply"])
    if flow.get("zone"):
        out += attr(ZONE, struct.pack(">H", flow["zone"]))
    if flow.get("labels") or flow.get("clear_labels"):
        words = [0] * 4
        for bit in flow.get("labels", ()):
            words[bit // 32] |= 1 << (bit % 32)
        out += attr(LABELS, struct.pack("=4I", *words))
    if flow.get("synproxy"):
        out += nest(SYNPROXY, *(attr(n + 1, struct.pack(">I", v)) for n, v in enumerate(flow["synproxy"])))
    return out


def u32(found, kind):
    return struct.unpack(">I", found[kind])[0] if kind in found else None


def parse_flow(data):
    found = attrs(data)
    proto, orig = parse_tuple(found[TUPLE_ORIG])
    flow = {"proto": proto, "orig": orig, "reply": parse_tuple(found[TUPLE_REPLY])[1], "status": u32(found, STATUS),
            "timeout": u32(found, TIMEOUT), "mark": u32(found, MARK) or 0, "zone": 0, "labels": set(), "helper": None,
            "master": None}
    if ZONE in found:
        flow["zone"] = struct.unpack(">H", found[ZONE])[0]
    if LABELS in found:
        words = struct.unpack(f"={len(found[LABELS]) // 4}I", found[LABELS])
        flow["labels"] = {32 * n + bit for n, word in enumerate(words) for bit in range(32) if word >> bit & 1}
    if HELP in found:
        flow["helper"] = attrs(found[HELP])[1].rstrip(b"\0").decode()
    if TUPLE_MASTER in found:
        flow["master"] = parse_tuple(found[TUPLE_MASTER])
    if PROTOINFO in found:
        info = attrs(found[PROTOINFO])
        if 1 in info:
            tcp = attrs(info[1])
            flow["tcp"] = {"state": tcp[1][0]}
            for kind, key in ((2, "wscale_orig"), (3, "wscale_reply"), (4, "flags_orig"), (5, "flags_reply")):
                if kind in tcp:
                    flow["tcp"][key] = tcp[kind][0]
        if 3 in info:
            sctp = attrs(info[3])
            flow["sctp"] = {"state": sctp[1][0], "vtag_orig": u32(sctp, 2), "vtag_reply": u32(sctp, 3)}
    for kind, key in ((SEQ_ADJ_ORIG, "seqadj_orig"), (SEQ_ADJ_REPLY, "seqadj_reply")):
        if kind in found:
            adj = attrs(found[kind])
            flow[key] = tuple(u32(adj, n) for n in (1, 2, 3))
    if SYNPROXY in found:
        values = attrs(found[SYNPROXY])
        flow["synproxy"] = tuple(u32(values, n) for n in (1, 2, 3))
    return flow


class Table:
    """The table of one network namespace (a lab.Net)."""

    def __init__(self, net):
        self.socket = net.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.socket.settimeout(10)
        self.socket.bind((0, 0))
        self.sequence = 0

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _send(self, subsystem, command, flags, family, payload):
        self.sequence += 1
        body = struct.pack("=BBH", family, 0, 0) + payload
        self.socket.send(struct.pack("=IHHII", 16 + len(body), subsystem << 8 | command, flags | F_REQUEST,
                                     self.sequence, 0) + body)

    def _answers(self):
        """Messages of the last request until its end; raises OSError for an error code."""
        while True:
            data = self.socket.recv(1 << 20)
            while len(data) >= 16:
                length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data)
                body, data = data[16:length], data[(length + 3) & ~3:]
                if sequence != self.sequence:
                    continue
                if kind == 3:  # NLMSG_DONE
                    return
                if kind == 2:  # NLMSG_ERROR
                    code = -struct.unpack_from("=i", body)[0]
                    if code:
                        raise OSError(code, f"{errno.errorcode.get(code, code)}: {os.strerror(code)}")
                    return
                yield body[4:]
                if not flags & 2:  # not a multi-part answer
                    return

    def _request(self, *args):
        self._send(*args)
        return list(self._answers())

    def create(self, flow):
        self.create_packed(family_of(flow["orig"]["src"]), pack_flow(flow))

    def create_packed(self, family, payload):
        """What pack_flow() made, for who measures time."""
        self._request(CT, NEW, F_ACK | F_CREATE | F_EXCL, family, payload)

    def update(self, flow):
        family = family_of(flow["orig"]["src"])
        self._request(CT, NEW, F_ACK, family, pack_flow(flow))

    def delete(self, flow):
        family = family_of(flow["orig"]["src"])
        payload = pack_tuple(TUPLE_ORIG, flow["proto"], flow["orig"])
        if flow.get("zone"):
            payload += attr(ZONE, struct.pack(">H", flow["zone"]))
        self._request(CT, DELETE, F_ACK, family, payload)

    def flush(self):
        self._request(CT, DELETE, F_ACK, socket.AF_UNSPEC, b"")

    def flows(self):
        """Every entry, both families."""
        found = []
        for family in (socket.AF_INET, socket.AF_INET6):
            self._send(CT, GET, F_DUMP, family, b"")
            found += [parse_flow(body) for body in self._answers()]
        return found

    def expect(self, expectation):
        """Creates an expectation: master (proto, tuple), proto, tuple, mask, timeout, helper, flags, class, nat, function."""
        e = expectation
        proto = e["proto"]
        payload = pack_tuple(1, *e["master"]) + pack_tuple(2, proto, e["tuple"]) + pack_tuple(3, proto, e["mask"])
        payload += attr(4, struct.pack(">I", e["timeout"]))
        payload += attr(6, e["helper"].encode() + b"\0")
        payload += attr(8, struct.pack(">I", e.get("flags", 0))) + attr(9, struct.pack(">I", e.get("class", 0)))
        if e.get("nat"):
            direction, saved = e["nat"]
            payload += nest(10, attr(1, struct.pack(">I", direction)), pack_tuple(2, proto, saved))
        if e.get("function"):
            payload += attr(11, e["function"].encode() + b"\0")
        self._request(EXP, NEW, F_ACK | F_CREATE | F_EXCL, family_of(e["tuple"]["src"]), payload)

    def unexpect(self, expectation):
        payload = pack_tuple(2, expectation["proto"], expectation["tuple"])
        self._request(EXP, DELETE, F_ACK, family_of(expectation["tuple"]["src"]), payload)

    def expectations(self):
        found = []
        for family in (socket.AF_INET, socket.AF_INET6):
            self._send(EXP, GET, F_DUMP, family, b"")
            for body in self._answers():
                a = attrs(body)
                proto, expected = parse_tuple(a[2])
                e = {"proto": proto, "tuple": expected, "master": parse_tuple(a[1]), "mask": parse_tuple(a[3])[1],
                     "timeout": u32(a, 4), "flags": u32(a, 8), "class": u32(a, 9), "helper": None, "function": None,
                     "nat": None}
                if 6 in a:
                    e["helper"] = a[6].rstrip(b"\0").decode()
                if 11 in a:
                    e["function"] = a[11].rstrip(b"\0").decode()
                if 10 in a:
                    nat = attrs(a[10])
                    e["nat"] = (u32(nat, 1), parse_tuple(nat[2])[1])
                found.append(e)
        return found


class Destroyed:
    """Hears of every entry of the namespace that ends, whoever ends it."""

    def __init__(self, net):
        self.socket = net.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER)
        self.socket.bind((0, 1 << 2))  # NFNLGRP_CONNTRACK_DESTROY is the third group

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flows(self):
        """Those since the last call."""
        found = []
        try:
            while True:
                data = self.socket.recv(1 << 20)
                length = struct.unpack_from("=I", data)[0]  # the kernel sends events one by one
                found.append(parse_flow(data[20:length]))
        except BlockingIOError:
            return found


def udp_flow(number):
    """A flow for each number: 0 is from 10.1.0.1, port 1000, and 200 from 10.1.1.1, port 1200."""
    return {"proto": 17, "orig": {"src": f"10.1.{number // 200}.{number % 200 + 1}", "dst": "10.2.0.1", "sport": 1000 + number,
                                  "dport": 53}, "status": 0xE, "timeout": 600}


def key(flow):
    """What identifies a flow: protocol, zone and original tuple."""
    return (flow["proto"], flow["zone"] if flow.get("zone") else 0, tuple(sorted(flow["orig"].items())))
