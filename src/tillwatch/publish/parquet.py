"""Detections as Parquet, in folders by pattern and by date, for engines that read folders as one table."""

from __future__ import annotations

import io
import json
from urllib.parse import quote

import polars as pl

from tillwatch.errors import ObjectExists
from tillwatch.publish.files import put_planned
from tillwatch.publish.output import FIELDS, Batch
from tillwatch.stores.base import Store

FOLDERS = ("patternId", "date")
"""What a folder's name says of the detections in it, and a file therefore does not."""


class ParquetFiles:
    """Objects such as `patternId=PatId1/date=2026-11-20/detections-000000000001-000000000050.parquet`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def place(self) -> str:
        """Where the objects are."""
        return self._store.uri

    def deliver(self, batch: Batch) -> None:
        parts = table(batch).partition_by(FOLDERS, maintain_order=True, as_dict=True, include_key=False)
        for (pattern, date), rows in parts.items():
            name = f"patternId={quote(str(pattern), safe='')}/date={date}/{batch.stem}.parquet"
            self._put(name, rows, batch)

    def _put(self, name: str, rows: pl.DataFrame, batch: Batch) -> None:
        target = io.BytesIO()
        rows.write_parquet(target, compression="zstd")
        try:
            self._store.put(name, target.getvalue())
        except ObjectExists:
            if not _holds(self._store.get(name), rows):  # rows, not bytes: another Polars may write others
                put_planned(self._store, name, batch.plan, target.getvalue())


def table(batch: Batch) -> pl.DataFrame:
    """A batch as a table: `seq` and `chunk` Int64, all else String; `key` and `evidence` as JSON.

    Beside the FIELDS it has `date`, the day of `detectionTime` in the configured time zone.
    """
    rows = [{**r, "key": _json(r["key"]), "evidence": _json(r["evidence"])} for r in batch.records]
    schema = {name: pl.Int64 if name in ("seq", "chunk") else pl.String for name in FIELDS}
    return pl.DataFrame(rows, schema=schema).with_columns(date=pl.col("detectionTime").str.head(10))


def _holds(data: bytes, rows: pl.DataFrame) -> bool:
    try:
        there = pl.read_parquet(data)
    except (pl.exceptions.PolarsError, OSError):
        return False
    return there.schema == rows.schema and there.equals(rows)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
