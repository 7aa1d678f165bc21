# SPDX-License-Identifier: GPL-2.0-or-later
"""Every section of the specification (doc/spec) that the tree cites exists, and so does every recording that it names."""
import re
import unittest

import tree

PAGES = ("replication", "config", "cli", "ha", "helpers")
PAGE = rf"(?:{'|'.join(PAGES)})\.md"
NUMBER = r"\d+(?:\.\d+)*"
# "spec replication.md 3.2", "spec 9, 26", "spec replication.md 1.7 and 9, item 29", "spec config.md 12, helpers.md 3"
CITATION = re.compile(rf"(?:\b{PAGE}|\b[Ss]pec)(?: section)? {NUMBER}(?:[ ,(]+(?:(?:and|to|item|section|{PAGE}) )*{NUMBER})*")


def sections_of(page):
    """The numbered sections of a page, and of each the items that it numbers (list entries or rows of a table)."""
    sections = {}
    for line in tree.read(f"doc/spec/{page}.md").splitlines():
        if heading := re.match(rf"##+ ({NUMBER})\.? ", line):
            items = sections.setdefault(heading[1], set())
        elif sections and (item := re.match(r"\| (\d+) \||(\d+)\. ", line)):
            items.add(item[1] or item[2])
    return sections


SECTIONS = {f"{page}.md": sections_of(page) for page in PAGES}


def missing(citation):
    """What a citation names that is not there. No page means replication.md; in sections 8 and 9, which number their items, a
    plain number is an item."""
    page, section, absent = "replication.md", None, []
    for word in re.findall(rf"{PAGE}|{NUMBER}", citation):
        if word.endswith(".md"):
            page, section = word, None
        elif page == "replication.md" and section in ("8", "9") and "." not in word:
            absent += [] if word in SECTIONS[page][section] else [f"{page} {section}, item {word}"]
        elif word in SECTIONS[page]:
            section = word
        else:
            absent.append(f"{page} {word}")
    return absent


def citations():
    """(file, citation) of the whole tree. A citation may go over the end of a line, so the marks of comments are taken out."""
    for path in tree.files("*.md", "conf/*", "doc/**/*", "include/**/*", "src/**/*", "tests/**/*.cc", "tests/**/*.h", "tests/**/*.py",
                           "tests/data/*/README.md"):
        if path.parent.name == "tree":
            continue
        text = re.sub(r"\n[ \t]*(?://|#|\*)*[ \t]*", " ", path.read_text(encoding="utf-8"))
        for found in CITATION.findall(text):
            yield path.relative_to(tree.ROOT), found


class Specification(unittest.TestCase):
    def test_every_section_cited_exists(self):
        cited = list(citations())
        self.assertGreater(len(cited), 100)
        self.assertEqual([], [(str(path), found, missing(found)) for path, found in cited if missing(found)])

    def test_what_is_wrong_is_seen(self):
        self.assertEqual([], missing("spec replication.md 1.7 and 9, 29"))
        self.assertEqual(["replication.md 3.99", "cli.md 77"], missing("spec replication.md 3.2, 3.99 and cli.md 77"))
        self.assertEqual(["replication.md 9, item 99"], missing("spec 9, 26 and 99"))

    def test_every_recording_named_exists(self):
        cases = set(re.findall(r"^### (\S+)", tree.read("tests/data/outputs/config-cases.txt"), re.MULTILINE))
        recordings = {path.stem for path in tree.files("tests/data/captures/*.pcap")}
        text = "\n".join(path.read_text(encoding="utf-8") for path in tree.files("doc/spec/*.md"))
        paths = {path for path in re.findall(r"`(tests/[^`]*)`", text) if "NAME" not in path}
        named = set(re.findall(r"\[c:([^\]]*)\]", text))
        shown = set(re.findall(r"^\*\*.*\(`([^`]*)` packet", text, re.MULTILINE))
        self.assertTrue(len(paths) > 10 and len(named) > 100 and len(shown) > 10)
        self.assertEqual([], [path for path in sorted(paths) if not (tree.ROOT / path).exists()])
        self.assertEqual([], sorted(named - cases - {"NAME"}))
        self.assertEqual([], sorted(shown - recordings))

    def test_every_recording_is_in_its_index(self):
        index = tree.read("tests/data/captures/README.md")
        self.assertEqual([], [path.stem for path in tree.files("tests/data/captures/*.pcap") if path.stem not in index])


if __name__ == "__main__":
    unittest.main()
