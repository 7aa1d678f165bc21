# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of tests/bench/run: what each figure means and where it is to go. All figures are better if smaller."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    unit: str
    goal: float | None = None  # of ours divided by stock, or, if absolute, of ours
    absolute: bool = False


def rows(*parts):
    return [Row(*part) for part in parts]


CPU, US, MS, SECONDS, BYTES = "us CPU/flow", "us", "ms", "s", "bytes/flow"
ABSOLUTE = True
GROUPS = {
    "Events": rows(
        ("ingest burst", CPU, 0.28),
        ("ingest 20 000/s", CPU, 0.28),
        ("memory, internal", BYTES, 136, ABSOLUTE),
        ("memory, external", BYTES, 136, ABSOLUTE)),
    "Replication": rows(
        ("FT-FW 20 000/s, sender", CPU, 0.30),
        ("FT-FW 20 000/s, receiver", CPU, 0.30),
        ("FT-FW full speed, receiver, new", CPU, 0.50),
        ("FT-FW full speed, receiver, update", CPU, 0.50),
        ("FT-FW full speed, receiver, destroy", CPU, 0.50),
        ("bulk, sender", CPU, 0.20),
        ("bulk, receiver", CPU, 0.45),
        ("ALARM, flows idle, sender", "% CPU", 0.02),
        ("ALARM, flows idle, receiver", "% CPU", 0.08)),
    "Latency": rows(
        ("event to wire, idle, asleep, p50", US, 0.80),
        ("event to wire, idle, asleep, p99", US, 0.75),
        ("event to wire, idle, awake, p50", US, 0.80),
        ("event to wire, idle, awake, p99", US, 0.75),
        ("event to wire at 10 000/s, p50", US, 2.0),
        ("event to wire at 10 000/s, p99", US, 2.0),
        ("event to wire at 10 000/s, sender", CPU),
        ("event to wire at 10 000/s, no external cache, p50", US, 1.0),
        ("event to wire at 10 000/s, no external cache, p99", US, 1.0),
        ("event to wire at 10 000/s, no external cache, sender", CPU),
        ("event to wire at 10 000/s, no caches, p50", US, 1.0),
        ("event to wire at 10 000/s, no caches, p99", US, 1.0),
        ("event to wire at 10 000/s, no caches, sender", CPU),
        ("event to the peer's cache, p99", US, 1000, ABSOLUTE),
        ("event to the peer's cache, p99.9", US, 3000, ABSOLUTE),
        ("event to the peer's cache, longest", US, 5000, ABSOLUTE)),
    "Take-over": rows(
        ("commit, fresh", SECONDS, 1 / 4),
        ("commit, again", SECONDS, 1 / 8),
        ("take-over", SECONDS, 0.20),
        ("commit, fresh, 1 000 000 flows", SECONDS, 1 / 5),
        ("commit, again, 1 000 000 flows", SECONDS, 1 / 15),
        ("take-over, 1 000 000 flows", SECONDS, 0.15),
        ("warm standby, 20 000/s, backup", "% CPU", 12, ABSOLUTE),
        ("warm standby, -c, 0.1 % changed", MS, 30, ABSOLUTE),
        ("warm standby, -c, 1 % changed", MS, 80, ABSOLUTE),
        ("warm standby, -c, 0.1 % changed, 1 000 000 flows", MS, 30, ABSOLUTE),
        ("warm standby, -c, 1 % changed, 1 000 000 flows", MS, 80, ABSOLUTE)),
    "Requests": rows(
        ("start, full kernel", SECONDS, 0.39),
        ("-R", SECONDS, 0.43),
        ("-i", SECONDS, 0.11),
        ("-e", SECONDS, 0.08)),
    "Faults and traffic": rows(
        ("repair of a lost last datagram", MS, 50, ABSOLUTE),
        ("resent with 10 % loss", "messages/1000 flows", 1.1),
        ("forwarding, connections/s", "% lost", 3, ABSOLUTE),
        ("forwarding, ping-pong p99", "% longer", 2, ABSOLUTE)),
}
ROWS = [row for group in GROUPS.values() for row in group]
NOTES = {
    "Events": "A burst of new TCP connections into a node in statistics mode, and 20 000 a second. The limit reads the events and rests "
              "as long between two looks as ours. Memory is what the process has grown by: 128 bytes are the flow's slot, the rest is the index.",
    "Replication": "One pair, receiver and sender on this machine. The figures at full speed are for each flow that reaches the "
                   "receiver; what conntrackd loses costs it nothing. ALARM: for one round of repetitions, 15 s.",
    "Latency": "From the request that creates the flow to its datagram's arrival at the peer's interface, as the kernel stamps it, or to "
               "the moment when the peer's daemon has put it into its cache and turns to something else. Idle: 100 a second; with "
               "processors that sleep in between, and with processors that something of the lowest priority keeps awake. What the "
               "limit takes longer asleep than awake is the machine's wake-up. The longest: of changes, in a long run of its own.",
    "Take-over": "A backup whose active has been killed: `-c` into an empty kernel, `-c` once more, and in a pair of its own all that "
                 "`primary-backup.sh` does. The limit creates the entries, and then changes each, and nobody listens to events. With `WarmStandby`: what the "
                 "backup works for flows that all stay, and `-c` when a part of them has just changed and the active is dead.",
    "Requests": "As the client sees them, output thrown away. In ours these are jobs that get half a millisecond in a turn of the loop, so "
                "that the replication does not stand still (`tests/bench/holes`): they last longer than they would at a stretch; the start until the cache holds the kernel's flows. The limit reads the "
                "kernel's table.",
    "Faults and traffic": "The repair is that of one flow whose only datagram is lost, until the peer has it. Loss is in both directions. "
                          "Forwarding: short TCP connections one after the other, and a UDP ping-pong while 1000 connections a second "
                          "come and go, client, firewall and server on this machine; against the same without a daemon.",
}
# Name, unit and title of what is measured for several sizes of the tables; larger commits are rows above.
GROWTH = (("memory", BYTES, "Memory of the internal cache"), ("update", CPU, "An update at 20 000/s"), ("-i", SECONDS, "-i"),
          ("commit", SECONDS, "Commit into an empty kernel"))
