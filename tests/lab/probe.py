# SPDX-License-Identifier: GPL-2.0-or-later
"""The eyes of gap.py: a process of its own, scheduled before everything else, so that what it sees it sees at once.

    probe.py SENDER RECEIVER COUNT1 COUNT2 LOG1 LOG2     (all of them descriptors)

Sends a datagram from the connected socket SENDER every millisecond, notes when they come out of the socket RECEIVER, how many
connections the kernel of each firewall has (COUNTs), and each line that its keepalived writes (LOGs). For each line that
it reads it answers with one of JSON, what has been noted since the last:

    last    when the last datagram came
    gaps    [[last datagram before, first one after]] of all silences longer than SILENCE that are over
    counts  [[when, which firewall, connections]], where they have changed
    log     [[when, which firewall, line]]

All times are those of CLOCK_MONOTONIC. Ends with its standard input.
"""
import json
import os
import select
import socket
import sys
import time

PERIOD = 0.001
SILENCE = 0.005


class Probe:
    def __init__(self, descriptors):
        sender, receiver, *others = descriptors
        self.sender, self.receiver = socket.socket(fileno=sender), socket.socket(fileno=receiver)
        self.counters, self.logs = others[:2], others[2:]
        self.last = time.monotonic()
        self.known = [None, None]
        self.pieces = [b"", b""]
        self.forget()

    def forget(self):
        self.notes = {"gaps": [], "counts": [], "log": []}

    def send(self):
        try:
            self.sender.send(b"probe")
        except OSError:
            pass  # nobody answers for the gateway

    def count(self, now):
        for number, counter in enumerate(self.counters):
            count = int(os.pread(counter, 32, 0))
            if count != self.known[number]:
                self.known[number] = count
                self.notes["counts"].append((now, number, count))

    def receive(self, now):
        if now - self.last > SILENCE:
            self.notes["gaps"].append((self.last, now))
        self.last = now
        try:
            while True:
                self.receiver.recv(64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass

    def read_log(self, number, now):
        *lines, self.pieces[number] = (self.pieces[number] + os.read(self.logs[number], 65536)).split(b"\n")
        self.notes["log"] += [(now, number, line.decode()) for line in lines]

    def answer(self):
        print(json.dumps({"last": self.last, **self.notes}), flush=True)
        self.forget()

    def run(self):
        due = time.monotonic()
        commands = sys.stdin.fileno()
        while True:
            ready = select.select([self.receiver, commands, *self.logs], [], [], max(0.0, due - time.monotonic()))[0]
            now = time.monotonic()
            if self.receiver in ready:
                self.receive(now)
            for number, log in enumerate(self.logs):
                if log in ready:
                    self.read_log(number, now)
            if commands in ready:
                if not os.read(commands, 4096):
                    return
                self.answer()
            if now >= due:
                self.send()
                self.count(now)
                due = max(due + PERIOD, now)


os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(50))
Probe(list(map(int, sys.argv[1:]))).run()
