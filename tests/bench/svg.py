# SPDX-License-Identifier: GPL-2.0-or-later
"""Two kinds of plots as SVG, both with logarithmic scales: horizontal bars, and lines over sizes."""
import html
import math

COLOURS = {"ours": "#1b6ca8", "stock": "#c8553d", "limit": "#7a9e5f"}
LINE = 18


class Drawing:
    def __init__(self, width, height, title):
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
                      'font-family="sans-serif" font-size="12">', f'<rect width="{width}" height="{height}" fill="white"/>']
        self.text(width / 2, 20, title, "middle", size=15)

    def text(self, x, y, words, anchor="start", size=12):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{html.escape(words)}</text>')

    def line(self, points, colour="#ccc", width=1.0):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')

    def bar(self, x, y, width, height, colour):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>')

    def dot(self, x, y, colour):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')

    def legend(self, x, y, names):
        for number, name in enumerate(names):
            self.bar(x + 70 * number, y - 9, 10, 10, COLOURS[name])
            self.text(x + 70 * number + 14, y, name)

    def __str__(self):
        return "\n".join([*self.parts, "</svg>", ""])


class Scale:
    """Logarithmic, from one place to another, with whole powers of ten at its ends."""

    def __init__(self, values, start, end):
        self.low, self.high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        self.high += self.low == self.high
        self.start, self.end = start, end

    def __call__(self, value):
        return self.start + (math.log10(value) - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self):
        return [(self(10.0 ** power), f"{10.0 ** power:g}") for power in range(self.low, self.high + 1)]


def bars(title, rows):
    """rows: [(label, {name: value}, (low, high) or None, mark or None)]. One bar a value; a thin line from low to high, an upright one
    at the mark. Values that are not above zero have no place on such a scale and no bar."""
    seen = [value for _, values, spread, mark in rows for value in (*values.values(), *(spread or ()), *([mark] if mark else ()))
            if value > 0]
    names = list(dict.fromkeys(name for _, values, _, _ in rows for name in values))
    each = [10 * max(1, len(values)) + 8 for _, values, _, _ in rows]
    left, width, height = 360, 900, 60 + sum(each) + 20
    drawing, scale = Drawing(width, height, title), Scale(seen, left, width - 50)
    drawing.legend(10, 40, names)
    for x, label in scale.ticks():
        drawing.line([(x, 50), (x, height - 20)])
        drawing.text(x, height - 6, label, "middle")
    y = 54
    for (label, values, spread, mark), room in zip(rows, each):
        drawing.text(left - 8, y + room / 2 + 1, label, "end")
        for number, (name, value) in enumerate(values.items()):
            if value > 0:
                drawing.bar(left, y + 10 * number, scale(value) - left, 8, COLOURS[name])
        if spread and min(spread) > 0:
            drawing.line([(scale(spread[0]), y + 4), (scale(spread[1]), y + 4)], "#000", 1.5)
        if mark:
            drawing.line([(scale(mark), y - 2), (scale(mark), y + room - 6)], "#000", 2)
        y += room
    return str(drawing)


def lines(title, unit, series):
    """series: {name: {size: value}}."""
    width, height, left, bottom = 520, 320, 70, 270
    drawing = Drawing(width, height, title)
    across = Scale([size for values in series.values() for size in values], left, width - 50)
    up = Scale([value for values in series.values() for value in values.values()], bottom, 60)
    drawing.legend(left, 42, series)
    for x, label in across.ticks():
        drawing.line([(x, 60), (x, bottom)])
        drawing.text(x, bottom + 16, f"{int(float(label)):,}".replace(",", " "), "middle")
    for y, label in up.ticks():
        drawing.line([(left, y), (width - 50, y)])
        drawing.text(left - 6, y + 4, label, "end")
    drawing.text(width / 2, height - 12, f"flows; {unit}", "middle")
    for name, values in series.items():
        points = [(across(size), up(value)) for size, value in sorted(values.items())]
        drawing.line(points, COLOURS[name], 2)
        for x, y in points:
            drawing.dot(x, y, COLOURS[name])
    return str(drawing)
