"""A lookup of texts has one for a key, or none; one of keys alone has nothing else; what does not fit is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tillwatch.errors import ConfigError, SourceError
from tillwatch.lookups import LookupSource, lookup_source, read_lookup

HEAD = "id,shop,Segment\n"
PAIR = {"customer": "id", "merchant": "shop"}


def source(path: Path, value: str | None = "Segment", on: dict[str, str] | None = None) -> LookupSource:
    """The lookup `segment` of a file."""
    return lookup_source("segment", path, on or {"customer": "id"}, value)


def values(looked_up: LookupSource) -> dict[tuple[str, ...], object]:
    """What is read, by key; no key comes twice."""
    frame = read_lookup(looked_up, 4).frame
    assert frame.columns == [*looked_up.on, "value"]
    found = {row[:-1]: row[-1] for row in frame.rows()}
    assert len(found) == frame.height
    return found


def written(folder: Path, text: str) -> Path:
    """A CSV file with these rows."""
    path = folder / "a.csv"
    path.write_text(HEAD + text, "utf-8")
    return path


def test_a_key_has_the_text_of_its_rows(tmp_path: Path) -> None:
    """Keys and texts are cleaned as those of rows are; what is empty is no text, and no key."""
    path = written(tmp_path, "'C1',M,gold\nC1,M,'gold'\nC1,M,\nC2,M, \nC3,M,''\n,M,gold\nC4,M,\"it's, new\"\n")
    assert values(source(path)) == {("C1",): "gold", ("C4",): "it's, new"}


def test_of_a_required_lookup_keys_without_a_text_are_kept(tmp_path: Path) -> None:
    """They are known, and their text is not; so are keys without a number."""
    path = written(tmp_path, "C1,M,gold\nC2,M,\n,M,gold\n")
    assert values(replace(source(path), required=True)) == {("C1",): "gold", ("C2",): None}
    path.write_text(HEAD + "C1,M,1\nC1,M,2\nC2,M,\n")
    for value, expected in (("avg(Segment)", 1.5), ("count(Segment)", 2), ("max(Segment)", 20_000)):
        assert values(replace(source(path, value), required=True)) == {("C1",): expected, ("C2",): None}


def test_keys_alone_are_read_once_each(tmp_path: Path) -> None:
    """Of several columns too."""
    path = written(tmp_path, "C1,M1,x\n C1 ,'M1',y\nC1,M2,\nC2,,x\n,M1,x\n")
    assert values(source(path, None)) == {("C1",): True, ("C2",): True}
    assert values(source(path, None, PAIR)) == {("C1", "M1"): True, ("C1", "M2"): True}


def test_two_texts_of_a_key_are_told_with_their_rows(tmp_path: Path) -> None:
    """The first key of the file that has two, and where; as many spellings of one text as there are do no harm."""
    path = written(tmp_path, "C9,M,gold\nC1,M,'new'\nC2,M,gold\nC1,M,new\nC2,M,silver\nC1,M,old\nC2,M,gold\n")
    with pytest.raises(SourceError) as caught:
        read_lookup(source(path), 4)
    assert str(caught.value) == (
        f"lookup segment: {path}: customer 'C1' has two texts of Segment: 'new' in row 2 and 'old' in row 6; "
        "a key can have one only"
    )
    path.write_text(HEAD + "C1,M1,a\nC1,M2,b\nC1,M2,a\n")
    with pytest.raises(SourceError, match=r"customer 'C1', merchant 'M2' has two texts of Segment: 'b' in row 2 and"):
        read_lookup(source(path, on=PAIR), 4)


def test_texts_of_other_files_are_as_those_of_csv(tmp_path: Path) -> None:
    """Parquet may hold numbers; JSON Lines lack a column in some rows."""
    pl.DataFrame({"id": [1, 2, 3], "Segment": [7, None, 9]}).write_parquet(tmp_path / "a.parquet")
    assert values(source(tmp_path / "a.parquet")) == {("1",): "7", ("3",): "9"}
    (tmp_path / "a.jsonl").write_text('{"id": "C1", "Segment": "gold"}\n{"id": "C2"}\n')
    assert values(source(tmp_path / "a.jsonl")) == {("C1",): "gold"}


def test_an_empty_table_has_no_keys(tmp_path: Path) -> None:
    """A header alone is a table."""
    path = written(tmp_path, "")
    assert values(source(path)) == values(source(path, None)) == {}


def test_a_column_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With those that are; of keys alone only the key is looked for."""
    path = written(tmp_path, "C1,M,gold\n")
    with pytest.raises(SourceError, match="has no column 'Class'; it has id, shop, Segment"):
        read_lookup(source(path, "Class"), 4)
    with pytest.raises(SourceError, match="has no column 'number'"):
        read_lookup(source(path, None, {"customer": "number"}), 4)


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (" Segment ", "text", "the text Segment"),
        ('"Segment (new)"', "text", "the text Segment (new)"),
        ("Customer segment", "text", "the text Customer segment"),
        (None, "bool", "the keys"),
        ("avg(Segment)", "float", "avg(Segment)"),
    ],
)
def test_a_value_says_what_kind_of_lookup_it_is(value: str | None, kind: str, shown: str) -> None:
    """A plain column is a text, an aggregate a number."""
    found = source(Path("a.csv"), value)
    assert (found.spec.kind, found.shown) == (kind, shown)


def test_what_is_neither_an_aggregate_nor_a_column_is_refused() -> None:
    """Such as another function."""
    with pytest.raises(
        ConfigError, match=r"found 'median\(Weight\)', expected avg, sum, min, max or count of a column, or"
    ):
        source(Path("a.csv"), "median(Weight)")
