"""Two pictures in plain SVG: counts that grow along the log, and counts over the values of a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 210
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 30

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a picture: what it is, how it is drawn (a class of the style sheet), its points."""

    name: str
    look: str
    points: Points


@dataclass(frozen=True, slots=True)
class Frame:
    """Where values are in a picture: `x` from left to right, counts from 0 upward."""

    least: float
    most: float
    top: float

    def x(self, value: float) -> float:
        """Across, in pixels."""
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.least) / ((self.most - self.least) or 1)

    def y(self, count: float) -> float:
        """Down, in pixels."""
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - count / (self.top or 1))


def growth(title: str, lines: Sequence[Line], ends: tuple[str, str]) -> str:
    """Steps: every point is a new level from there on. `ends` is what is written below the first and the last x."""
    frame = _frame(lines)
    drawn = "".join(_path(line, _steps(line.points, frame)) for line in lines)
    return _picture(title, frame, drawn, ends)


def curve(title: str, line: Line, ends: tuple[str, str], mark: float | None) -> str:
    """Points joined by straight lines; `mark` is an x that is marked when it is in the picture."""
    frame = _frame([line])
    places = [f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in line.points]
    drawn = _path(line, "M" + "L".join(places))
    drawn += "".join(
        f'<circle class="{line.look}" cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="3"/>' for p in places
    )
    if mark is not None and frame.least <= mark <= frame.most:
        at = f"{frame.x(mark):.1f}"
        drawn += f'<line class="now" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    return _picture(title, frame, drawn, ends)


def _frame(lines: Sequence[Line]) -> Frame:
    xs = [x for line in lines for x, _ in line.points]
    return Frame(min(xs), max(xs), max(y for line in lines for _, y in line.points))


def _steps(points: Points, frame: Frame) -> str:
    x, y = points[0]
    parts = [f"M{frame.x(x):.1f},{frame.y(y):.1f}"]
    parts += [f"H{frame.x(x):.1f}V{frame.y(y):.1f}" for x, y in points[1:]]
    return "".join(parts)


def _path(line: Line, course: str) -> str:
    return f'<path class="{line.look}" d="{course}"><title>{escape(line.name)}</title></path>'


def _picture(title: str, frame: Frame, drawn: str, ends: tuple[str, str]) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    levels = sorted({0, round(frame.top / 2), round(frame.top)})
    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{frame.y(n):.1f}" y2="{frame.y(n):.1f}"/>'
        f'<text class="level" x="{LEFT - 8}" y="{frame.y(n) + 4:.1f}">{n:,}</text>'
        for n in levels
    )
    below = (
        f'<text x="{LEFT}" y="{bottom + 20}">{escape(ends[0])}</text>'
        f'<text class="level" x="{right}" y="{bottom + 20}">{escape(ends[1])}</text>'
    )
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
    return f"{head}{grid}{drawn}{below}</svg>"
