"""The header of a CSV file: its names, or why the file is refused."""

from __future__ import annotations

import re

from tillwatch.ingest.readers.base import FileRefused, Reading, check_columns
from tillwatch.ingest.readers.csv_records import Grammar, Verdict
from tillwatch.ingest.readers.stream import Window, strip_line_end

_EMPTY_LINES = re.compile(rb"(?:\r?\n)*")
_DELIMITERS = {",": "','", ";": "';'", "\t": "a tab", "|": "'|'"}


def read_header(text: Window, grammar: Grammar, reading: Reading) -> list[str]:
    """The checked column names; the window moves on behind the header. Raises FileRefused."""
    raw = _header_record(text, grammar)
    if b"\0" in raw:
        raise FileRefused("is not a CSV text file: its first line has NUL bytes")
    try:
        line = raw.decode()
    except UnicodeDecodeError as error:
        raise FileRefused(
            f"is not a CSV text file in UTF-8: byte {error.start + 1} of its header is not. Save it as UTF-8"
        ) from error
    if "\r" in line:
        raise FileRefused("has a carriage return within its header: its lines must end in LF or CRLF")
    names = [_cleaned(field) for field in grammar.fields(line)]
    _check_names(names)
    check_columns(names, reading.required, _delimiter_hint(line, reading.delimiter, len(names)))
    return names


def _header_record(text: Window, grammar: Grammar) -> bytes:
    text.skip_bom()
    verdict, end = Verdict.MORE, 0
    while verdict is Verdict.MORE:
        empty = _EMPTY_LINES.match(text.data)
        text.drop(empty.end() if empty else 0)
        if text.data:
            verdict, end = grammar.look(text.data, 0, text.whole)
        if verdict is Verdict.MORE and text.final:
            raise FileRefused(text.stream.damage or "is empty: it has not even a header")
        if verdict is Verdict.MORE:
            text.grow()
    if verdict is Verdict.STRAY:
        raise FileRefused("has a header with a quoted name that is not closed properly")
    if verdict is Verdict.LONG:
        raise FileRefused(f"is not a CSV text file: no line ends in its first {grammar.limits.row >> 20} MiB")
    raw = strip_line_end(text.data[:end])
    text.drop(end)
    return raw


def _cleaned(name: str) -> str:
    name = name.strip()
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in "'\"" else name


def _check_names(names: list[str]) -> None:
    seen: dict[str, int] = {}
    for position, name in enumerate(names, 1):
        if not name:
            raise FileRefused(f"has a header whose column {position} has no name")
        first = seen.setdefault(name, position)
        if first != position:
            raise FileRefused(f"has a header with {name!r} twice, in columns {first} and {position}")


def _delimiter_hint(line: str, delimiter: str, found: int) -> str:
    counts = {other: line.count(other) + 1 for other in _DELIMITERS if other != delimiter}
    best = max(counts, key=lambda other: counts[other])
    if counts[best] <= found:
        return ""
    return f". It looks like {_DELIMITERS[best]} is the delimiter: set source.delimiter"
