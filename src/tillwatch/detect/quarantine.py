"""The quarantine: for each chunk with rows that are not valid, one JSON Lines file of them as they came."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import polars as pl

from tillwatch.engine.decode import Reject
from tillwatch.model import MALFORMED, RESERVED, SOURCE_FILE, SOURCE_ROW, Chunk


def name(chunk: int) -> str:
    """The file of a chunk.

    >>> name(12)
    '000000000012.jsonl'
    """
    return f"{chunk:012d}.jsonl"


def render(chunk: Chunk, rejects: Sequence[Reject]) -> bytes:
    """One object a row: chunk, file and row in the source file, reason, and the row (`text` when malformed)."""
    rows = chunk.frame[[r.row for r in rejects]]
    columns = [c for c in rows.columns if c not in RESERVED]
    texts = rows.select(pl.col(columns).map_batches(_as_text, return_dtype=pl.String)) if columns else rows
    lines = []
    for reject, row, cells in zip(rejects, rows.iter_rows(named=True), texts.iter_rows(named=True), strict=True):
        record = {
            "chunk": chunk.info.number,
            "file": row[SOURCE_FILE],
            "row": row[SOURCE_ROW],
            "code": reject.code,
            "reason": reject.reason,
        }
        malformed = row.get(MALFORMED)
        record |= {"row_data": cells} if malformed is None else {"text": malformed}
        lines.append(json.dumps(record, ensure_ascii=False))
    return ("\n".join(lines) + "\n").encode()


def _as_text(column: pl.Series) -> pl.Series:
    return column if column.dtype == pl.String else pl.Series(column.name, [_cell(v) for v in column], pl.String)


def _cell(value: object) -> str | None:
    if value is None:
        return None
    return value.hex() if isinstance(value, bytes) else str(value)


def by_code(rejects: Sequence[Reject]) -> dict[str, int]:
    """How many rows by reason code."""
    return dict(sorted(Counter(r.code for r in rejects).items()))
