"""JSON Lines: one object a line. Numbers keep their text, null is null, nested values are compact JSON text.

The columns of a piece are the keys of its rows, in the order in which they are first seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import polars as pl

from tillwatch.ingest.readers.base import (
    FileBroken,
    FileRefused,
    Piece,
    Reading,
    check_columns,
    make_piece,
    raw_text,
    sealed,
)
from tillwatch.ingest.readers.stream import Stream, Window, strip_line_end
from tillwatch.model import MALFORMED, PROBLEM, RESERVED, Position
from tillwatch.sources.base import Readable

BLOCK = 1 << 20
_LINE_LIMIT = 64 << 20
_Row = tuple[dict[str, str | None], bytes | None, str | None, int]
"""The values, or the raw text and what is wrong with it; and the offset behind the row."""


def cut(path: Readable, rows: int, start: Position, reading: Reading) -> Iterator[Piece]:
    """The rows of the file from `start` on, in pieces of `rows`; fewer only at the file's end.

    Raises FileRefused before the first piece when the file cannot be opened or is not JSON Lines, FileBroken
    after the last one when it ends early, SourceError when the disk fails.
    """
    return cut_blocks(path, rows, start, reading, BLOCK, _LINE_LIMIT)


def cut_blocks(path: Readable, rows: int, start: Position, reading: Reading, block: int, limit: int) -> Iterator[Piece]:
    """As `cut`, reading blocks of `block` bytes; neither it nor `start` changes what a row is."""
    with Stream(path, reading.compression) as stream:
        text = Window(stream, block)
        text.skip_bom()
        if text.data.startswith(b"["):
            raise FileRefused("starts with '[': it is a JSON array, expected JSON Lines, one object a line")
        text.skip_to(start.offset)
        row = start.row
        for piece in sealed(_pieces(text, limit, rows, reading.name, row + 1), stream.digest):
            if row == 0 and MALFORMED not in piece.frame.columns:
                check_columns(
                    _source_columns(piece.frame), reading.required, f" in its first {piece.frame.height} rows"
                )
            row = piece.position.row
            yield piece
        if stream.damage:
            raise FileBroken(f"{stream.damage}, after row {row}")


def _source_columns(frame: pl.DataFrame) -> list[str]:
    return [column for column in frame.columns if column not in RESERVED]


def _pieces(text: Window, limit: int, rows: int, name: str, first_row: int) -> Iterator[Piece]:
    found = _rows(text, limit)
    while some := list(islice(found, rows)):
        yield make_piece(_frame(some), name, first_row, some[-1][-1])
        first_row += len(some)


def _rows(text: Window, limit: int) -> Iterator[_Row]:
    for line, end in _lines(text, limit):
        if not line.endswith(b"\n"):
            yield {}, line, "file ends here inside a row", end
        elif line.strip(b" \t\r\n"):
            yield _parsed(strip_line_end(line), end)


def _lines(text: Window, limit: int) -> Iterator[tuple[bytes, int]]:
    """Lines with their line end, which only the last line of a damaged file lacks."""
    at = 0
    while True:
        while (end := text.data.find(b"\n", at) + 1) and end - at <= limit:
            yield text.data[at:end], min(text.base + end, text.end)
            at = end
        text.drop(at)
        at = 0
        if end or len(text.data) > limit:
            text.stream.damage = f"a row is longer than {limit >> 20} MiB"
            return
        if text.final:
            break
        text.grow()
    if text.data:
        yield text.data, text.end


def _frame(rows: list[_Row]) -> pl.DataFrame:
    values, raws, problems, _ = zip(*rows, strict=True)
    columns = dict.fromkeys(chain.from_iterable(values))
    data: dict[str, list[str | None]] = {column: [row.get(column) for row in values] for column in columns}
    data[MALFORMED] = [None if raw is None else raw_text(raw) for raw in raws]
    data[PROBLEM] = [None if problem is None else f"malformed: {problem}" for problem in problems]
    return pl.DataFrame(data, schema=dict.fromkeys(data, pl.String()))


class _Number(str):
    """A number, as it is written."""

    __slots__ = ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} twice in one object")
    return found


_DECODER = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=_Number, object_pairs_hook=_unique)


def _parsed(line: bytes, end: int) -> _Row:
    try:
        return _values(line), None, None, end
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text at byte {error.start + 1} of the row"
    except json.JSONDecodeError as error:
        problem = f"not JSON: {error.msg} at character {error.pos + 1} of the row"
    except RecursionError:
        problem = "JSON nested too deeply"
    except ValueError as error:
        problem = str(error)
    return {}, line, problem, end


def _values(line: bytes) -> dict[str, str | None]:
    found = _DECODER.decode(line.decode())
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    values = {key: value if isinstance(value, str) else _as_text(value) for key, value in found.items()}
    if not values.keys().isdisjoint(RESERVED):
        raise ValueError(f"key {min(values.keys() & set(RESERVED))!r} is a name that tillwatch keeps for itself")
    if b"\\u" in line:
        _check_escapes("".join(chain(values, filter(None, values.values()))))
    return values


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    return ("false", "true")[value] if isinstance(value, bool) else _compact(value)


def _compact(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_compact(key)}:{_compact(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_compact, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _check_escapes(text: str) -> None:
    if "\0" in text:
        raise ValueError("NUL in a text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half a surrogate pair in a text") from None
