# SPDX-License-Identifier: GPL-2.0-or-later
"""--check and --explain from the outside, and the manual page of the configuration against the parser's table."""
import os
import re
import subprocess

import pytest

import lab

LINK = lab.link_block("UDP", "192.0.2.1", "192.0.2.2")
SYNTAX = {  # what the table says: how the manual page may say it
    "on|off": {"boolean"},
    "NUMBER": {"number"},
    "SECONDS": {"number", "seconds"},
    "MILLISECONDS": {"number", "milliseconds"},
    "BYTES": {"number", "bytes"},
    "+NUMBER|-NUMBER": {"signed-number"},
    "PATH": {"path"},
    "on|off|PATH": {"boolean | path"},
    "on|off|daemon|local0 ... local7": {"boolean | facility"},
    "on|off|SECONDS": {"boolean | number"},
    "on|off|{ HELPER ... }": {"boolean | { name ... }"},
    "ADDRESS": {"address"},
    'NAME|"NAME"': {"name"},
    "RR|FIFO": {"RR | FIFO"},
}
OLD_NAMES = {"SocketBufferSize", "SocketBufferSizeMaxGrowth", "SocketBufferSizeMaxGrown"}
INSIDE_ANOTHER = {"ExpectMax", "ExpectTimeout"}  # described with `Policy`


def ours(*arguments):
    return subprocess.run([lab.OURS, *arguments], capture_output=True, text=True, timeout=10, check=False)


@pytest.fixture(name="machine", scope="module")
def fixture_machine():
    with lab.Node("n", lab.OURS) as node:
        node.run("ip", "link", "add", "sync0", "type", "veth", "peer", "name", "sync0p")
        node.run("ip", "link", "set", "sync0", "up")
        node.address("sync0", "192.0.2.1/24")
        yield node


def check(machine, text):
    machine.write_config(text)
    done = machine.run(machine.binary, "--check", "-C", machine.config_path, check=False, timeout=10)
    assert done.stderr == ""
    assert not os.path.exists(machine.control_path) and not os.path.exists(machine.log_path), "it has started"
    return done.returncode, done.stdout.replace(machine.config_path, "f").splitlines()


def test_check_tells_by_its_status(machine):
    sync = f"Sync {{\n\tMode FTFW {{ }}\n{LINK}}}\n"
    assert check(machine, sync + machine.general()) == (0, ["f: in order"])
    status, lines = check(machine, sync.replace("192.0.2.2", "127.0.0.1") + machine.general())
    assert (status, lines) == (1, ["f:3:2: warning: UDP link leads to this node: its destination 127.0.0.1 is an address of "
                                   "this machine", "f: warnings only"])
    status, lines = check(machine, sync.replace("Mode", "mode") + machine.general("\tPollSecs 5k\n"))
    assert status == 2 and lines[-1] == "f: errors, the daemon would not start"
    assert [line for line in lines if "hint" in line] == [
        "f:2:2: hint: did you mean `Mode'?", "f:21:12: hint: numbers have no unit: write all digits, such as 5120"]


def test_check_looks_at_the_virtual_addresses(machine):
    """Those that keepalived is configured with, which need not be on any interface."""
    os.makedirs(f"{machine.dir}/keepalived")
    with open(f"{machine.dir}/keepalived/keepalived.conf", "w", encoding="ascii") as file:
        file.write("vrrp_instance OUTSIDE {\n\tvirtual_ipaddress {\n\t\t203.0.113.9/24 dev out0\n\t}\n}\n")
    ignored = "\n\tFilter { Address Ignore { IPv4_address 203.0.113.9 } }"
    machine.write_config(f"Sync {{\n\tMode FTFW {{ }}\n{LINK}}}\n" + machine.general(event_filter=ignored))
    done = machine.run("unshare", "--mount", "sh", "-c",
                       f"mount --bind {machine.dir}/keepalived /etc/keepalived && exec {machine.binary} --check -C "
                       f"{machine.config_path}", check=False, timeout=10)
    assert done.returncode == 1 and "`Address Ignore' has 203.0.113.9, a virtual address in" in done.stdout, done


def test_check_looks_at_the_buffers_of_the_links(machine):
    """Who may not go beyond the system's maximum does not get more."""
    large = LINK.replace("Checksum on", "Checksum on\n\t\tRcvSocketBuffer 67108864")
    machine.write_config(f"Sync {{\n\tMode FTFW {{ }}\n{large}}}\n" + machine.general())
    command = (machine.binary, "--check", "-C", machine.config_path)
    assert machine.run(*command, check=False).returncode == 0
    most = machine.run("cat", "/proc/sys/net/core/rmem_max", check=False).stdout.strip()
    if not most:
        pytest.skip("this kernel does not show the maximum in a network namespace")
    done = machine.run("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", *command, check=False)
    assert done.returncode == 1 and f"UDP link gets {most} of the 67108864 bytes of `RcvSocketBuffer'" in done.stdout, done


def test_check_of_a_missing_file():
    done = ours("--check", "-C", "/nonexistent/c.conf")
    assert done.returncode == 2
    assert done.stdout.startswith("/nonexistent/c.conf: error: can't open config file")


def test_explain():
    done = ours("--explain", "HashLimit")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("HashLimit NUMBER\n  section: General\n  default: 262144\n"
                           "  meaning: most entries of each flow table\n")
    done = ours("--explain", "HashLimt")
    assert (done.returncode, done.stdout) == (1, "") and "did you mean `HashLimit'?" in done.stderr
    assert len(ours("--explain").stdout.splitlines()) > 100


def entries_of_the_manual_page():
    """(keyword, syntax, description) of each entry; heads in a row share a description."""
    with open(os.path.join(lab.ROOT, "doc/ctsyncd.conf.5"), encoding="utf-8") as file:
        page = file.read()
    for head in re.finditer(r"^\.It Cm (\w+) ?(.*)\n((?:\.It Cm .*\n)*)", page, re.MULTILINE):
        body = re.split(r"^\.(?:It Cm|El|S[sh])", page[head.end():], maxsplit=1, flags=re.MULTILINE)[0]
        for line in head[0].splitlines():
            _, _, word, *syntax = line.split()
            yield word, " ".join(part for part in syntax if part not in ("Ar", "Cm")), body


def test_manual_page_is_the_table():
    """Each keyword has an entry with its syntax, and the default that the table names."""
    entries = list(entries_of_the_manual_page())
    compared = 0
    for line in ours("--explain").stdout.splitlines():
        word, _, syntax = line.strip().partition(" ")
        if not line.startswith("  ") or "{ ... }" in syntax or word in OLD_NAMES | INSIDE_ANOTHER:
            continue
        found = [(given, body) for name, given, body in entries if name == word]
        assert any(given in SYNTAX[syntax] for given, _ in found), (word, syntax, found)
        defaults = set(re.findall(r"^  default: (\d+)$", ours("--explain", word).stdout, re.MULTILINE)) - {"0"}
        for default in defaults:
            assert any(re.search(rf"\b{default}\b", body) for _, body in found), (word, default, found)
        compared += 1
    assert compared > 60
