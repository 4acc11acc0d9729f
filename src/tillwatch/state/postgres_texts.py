"""Texts with NUL, which PostgreSQL cannot hold: NUL is kept as `␀0`, and `␀` itself, so that it stays one, as `␀␀`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from psycopg import Connection
from psycopg.types.string import StrDumper, TextLoader

_MARK = "\u2400"


def kept(text: str) -> str:
    """The text as it is kept.

    >>> kept("plain"), kept("a\\0␀")
    ('plain', 'a␀0␀␀')
    """
    return text.replace(_MARK, _MARK * 2).replace("\0", f"{_MARK}0")


def found(text: str) -> str:
    """The text that is kept so.

    >>> found(kept("a\\0␀0")) == "a\\0␀0"
    True
    """
    return _MARK.join(part.replace(f"{_MARK}0", "\0") for part in text.split(_MARK * 2))


def use_texts(connection: Connection[Any]) -> None:
    """From now on texts go to and come from the server so."""
    connection.adapters.register_dumper(str, _Dumper)
    connection.adapters.register_loader("text", _Loader)


class _Dumper(StrDumper):
    def dump(self, obj: str) -> Any:
        return super().dump(kept(obj))


class _Loader(TextLoader):
    def load(self, data: Any) -> Any:
        text = str(super().load(data))
        return found(text) if _MARK in text else text


def csv_of(columns: Sequence[Sequence[Any]]) -> bytes:
    """Columns as lines for COPY … (FORMAT csv): texts in quotes, so that an empty one is not NULL.

    >>> csv_of([[1, 2], ["", "a\\"b"], [None, 0.1]])
    b'1,"",\\n2,"a""b",0.1\\n'
    """
    frame = pl.DataFrame({str(number): pl.Series(list(values)) for number, values in enumerate(columns)})
    texts = pl.col(pl.String).str.replace_all(_MARK, _MARK * 2, literal=True)
    safe = frame.with_columns(texts.str.replace_all("\0", f"{_MARK}0", literal=True))
    return safe.write_csv(include_header=False, quote_style="non_numeric").encode()
