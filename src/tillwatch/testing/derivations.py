"""For tests: derived columns drawn as text of the language, each with what it gives, said again in plain Python.

Numbers are fractions, texts are texts, None is unknown; a row that must be refused raises Refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

Cells = Mapping[str, str]
Meaning = Callable[[Cells], Any]

COLUMNS = ("price", "quantity", "zone", "unit price")
NUMBERS = ["1.25", "-3", "0", "100", " 7.5 ", "'2'", "0.0000000005", "0.0000000015", "1e2", "33.333333333"]
TEXTS = ["a", "B", " 'b c' ", "ä", "it's", "", "  ", "abc"]
CONSTANTS = ["0", "1", "2.5", "0.001", "3"]
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

cells = st.fixed_dictionaries({name: st.sampled_from([*NUMBERS, *NUMBERS, *TEXTS]) for name in COLUMNS})


class Refused(Exception):
    """The row has a value that is not a number where one is needed."""


@dataclass(frozen=True)
class Derivation:
    """An expression as text, and what it gives for a row."""

    text: str
    means: Meaning


def rounded(value: Fraction, digits: int) -> Fraction:
    """Half to even."""
    return Fraction(round(value * 10**digits), 10**digits)


def cell(row: Cells, name: str) -> str | None:
    """A cleaned cell; an empty one is unknown."""
    text = row[name].strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    return text or None


def number(row: Cells, name: str) -> Fraction | None:
    """A cell as a number."""
    text = cell(row, name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text.strip()):
        raise Refused(name)
    return rounded(Fraction(text.strip()), 9)


def _calculated(op: str, a: Fraction | None, b: Fraction | None) -> Fraction | None:
    if a is None or b is None:
        return None
    if op == "/":
        return rounded(a / b, 12) if b else None
    return {"+": a + b, "-": a - b, "*": a * b}[op]


def _compared(op: str, a: Any, b: Any) -> bool | None:
    if a is None or b is None:
        return None
    return {"=": a == b, "<>": a != b, "<": a < b, ">=": a >= b}[op] if op in ("=", "<>") else _ordered(op, a, b)


def _ordered(op: str, a: Fraction, b: Fraction) -> bool:
    return a < b if op == "<" else a >= b


def _first(x: Meaning, otherwise: Meaning, row: Cells) -> Any:
    value = x(row)
    return otherwise(row) if value is None else value


def _name(name: str) -> str:
    return f'"{name}"' if " " in name else name


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@st.composite
def conditions(draw: st.DrawFn, depth: int) -> Derivation:
    """A condition on a row."""
    kind = draw(st.sampled_from(["number", "text", "null", *(["and", "or", "not"] if depth else [])]))
    if kind in ("and", "or"):
        return _joined(kind, draw(conditions(depth - 1)), draw(conditions(depth - 1)))
    if kind == "not":
        x = draw(conditions(depth - 1))
        return Derivation(f"not ({x.text})", lambda row: None if (v := x.means(row)) is None else not v)
    if kind == "null":
        t = draw(texts(depth))
        return Derivation(f"({t.text}) is null", lambda row: t.means(row) is None)
    if kind == "text":
        t, constant, op = draw(texts(depth)), draw(st.sampled_from(TEXTS)), draw(st.sampled_from(["=", "<>"]))
        return Derivation(f"{t.text} {op} {_quoted(constant)}", lambda row: _compared(op, t.means(row), constant))
    a, c = draw(numbers(depth)), draw(st.sampled_from(CONSTANTS))
    op = draw(st.sampled_from(["=", "<>", "<", ">="]))
    return Derivation(f"{a.text} {op} {c}", lambda row: _compared(op, a.means(row), Fraction(c)))


def _joined(op: str, a: Derivation, b: Derivation) -> Derivation:
    def means(row: Cells) -> bool | None:
        found, decides = {a.means(row), b.means(row)}, op == "or"
        return decides if decides in found else (None if None in found else not decides)

    return Derivation(f"({a.text}) {op} ({b.text})", means)


def _case(branches: Sequence[tuple[Derivation, Derivation]], otherwise: Derivation | None) -> Derivation:
    def means(row: Cells) -> Any:
        for asked, value in branches:
            if asked.means(row):
                return value.means(row)
        return otherwise.means(row) if otherwise else None

    whens = "".join(f" when {asked.text} then {value.text}" for asked, value in branches)
    return Derivation(f"case{whens}{f' else {otherwise.text}' if otherwise else ''} end", means)


def _one_of(draw: st.DrawFn, of: Callable[[int], st.SearchStrategy[Derivation]], depth: int) -> Derivation:
    """COALESCE or CASE over values of one kind."""
    if draw(st.booleans()):
        x, y = draw(of(depth - 1)), draw(of(depth - 1))
        return Derivation(f"coalesce({x.text}, {y.text})", lambda row: _first(x.means, y.means, row))
    branches = [(draw(conditions(depth - 1)), draw(of(depth - 1))) for _ in range(draw(st.integers(1, 2)))]
    return _case(branches, draw(st.one_of(st.none(), of(depth - 1))))


@st.composite
def numbers(draw: st.DrawFn, depth: int = 2) -> Derivation:
    """A number made of a row; at most two columns are multiplied."""
    kind = draw(st.sampled_from(["column", "constant", *(["calculation"] * 3 + ["abs", "choice"] if depth else [])]))
    if kind == "column":
        name = draw(st.sampled_from(COLUMNS))
        return Derivation(_name(name), lambda row: number(row, name))
    if kind == "constant":
        constant = draw(st.sampled_from(CONSTANTS))
        return Derivation(constant, lambda row: Fraction(constant))
    if kind == "abs":
        x = draw(numbers(depth - 1))
        return Derivation(f"abs({x.text})", lambda row: None if (v := x.means(row)) is None else abs(v))
    if kind == "choice":
        return _one_of(draw, numbers, depth)
    op = draw(st.sampled_from("+-/" if depth > 1 else "+-*/"))
    a, b = draw(numbers(depth - 1)), draw(numbers(depth - 1))
    return Derivation(f"({a.text} {op} {b.text})", lambda row: _calculated(op, a.means(row), b.means(row)))


@st.composite
def texts(draw: st.DrawFn, depth: int = 2) -> Derivation:
    """A text made of a row. A column is not compared by itself: it would be taken for a number beside one."""
    kind = draw(st.sampled_from(["column", "constant", *(["function", "concat", "substr", "choice"] if depth else [])]))
    if kind == "column":
        name = draw(st.sampled_from(COLUMNS))
        return Derivation(f"trim({_name(name)})", lambda row: None if (v := cell(row, name)) is None else v.strip())
    if kind == "constant":
        constant = draw(st.sampled_from(TEXTS))
        return Derivation(_quoted(constant), lambda row: constant)
    if kind == "choice":
        return _one_of(draw, texts, depth)
    x = draw(texts(depth - 1))
    if kind == "concat":
        y = draw(texts(depth - 1))
        return Derivation(f"({x.text} || {y.text})", lambda row: _concat(x.means(row), y.means(row)))
    if kind == "substr":
        start, length = draw(st.integers(1, 4)), draw(st.integers(0, 3))
        return Derivation(
            f"substr({x.text}, {start}, {length})",
            lambda row: None if (v := x.means(row)) is None else v[start - 1 : start - 1 + length],
        )
    function = draw(st.sampled_from(["upper", "lower"]))
    return Derivation(
        f"{function}({x.text})", lambda row: None if (v := x.means(row)) is None else getattr(v, function)()
    )


def _concat(a: str | None, b: str | None) -> str | None:
    return None if a is None or b is None else a + b
