#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration: two firewalls, keepalived, live TCP connections, a power cut. Started by tests/lab/demo.

    client 10.50.0.100 --- [inside] --- fw1 / fw2 --- [outside] --- server 10.60.0.100
                        10.50.0.254   sync link      10.60.0.254     (virtual addresses)

Both firewalls forward only what their connection table knows (and new SYNs), translate outward connections to the virtual
address and inward ones from it. Streams of checked records run both ways. fw1 loses its power; fw2 must carry the streams on.
fw1 returns, learns the flows again, and gets its role back when fw2 is stopped. Then the same power cut without
synchronisation, to show that it is the synchronisation that saved the streams. Status 0 only if all that came true.
"""
import argparse
import contextlib
import dataclasses
import fcntl
import os
import random
import re
import selectors
import signal
import socket
import string
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../netns"))
import lab  # noqa: E402

CLIENT, SERVER = "10.50.0.100", "10.60.0.100"
INSIDE_VIP, OUTSIDE_VIP = "10.50.0.254", "10.60.0.254"
ECHO_PORT, DNAT_PORT, PROBE_PORT = 7000, 8080, 7001
STREAMS, IDLE = 2, 100  # streams each way; connections that say nothing until the end
RECORD = 2048
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
SCRIPT = os.path.join(lab.ROOT, "conf/primary-backup.sh")

RULES = f"""
table ip filter {{
    chain input {{
        type filter hook input priority 0; policy drop;
        iifname "lo" accept
        iifname "sync0" accept
        ip protocol 112 accept
        ct state established accept
        ip protocol icmp accept
    }}
    chain forward {{
        type filter hook forward priority 0; policy drop;
        ct state invalid drop
        ct state established,related accept
        iifname "int" oifname "ext" tcp flags & (fin|syn|rst|ack) == syn ct state new accept
        iifname "int" oifname "ext" udp dport {PROBE_PORT} ct state new accept
        iifname "ext" oifname "int" ip daddr {CLIENT} tcp dport {ECHO_PORT} tcp flags & (fin|syn|rst|ack) == syn ct state new accept
    }}
}}
table ip nat {{
    chain prerouting {{
        type nat hook prerouting priority -100;
        iifname "ext" ip daddr {OUTSIDE_VIP} tcp dport {DNAT_PORT} dnat to {CLIENT}:{ECHO_PORT}
    }}
    chain postrouting {{
        type nat hook postrouting priority 100;
        oifname "ext" ip saddr 10.50.0.0/24 snat to {OUTSIDE_VIP}
    }}
}}
"""

OWN_ADDRESSES = """
	Filter From Userspace {
		Address Ignore {
			IPv4_address 127.0.0.1
			IPv4_address 10.77.9.0/24
			IPv4_address 10.50.0.1
			IPv4_address 10.50.0.2
			IPv4_address 10.50.0.254
			IPv4_address 10.60.0.1
			IPv4_address 10.60.0.2
			IPv4_address 10.60.0.254
		}
	}"""

KEEPALIVED = """global_defs {{
    router_id {name}
    script_user root
{globals}}}
{blocks}vrrp_sync_group PAIR {{
    group {{
        INSIDE
        OUTSIDE
    }}
{group}}}
vrrp_instance INSIDE {{
    interface int
    state BACKUP
    nopreempt
    virtual_router_id 61
    priority {priority}
    advert_int {advert}
{instance}    virtual_ipaddress {{
        10.50.0.254/24 dev int
    }}
}}
vrrp_instance OUTSIDE {{
    interface ext
    state BACKUP
    nopreempt
    virtual_router_id 62
    priority {priority}
    advert_int {advert}
{instance}    virtual_ipaddress {{
        10.60.0.254/24 dev ext
    }}
}}
"""

NOTIFY = """#!/bin/sh
# Notes when keepalived changed its mind, then does what a site does.
state=$1
echo "$(date +%s.%N) $state begins" >> {dir}/states
{action}
echo "$(date +%s.%N) $state done" >> {dir}/states
"""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the pair runs beside the daemon's link. Lines of configuration, in which $dir, $number and $peer
    stand for what they are at the node."""
    synchronise: bool = True
    script: bool = True  # keepalived calls the script; else the daemon has to hear of it otherwise
    mode: str = ""  # of the daemon's Mode
    sync: str = ""  # of its Sync
    globals: str = ""  # of keepalived's global_defs
    blocks: str = ""  # of its own, beside that
    group: str = ""  # of the sync group
    instance: str = ""  # of each instance
    advert: str = "1"
    priorities: tuple = (250, 240)


class Clock:
    """Seconds since the start, and the printed timeline."""

    def __init__(self):
        self.start = time.time()

    def now(self):
        return time.time() - self.start

    def say(self, message, at=None):
        print(f"  {self.now() if at is None else at:5.1f} s  {message}", flush=True)


def cut(net, *devices):
    """Takes links down at once, without a process that would have to start first."""
    with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for device in devices:
            request = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sH14x", device.encode(), 0))
            name, flags = struct.unpack("16sH14x", request)
            fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", name, flags & ~IFF_UP))


class Firewall(lab.Node):
    """A node of the pair: rules, addresses, daemon and keepalived."""

    def __init__(self, number, binary, setting):
        super().__init__(f"fw{number}", binary)
        self.number = number
        self.peer = 3 - number
        self.setting = setting
        self.strict_forwarding()
        self.nft(RULES)
        self.keepalived_log = open(f"{self.dir}/keepalived.log", "ab")

    def cable(self, switch):
        for device, bridge in (("int", "inside"), ("ext", "outside")):
            lab.veth(self, device, switch, f"{bridge}{self.number}")
            switch.run("ip", "link", "set", f"{bridge}{self.number}", "master", bridge, "up")
        self.power(True)

    def power(self, on):
        """Links up with their addresses, or all that a power cut does."""
        if on:
            self.address("int", f"10.50.0.{self.number}/24")
            self.address("ext", f"10.60.0.{self.number}/24")
            self.address("sync0", f"10.77.9.{self.number}/24")
            return
        self.die()
        for device in ("int", "ext", "sync0"):
            self.run("ip", "address", "flush", "dev", device)
        self.run("conntrack", "-F", check=False)
        for name in ("ka.pid", "vrrp.pid", "bfd.pid"):  # /run does not outlive a power cut either
            if os.path.exists(f"{self.dir}/{name}"):
                os.unlink(f"{self.dir}/{name}")

    def die(self):
        """All processes dead, links gone; returns when, by the monotonic clock. The processes first: none of them may see the
        links go, or another one die, and say so to the peer. (keepalived's child takes leave when its parent dies.)"""
        pids = lab.pids_in(self.name)
        when = time.monotonic()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        cut(self, "int", "ext", "sync0")
        return when

    def here(self, lines):
        """Lines of the setting, for this node."""
        return string.Template(lines).substitute(dir=self.dir, number=self.number, peer=self.peer)

    def boot(self):
        """The daemon first, then keepalived, as the units do."""
        if self.setting.synchronise:
            self.configure(f"\tMode FTFW {{\n{self.setting.mode}\t}}\n" + lab.link_block("UDP", f"10.77.9.{self.number}", f"10.77.9.{self.peer}") +
                           self.here(self.setting.sync), self.general(event_filter=OWN_ADDRESSES))
            # Stock conntrackd refuses to start over the lock that a power cut left behind (a reboot clears it).
            if self.stock and os.path.exists(self.lock_path):
                os.unlink(self.lock_path)
            self.start_background()
        self.start_keepalived()

    def notify_script(self):
        """What keepalived calls with primary, backup or fault: here one that notes it and then calls ours."""
        path = f"{self.dir}/notify"
        with open(path, "w", encoding="ascii") as file:
            file.write(NOTIFY.format(dir=self.dir, action=f"sh {SCRIPT} $state" if self.setting.synchronise else ":"))
        os.chmod(path, 0o700)
        return path

    def start_keepalived(self):
        group = self.here(self.setting.group)
        if self.setting.script:
            path = self.notify_script()
            group += "".join(f'    notify_{word} "{path} {state}"\n' for word, state in
                             (("master", "primary"), ("backup", "backup"), ("fault", "fault")))
        with open(f"{self.dir}/keepalived.conf", "w", encoding="ascii") as file:
            file.write(KEEPALIVED.format(name=self.role, priority=self.setting.priorities[self.number - 1], group=group,
                                         advert=self.setting.advert, instance=self.here(self.setting.instance),
                                         globals=self.here(self.setting.globals), blocks=self.here(self.setting.blocks)))
        self.keepalived = self.popen("keepalived", "--dont-fork", "--log-console", "--no-syslog",
                                     "--use-file", f"{self.dir}/keepalived.conf", "--pid", f"{self.dir}/ka.pid", "--vrrp_pid",
                                     f"{self.dir}/vrrp.pid", "--bfd_pid", f"{self.dir}/bfd.pid",
                                     stdout=self.keepalived_log, stderr=self.keepalived_log,
                                     env={**os.environ, "CONNTRACKD_BIN": self.binary, "CONNTRACKD_CONFIG": self.config_path,
                                          "CONNTRACKD_LOCK": self.lock_path})

    def stop_keepalived(self):
        self.keepalived.terminate()
        self.keepalived.wait(timeout=10)

    def states(self):
        """[(wall time, state, begins|done)] as keepalived announced them."""
        try:
            with open(f"{self.dir}/states", encoding="ascii") as file:
                return [(float(at), state, step) for at, state, step in map(str.split, file)]
        except FileNotFoundError:
            return []

    def wait_state(self, state, since, timeout=12):
        """Waits until the change to a state after `since` is complete; returns when it began."""
        def began():
            steps = [step for step in self.states() if step[0] >= since and step[1] == state]
            return steps[0][0] if any(step[2] == "done" for step in steps) else None
        return lab.wait_for(began, timeout, f"{self.role} to become {state}")

    def last_commit(self):
        """(entries, milliseconds) of the last commit in the log."""
        log = self.log()
        entries = re.findall(r"Committed (\d+) new entries", log)
        seconds = re.findall(r"commit has taken ([0-9.]+) seconds", log)
        return (int(entries[-1]), 1000 * float(seconds[-1])) if entries and seconds else (0, 0.0)


class EchoServer(threading.Thread):
    """Sends back everything, on every connection, until it is closed."""

    def __init__(self, net, address, port):
        super().__init__(daemon=True)
        self.listener = net.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(512)
        self.ending = False
        self.start()

    def close(self):
        self.ending = True
        self.join(timeout=5)

    def run(self):
        ready = selectors.DefaultSelector()
        ready.register(self.listener, selectors.EVENT_READ)
        while not self.ending:
            for item, _ in ready.select(0.2):
                if item.fileobj is self.listener:
                    ready.register(self.listener.accept()[0], selectors.EVENT_READ)
                    continue
                try:
                    data = item.fileobj.recv(65536)
                    item.fileobj.sendall(data)
                except OSError:
                    data = b""
                if not data:
                    ready.unregister(item.fileobj)
                    item.fileobj.close()
        for item in ready.get_map().values():
            item.fileobj.close()


class Stream(threading.Thread):
    """One TCP connection: a numbered record of random bytes every 50 ms, which must come back unchanged."""

    def __init__(self, name, net, target, seed):
        super().__init__(daemon=True)
        self.name = name
        self.random = random.Random(seed)
        self.socket = net.socket()
        self.socket.settimeout(3)
        self.socket.connect(target)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(0.2)
        self.records = 0
        self.last = time.monotonic()
        self.longest = 0.0
        self.error = None
        self.ending = False
        self.start()

    def run(self):
        try:
            while not self.ending:
                record = struct.pack(">Q", self.records) + self.random.randbytes(RECORD - 8)
                self.socket.sendall(record)
                if self.receive(len(record)) != record:
                    if not self.ending:
                        self.error = f"record {self.records} came back changed"
                    return
                now = time.monotonic()
                self.longest = max(self.longest, now - self.last)
                self.last = now
                self.records += 1
                time.sleep(0.05)
        except OSError as error:
            self.error = str(error)

    def receive(self, size):
        data = b""
        while len(data) < size and not self.ending:
            try:
                piece = self.socket.recv(size - len(data))
            except TimeoutError:
                continue
            if not piece:
                raise ConnectionError("closed by the other side")
            data += piece
        return data

    def silence(self):
        """Seconds since the last good record."""
        return time.monotonic() - self.last

    def finish(self):
        self.longest = max(self.longest, self.silence())
        self.ending = True
        self.join(timeout=5)
        self.socket.close()


class Laboratory:
    """Client, server, switch and the two firewalls."""

    def __init__(self, binaries, setting=Setting(), firewall=Firewall):
        self.clock = Clock()
        self.switch = lab.Net("switch")
        self.client, self.server = lab.Net("client"), lab.Net("server")
        self.firewalls = [firewall(number, binary, setting) for number, binary in enumerate(binaries, 1)]
        for bridge in ("inside", "outside"):
            self.switch.run("ip", "link", "add", bridge, "type", "bridge", "forward_delay", "0")
            self.switch.run("ip", "link", "set", bridge, "up")
        for host, address, bridge, gateway in ((self.client, CLIENT, "inside", INSIDE_VIP),
                                               (self.server, SERVER, "outside", OUTSIDE_VIP)):
            lab.veth(host, "eth0", self.switch, host.role)
            self.switch.run("ip", "link", "set", host.role, "master", bridge, "up")
            host.address("eth0", f"{address}/24")
            if host is self.client:
                host.route("default", gateway)
        lab.veth(self.firewalls[0], "sync0", self.firewalls[1], "sync0")
        for firewall in self.firewalls:
            firewall.cable(self.switch)
        self.echoes = [EchoServer(self.server, SERVER, ECHO_PORT), EchoServer(self.client, CLIENT, ECHO_PORT)]
        self.streams, self.idle = [], []

    def close(self):
        for stream in self.streams:
            stream.finish()
        for echo in self.echoes:
            echo.close()
        for net in (self.client, self.server, self.switch, *self.firewalls):
            net.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def boot(self):
        first, second = self.firewalls
        started = time.time()
        first.boot()
        first_up = first.wait_state("primary", started)
        second.boot()
        second.wait_state("backup", started)
        self.clock.say("fw1 is master, fw2 is backup", first_up - self.clock.start)

    def connect(self, idle=IDLE):
        for number in range(STREAMS):
            self.streams.append(Stream(f"out-{number + 1}", self.client, (SERVER, ECHO_PORT), number))
            self.streams.append(Stream(f"in-{number + 1}", self.server, (OUTSIDE_VIP, DNAT_PORT), 100 + number))
        for number in range(idle):
            net, target = ((self.client, (SERVER, ECHO_PORT)), (self.server, (OUTSIDE_VIP, DNAT_PORT)))[number % 2]
            idle = net.socket()
            idle.settimeout(3)
            idle.connect(target)
            self.idle.append(idle)

    def progress(self, records=20, timeout=15):
        """Waits until every stream has got `records` further ones through; False if one has not."""
        goals = [stream.records + records for stream in self.streams]
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if all(stream.records >= goal for stream, goal in zip(self.streams, goals)):
                return True
            if any(stream.error for stream in self.streams):
                return False
            time.sleep(0.05)
        return False

    def idle_alive(self):
        """How many of the silent connections still answer."""
        alive = 0
        for number, idle in enumerate(self.idle):
            try:
                idle.sendall(struct.pack(">I", number))
                alive += idle.recv(4) == struct.pack(">I", number)
            except OSError:
                pass
        return alive

    def taken_over(self, firewall, since, what):
        began = firewall.wait_state("primary", since)
        entries, milliseconds = firewall.last_commit()
        committed = f"; {entries} flows committed in {milliseconds:.1f} ms" if firewall.setting.synchronise else ""
        self.clock.say(f"{firewall.role} is master, {began - since:.1f} s after {what}{committed}", began - self.clock.start)
        return began


def protected_run(binaries):
    """Both fail-overs with synchronisation. Returns whether everything lived."""
    with Laboratory(binaries) as laboratory:
        fw1, fw2 = laboratory.firewalls
        clock = laboratory.clock
        laboratory.boot()
        laboratory.connect()
        laboratory.progress()
        clock.say(f"{len(laboratory.streams)} streams run (out through SNAT, in through DNAT), {IDLE} idle connections wait")

        cut = time.time()
        clock.say("fw1 loses power: links dead, processes gone, tables empty")
        fw1.power(False)
        masters = [("fw1", 0.0, cut)]
        began = laboratory.taken_over(fw2, cut, "the cut")
        if not laboratory.progress():
            return verdict(laboratory, clock, masters, "streams did not go on through fw2")
        clock.say("all streams go on through fw2")

        returned = time.time()
        fw1.power(True)
        fw1.boot()
        fw1.wait_state("backup", returned)
        clock.say("fw1 is back with empty tables, as backup")
        # fw1 must have learnt everything again before it may take over: as many flows as fw2 knows.
        wanted = IDLE + len(laboratory.streams)
        try:
            lab.wait_for(lambda: fw1.external_count() >= wanted, 10, "fw1 to learn the flows", 0.1)
        except AssertionError:
            return verdict(laboratory, clock, masters, f"fw1 knows {fw1.external_count()} of {wanted} flows again")
        clock.say(f"fw1 knows {fw1.external_count()} flows again")
        laboratory.progress(10)

        stop = time.time()
        clock.say("keepalived on fw2 is stopped")
        fw2.stop_keepalived()
        masters.append(("fw2", began, stop))
        began = laboratory.taken_over(fw1, stop, "the stop")
        if not laboratory.progress():
            return verdict(laboratory, clock, masters, "streams did not go on after fail-back")
        clock.say("all streams go on through fw1")
        masters.append(("fw1", began, time.time()))
        alive = laboratory.idle_alive()
        clock.say(f"{alive} of {IDLE} idle connections answer")
        return verdict(laboratory, clock, masters, None if alive == IDLE else "idle connections died")


def verdict(laboratory, clock, masters, failure):
    """Prints the tables at the end of the protected run."""
    firsts = [at for at, state, _ in laboratory.firewalls[0].states() if state == "primary"]
    print("\n  master   from      to")
    for name, start, end in masters:
        start = (start or firsts[0]) - clock.start
        print(f"  {name}   {start:5.1f} s   {end - clock.start:5.1f} s")
    print("\n  stream   records      bytes   longest stall")
    for stream in laboratory.streams:
        stream.finish()
        note = f"   {stream.error}" if stream.error else "   every byte verified"
        print(f"  {stream.name:7} {stream.records:8} {stream.records * RECORD:10} {stream.longest:11.2f} s{note}")
        failure = failure or stream.error
    if failure:
        print(f"\n  failed: {failure}")
        for firewall in laboratory.firewalls:
            print(f"--- log of {firewall.role}\n{firewall.log()}--- console\n{firewall.console()}")
    print(flush=True)
    return failure is None


def control_run(binaries):
    """The same power cut without synchronisation. Returns whether the streams died, as they must."""
    with Laboratory(binaries, Setting(synchronise=False)) as laboratory:
        clock = laboratory.clock
        laboratory.boot()
        laboratory.connect()
        laboratory.progress()
        clock.say(f"{len(laboratory.streams)} streams run")
        cut = time.time()
        clock.say("fw1 loses power")
        laboratory.firewalls[0].power(False)
        laboratory.taken_over(laboratory.firewalls[1], cut, "the cut")
        # A stream that can live is back within a retransmission or two; this is several times longer.
        moved = laboratory.progress(1, timeout=10)
        for stream in laboratory.streams:
            stream.finish()
        stuck = [stream for stream in laboratory.streams if stream.silence() > 8 or stream.error]
        clock.say(f"{len(stuck)} of {len(laboratory.streams)} streams are dead" + ("" if not moved else ": some went on"))
        print(flush=True)
        return len(stuck) == len(laboratory.streams)


def version(binary):
    return lab.run([binary, "-v"], check=False).stdout.splitlines()[0]


def main():
    parser = argparse.ArgumentParser(prog="tests/lab/demo", description="Fail-over of a firewall pair with live TCP streams.")
    parser.add_argument("--with", dest="other", choices=["conntrackd"], help="run stock conntrackd on fw2")
    options = parser.parse_args()
    binaries = [lab.OURS, lab.STOCK if options.other else lab.OURS]
    lab.sweep()
    start = time.monotonic()
    print("Two firewalls with keepalived, strict rules, no mid-stream pick-up; client inside, server outside.")
    for name, binary in zip(("fw1", "fw2"), binaries):
        print(f"  {name}: {version(binary)}")
    lived = died = False
    try:
        print("\nWith synchronisation")
        lived = protected_run(binaries)
        if lived:
            print("Control: the same without synchronisation")
            died = control_run(binaries)
    except (AssertionError, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        print(f"  {error}")
        print("FAIL: the laboratory did not come up")
        return 1
    took = time.monotonic() - start
    if died:
        print(f"PASS: every stream lived through both fail-overs; without synchronisation all died ({took:.0f} s)")
    else:
        print(f"FAIL: {'streams lived without synchronisation' if lived else 'streams were lost'} ({took:.0f} s)")
    return 0 if died else 1


if __name__ == "__main__":
    sys.exit(main())
