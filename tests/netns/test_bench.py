# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/bench/run with few flows and one round: that it measures and writes, not what comes out."""
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

import lab

BENCH = os.path.join(lab.ROOT, "tests/bench")
sys.path.insert(0, BENCH)
import report  # noqa: E402
import rows  # noqa: E402

PARTS = "ingest,ftfw,cache_latency,start"
WITHOUT_LIMIT = {"memory, internal", "memory, external", "bulk, sender", "bulk, receiver", "-i", "-e"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "figures.json"
    done = subprocess.run([os.path.join(BENCH, "run"), "--flows", "2000", "--rounds", "1", "--seconds", "1", "--only", PARTS, "--figures",
                           path], capture_output=True, text=True, timeout=200, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(path, encoding="utf-8") as file:
        return json.load(file), done.stdout


def test_everything_is_measured(run):
    figures, printed = run[0]["figures"], run[1].splitlines()
    assert set(figures) <= {row.name for row in rows.ROWS}, "a figure has no row"
    assert len(figures) == 17
    for name, measured in figures.items():
        assert set(measured) == {"ours", "stock"} | ({"limit"} if name not in WITHOUT_LIMIT else set()), name
        for values in measured.values():
            assert set(values) == {"1"} and values["1"] > 0, (name, measured)
        assert any(line.startswith(f"{name}  ") for line in printed), name


def test_document_has_all_of_it(run, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "DIRECTORY", str(tmp_path / "performance"))
    monkeypatch.setattr(report, "DOCUMENT", str(tmp_path / "performance.md"))
    sizes = {f"growth, {size}, {what}": {who: {"1": value, "2": 2 * value} for who, value in (("ours", 2.0), ("stock", 6.0))}
             for size in (10000, 100000) for what, _, _ in rows.GROWTH}
    big = {"conditions": run[0]["conditions"], "failures": ["growth, limit, round 1: it failed"], "figures": sizes}
    report.write(str(tmp_path / "figures.json"), {"default": run[0], "big": big})
    text = (tmp_path / "performance.md").read_text(encoding="utf-8")
    for name in run[0]["figures"]:
        assert f"\n| {name} | " in text
    assert "\n| 100 000 | 3.00 | 9.00 | - |\n" in text and "it failed" in text
    plots = sorted(os.listdir(tmp_path / "performance"))
    assert plots == ["growth-commit.svg", "growth-i.svg", "growth-memory.svg", "growth-update.svg", "latency.svg", "ratios.svg"]
    for plot in plots:
        assert f"](performance/{plot})" in text
        drawn = ElementTree.parse(tmp_path / "performance" / plot).getroot()
        assert len(list(drawn)) > 15, plot
