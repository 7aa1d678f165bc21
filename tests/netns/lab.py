# SPDX-License-Identifier: GPL-2.0-or-later
"""The laboratory: network namespaces, firewall nodes and the daemons that run in them.

Net   one network namespace with a unique name (cts<pid>x<n>-<role>); commands, sockets, sysctls and rule sets inside it.
Node  a Net with one synchronisation daemon (ours or stock conntrackd), its configuration, log and control socket.
Pair  two Nodes joined by a dedicated link, "active" and "backup".

Everything is removed when its context ends, at exit, on SIGINT and on SIGTERM; what a killed run left behind is removed by
the next run. Nothing outside the namespaces is changed, and only processes inside them are ended. All waits are bounded.
"""
import atexit
import contextlib
import ctypes
import itertools
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import text

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OURS = os.path.abspath(os.environ.get("CTSYNCD", os.path.join(ROOT, "build/release/ctsyncd")))
STOCK = os.path.abspath(os.environ.get("CONNTRACKD", "/usr/sbin/conntrackd"))
FLOWGEN = os.environ.get("FLOWGEN", os.path.join(ROOT, "build/release/tests/netns/tools/flowgen"))
CLONE_NEWNET = 0x40000000
SYNC_PORT = 3780

_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count(1)
_nets = {}


def is_stock(binary):
    """Whether a daemon binary is Debian's (so that its known defects are to be expected)."""
    return os.path.realpath(binary) == os.path.realpath(STOCK)


def run(args, timeout=30, check=True, **kwargs):
    """Runs a command to its end; the failure message of a checked one carries its output."""
    done = subprocess.run(args, stdin=kwargs.pop("stdin", subprocess.DEVNULL) if "input" not in kwargs else None,
                          capture_output=True, text=True, timeout=timeout, **kwargs)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, args))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def laboratory(script, *options, **environment):
    """(exit status, output) of a run of a script of tests/lab; nothing of it may stay behind."""
    child = subprocess.Popen([sys.executable, os.path.join(ROOT, "tests/lab", script), *options], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment})
    try:
        output, _ = child.communicate(timeout=90)
    finally:
        child.terminate()
        child.wait(timeout=20)
    assert f"cts{child.pid}x" not in run(["ip", "netns", "list"]).stdout
    return child.returncode, output


def wait_for(condition, timeout=5.0, what="condition", interval=0.02):
    """Waits until condition() is true and returns its value; fails with the last value seen after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            shown = what() if callable(what) else what
            raise AssertionError(f"waited {timeout} s in vain for: {shown} (last value: {value!r})")
        time.sleep(interval)


class Net:
    """One network namespace."""

    def __init__(self, role):
        self.role = role
        self.name = f"cts{os.getpid()}x{next(_serial)}-{role}"
        self.children = []
        _nets[self.name] = self
        run(["ip", "netns", "add", self.name])
        self.fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        self.run("ip", "link", "set", "lo", "up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends every process of the namespace and removes it. May be called twice."""
        if self.name not in _nets:
            return
        del _nets[self.name]
        remove_namespace(self.name)
        for child in self.children:
            with contextlib.suppress(Exception):
                child.wait(timeout=5)
        os.close(self.fd)

    @contextlib.contextmanager
    def enter(self):
        """The calling thread is inside the namespace for the length of the block."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(self.fd, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            yield self
        finally:
            if _libc.setns(home, CLONE_NEWNET) != 0:
                os._exit(70)  # in the wrong namespace nothing may go on
            os.close(home)

    def socket(self, *args):
        """A socket that lives in the namespace, whoever uses it."""
        with self.enter():
            return socket.socket(*args)

    def run(self, *args, **kwargs):
        with self.enter():
            return run([*map(str, args)], **kwargs)

    def popen(self, *args, **kwargs):
        with self.enter():
            child = subprocess.Popen([*map(str, args)], stdin=subprocess.DEVNULL, start_new_session=True, **kwargs)
        self.children.append(child)
        return child

    def sysctl(self, key, value):
        """Sets a sysctl below net/, which the kernel keeps for each namespace."""
        assert key.startswith("net.")
        with self.enter(), open("/proc/sys/" + key.replace(".", "/"), "w", encoding="ascii") as file:
            file.write(str(value))

    def nft(self, rules):
        self.run("nft", "-f", "-", input=rules)

    def address(self, device, *addresses):
        for address in addresses:
            extra = ["nodad"] if ":" in address else []
            self.run("ip", "address", "add", address, "dev", device, *extra)
        self.run("ip", "link", "set", device, "up")

    def route(self, destination, via):
        self.run("ip", "route", "replace", destination, "via", via)

    def strict_forwarding(self):
        """Forwarding on, and no conntrack pick-up of flows in mid-stream."""
        self.sysctl("net.ipv4.ip_forward", 1)
        self.sysctl("net.ipv6.conf.all.forwarding", 1)
        self.sysctl("net.ipv4.conf.all.rp_filter", 0)
        self.sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)
        self.sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", 0)


def veth(one, one_device, two, two_device):
    """A cable between two namespaces."""
    run(["ip", "link", "add", one_device, "netns", one.name, "type", "veth",
         "peer", "name", two_device, "netns", two.name])


def pids_in(name):
    """The processes in a namespace."""
    try:
        namespace = os.stat(f"/run/netns/{name}")
    except FileNotFoundError:
        return []
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), namespace):
                found.append(int(pid))
    return found


def remove_namespace(name):
    """Ends the processes inside a namespace (all of them are ours) and deletes it."""
    for _ in range(50):
        pids = [pid for pid in pids_in(name) if pid != os.getpid()]
        if not pids:
            break
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def remove_everything():
    for net in list(_nets.values()):
        with contextlib.suppress(Exception):
            net.close()


def sweep():
    """Removes namespaces of laboratories whose process is gone (killed without a chance to clean up)."""
    for line in run(["ip", "netns", "list"]).stdout.splitlines():
        found = re.match(r"(cts(\d+)x\d+-\S+)", line)
        if found and not os.path.exists(f"/proc/{found[2]}"):
            remove_namespace(found[1])


def _terminate(number, _frame):
    remove_everything()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


atexit.register(remove_everything)
signal.signal(signal.SIGTERM, _terminate)

DEFAULT_FILTER = """
	Filter From Userspace {
		Address Ignore {
			IPv4_address 127.0.0.1
			IPv4_address 10.77.9.0/24
			IPv4_address 10.77.8.0/24
			IPv6_address ::1
			IPv6_address fe80::/10
			IPv6_address fd77:9::/64
			IPv6_address ff00::/8
		}
	}"""


def link_block(transport, local, peer, device="sync0", port=SYNC_PORT, default=False):
    """One dedicated link. Addresses of ours and of the peer; the multicast group is fixed."""
    word = "Default " if default else ""
    family = "IPv6" if ":" in local else "IPv4"
    if transport == "Multicast":
        if family == "IPv6":
            group = f"IPv6_address ff15::78\n\t\tGroup {port}"
        else:
            group = f"IPv4_address 225.0.0.50\n\t\tGroup {port}\n\t\tIPv4_interface {local}"
        return f"\tMulticast {word}{{\n\t\t{group}\n\t\tInterface {device}\n\t\tChecksum on\n\t}}\n"
    return (f"\t{transport} {word}{{\n\t\t{family}_address {local}\n\t\t{family}_Destination_Address {peer}\n"
            f"\t\tPort {port}\n\t\tInterface {device}\n\t\tChecksum on\n\t}}\n")


class Node(Net):
    """A firewall with one synchronisation daemon."""

    def __init__(self, role, binary):
        super().__init__(role)
        self.binary = binary
        self.stock = is_stock(binary)
        self.dir = tempfile.mkdtemp(prefix="cts")
        self.config_path = f"{self.dir}/c.conf"
        self.log_path = f"{self.dir}/d.log"
        self.lock_path = f"{self.dir}/d.lock"
        self.control_path = f"{self.dir}/d.ctl"
        self.stats_log_path = f"{self.dir}/stats.log"
        self.daemon = None

    def close(self):
        super().close()
        shutil.rmtree(self.dir, ignore_errors=True)

    # Configuration

    def general(self, extra="", hash_size=32768, hash_limit=524288, event_filter=DEFAULT_FILTER):
        return (f"General {{\n\tHashSize {hash_size}\n\tHashLimit {hash_limit}\n\tLogFile {self.log_path}\n"
                f"\tLockFile {self.lock_path}\n\tUNIX {{\n\t\tPath {self.control_path}\n\t}}\n"
                f"\tNetlinkBufferSize 33554432\n\tNetlinkBufferSizeMaxGrowth 134217728\n"
                f"{extra}{event_filter}\n}}\n")

    def configure(self, sync=None, general=None, stats=False):
        """Writes the configuration: a Sync block's content, or statistics mode."""
        body = f"Stats {{\n\tLogFile {self.stats_log_path}\n}}\n" if stats else f"Sync {{\n{sync}}}\n"
        self.write_config(body + (general or self.general()))

    def write_config(self, content):
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write(content)

    def edit_config(self, old, new):
        with open(self.config_path, encoding="utf-8") as file:
            content = file.read()
        assert old in content, content
        self.write_config(content.replace(old, new))

    def widen_link_buffers(self, size):
        self.edit_config("Checksum on", f"Checksum on\n\t\tRcvSocketBuffer {size}\n\t\tSndSocketBuffer {size}")

    # The daemon

    def start(self, wait=True, timeout=10):
        """Starts the daemon in the foreground as our child; waits until it answers."""
        with open(f"{self.dir}/console", "a", encoding="utf-8") as console:
            self.daemon = self.popen(self.binary, "-C", self.config_path, stdout=console, stderr=console)
        if wait:
            wait_for(lambda: self.daemon.poll() is not None or self.client("-s", check=False).returncode == 0,
                     timeout, f"daemon on {self.role} to answer", 0.05)
            assert self.daemon.poll() is None, f"daemon on {self.role} ended at start:\n{self.console()}"
        return self

    def start_background(self, check=True, timeout=20):
        """Starts with -d, as a site does."""
        return self.run(self.binary, "-C", self.config_path, "-d", check=check, timeout=timeout)

    def pids(self):
        """The daemon processes of this namespace."""
        name = os.path.basename(self.binary)
        found = []
        for pid in pids_in(self.name):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                if os.path.basename(file.read().split(b"\0")[0].decode()) == name:
                    found.append(pid)
        return found

    def alive(self):
        return bool(self.daemon) and self.daemon.poll() is None

    def stop(self, timeout=10):
        """-k, and waits for the end; returns the exit status of a foreground daemon."""
        self.client("-k")
        if self.daemon:
            return self.daemon.wait(timeout=timeout)
        wait_for(lambda: not self.pids(), timeout, "the daemon to end")
        return None

    def kill(self, number=signal.SIGKILL, timeout=10):
        self.daemon.send_signal(number)
        return self.daemon.wait(timeout=timeout)

    @contextlib.contextmanager
    def stopped(self):
        """The daemon does not run for the length of the block."""
        os.kill(self.daemon.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.daemon.pid, signal.SIGCONT)

    def dev_log(self):
        """The socket of a syslog daemon for start_with_dev_log(); who reads from it is up to the caller."""
        os.mkdir(f"{self.dir}/dev")
        with open(f"{self.dir}/dev/null", "wb"):
            pass
        log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        log.bind(f"{self.dir}/dev/log")
        return log

    def start_with_dev_log(self):
        """Starts the daemon in a mount namespace of its own, where /dev holds that socket and null."""
        dev = f"{self.dir}/dev"
        script = f"mount --bind /dev/null {dev}/null && mount --rbind {dev} /dev && exec {self.binary} -C {self.config_path}"
        with open(f"{self.dir}/console", "a", encoding="utf-8") as console:
            self.daemon = self.popen("unshare", "-m", "sh", "-c", script, stdout=console, stderr=console)

    # Its client

    def client(self, *args, check=True, timeout=30, binary=None):
        return self.run(binary or self.binary, "-C", self.config_path, *args, check=check, timeout=timeout)

    def out(self, *args, **kwargs):
        return self.client(*args, **kwargs).stdout

    def stats(self):
        return text.parse_stats(self.out("-s"))

    def internal(self, *args):
        return text.parse_dump(self.out("-i", *args))

    def external(self, *args):
        return text.parse_dump(self.out("-e", *args))

    def external_count(self):
        return self.stats()["external"]["active"]

    def request(self, data, timeout=5.0):
        """A raw exchange on the control socket; returns what came until end of file."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(timeout)
            control.connect(self.control_path)
            control.sendall(data if isinstance(data, bytes) else struct.pack("=i", data))
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while chunk := control.recv(65536):
                    answer += chunk
            return answer

    # What it wrote

    def log(self):
        with contextlib.suppress(FileNotFoundError), open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()
        return ""

    def console(self):
        with contextlib.suppress(FileNotFoundError), open(f"{self.dir}/console", encoding="utf-8",
                                                          errors="replace") as file:
            return file.read()
        return ""


class Pair:
    """Two nodes on one dedicated link: addresses 10.77.9.1/2 and fd77:9::1/2 on sync0."""

    MODES = {"FTFW": "\tMode FTFW {\n\t}\n", "NOTRACK": "\tMode NOTRACK {\n\t}\n",
             "ALARM": "\tMode ALARM {\n\t\tRefreshTime 3\n\t\tCacheTimeout 60\n\t}\n"}

    def __init__(self, active=OURS, backup=OURS):
        self.active = Node("f1", active)
        self.backup = Node("f2", backup)
        veth(self.active, "sync0", self.backup, "sync0")
        self.active.address("sync0", "10.77.9.1/24", "fd77:9::1/64")
        self.backup.address("sync0", "10.77.9.2/24", "fd77:9::2/64")
        for node in self.nodes():
            node.sysctl("net.ipv4.conf.all.rp_filter", 0)

    def nodes(self):
        return self.active, self.backup

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.active.close()
        self.backup.close()

    def configure(self, mode="FTFW", transport="UDP", options="", mode_block=None, general_extra="", ipv6=False,
                  **general):
        ends = ("fd77:9::1", "fd77:9::2") if ipv6 else ("10.77.9.1", "10.77.9.2")
        body = mode_block or self.MODES[mode]
        for node, local, peer in ((self.active, *ends), (self.backup, *ends[::-1])):
            sync = body + link_block(transport, local, peer)
            if options:
                sync += f"\tOptions {{\n{options}\n\t}}\n"
            node.configure(sync, node.general(general_extra, **general))
        return self

    def start(self):
        self.active.start()
        self.backup.start()
        return self

    def greeted(self, timeout=8):
        """Waits until both have heard each other (FT-FW: until the hello exchange has had its turn)."""
        wait_for(lambda: all(node.stats()["link"]["packets_recv"] >= 2 for node in self.nodes()), timeout,
                 "both nodes to hear each other", 0.1)
        time.sleep(1.2)  # the hello-back travels with the next timer message, one second later
        return self
