"""Examples of a pattern, written in its file: rows, and which keys it is to detect in them.

An example names rows by the logical columns (`customer`, `amount`, …); a column that has the name of a lookup gives
the lookup's value of that row's key. `times` repeats a row, and `#` in its values is then the number of the
repetition, from 1; `chunk` says in which chunk it comes.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from tillwatch.config.yaml import ListNode, MapNode, Node, Place, Problem, ScalarNode, error_of, shown_text, suggestion
from tillwatch.errors import PatternError
from tillwatch.patterns.pattern import Spot

FIELDS = ("name", "with", "rows", "expect")
TIMES, CHUNK, ROW = "times", "chunk", "row"
MAX_ROWS = 200_000
MAX_CHUNKS = 1_000
NONE = "none"

_ROWS_WORDS = "expected a list of rows, each a mapping of columns to values, or a block of CSV with a header"
_EXPECT_WORDS = "expected none, a key such as {customer: Ann}, or a list of keys"


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """Some equal rows: the values that are given, how many they are, the chunk they come in, and where it says so."""

    cells: Mapping[str, str]
    times: int
    chunk: int
    place: str

    def repeated(self) -> Iterator[dict[str, str]]:
        """The rows.

        >>> [row["customer"] for row in ExampleRow({"customer": "C#"}, 3, 0, "").repeated()]
        ['C1', 'C2', 'C3']
        """
        for number in range(1, self.times + 1):
            yield {k: v.replace("#", str(number)) for k, v in self.cells.items()} if self.times > 1 else {**self.cells}


@dataclass(frozen=True, slots=True)
class Expected:
    """A key to be detected: what is not said of it may be anything. `row` counts the rows of its chunk from 1."""

    key: Mapping[str, str]
    chunk: int | None = None
    row: int | None = None

    def __str__(self) -> str:
        parts = [f"{name} {value}" for name, value in self.key.items()]
        parts += [f"{name} {value}" for name, value in ((CHUNK, self.chunk), (ROW, self.row)) if value is not None]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Example:
    """Rows, and the keys that the pattern is to detect in them: these and no others.

    `thresholds` go over those of the file; `place` is file:line:column.
    """

    name: str
    thresholds: Mapping[str, Decimal]
    rows: tuple[ExampleRow, ...]
    expect: tuple[Expected, ...]
    place: str

    @property
    def chunks(self) -> int:
        """How many chunks the rows come in."""
        return max(row.chunk for row in self.rows) + 1


class Reader:
    """Reads the examples of one file. `spot` says where the text of a value begins."""

    def __init__(self, per: Sequence[str], thresholds: Iterable[str], spot: Callable[[Node], Spot]) -> None:
        self.per = per
        self.thresholds = tuple(thresholds)
        self.spot = spot
        self.problems: list[Problem] = []

    def read(self, node: Node) -> tuple[Example, ...]:
        """The examples. Raises PatternError with every mistake and its place."""
        if not isinstance(node, ListNode):
            raise PatternError(f"{node.place}: examples: found {node.shown()}, expected a list of examples")
        found: dict[str, Example] = {}
        for item in node.items:
            example = self._example(item)
            if example is not None and example.name in found:
                self._wrong(item, f"there are two examples '{shown_text(example.name)}'")
            elif example is not None:
                found[example.name] = example
        if self.problems:
            raise error_of(self.problems, PatternError)
        return tuple(found.values())

    def _wrong(self, node: Node, text: str) -> None:
        self._at(node.place, text)

    def _at(self, place: Place, text: str) -> None:
        self.problems.append(Problem(place, f"examples: {text}"))

    def _example(self, node: Node) -> Example | None:
        if not isinstance(node, MapNode):
            self._wrong(node, f"found {node.shown()}, expected a mapping with name, rows, expect")
            return None
        for key, place in node.keys.items():
            if key not in FIELDS:
                self._at(place, f"unknown field '{shown_text(key)}'; {suggestion(key, FIELDS)}")
        if missing := [key for key in ("name", "rows", "expect") if key not in node.items]:
            self._wrong(node, f"an example lacks {', '.join(missing)}")
            return None
        return Example(
            self._name(node.items["name"]),
            self._with(node.items["with"]) if "with" in node.items else {},
            self._rows(node.items["rows"]),
            self._expect(node.items["expect"]),
            str(node.place),
        )

    def _name(self, node: Node) -> str:
        text = " ".join(node.raw.split()) if isinstance(node, ScalarNode) and node.value is not None else ""
        if not text:
            self._wrong(node, f"name: found {node.shown()}, expected a text")
        return text

    def _with(self, node: Node) -> dict[str, Decimal]:
        if not isinstance(node, MapNode):
            self._wrong(node, f"with: found {node.shown()}, expected thresholds with numbers")
            return {}
        numbers: dict[str, Decimal] = {}
        for name, item in node.items.items():
            value = item.plain()
            if name not in self.thresholds:
                hint = suggestion(name, self.thresholds) if self.thresholds else "the pattern declares none"
                self._at(node.keys[name], f"with: the pattern has no threshold '{shown_text(name)}'; {hint}")
            elif isinstance(value, bool) or not isinstance(value, int | Decimal):
                self._wrong(item, f"with.{name}: found {item.shown()}, expected a number")
            else:
                numbers[name] = Decimal(value)
        return numbers

    # rows

    def _rows(self, node: Node) -> tuple[ExampleRow, ...]:
        if isinstance(node, ListNode):
            pairs = [(self._cells(item), item.place) for item in node.items]
        elif isinstance(node, ScalarNode) and isinstance(node.value, str):
            pairs = list(self._csv(node))
        else:
            self._wrong(node, f"rows: found {node.shown()}, {_ROWS_WORDS}")
            return (_A_ROW,)
        rows = tuple(self._row(cells, place) for cells, place in pairs)
        if not rows:
            self._wrong(node, "rows: found none, expected at least one")
            return (_A_ROW,)
        self._check_rows(rows, node)
        return rows

    def _check_rows(self, rows: Sequence[ExampleRow], node: Node) -> None:
        if any(a.chunk > b.chunk for a, b in pairwise(rows)):
            self._wrong(node, "rows: the chunks go back; expected the rows of chunk 0 first, then those of chunk 1 …")
        if (total := sum(row.times for row in rows)) > MAX_ROWS:
            self._wrong(node, f"rows: found {total} rows, expected at most {MAX_ROWS}; lower a threshold under with")

    def _cells(self, node: Node) -> dict[str, str]:
        if not isinstance(node, MapNode) or not node.items:
            self._wrong(node, f"rows: found {node.shown()}, expected a mapping of columns to values")
            return {}
        cells = {}
        for column, item in node.items.items():
            if not isinstance(item, ScalarNode):
                self._wrong(item, f"rows: {column}: found {item.shown()}, expected a value")
                continue
            cells[column] = "" if item.value is None else item.raw
        return cells

    def _csv(self, node: ScalarNode) -> Iterator[tuple[dict[str, str], Place]]:
        """The rows of a block of CSV, each with its place. Cells are stripped; empty lines do not count."""
        header: list[str] = []
        for number, line in enumerate(node.raw.splitlines()):
            place = self._line(node, number)
            cells = _cut(line)
            if not line.strip():
                continue
            if not header:
                header = cells
                if "" in header or len(set(header)) != len(header):
                    self._at(place, f"rows: found the header '{shown_text(line.strip())}', expected different names")
            elif len(cells) != len(header):
                self._at(place, f"rows: found {len(cells)} values, expected {len(header)} as in the header")
            else:
                yield dict(zip(header, cells, strict=True)), place

    def _line(self, node: Node, number: int) -> Place:
        """Where a line of a block is; of a text that is no block, where the text is."""
        spot = self.spot(node)
        known = spot.line and spot.indent is not None
        return Place(spot.file, spot.line + number, (spot.indent or 0) + 1) if known else node.place

    def _row(self, cells: dict[str, str], place: Place) -> ExampleRow:
        times = self._whole(cells.pop(TIMES, "") or "1", TIMES, 1, MAX_ROWS, place)
        chunk = self._whole(cells.pop(CHUNK, "") or "0", CHUNK, 0, MAX_CHUNKS - 1, place)
        return ExampleRow(cells, times, chunk, str(place))

    def _whole(self, text: str, name: str, low: int, high: int, place: Place) -> int:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if low <= number <= high:
            return number
        self._at(place, f"{name}: found '{shown_text(text)}', expected a whole number from {low} to {high}")
        return low

    # what is expected

    def _expect(self, node: Node) -> tuple[Expected, ...]:
        if isinstance(node, ScalarNode) and node.raw == NONE:
            return ()
        items = node.items if isinstance(node, ListNode) else [node]
        return tuple(expected for item in items if (expected := self._expected(item)) is not None)

    def _expected(self, node: Node) -> Expected | None:
        if isinstance(node, ScalarNode) and node.value is not None and len(self.per) == 1:
            return Expected({self.per[0]: node.raw})
        known = (*self.per, CHUNK, ROW)
        if not isinstance(node, MapNode) or not node.items:
            self._wrong(node, f"expect: found {node.shown()}, {_EXPECT_WORDS}")
            return None
        texts = self._cells(node)
        for key in texts:
            if key not in known:
                text = f"expect: '{shown_text(key)}' is not a key of the pattern; {suggestion(key, known)}"
                self._at(node.keys[key], text)
        numbers = {
            key: self._whole(texts[key], key, low, high, node.items[key].place)
            for key, low, high in ((CHUNK, 0, MAX_CHUNKS - 1), (ROW, 1, MAX_ROWS))
            if key in texts
        }
        return Expected({k: texts[k] for k in self.per if k in texts}, numbers.get(CHUNK), numbers.get(ROW))


def _cut(line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True), [])]
    except csv.Error:  # a value of over 128 KiB
        return [line]


_A_ROW = ExampleRow({}, 1, 0, "")
"""Stands for rows that are wrong, so that the rest can be looked at."""


def unknown_columns(
    pattern: str, examples: Iterable[Example], columns: Sequence[str], lookups: Iterable[str]
) -> Iterator[str]:
    """What is wrong with the names of the columns of examples, with its place."""
    known = [*columns, *lookups, TIMES, CHUNK]
    for example in examples:
        told: set[str] = set()
        for row in example.rows:
            for column in row.cells:
                if column not in known and column not in told:
                    told.add(column)
                    yield (
                        f"{row.place}: {pattern}: '{shown_text(column)}' is neither a mapped column nor a lookup; "
                        f"{suggestion(column, known)}"
                    )
