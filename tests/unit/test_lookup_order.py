"""What is asked of a row first: what is wrong with itself, then whether lookups have it, its lateness, the filter."""

from __future__ import annotations

import polars as pl

from tillwatch.engine.decode import Decoder, Detail
from tillwatch.engine.joined import RowLookups
from tillwatch.engine.late import Lateness, set_aside
from tillwatch.engine.times import TimeRule
from tillwatch.patterns.features import parse_filter
from tillwatch.patterns.program import LookupSpec
from tillwatch.testing.folding import lookup_data

SEGMENT = LookupSpec("segment", ("customer",), "text")
PLACES = LookupSpec("places", ("merchant", "category"), "bool")
NAMES = ("customer", "merchant", "category", "amount", "time")
ROWS = [
    ("C1", "M1", "a", "1", "9"),
    ("C9", "M1", "a", "1", "8"),  # marked
    ("C1", "M1", "b", "1", "now"),  # its time is told, not that the place is unknown
    ("C1", "M1", "b", "1", "1"),  # unknown is told, not late
    ("C1", "", "b", "1", "9"),
    ("C9", "M1", "a", "1", "1"),  # late, so not marked
    ("C2", "M1", "a", "1", "9"),  # filtered
    ("C9", "M1", "a", "5", "9"),  # filtered, so not marked
    ("C2", "M1", "a", "1", "2"),  # late, not filtered
]


def test_each_row_is_told_the_first_thing_that_is_wrong() -> None:
    """A row is in one place only, and marked are only rows that count in the end."""
    data = [
        lookup_data(SEGMENT, {("C1",): "gold", ("C2",): "staff"}),
        lookup_data(PLACES, {("M1", "a"): 1, ("M2", "b"): 1}),
    ]
    lookups = RowLookups.of(data, {"places": "quarantine", "segment": "mark"})
    where = parse_filter("(segment is null or segment <> 'staff') and amount < 5", (*NAMES[:3], "segment"))
    columns = {name: name for name in NAMES}
    decoder = Decoder(columns, detail=Detail(TimeRule("number")), where=where, lookups=lookups)
    (decoded,) = decoder.decode([pl.DataFrame(ROWS, schema=dict.fromkeys(NAMES, pl.String), orient="row")])
    assert decoded.marked == {"segment": 2}
    found = set_aside(decoded, 8_000_000, Lateness(0, "0", quarantine=True), "time")
    assert [(r.row, r.code) for r in found.rejects] == [
        (2, "time_not_a_time"),
        (3, "places_unknown"),
        (4, "merchant_empty"),
        (5, "late"),
        (8, "late"),
    ]
    assert found.rejects[1].reason == "merchant 'M1', category 'b' are not in the lookup places"
    assert (len(found.rows), found.filtered, found.marked) == (2, 2, {"segment": 1})
    assert decoder.dictionaries["segment"].texts(found.rows.codes["segment"]) == ["gold", ""]


def test_several_lookups_that_lack_a_row_are_told_in_their_order() -> None:
    """The first of `require` is."""
    shops, people = LookupSpec("shops", ("merchant",), "bool"), LookupSpec("people", ("customer",), "bool")
    data = [lookup_data(shops, {("M1",): 1}), lookup_data(people, {("C1",): 1})]
    lookups = RowLookups.of(data, {"people": "quarantine", "shops": "quarantine"})
    decoder = Decoder({name: name for name in NAMES[:4]}, lookups=lookups)
    rows = [("C1", "M1", "a", "1"), ("C2", "M2", "a", "1"), ("C1", "M2", "a", "1")]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(NAMES[:4], pl.String), orient="row")
    (decoded,) = decoder.decode([frame])
    assert [(r.row, r.code) for r in decoded.rejects] == [(1, "people_unknown"), (2, "shops_unknown")]
