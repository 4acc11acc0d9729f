"""CSV as RFC 4180 has it, with a header; LF as well as CRLF, and rows that do not fit kept as they are.

Empty lines are no rows. A row whose quotes do not fit is its physical line, and reading goes on with the next
line, also when a quoted field is not closed within 16 MiB.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tillwatch.ingest.readers.base import FileBroken, Piece, Reading, sealed
from tillwatch.ingest.readers.csv_blocks import BlockReader
from tillwatch.ingest.readers.csv_header import read_header
from tillwatch.ingest.readers.csv_records import CarefulReader, Grammar, Limits, Verdict, cut_off
from tillwatch.ingest.readers.cutting import Batch, to_size
from tillwatch.ingest.readers.stream import Stream, Window
from tillwatch.model import Position
from tillwatch.sources.base import Readable

BLOCK = 4 << 20
PACED_BLOCK = 1 << 20
_LIMITS = Limits()


def cut(path: Readable, rows: int, start: Position, reading: Reading) -> Iterator[Piece]:
    """The rows of the file from `start` on, in pieces of `rows`; fewer only at the file's end.

    Raises FileRefused before the first piece when the file is not a CSV file with the required columns,
    FileBroken after the last one when it ends early, SourceError when the disk fails.
    """
    return cut_blocks(path, rows, start, reading, PACED_BLOCK if reading.paced else BLOCK, _LIMITS)


def cut_blocks(
    path: Readable, rows: int, start: Position, reading: Reading, block: int, limits: Limits
) -> Iterator[Piece]:
    """As `cut`, reading blocks of `block` bytes; neither it nor `start` changes what a row is."""
    grammar = Grammar(reading.delimiter, limits)
    with Stream(path, reading.compression) as stream:
        text = Window(stream, block)
        columns = read_header(text, grammar, reading)
        text.skip_to(start.offset)
        row = start.row
        found = _Rows(text, columns, grammar, block)
        for piece in sealed(to_size(found.batches(), rows, reading.name, row + 1), stream.digest):
            row = piece.position.row
            yield piece
        if stream.damage:
            raise FileBroken(f"{stream.damage}, after row {row}")


class _Rows:
    """All rows of a text: clean stretches at once, the others record by record."""

    def __init__(self, text: Window, columns: list[str], grammar: Grammar, block: int) -> None:
        self._text = text
        self._columns = columns
        self._limits = grammar.limits
        self._fast = BlockReader(columns, grammar)
        self._careful = CarefulReader(columns, grammar)
        self._verdict = Verdict.RECORD
        # What the careful reader takes on before the fast one is tried again.
        self._stretch = max(1, block >> 7)

    def batches(self) -> Iterator[Batch]:
        """The rows to the text's end, or to a row that is too long, which counts as damage."""
        text = self._text
        while True:
            yield from self._complete_rows()
            if self._verdict is Verdict.LONG:
                text.stream.damage = f"a row is longer than {self._limits.row >> 20} MiB"
                return
            if text.final:
                break
            text.grow()
        if text.data:
            yield cut_off(self._columns, text.data, text.end)

    def _complete_rows(self) -> Iterator[Batch]:
        """The rows that end within the window, which moves on behind them."""
        data, base, limit = self._text.data, self._text.base, self._text.end
        at, window, self._verdict = 0, len(data), Verdict.RECORD
        while at < len(data) and self._verdict not in (Verdict.MORE, Verdict.LONG):
            batch = self._fast.read(data[at : at + window], base + at)
            if batch:
                at = int(batch.ends[-1]) - base
                window *= 8
            elif window > self._stretch:
                window = max(window // 8, self._stretch)
                continue
            else:
                stop = min(at + self._stretch, len(data))
                batch, at, self._verdict = self._careful.read(data, at, stop, base, self._text.whole)
            if batch:
                yield Batch(batch.frame, np.minimum(batch.ends, limit))
        self._text.drop(at)
