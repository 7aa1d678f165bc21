# SPDX-License-Identifier: GPL-2.0-or-later
"""The layers are the same wherever they are written down: CTSYNC_LAYERS and DEPENDS of CMake, the includes of the sources, and
the table of doc/architecture.md. A wrong include does not build (the include roots of CMake); this test sees what builds and is untrue all the same."""
import re
import unittest

import tree

INCLUDE = re.compile(r'^#include "ctsync/(\w+)/', re.MULTILINE)


def order():
    return re.search(r"^set\(CTSYNC_LAYERS ([^)]*)\)", tree.read("CMakeLists.txt"), re.MULTILINE)[1].split()


def depends():
    """What each layer names in its CMakeLists.txt."""
    found = {}
    for path in tree.files("src/*/CMakeLists.txt"):
        call = re.search(r"\bctsync_layer\((\w+)([^)]*)\)", re.sub(r"#.*", "", path.read_text(encoding="utf-8")))
        words = call[2].split()
        start = words.index("DEPENDS") + 1 if "DEPENDS" in words else len(words)
        end = next((i for i in range(start, len(words)) if words[i] in ("SOURCES", "LIBS")), len(words))
        found[call[1]] = words[start:end]
    return found


def includes(layer):
    """The other layers whose headers a layer includes."""
    sources = tree.files(f"src/{layer}/*", f"include/ctsync/{layer}/*")
    return {name for path in sources for name in INCLUDE.findall(path.read_text(encoding="utf-8"))} - {layer}


def reachable(layer, edges):
    seen = set()
    left = list(edges.get(layer, []))
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += edges.get(name, [])
    return seen


def table():
    """The first column of the table under "The layers"."""
    text = tree.read("doc/architecture.md")
    return re.findall(r"^\| `(\w+)` \|", text.split("\n## The layers\n", 1)[1].split("\n## ", 1)[0], re.MULTILINE)


def drawing():
    """What the drawing of doc/architecture.md says that each layer uses."""
    return {name: sorted(others.split()) for name, others in
            re.findall(r"^    (\w+)(?: +--> ([\w ]+))?$", tree.read("doc/architecture.md").split("\nWhat each layer uses", 1)[1]
                       .split("\n## ", 1)[0], re.MULTILINE)}


class Layers(unittest.TestCase):
    def setUp(self):
        self.order, self.depends = order(), depends()

    def test_every_list_has_the_same_layers_in_the_same_order(self):
        self.assertGreater(len(self.order), 8)
        self.assertEqual(len(self.order), len(set(self.order)))
        self.assertEqual(self.order, table())
        self.assertEqual(sorted(self.order), sorted(self.depends))
        self.assertEqual(sorted(self.order), sorted({path.parent.name for path in tree.files("include/ctsync/*/*")}))
        self.assertEqual(sorted(self.order), sorted({path.parent.name for path in tree.files("src/*/*")}))

    def test_the_drawing_is_that_of_the_build(self):
        self.assertEqual({layer: sorted(others) for layer, others in self.depends.items()}, drawing())

    def test_a_layer_depends_on_layers_before_it(self):
        wrong = [(layer, other) for layer, others in self.depends.items() for other in others
                 if other not in self.order[:self.order.index(layer)]]
        self.assertEqual([], wrong)

    def test_a_layer_includes_what_it_depends_on(self):
        wrong = [(layer, other) for layer in self.order for other in sorted(includes(layer))
                 if other not in reachable(layer, self.depends)]
        self.assertEqual([], wrong)

    def test_a_layer_uses_each_layer_it_names(self):
        wrong = [(layer, other) for layer, others in self.depends.items() for other in others if other not in includes(layer)]
        self.assertEqual([], wrong)

    def test_a_public_header_is_for_others(self):
        wrong = []
        for path in tree.files("include/ctsync/*/*"):
            name = f'#include "ctsync/{path.parent.name}/{path.name}"'
            users = [other for other in tree.files("include/ctsync/*/*", "src/*", "src/*/*") if other != path and other.is_file()
                     and f"src/{path.parent.name}/" not in str(other) and name in other.read_text(encoding="utf-8")]
            if not users:
                wrong.append(str(path))
        self.assertEqual([], wrong)


if __name__ == "__main__":
    unittest.main()
