"""Event times: texts to whole millionths, of the unit of a number column or of a second since 1970 in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import polars as pl

from tillwatch.engine.dictionary import clean, cleaned
from tillwatch.patterns.windows import MICRO, WindowKind

TimeFormat = Literal["auto", "number", "iso", "epoch_s", "epoch_ms"]

_ISO = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2})(?::([0-5][0-9])(?:[.,]([0-9]{1,9}))?)?"
    r"(?: ?(?:[Zz]|UTC|([+-])([01][0-9]|2[0-3]):?([0-5][0-9])?))?)?$"
)
_OFFSET = r"(?:[Zz]|UTC|:[0-9]{2}.*[+-][0-9]{2}(?::?[0-9]{2})?)$"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DIGITS = {"number": 6, "epoch_s": 6, "epoch_ms": 3}
_FIRST, _LAST = -62_135_596_800 * MICRO, 253_402_300_800 * MICRO - 1
"""The years 1 to 9999."""


@dataclass(frozen=True, slots=True)
class TimeRule:
    """How the time column is read. `kind` is what windows need it to hold, None when they do not say.

    `auto` takes a number for a number and anything else for ISO 8601; with a kind only that is a time. `timezone` is
    that of ISO times without an offset.
    """

    format: TimeFormat = "auto"
    timezone: str = "UTC"
    kind: WindowKind | None = None

    @property
    def formats(self) -> tuple[TimeFormat, ...]:
        """The formats that count, the first that fits."""
        if self.format != "auto":
            return (self.format,)
        return {"number": ("number",), "duration": ("iso",)}.get(self.kind or "", ("number", "iso"))  # type: ignore[return-value]

    @property
    def other(self) -> TimeFormat | None:
        """The format that `auto` would have taken had the windows not said otherwise."""
        if self.format != "auto" or self.kind is None:
            return None
        return "iso" if self.kind == "number" else "number"

    def read(self, texts: pl.Series) -> pl.Series:
        """Times in millionths, null for texts that are none.

        >>> TimeRule().read(pl.Series(["3", "'1.5'", "1970-01-01 00:00:01+00", "x"])).to_list()
        [3000000, 1500000, 1000000, None]
        """
        found = self._of(texts)
        if found.null_count():
            missing = found.is_null()
            bare = texts.filter(missing).to_frame("t").select(cleaned(pl.col("t")).str.strip_chars()).to_series()
            found = found.scatter(missing.arg_true(), self._of(bare))
        return found

    def _of(self, texts: pl.Series) -> pl.Series:
        first, *others = self.formats
        found = parse(texts, first, self.timezone)
        for format in others:
            if found.null_count():
                found = found.zip_with(found.is_not_null(), parse(texts, format, self.timezone))
        return found

    def problem(self, text: str, column: str) -> tuple[str, str]:
        """Why a text is not a time: a code word and the reason."""
        bare, name = clean(text).strip(), f"time ({column})"
        shown = repr(text if len(text) <= 60 else text[:57] + "…")
        if bare == "":
            return "time_empty", f"{name} is empty"
        if self.formats != ("iso",) and _NUMBER.fullmatch(bare):
            return "time_out_of_range", f"{name} is too far in the past or future: {shown}"
        what = " or ".join("ISO 8601, and there is such a time" if f == "iso" else "a number" for f in self.formats)
        return "time_not_a_time", f"{name} is not {what}: {shown}"


def parse(texts: pl.Series, format: TimeFormat, timezone: str) -> pl.Series:
    """Texts of one format as millionths, null where they are not."""
    if format == "iso":
        return _iso(texts, timezone)
    found = texts.cast(pl.Decimal(18, _DIGITS[format]), strict=False).to_physical().cast(pl.Int64)
    return found if format == "number" else _in_range(found)


def _in_range(times: pl.Series) -> pl.Series:
    return times.to_frame("t").select(pl.when(pl.col("t").is_between(_FIRST, _LAST)).then("t")).to_series()


def _iso(texts: pl.Series, timezone: str) -> pl.Series:
    """A time that exists twice, when clocks are put back, is the first; one that does not exist is none."""
    part = pl.col("t").str.extract_groups(_ISO).struct
    frame = texts.to_frame("t").select(
        pl.col("t"),
        day=part[0],
        minute=part[1],
        second=part[2],
        rest=part[3],
        sign=part[4],
        hours=part[5],
        more=part[6],
    )
    text = pl.concat_str(
        "day", pl.lit("T"), pl.col("minute").fill_null("00:00"), pl.lit(":"), pl.col("second").fill_null("00"),
        pl.lit("."), pl.col("rest").fill_null("").str.pad_end(6, "0").str.head(6),
    )  # fmt: skip
    local = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.6f", strict=False, time_unit="us")
    offset = pl.col("hours").cast(pl.Int64) * 3600 + pl.col("more").cast(pl.Int64).fill_null(0) * 60
    ahead = pl.when(pl.col("sign") == "-").then(-offset).otherwise(offset).fill_null(0) * MICRO
    said = pl.col("t").str.contains(_OFFSET)
    here = local.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    shown = frame.select(pl.when(said).then(local.to_physical() - ahead).otherwise(here.to_physical())).to_series()
    return _in_range(shown)
