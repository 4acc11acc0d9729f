"""Pictures in plain SVG with words around them in HTML, so that these stay readable however narrow a picture is.

Each picture is told in a sentence to those who do not see it; a table beside it says the same in numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tillwatch.report.parts import Html, html

WIDTH, HEIGHT = 1000, 100
"""Of the plane that is stretched over the picture."""

COLOURS = 8
"""Classes c0 to c7 of the style sheet; the last one is of what is not told apart."""

DOTS = 60
"""Points of a line that are drawn as dots, at most: more would hide it."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a picture: what it is, how it is drawn (a class of the style sheet), its points."""

    name: str
    look: str
    points: Points


@dataclass(frozen=True, slots=True)
class Bars:
    """One layer of bars, from left to right: what it is, how it is drawn, how high each is."""

    name: str
    look: str
    heights: Sequence[float]


@dataclass(frozen=True, slots=True)
class Scale:
    """From 0 upward to `top`, marked every `step`.

    >>> Scale.upto(86), Scale.upto(3), Scale.upto(0.7, whole=False), Scale.upto(0)
    (Scale(top=100.0, step=25.0), Scale(top=3.0, step=1.0), Scale(top=0.8, step=0.2), Scale(top=1.0, step=1.0))
    """

    top: float
    step: float

    @classmethod
    def upto(cls, most: float, *, whole: bool = True) -> Scale:
        """A scale of round numbers with two to four steps."""
        if most <= 0:
            return cls(1.0, 1.0)
        size = 10.0 ** math.floor(math.log10(most / 4))
        step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor * 4 >= most * (1 - 1e-9))
        step = max(1.0, float(math.ceil(step))) if whole else step
        return cls(round(math.ceil(most / step - 1e-9) * step, 9), round(step, 9))

    @property
    def levels(self) -> list[float]:
        """All marks, the highest first."""
        return [self.top - n * self.step for n in range(round(self.top / self.step))] + [0.0]


def growth(title: str, lines: Sequence[Line], ends: Sequence[str]) -> Html:
    """Steps: every point is a new level from there on. `ends` is written below, evenly spaced from first to last x."""
    plane = _Plane.of([p for line in lines for p in line.points])
    drawn = "".join(_path(line, plane.steps(line.points)) for line in lines)
    return _figure(title, plane, drawn, ends, [(line.name, line.look) for line in lines])


def curve(title: str, lines: Sequence[Line], ends: Sequence[str], mark: float | None = None, unit: str = "") -> Html:
    """Points joined by straight lines; `mark` is an x that is marked when it is in the picture."""
    plane = _Plane.of([p for line in lines for p in line.points], whole=not unit)
    drawn = "".join(_path(line, plane.joined(line.points)) for line in lines)
    few = [line for line in lines if len(line.points) <= DOTS]
    drawn += "".join(f'<path class="dot {line.look}" d="{plane.dots(line.points)}"/>' for line in few)
    if mark is not None and plane.least <= mark <= plane.most:
        at = f"{plane.x(mark):.1f}"
        drawn += f'<line class="mark" x1="{at}" x2="{at}" y1="0" y2="{HEIGHT}"/>'
    names = [(line.name, line.look) for line in lines] if len(lines) > 1 else []
    return _figure(title, plane, drawn, ends, names, unit)


def bars(title: str, layers: Sequence[Bars], ends: Sequence[str], unit: str = "") -> Html:
    """Bars side by side, layers upon each other."""
    count = len(layers[0].heights)
    sums = [sum(layer.heights[n] for layer in layers) for n in range(count)]
    plane = _Plane(0.0, float(count), Scale.upto(max(sums, default=0), whole=not unit))
    gap = 0.0 if count > 100 else 0.12
    drawn, floor = "", [0.0] * count
    for layer in layers:
        parts = []
        for n, height in enumerate(layer.heights):
            if height > 0:
                left, right = plane.x(n + gap / 2), plane.x(n + 1 - gap / 2)
                low, high = plane.y(floor[n]), plane.y(floor[n] + height)
                parts.append(f"M{left:.1f},{low:.2f}H{right:.1f}V{high:.2f}H{left:.1f}Z")
                floor[n] += height
        drawn += f'<path class="bar {layer.look}" d="{"".join(parts)}"/>' if parts else ""
    names = [(layer.name, layer.look) for layer in layers] if len(layers) > 1 else []
    return _figure(title, plane, drawn, ends, names, unit)


@dataclass(frozen=True, slots=True)
class _Plane:
    """Where values are: `least` to `most` from left to right, counts upward."""

    least: float
    most: float
    scale: Scale

    @classmethod
    def of(cls, points: Points, *, whole: bool = True) -> _Plane:
        xs = [x for x, _ in points]
        return cls(min(xs), max(xs), Scale.upto(max(y for _, y in points), whole=whole))

    def x(self, value: float) -> float:
        return WIDTH * (value - self.least) / ((self.most - self.least) or 1)

    def y(self, count: float) -> float:
        return HEIGHT * (1 - count / self.scale.top)

    def steps(self, points: Points) -> str:
        (x, y), *rest = points
        parts = [f"M{self.x(x):.1f},{self.y(y):.2f}", *(f"H{self.x(x):.1f}V{self.y(y):.2f}" for x, y in rest)]
        return "".join(parts)

    def joined(self, points: Points) -> str:
        return "M" + "L".join(f"{self.x(x):.1f},{self.y(y):.2f}" for x, y in points)

    def dots(self, points: Points) -> str:
        """Lines of no length: their round ends are dots, which stay round when the plane is stretched."""
        return "".join(f"M{self.x(x):.1f},{self.y(y):.2f}h0" for x, y in points)


def _path(line: Line, course: str) -> str:
    return f'<path class="line {line.look}" d="{course}"><title>{html(line.name)}</title></path>'


def _figure(
    title: str, plane: _Plane, drawn: str, ends: Sequence[str], names: Sequence[tuple[str, str]], unit: str = ""
) -> Html:
    grid = "".join(
        f'<line class="grid" x1="0" x2="{WIDTH}" y1="{plane.y(n):.2f}" y2="{plane.y(n):.2f}"/>'
        for n in plane.scale.levels
    )
    levels = "".join(f"<span>{_number(n)}{html(unit)}</span>" for n in plane.scale.levels)
    below = "".join(f"<span>{html(end)}</span>" for end in ends)
    keys = "".join(f'<span class="key {look}">{html(name)}</span> ' for name, look in names)
    return Html(
        '<figure class="chart">'
        + (f'<p class="keys" aria-hidden="true">{keys}</p>' if keys else "")
        + f'<div class="levels" aria-hidden="true">{levels}</div>'
        + f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{html(title)}">'
        + f"{grid}{drawn}</svg>"
        + f'<div class="ends" aria-hidden="true">{below}</div></figure>'
    )


def _number(value: float) -> str:
    """
    >>> _number(50000.0), _number(0.25), _number(0.0)
    ('50,000', '0.25', '0')
    """
    return f"{value:,.6f}".rstrip("0").rstrip(".")
