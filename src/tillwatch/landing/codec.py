"""Frames to the bytes of a chunk and back."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Literal

import polars as pl

from tillwatch.errors import ChunkRefused
from tillwatch.landing.metadata import KEY, metadata
from tillwatch.model import RESERVED, SOURCE_ROW, ChunkInfo

Format = Literal["parquet", "csv"]


def decode(format: Format, data: bytes, columns: Sequence[str] | None) -> pl.DataFrame:
    return decode_parquet(data, columns) if format == "parquet" else decode_csv(data, columns)


def _wanted(names: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    return [name for name in names if columns is None or name in columns or name in RESERVED]


def encode_parquet(info: ChunkInfo, frame: pl.DataFrame, where: str) -> bytes:
    target = io.BytesIO()
    try:
        frame.write_parquet(
            target,
            compression="zstd",
            compression_level=1,
            statistics=False,
            metadata={KEY: metadata(info)},
        )
    except pl.exceptions.PolarsError as error:
        raise ChunkRefused(f"{where}: cannot be written as Parquet: {_brief(error)}") from error
    return target.getvalue()


def decode_parquet(data: bytes, columns: Sequence[str] | None) -> pl.DataFrame:
    if columns is None:
        return pl.read_parquet(data)
    return pl.read_parquet(data, columns=_wanted(list(pl.read_parquet_schema(data)), columns))


def encode_csv(frame: pl.DataFrame, where: str) -> bytes:
    """RFC 4180 in UTF-8 with a header: null is an empty field, the empty string is `""`.

    Nested values are JSON text, durations ISO 8601, bytes the text that they are in UTF-8. JSON has no NaN:
    within nested values it becomes null.
    """
    target = io.BytesIO()
    try:
        frame.select(_as_text(name, dtype) for name, dtype in frame.schema.items()).write_csv(target)
    except pl.exceptions.PolarsError as error:
        raise ChunkRefused(f"{where}: cannot be written as CSV; use Parquet: {_brief(error)}") from error
    return target.getvalue()


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype == pl.Binary:
        return column.cast(pl.String)
    if isinstance(dtype, pl.Duration):
        return column.dt.to_string("iso")
    if not dtype.is_nested():
        return column
    if _holds_bytes(dtype):
        raise pl.exceptions.InvalidOperationError(f"column {name!r} holds bytes within {dtype}")
    text = pl.struct(column.alias("v")).struct.json_encode().str.strip_prefix('{"v":').str.strip_suffix("}")
    return pl.when(column.is_not_null()).then(text).alias(name)


def _holds_bytes(dtype: object) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(_holds_bytes(field.dtype) for field in dtype.fields)
    if isinstance(dtype, (pl.List, pl.Array)):
        return _holds_bytes(dtype.inner)
    return dtype == pl.Binary


def decode_csv(data: bytes, columns: Sequence[str] | None) -> pl.DataFrame:
    # The header is read apart: Polars takes quotes within a column's name as they stand.
    names = next(csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")))
    schema = {name: pl.Int64 if name == SOURCE_ROW else pl.String for name in names}
    frame = pl.read_csv(data, schema=schema, has_header=False, skip_rows=1)
    return frame.select(_wanted(names, columns))
