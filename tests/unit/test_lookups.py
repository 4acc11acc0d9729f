"""A lookup is aggregated per key, exactly, whatever its file looks like; what cannot be read is told with its row."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tillwatch.engine.dictionary import clean
from tillwatch.errors import ConfigError, SourceError
from tillwatch.lookups import LookupSource, lookup_source, read_lookup
from tillwatch.testing.folding import fold_of, holding, pattern_text, step


def packed(data: bytes) -> bytes:
    """The same bytes in gzip, each time the same."""
    return gzip.compress(data, mtime=0)


HEAD = "Source,Target,Weight\n"
ON = {"customer": "Source", "merchant": "Target"}
UNIT = 10_000

Values = dict[tuple[str, ...], float]


def source(path: Path, value: str = "avg(Weight)", on: dict[str, str] | None = None) -> LookupSource:
    """The lookup `importance` of a file."""
    return lookup_source("importance", path, on or ON, value)


def values(path: Path, value: str = "avg(Weight)", on: dict[str, str] | None = None) -> Values:
    """The lookup's values by key; no key comes twice."""
    frame = read_lookup(source(path, value, on), 4).frame
    found = {tuple(row[:-1]): row[-1] for row in frame.rows()}
    assert len(found) == frame.height
    return found


def written(path: Path, data: str | bytes) -> Path:
    """The file with this content."""
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refusal(path: Path, value: str = "avg(Weight)") -> str:
    """What is said to be wrong with a file."""
    with pytest.raises(SourceError) as caught:
        read_lookup(source(path, value), 4)
    return str(caught.value)


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """Three weights of one pair, one empty weight of another."""
    return written(tmp_path / "a.csv", HEAD + "C1,M1,1\nC1,M1,2.5\nC2,M1,\nC1,M1,3.00005\n")


# Values


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("avg(Weight)", "float", {("C1", "M1"): 65_000 / (3 * UNIT)}),
        (' AVG( "Weight" ) ', "float", {("C1", "M1"): 65_000 / (3 * UNIT)}),
        ("sum(Weight)", "decimal", {("C1", "M1"): 65_000}),
        ("min(Weight)", "decimal", {("C1", "M1"): 10_000}),
        ("max(Weight)", "decimal", {("C1", "M1"): 30_000}),
        ("count(Weight)", "int", {("C1", "M1"): 3}),
        ("count(*)", "int", {("C1", "M1"): 3, ("C2", "M1"): 1}),
    ],
)
def test_a_value_is_an_aggregate_over_all_rows_of_a_key(csv: Path, value: str, kind: str, expected: Values) -> None:
    """Weights are rounded half to even to the digits kept; a key without a value is not there."""
    assert source(csv, value).spec.kind == kind
    assert values(csv, value) == expected


def test_a_lookup_elsewhere_is_told_by_its_name() -> None:
    """Also what the place says of it, such as that nothing is there."""
    missing = replace(source(Path("x.csv")), uri="file:///no/such/x.csv")
    with pytest.raises(SourceError, match=r"lookup importance: .*/no/such/x\.csv"):
        read_lookup(missing, 4)


def test_a_lookup_may_have_one_key(tmp_path: Path) -> None:
    """Per customer all rows of the customer count, whatever the merchant."""
    path = written(tmp_path / "a.csv", HEAD + "C1,M1,1\nC1,M2,2\nC2,M1,5\n")
    assert values(path, on={"customer": "Source"}) == {("C1",): 1.5, ("C2",): 5.0}


def test_keys_are_cleaned_before_they_are_put_together(tmp_path: Path) -> None:
    """White space and quotes go, spellings of one key are one key, empty keys are left out."""
    rows = ["C1,M1,1", "'C1', M1 ,2", '"\'C1\'","""M1""",3', "\u00a0C1\u2003,M1,'6'", "'',M1,9", " ,M1,9", "C1,,9"]
    assert values(written(tmp_path / "a.csv", HEAD + "\n".join(rows) + "\n")) == {("C1", "M1"): 3.0}


weights = st.lists(
    st.decimals(-(10**9), 10**9, places=8) | st.sampled_from([Decimal("0.00005"), Decimal("-0.00015"), Decimal("1e3")]),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["A", "B", "C"]), weights, min_size=1))
def test_averages_are_quotients_of_exact_sums(weights: dict[str, list[Decimal]]) -> None:
    """Each weight is rounded half to even, sums are integer sums, and one division makes the average."""
    lines = [f"{c},M,{w}" for c, ws in weights.items() for w in ws]
    exact = {c: sum(int(w.scaleb(4).to_integral_value(ROUND_HALF_EVEN)) for w in ws) for c, ws in weights.items()}
    with TemporaryDirectory() as folder:
        path = written(Path(folder) / "a.csv", HEAD + "\n".join(lines) + "\n")
        assert values(path) == {(c, "M"): float(exact[c]) / float(len(ws) * UNIT) for c, ws in weights.items()}
        assert values(path, "sum(Weight)") == {(c, "M"): total for c, total in exact.items()}


def test_a_sum_does_not_wrap_around(tmp_path: Path) -> None:
    """Weights too large to be summed exactly are told, or summed."""
    path = written(tmp_path / "a.csv", HEAD + "C1,M1,99999999999\n" * 10_000)
    try:
        found = values(path)
    except SourceError:
        return
    assert found == {("C1", "M1"): 99_999_999_999.0}


def test_a_sum_over_spellings_does_not_wrap_around(tmp_path: Path) -> None:
    """Spellings of one key are one key also when it comes to sums that are too large."""
    rows = "".join(f"{key},M1,99999999999\n" * 4_600 for key in ("C1", "'C1'", " C1"))
    try:
        found = values(written(tmp_path / "a.csv", HEAD + rows))
    except SourceError:
        return
    assert found == {("C1", "M1"): 99_999_999_999.0}


def test_values_of_any_kind_can_be_counted(tmp_path: Path) -> None:
    """`count(column)` is SQL's: how many rows have something there."""
    path = written(tmp_path / "a.csv", "Source,Target,Kind\nC1,M1,es_food\nC1,M1,\nC1,M1,es_tech\n")
    assert values(path, "count(Kind)") == {("C1", "M1"): 2}


# Files


def jsonl(*rows: dict[str, object]) -> str:
    """Rows as JSON Lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


ROWS: list[dict[str, object]] = [{"Source": "C1", "Target": "M1", "Weight": w} for w in (1, 2.5)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain.csv", HEAD + "C1,M1,1\nC1,M1,2.5\n"),
        ("a.txt", HEAD + "C1,M1,1\nC1,M1,2.5"),
        ("a.tsv", "Source\tTarget\tWeight\nC1\tM1\t1\nC1\tM1\t2.5\n"),
        ("crlf.csv", HEAD.replace("\n", "\r\n") + "C1,M1,1\r\nC1,M1,2.5\r\n"),
        ("bom.csv", "\ufeff" + HEAD + "C1,M1,1\nC1,M1,2.5\n"),
        ("quoted.csv", "\"Source\",'Target', Weight \n\"C1\",'M1',\"1\"\nC1,M1,'2.5'\n"),
        ("order.csv", "fraud,Weight,Target,Source\n0,1,M1,C1\n1,2.5,M1,C1\n"),
        ("a.csv.gz", packed((HEAD + "C1,M1,1\nC1,M1,2.5\n").encode())),
        ("a.csv.zst", zstandard.compress((HEAD + "C1,M1,1\nC1,M1,2.5\n").encode())),
        ("a.jsonl", jsonl(*ROWS)),
        ("a.ndjson", jsonl(ROWS[0], {"Target": "'M1'", "Source": " C1", "Weight": "2.5"} | {"x": None})),
        ("a.jsonl.gz", packed(jsonl(*ROWS).encode())),
    ],
)
def test_every_format_gives_the_same(tmp_path: Path, name: str, data: str | bytes) -> None:
    """CSV with any header order, quotes and line ends, tabs, JSON Lines, plain or compressed."""
    assert values(written(tmp_path / name, data)) == {("C1", "M1"): 1.75}


def test_parquet_gives_the_same(tmp_path: Path) -> None:
    """Numbers and keys of Parquet's own types, nulls left out."""
    path = tmp_path / "a.parquet"
    pl.DataFrame({"Source": [1, 1, None, 2], "Target": ["M"] * 4, "Weight": [0.1, 0.2, 5.0, None]}).write_parquet(path)
    assert values(path) == {("1", "M"): 3_000 / 20_000}


def test_fractions_may_come_late_in_json_lines(tmp_path: Path) -> None:
    """What the first rows look like does not matter to later ones."""
    path = written(tmp_path / "a.jsonl", jsonl(*[ROWS[0]] * 200, *[ROWS[1]] * 200))
    assert values(path) == {("C1", "M1"): 1.75}


def test_a_file_without_rows_knows_nothing(tmp_path: Path) -> None:
    """A header alone is a lookup that is known for no key."""
    assert values(written(tmp_path / "a.csv", HEAD)) == {}


def test_the_digest_is_that_of_the_file(csv: Path, tmp_path: Path) -> None:
    """Equal files have equal digests, any other byte another one."""
    copy = written(tmp_path / "b.csv", csv.read_bytes())
    other = written(tmp_path / "c.csv", csv.read_bytes() + b"\n")
    digests = [read_lookup(source(p), 4).digest for p in (csv, copy, other)]
    assert digests[0] == digests[1] != digests[2]


# Mistakes


@pytest.mark.parametrize(
    ("value", "shown"),
    [("x", "'x'"), ("1e400", "'1e400'"), (" nan", "' nan'"), ("100000000000", "'100000000000'"), ("1 0", "'1 0'")],
)
def test_what_is_no_number_is_told_with_its_row(tmp_path: Path, value: str, shown: str) -> None:
    """The first wrong value is told with its row, counted from 1 without the header, and what is expected."""
    path = written(tmp_path / "a.csv", HEAD + "C1,M1,1\n" * 3 + f"C2,M1,{value}\nC3,M1,y\n")
    expected = "expected a decimal number below 100000000000"
    assert refusal(path) == f"lookup importance: {path} row 4: Weight is {shown}, {expected}"


def test_a_wrong_number_is_told_in_other_formats_too(tmp_path: Path) -> None:
    """JSON Lines and Parquet as well."""
    lines = written(tmp_path / "a.jsonl", jsonl(*ROWS, {"Source": "C1", "Target": "M1", "Weight": "x"}))
    table = tmp_path / "a.parquet"
    pl.DataFrame({"Source": ["C"] * 2, "Target": ["M"] * 2, "Weight": [1.0, float("nan")]}).write_parquet(table)
    assert "a.jsonl row 3: Weight is 'x'" in refusal(lines)
    assert "a.parquet row 2: Weight is nan" in refusal(table)


def test_a_missing_column_is_told(tmp_path: Path) -> None:
    """With the columns that there are, and the settings to change."""
    path = written(tmp_path / "a.csv", "source,Target,Wait\nC1,M1,1\n")
    assert refusal(path) == (
        f"lookup importance: {path} has no column 'Source', 'Weight'; it has source, Target, Wait. "
        "Set lookups.importance.on and .value"
    )


@pytest.mark.parametrize("name", ["none.csv", "none.parquet", "folder.csv"])
def test_a_missing_file_is_told(tmp_path: Path, name: str) -> None:
    """Also when there is a folder in its place."""
    (tmp_path / "folder.csv").mkdir()
    assert refusal(tmp_path / name) == f"lookup importance: there is no file {tmp_path / name}"


BROKEN = {
    "empty.csv": (b"", "is empty"),
    "lines.csv": (b"\n\n", "is empty"),
    "more.csv": (
        HEAD.encode() + b"C1,M1,1\nC1,M1,1,2\n",
        "row 2: malformed: 4 fields where the header has 3: 'C1,M1,1,2'",
    ),
    "less.csv": (HEAD.encode() + b"C1,M1,1\nC1,M1\n", "row 2: malformed: 2 fields where the header has 3: 'C1,M1'"),
    "both.csv": (HEAD.encode() + b"C1,M1,1,2\nC1,M1\n", "row 1: malformed: 4 fields where the header has 3"),
    "utf8.csv": (HEAD.encode() + b"C1,M\xff,1\n", "utf-8"),
    "quote.csv": (HEAD.encode() + b'C1,"M1,1\n', "row 1: malformed: quoted field is not closed"),
    "empty.jsonl": (b"", "has no rows"),
    "cut.jsonl": (b'{"Source":"C1","Target":"M1"', "row 1: malformed: not JSON"),
    "array.jsonl": (b"[1, 2]\n", "expected JSON Lines"),
    "no.parquet": (b"PAR1 and no more", "parquet"),
    "empty.parquet": (b"", "parquet"),
    "cut.csv.gz": (packed((HEAD + "C1,M1,1\n" * 999).encode())[:-9], "end early"),
    "no.csv.gz": ((HEAD + "C1,M1,1\n").encode(), ""),
    "twice.csv": (b"Source,Target,Weight,Weight\nC1,M1,1,2\n", "Weight"),
    "twice quoted.csv": (b"Source,Target,Weight,'Weight'\nC1,M1,1,2\n", "Weight"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    """Empty, cut off, not UTF-8, not of its format, of ragged rows, with a column twice: on one line, with the file."""
    data, words = BROKEN[name]
    path = written(tmp_path / name, data)
    message = refusal(path)
    assert message.startswith("lookup importance: ") and str(path) in message
    assert words in message and "\n" not in message


@pytest.mark.parametrize("value", ["median(Weight)", "avg()", "avg(Weight) + 1", "avg(a, b)", ""])
def test_a_value_that_is_no_aggregate_is_told(value: str) -> None:
    """Only avg, sum, min, max and count of one column."""
    with pytest.raises(ConfigError, match=r"^lookups\.importance\.value: found '.*', expected avg, sum, min, max or"):
        lookup_source("importance", Path("x.csv"), ON, value)


@pytest.mark.parametrize("value", ["sum(*)", "avg(*)", "min(*)"])
def test_only_rows_can_be_counted_by_star(value: str) -> None:
    """`sum(*)` means nothing in SQL."""
    with pytest.raises(ConfigError):
        lookup_source("importance", Path("x.csv"), ON, value)


@pytest.mark.parametrize("on", [{}, {"shop": "Target"}, {"customer": "Source", "amount": "x"}])
def test_keys_that_are_none_are_told(on: dict[str, str]) -> None:
    """A lookup is joined on one or more keys."""
    with pytest.raises(ConfigError, match=r"^lookups\.importance\.on: found "):
        lookup_source("importance", Path("x.csv"), on, "avg(Weight)")


# Joined


def test_rows_find_their_value_however_keys_are_spelled(tmp_path: Path) -> None:
    """The lookup is joined on clean keys, also for keys that come later and for ones that never come."""
    path = written(tmp_path / "a.csv", HEAD + "'C1',M1,1\nC2,\"M1\",2\nC9,M9,3\n")
    fold = fold_of([pattern_text(["customer", "merchant"], "importance >= 1")], {source(path).spec: values(path)})
    step(fold, 0, [(" C1", "'M1'", "a", "F", "1"), ("C3", "M1", "a", "F", "1")])
    step(fold, 1, [("'C2'", "M1", "a", "F", "1")])
    assert holding(fold) == {("C1", "M1"), ("C2", "M1")}


def test_keys_are_cleaned_once(tmp_path: Path) -> None:
    """One layer of quotes goes, as it does from a row's keys: the same spelling finds its value."""
    path = written(tmp_path / "a.csv", HEAD + "' C1',M1,1\n''C2'',M1,2\n")
    known = values(path)
    assert {key[0] for key in known} == {clean("' C1'"), clean("''C2''")}
    fold = fold_of([pattern_text(["customer", "merchant"], "importance >= 1")], {source(path).spec: known})
    step(fold, 0, [("' C1'", "M1", "a", "F", "1"), ("''C2''", "M1", "a", "F", "1")])
    assert holding(fold) == {(" C1", "M1"), ("'C2'", "M1")}
