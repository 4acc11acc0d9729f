"""Event times: what is a time, in which format, across clock changes and at the ends of time; and windows as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillwatch.engine.decode import Decoder, Detail
from tillwatch.engine.times import TimeRule
from tillwatch.errors import PatternError
from tillwatch.patterns.expression import ExpressionError
from tillwatch.patterns.features import parse_feature
from tillwatch.patterns.windows import Window

HOUR = 3_600_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read(rule: TimeRule, *texts: str) -> list[int | None]:
    """What texts are as times."""
    return rule.read(pl.Series(texts, dtype=pl.String)).to_list()


def micros(text: str) -> int:
    """A time in microseconds, by Python's own calendar."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-10-25T02:30:00", "2026-10-25T00:30:00+00:00"),  # exists twice: the first
        ("2026-10-25T02:30:00+01:00", "2026-10-25T01:30:00+00:00"),  # the second, by its offset
        ("2026-10-25T03:00:00", "2026-10-25T02:00:00+00:00"),
        ("2026-03-29T01:59:59.999999", "2026-03-29T00:59:59.999999+00:00"),
        ("2026-03-29 03:00", "2026-03-29T01:00:00+00:00"),
        ("2026-07-01", "2026-06-30T22:00:00+00:00"),
        (" '2026-07-01T12:00:00Z' ", "2026-07-01T12:00:00+00:00"),
        ("2026-07-01 12:00:00.123456789 UTC", "2026-07-01T12:00:00.123456+00:00"),
        ("2026-07-01T12:00:00,5-0330", "2026-07-01T15:30:00.5+00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_iso_times_are_read_in_their_zone(text: str, utc: str) -> None:
    """Offsets, zones, clock changes and the ends of the calendar."""
    assert read(TimeRule("iso", "Europe/Berlin"), text) == [micros(utc)]


@pytest.mark.parametrize(
    "text",
    ["", "x", "3", "2026-02-30", "2026-03-29T02:30:00", "2026-01-01T24:00", "2026-01-01T00:00:60", "2026-01-01T1:00",
     "2026-01-01T00:00+24:00", "0000-01-01", "10000-01-01", "2026-01-01T00:00:00 Europe/Berlin", "٢٠٢٦-01-01", "26-1-1",
     "9999-12-31T23:59:59-01:00"],
)  # fmt: skip
def test_what_is_no_iso_time(text: str) -> None:
    """Times that do not exist, also because clocks are put forward, and other spellings are no times."""
    assert read(TimeRule("iso", "Europe/Berlin"), text) == [None]


@settings(max_examples=100, deadline=None)
@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - the zone is drawn
    st.integers(-23 * 60, 23 * 60),
)
def test_iso_times_are_those_of_python(when: datetime, minutes: int) -> None:
    """Any time with any offset is the one that Python's own calendar has."""
    text = when.replace(tzinfo=timezone(timedelta(minutes=minutes))).isoformat()
    assert read(TimeRule("iso"), text) == [micros(text)]


def test_numbers_and_epochs() -> None:
    """Numbers are exact to six digits; seconds and milliseconds since 1970 are the same microseconds."""
    assert read(TimeRule("number"), "3", " '-0.5' ", "1e3", "0.0000015", "999999999999.999999") == [
        3_000_000, -500_000, 10**9, 2, 999_999_999_999_999_999,
    ]  # fmt: skip
    assert read(TimeRule("number"), "1000000000000", "nan", "inf", "x", "") == [None] * 5
    assert read(TimeRule("epoch_s"), "1700000000.25") == read(TimeRule("epoch_ms"), "1700000000250")
    assert read(TimeRule("epoch_s"), "253402300800", "-62135596801", "253402300799") == [None, None, 253402300799000000]


def test_auto_looks_at_each_value_alone() -> None:
    """A number is a number and anything else ISO; where windows say what it must be, only that is a time."""
    texts = ("7", "1970-01-01T01:00:00Z", "x")
    assert read(TimeRule(), *texts) == [7_000_000, HOUR, None]
    assert read(TimeRule(kind="number"), *texts) == [7_000_000, None, None]
    assert read(TimeRule(kind="duration"), *texts) == [None, HOUR, None]


def rejected(rule: TimeRule, times: list[str | None], amount: str = "5") -> list[tuple[int, str, str]]:
    """What becomes of rows with these times."""
    decoder = Decoder({"customer": "c", "merchant": "m", "amount": "a", "time": "at"}, detail=Detail(rule))
    frame = pl.DataFrame({"c": "C", "m": "M", "a": amount, "at": pl.Series(times, dtype=pl.String)})
    (decoded,) = decoder.decode([frame])
    assert len(decoded.rows) + len(decoded.rejects) == len(times)
    return [(r.row, r.code, r.reason) for r in decoded.rejects]


def test_a_row_without_a_time_is_not_valid() -> None:
    """It is rejected with a reason of its own; what is wrong with its amount comes first."""
    assert rejected(TimeRule("number"), ["1", "", None, "soon", "1e12"]) == [
        (1, "time_empty", "time (at) is empty"),
        (2, "time_empty", "time (at) is empty"),
        (3, "time_not_a_time", "time (at) is not a number: 'soon'"),
        (4, "time_out_of_range", "time (at) is too far in the past or future: '1e12'"),
    ]
    assert rejected(TimeRule("iso"), ["2026-02-30", "2026-01-01"]) == [
        (0, "time_not_a_time", "time (at) is not ISO 8601, and there is such a time: '2026-02-30'")
    ]
    assert rejected(TimeRule("number"), ["x"], "y")[0][1] == "amount_not_a_number"


def test_a_column_that_windows_cannot_use_stops_the_run() -> None:
    """A chunk with times, none of which fits the windows, is a mistake in the patterns; one odd row is quarantined."""
    with pytest.raises(PatternError, match="is such as '2026-01-01', and the windows of the patterns are in steps"):
        rejected(TimeRule(kind="number"), ["2026-01-01", ""])
    with pytest.raises(PatternError, match="in hours or the like: give them units that fit"):
        rejected(TimeRule(kind="duration"), ["12"])
    assert len(rejected(TimeRule(kind="number"), ["2026-01-01", "4"])) == 1
    assert len(rejected(TimeRule(kind="number"), ["x", ""])) == 2


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("3", Window("number", 3_000_000, "")),
        ("0.5 steps", Window("number", 500_000, "")),
        ("1 STEP", Window("number", 1_000_000, "")),
        ("24h", Window("duration", 24 * HOUR, "")),
        ("1 d", Window("duration", 24 * HOUR, "")),
        ("90 minutes", Window("duration", 90 * HOUR // 60, "")),
        ("5min", Window("duration", HOUR // 12, "")),
        ("2 weeks", Window("duration", 14 * 24 * HOUR, "")),
        ("10 transactions", Window("transactions", 10, "")),
        ("30s", Window("duration", HOUR // 120, "")),
    ],
)
def test_windows_are_written_at_the_end(text: str, window: Window) -> None:
    """Steps for numbers, the usual units for timestamps; equal lengths are equal windows."""
    feature = parse_feature("f", f"sum(amount) filter (where category = 'x within 3 steps') Within {text}")
    assert feature.window == window and feature.where is not None
    assert parse_feature("f", "count(*) filter (where category = 'a within b')").window is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("count(*) within 0", "within 0: a window is longer than nothing"),
        ("count(*) within soon", "within soon: expected a number with steps"),
        ("count(*) within", "within : expected a number with steps"),
        ("count(*) within 3 parsecs", "within 3 parsecs: expected a number with steps"),
        ("count(*) within 999999999999999 weeks", "that is longer than all of time"),
        ("count(*) within 0 transactions", "expected a whole number of transactions from 1 to 10,000"),
        ("count(*) within 1.5 transactions", "expected a whole number of transactions"),
        ("count(*) within 20000 transactions", "expected a whole number of transactions"),
        ("within 3 steps", "not a SQL expression"),
        ("count(*) within 3 steps within 2 steps", "within 3 steps within 2 steps: expected a number"),
    ],
)
def test_what_is_no_window(text: str, message: str) -> None:
    """It is refused with the reason."""
    with pytest.raises(ExpressionError, match="^.*" + message.replace("(", r"\(")):
        parse_feature("f", text)
