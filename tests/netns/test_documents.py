# SPDX-License-Identifier: GPL-2.0-or-later
"""What the documents promise: the examples start, the manual explains every message, the manual pages name every option and keyword
and render cleanly, the packages of the README are those the tests install, and the tests that doc/differences.md names exist."""
import glob
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import pytest

import lab


def read(*path):
    with open(os.path.join(lab.ROOT, *path), encoding="utf-8") as file:
        return file.read()


def example_of_the_manual_page():
    page = read("doc/ctsyncd.conf.5")
    return page[page.index("One node of a pair:"):].split("-offset indent\n", 1)[1].split(".Ed", 1)[0]


EXAMPLES = {os.path.basename(path): path for path in sorted(glob.glob(os.path.join(lab.ROOT, "conf/*.conf")))
            if re.search(r"^(Sync|Stats) \{", read(path), re.MULTILINE)}


@pytest.mark.parametrize("name", [*EXAMPLES, "ctsyncd.conf.5"])
def test_example_starts(name):
    """As it is, on a machine with the interfaces and addresses that it names, and without a warning."""
    with lab.Node("n", lab.OURS) as node:
        for device in ("int", "ext", "sync"):
            node.run("ip", "link", "add", device, "type", "veth", "peer", "name", device + "p")
            node.run("ip", "link", "set", device + "p", "up")
            node.run("ip", "link", "set", device, "up")
        node.address("sync", "192.168.100.1/24")
        node.write_config(read(EXAMPLES[name]) if name in EXAMPLES else example_of_the_manual_page())
        checked = node.run(node.binary, "--check", "-C", node.config_path, check=False, timeout=15)
        assert (checked.returncode, checked.stdout) == (0, f"{node.config_path}: in order\n")
        # Its socket, lock and logs are its own.
        script = ('mount -t tmpfs none /run && mkdir /run/lock && mount -t tmpfs none /var/log && "$0" -C "$1" -d && '
                  '"$0" -C "$1" -s && "$0" -C "$1" -k')
        done = node.run("unshare", "--mount", "sh", "-c", script, node.binary, node.config_path, timeout=15)
        assert done.stdout.startswith("cache stats:" if name == "stats.conf" else "cache internal:")
        assert done.stderr == ""


def test_there_are_examples_of_every_mode():
    modes = {found for path in EXAMPLES.values() for found in re.findall(r"^\s*(?:Mode )?(FTFW|ALARM|NOTRACK|Stats) \{",
                                                                         read(path), re.MULTILINE)}
    assert modes == {"FTFW", "ALARM", "NOTRACK", "Stats"}


def test_kernel_settings_exist_and_lower_no_limit():
    """A site copies the file as it is: what the kernel has sized by its memory is not to shrink."""
    names = re.findall(r"^(net\.\S+) = \d+$", read("conf/sysctl.conf"), re.MULTILINE)
    assert len(names) >= 4 and [name for name in names if name.endswith(("_max", "_buckets", "_mem"))] == []
    with lab.Net("n") as net:
        net.nft("table ip t { chain c { type filter hook input priority 0; ct state new accept; }; }")
        for name in names:
            net.run("test", "-e", "/proc/sys/" + name.replace(".", "/"))


def rules_of_the_demonstration():
    sys.path.insert(0, os.path.join(lab.ROOT, "tests/lab"))
    import failover  # pylint: disable=import-outside-toplevel,import-error
    return failover.RULES


@pytest.mark.parametrize("rules", [lambda: read("conf/nftables.conf"), rules_of_the_demonstration], ids=["conf", "demo"])
def test_rule_set_loads_without_protocol_names(rules):
    """A minimal Debian has no /etc/protocols."""
    hidden = "! test -e /etc/protocols || mount --bind /dev/null /etc/protocols; "
    with lab.Net("n") as net:
        def load(text):
            return net.run("unshare", "--mount", "sh", "-c", hidden + "nft -f -", input=text, check=False).stderr
        assert load(rules()) == ""
        assert "vrrp" in load("table ip t { chain c { ip protocol vrrp accept; }; }"), "the names are not hidden"


@pytest.mark.parametrize("page", ["ctsyncd.8", "ctsyncd.conf.5"])
def test_manual_page_renders(page):
    if not shutil.which("groff"):
        pytest.skip("no groff")
    done = subprocess.run(["groff", "-wall", "-mdoc", "-Tutf8", os.path.join(lab.ROOT, "doc", page)], capture_output=True,
                          text=True, timeout=30, check=True)
    assert done.stderr == "" and len(done.stdout) > 5000


def test_manual_pages_name_every_option_and_keyword():
    shown = subprocess.run([lab.OURS, "-h"], capture_output=True, text=True, timeout=10, check=True).stdout
    options = re.findall(r"^  -(\w)", shown, re.MULTILINE)
    page = read("doc/ctsyncd.8")
    assert len(options) > 10
    assert [option for option in options if not re.search(rf"^\.It Fl {option}\b", page, re.MULTILINE)] == []
    keywords = set(re.findall(r'^    \{"(\w+)", S::', read("src/config/keywords.cc"), re.MULTILINE))
    page = read("doc/ctsyncd.conf.5")
    assert len(keywords) > 50
    assert [word for word in sorted(keywords) if not re.search(rf"\b{word}\b", page)] == []


def test_packages_of_the_readme():
    listed = re.search(r"^    apt install (.*)$", read("README.md"), re.MULTILINE)[1].split()
    wanted = re.search(r"BUILD_PACKAGES=\((.*?)\)", read("tests/packages.sh"), re.DOTALL)[1].split()
    assert sorted(listed) == sorted(wanted)


def test_every_difference_names_its_tests():
    sources = {}
    for pattern in ("tests/netns/*.py", "tests/vm/*.py", "tests/unit/*/*.cc", "tests/sim/*.cc"):
        for path in glob.glob(os.path.join(lab.ROOT, pattern)):
            sources[os.path.basename(path).removesuffix(".cc")] = read(path)
    sources["test_config.py"] += read("tests/netns/config_cases_own.txt") + read("tests/data/outputs/config-cases.txt")
    rows = [line for line in read("doc/differences.md").splitlines() if line.startswith("| ") and "---" not in line]
    unknown = []
    for row in rows:
        what, cited = row.rsplit("|", 3)[1:3]
        if cited.strip() == "test" or (cited.strip(), what.strip()) == ("-", "not yet"):
            continue
        for part in cited.split(";"):
            file, *names = re.findall(r"`([^`]*)`", part) or ["nothing"]
            unknown += [(row[:60], name) for name in (file, *names) if not name.startswith("[") and
                        (name not in sources if name == file else name not in sources.get(file, ""))]
    assert len(rows) > 80
    assert unknown == []


def literals(text):
    """What a row of adjacent string literals says."""
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', text)).replace('\\"', '"')


STRINGS = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
MESSAGES = [rf"\blog_?(?:\.|->)(?:warning|error)\(\s*{STRINGS}",
            rf"\btell\(\w+, Level::(?:warning|error),[^{{]*\{{\s*return (?:fmt::format\(\s*)?{STRINGS}",
            rf"\bfail(?:_errno)?\(\s*(?:fmt::format\(\s*)?{STRINGS}",
            r'("could not [^"]*"|"commit-\w+")']


def messages_of_the_program():
    """All warnings and errors, but for what the configuration file has wrong and what is put together elsewhere."""
    found = set()
    for path in glob.glob(os.path.join(lab.ROOT, "src/**/*.cc"), recursive=True):
        if "/src/config/" in path:
            continue
        source = read(path)
        found |= {literals(text) for pattern in MESSAGES for text in re.findall(pattern, source)}
    return {text for text in found if re.search(r"[a-z]{4}", text.replace("{}", "")) and not text.endswith(" ")}


def quotations_of_the_manual():
    """The texts in the first columns of sections 8 and 13, in which `...`, `N` and `REASON` stand for anything."""
    manual = read("doc/manual.md")
    sections = [re.search(rf"\n## {number} .*?(?=\n## |\Z)", manual, re.DOTALL)[0] for number in (8, 13)]
    return {text for section in sections for cell in re.findall(r"^\| (.*?) \| ", section, re.MULTILINE)
            for text in re.findall(r"`([^`]+)`", cell)}


def is_quoted(message, quotations):
    """Whether some text is what the message may become, or has ten letters of it or more and all its parts in it in their order."""
    whole = re.compile(".+".join(re.escape(part) for part in message.replace("`{}'", "{}").split("{}")))
    for text in quotations:
        parts = [part.strip(" :,.") for part in re.split(r"\.\.\.+|\bN\b|\bREASON\b", text)]
        in_order = re.search(".*".join(map(re.escape, parts)), message)
        if whole.fullmatch(text) or (in_order and sum(map(len, parts)) >= 10):
            return True
    return False


def test_the_manual_tells_what_each_message_means():
    messages, quotations = messages_of_the_program(), quotations_of_the_manual()
    assert len(messages) > 80 and len(quotations) > 80
    assert not is_quoted("link on device `{}': there is a new trouble", quotations)
    assert sorted(message for message in messages if not is_quoted(message, quotations)) == []


def test_the_manual_names_options_and_keywords_that_exist():
    manual = read("doc/manual.md")
    usage = subprocess.run([lab.OURS, "-h"], capture_output=True, text=True, timeout=10, check=True).stdout
    shown = [inline or block for inline, block in re.findall(r"`([^`\n]+)`|^ {4,}(.*)$", manual, re.MULTILINE)]
    commands = re.findall(r"\bctsyncd (-[^|&;#\n]+)", "\n".join(shown))
    used = {word for command in commands for word in re.findall(r"(?<!\S)--?[A-Za-z][a-z-]*(?!\S)", command)}
    assert len(used) > 12
    assert sorted(option for option in used if not re.search(rf"(?<!\S){option}(?![\w-])", usage)) == []
    known = set(re.findall(r"\w+", subprocess.run([lab.OURS, "--explain"], capture_output=True, text=True, timeout=10, check=True).stdout))
    words = {word for quoted in re.findall(r"`([^`\n]+)`", manual) for word in re.findall(r"\b[A-Z][a-z]+[A-Z]\w*", quoted)}
    assert len(words) > 15
    assert sorted(words - known - {"CapabilityBoundingSet"}) == []  # that is systemd's


def test_the_live_view_reads_metrics_that_exist():
    known = set(re.findall(r"^\| `(ctsyncd_\w+)` \|", read("doc/metrics.md"), re.MULTILINE))
    used = {name for path in glob.glob(os.path.join(lab.ROOT, "src/control/watch*.cc"))
            for name in re.findall(r'"(ctsyncd_\w+)"', read(path))}
    assert len(known) > 40 and len(used) > 20
    assert sorted(name for name in used if name not in known and re.sub("_(sum|count)$", "", name) not in known) == []


def test_links_of_the_documents_lead_somewhere():
    broken = []
    for path in [os.path.join(lab.ROOT, "README.md"), *glob.glob(os.path.join(lab.ROOT, "doc/*.md"))]:
        text = read(path)
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            if not os.path.exists(os.path.join(os.path.dirname(path), target)):
                broken.append((os.path.basename(path), target))
        anchors = {re.sub(r"[^\w\- ]", "", line).strip().lower().replace(" ", "-")
                   for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
        broken += [(os.path.basename(path), target) for target in re.findall(r"\]\(#([^)]*)\)", text) if target not in anchors]
    assert broken == []


@pytest.mark.parametrize("picture", sorted(glob.glob(os.path.join(lab.ROOT, "doc/pictures/*.svg"))), ids=os.path.basename)
def test_pictures_are_well_formed_and_shown(picture):
    root = xml.etree.ElementTree.parse(picture).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.find("{*}title").text
    assert f"(pictures/{os.path.basename(picture)})" in read("doc/manual.md")
