# SPDX-License-Identifier: GPL-2.0-or-later
"""From the figures of tests/bench/run to its table, to doc/performance.md and to the plots beside that."""
import dataclasses
import json
import os
import re
import statistics

import rows
import svg

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENT = os.path.join(ROOT, "doc/performance.md")
DIRECTORY = os.path.join(ROOT, "doc/performance")
CONTENDERS = ("ours", "stock", "limit")


@dataclasses.dataclass
class Result:
    """A row with what was measured: medians, and ours divided by stock."""
    row: rows.Row
    medians: dict
    ratio: float | None
    spread: tuple | None  # the smallest and the largest ratio of a round

    @property
    def met(self):
        found = self.medians.get("ours") if self.row.absolute else self.ratio
        return None if self.row.goal is None or found is None else found <= self.row.goal

    @property
    def out_of_reach(self):
        """The bare program does not get there either."""
        if self.row.goal is None or "limit" not in self.medians or (not self.row.absolute and not self.medians.get("stock")):
            return False
        return self.medians["limit"] / (1 if self.row.absolute else self.medians["stock"]) > self.row.goal

    def goal(self):
        if self.row.goal is None:
            return "-"
        return f"<= {number(self.row.goal)}{' ' + self.row.unit if self.row.absolute else ''}"

    def cells(self):
        measured = [number(self.medians[who]) if who in self.medians else "-" for who in CONTENDERS]
        ratio = "-" if self.ratio is None else f"{self.ratio:.2f}"
        spread = "-" if self.spread is None else f"{self.spread[0]:.2f} to {self.spread[1]:.2f}"
        return [self.row.name, self.row.unit, *measured, ratio, spread, self.goal(), {True: "met", False: "missed", None: ""}[self.met]]


HEAD = ["", "unit", *CONTENDERS, "ratio", "spread", "goal", ""]


def number(value):
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def result(row, measured):
    """measured: {contender: {round: value}}."""
    medians = {who: statistics.median(measured[who].values()) for who in CONTENDERS if who in measured}
    # Shares of something else, which may be none or below, have no ratio.
    comparable = medians.get("stock", 0) > 0 and not (row.absolute and row.unit.startswith("%"))
    ratios = [value / measured["stock"][key] for key, value in measured.get("ours", {}).items()
              if comparable and measured["stock"].get(key)]
    if not ratios:
        return Result(row, medians, None, None)
    return Result(row, medians, medians["ours"] / medians["stock"], (min(ratios), max(ratios)))


def results(run):
    return [result(row, run["figures"][row.name]) for row in rows.ROWS if row.name in run["figures"]]


def growth(runs):
    """{what: {contender: {size: median}}} of all that was measured at several sizes."""
    found = {}
    for name, measured in (item for run in runs for item in run["figures"].items()):
        at = re.fullmatch(r"growth, (\d+), (.*)", name) or re.fullmatch(r"(?=.*(1 000 000))(commit), fresh.*", name)
        if at:
            for who, values in measured.items():
                size = int(at[1].replace(" ", ""))
                found.setdefault(at[2], {}).setdefault(who, {})[size] = statistics.median(values.values())
    return found


def table(run):
    """For the terminal."""
    lines = [HEAD, *(found.cells() for found in results(run))]
    for what, unit, _ in rows.GROWTH:
        for size, values in by_size(growth([run]).get(what, {})):
            lines.append([f"growth, {size} flows, {what}", unit, *(number(values[who]) if who in values else "-" for who in CONTENDERS),
                          "-", "-", "-", ""])
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    text = ["  ".join(cell.ljust(width) if column < 2 else cell.rjust(width)
                      for column, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines]
    wake = wake_up(run)
    return "\n".join([*text, *([wake] if wake else []), *run["failures"]])


def by_size(series):
    sizes = sorted({size for values in series.values() for size in values})
    return [(f"{size:,}".replace(",", " "), {who: values[size] for who, values in series.items() if size in values}) for size in sizes]


def wake_up(run):
    """What the bare program waits for a processor to wake."""
    medians = [run["figures"].get(f"event to wire, idle, {state}, p50", {}).get("limit") for state in ("asleep", "awake")]
    if None in medians:
        return ""
    asleep, awake = (statistics.median(values.values()) for values in medians)
    return f"The machine's wake-up, in the rows of an idle system with processors asleep: {asleep - awake:.0f} us at the median."


# The document

def markdown_table(lines):
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], ["---"] * len(lines[0]), *lines[1:])) + "\n"


def write(figures, runs):
    """runs: {"default": run, "big": run}, either of which may be missing."""
    os.makedirs(DIRECTORY, exist_ok=True)
    with open(figures, "w", encoding="utf-8") as file:
        json.dump(runs, file, indent=1, sort_keys=True)
        file.write("\n")
    for name, content in plots(runs).items():
        with open(os.path.join(DIRECTORY, name), "w", encoding="utf-8") as file:
            file.write(content)
    with open(DOCUMENT, "w", encoding="utf-8") as file:
        file.write(document(runs))


def plots(runs):
    found = [one for run in runs.values() for one in results(run)]
    drawn = {}
    ratios = [(one.row.name, {"ours": one.ratio}, one.spread, None if one.row.absolute else one.row.goal) for one in found if one.ratio]
    if ratios:
        drawn["ratios.svg"] = svg.bars("ours divided by stock; thin line: all rounds, upright: goal", ratios)
    latency = [(one.row.name, one.medians, None, None) for one in found if one.row.unit == rows.US]
    if latency:
        drawn["latency.svg"] = svg.bars("latency, microseconds", latency)
    for what, unit, title in rows.GROWTH:
        if what in growth(runs.values()):
            drawn[f"growth-{what.strip('-')}.svg"] = svg.lines(title, unit, growth(runs.values())[what])
    return drawn


HEADER = """<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
<!-- Written by tests/bench/run --write; change that, not this. -->
# Performance

ctsyncd beside Debian's conntrackd and beside the limit of the machine: a bare program (`tests/bench/tools/bare.cc`, for the creations of
a commit `tests/netns/tools/flowgen.cc`) that makes the same netlink and UDP calls and nothing else. All by turns on one machine, by
`tests/bench/run --write`, which takes some twenty minutes, and `tests/bench/run --big --write`, which takes as long. Figures are medians
of the rounds; smaller is better everywhere. The ratio is ours divided by stock, its spread the smallest and the largest of a round; a goal
with a unit is one for ours alone. `doc/performance/figures.json` has each round.
"""


def document(runs):
    found = {one.row.name: one for run in runs.values() for one in results(run)}
    drawn = plots(runs)
    parts = [HEADER] if runs else [HEADER, "Neither has been run for this page yet.\n"]
    for name, run in runs.items():
        known = run["conditions"]
        parts.append(f"{'A million flows and the growth' if name == 'big' else 'All else'}: {known['date']}, Linux {known['kernel']} "
                     f"({known['machine']}), processors {known['processors']}; {known['ours']} beside {known['stock']}; "
                     + ("" if name == "big" else f"{known['flows']} flows, ") + f"{known['rounds']} rounds.\n")
    if "ratios.svg" in drawn:
        parts.append("![Ratios](performance/ratios.svg)\n")
    for group, members in rows.GROUPS.items():
        lines = [found[row.name].cells() for row in members if row.name in found]
        if lines:
            parts.append(f"## {group}\n\n{rows.NOTES[group]}\n")
            if group == "Latency":
                parts += [f"{wake_up(run)}\n" for run in runs.values() if wake_up(run)] + ["![Latency](performance/latency.svg)\n"]
            parts.append(markdown_table([HEAD, *lines]))
            if any(row.name in found and found[row.name].met is False for row in members):
                parts.append(f"{rows.REASONS[group]}\n")
            beyond = [row.name for row in members if row.name in found and found[row.name].out_of_reach]
            if beyond:
                parts.append(f"The bare program misses the goal as well: {'; '.join(beyond)}.\n")
    grown = growth(runs.values())
    if grown:
        parts.append("## Growth\n\nThe same with tables of other sizes: memory and an update's processor time of a node in statistics mode "
                     "(updates all over the table), all that `-i` prints, a commit into an empty kernel.\n")
    for what, unit, title in rows.GROWTH:
        if what in grown:
            lines = [[size, *(number(values[who]) if who in values else "-" for who in CONTENDERS)]
                     for size, values in by_size(grown[what])]
            parts += [f"### {title}\n\n![{title}](performance/growth-{what.strip('-')}.svg)\n",
                      markdown_table([[f"flows; {unit}", *CONTENDERS], *lines])]
    failures = [failure for run in runs.values() for failure in run["failures"]]
    if failures:
        parts.append("## Not measured\n\n" + "\n".join(f"* {failure}" for failure in failures) + "\n")
    return "\n".join(parts)
