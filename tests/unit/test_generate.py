"""The generator makes what a BankSim file looks like, and the same every time."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from tillwatch.errors import ConfigError
from tillwatch.generate import BLOCK_ROWS, GeneratedFiles, generate
from tillwatch.testing import oracle

HEADER = "step,customer,age,gender,zipcodeOri,merchant,zipMerchant,category,amount,fraud"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> GeneratedFiles:
    """A small town, made once."""
    return generate(tmp_path_factory.mktemp("town"), rows=20_000, steps=20)


def read(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema=False)


def test_files_have_the_columns_of_banksim(files: GeneratedFiles) -> None:
    """Both files have BankSim's header and the rows asked for, and nothing else is left in the folder."""
    assert files.transactions.read_text().splitlines()[0] == HEADER
    assert files.importance.read_text().splitlines()[0] == "Source,Target,Weight,typeTrans,fraud"
    assert (read(files.transactions).height, files.rows, files.faulty) == (20_000, 20_000, 0)
    assert sorted(p.name for p in files.transactions.parent.iterdir()) == [
        "CustomerImportance.csv",
        "transactions.csv",
    ]


def test_text_is_in_single_quotes(files: GeneratedFiles) -> None:
    """Every text value stands in single quotes, customers as 'C…' and merchants as 'M…'."""
    frame = read(files.transactions)
    shapes = {"customer": r"^'C\d+'$", "merchant": r"^'M\d+'$", "gender": "^'[FMEU]'$", "age": "^'[0-6U]'$"}
    shapes |= {"zipcodeOri": r"^'\d{5}'$", "zipMerchant": r"^'\d{5}'$", "category": "^'[a-z]+'$"}
    for column, shape in shapes.items():
        assert frame[column].str.contains(shape).all(), column


def test_numbers_are_plain(files: GeneratedFiles) -> None:
    """Amounts and weights are not negative and have two decimals at most; fraud is 0 or 1."""
    frame = read(files.transactions)
    assert frame["amount"].str.contains(r"^\d+\.\d{1,2}$").all()
    assert read(files.importance)["Weight"].str.contains(r"^\d+\.\d{1,2}$").all()
    assert set(frame["fraud"]) == {"0", "1"}


def test_rows_are_in_order_of_step(files: GeneratedFiles) -> None:
    """Steps go from 0 to the last one and never back."""
    step = read(files.transactions)["step"].cast(pl.Int64)
    assert step.is_sorted()
    assert step.unique().sort().to_list() == list(range(20))


def test_two_merchants_are_hot(files: GeneratedFiles) -> None:
    """One merchant has about half of the traffic, one about a third, none of the others a tenth."""
    merchants = read(files.transactions)["merchant"].to_list()
    shares = sorted((count / files.rows for count in Counter(merchants).values()), reverse=True)
    assert shares[0] == pytest.approx(1 / 2, abs=0.02)
    assert shares[1] == pytest.approx(1 / 3, abs=0.02)
    assert shares[2] < 0.1
    assert shares[-1] < 0.01


def test_a_customer_has_one_gender_and_a_merchant_one_category(files: GeneratedFiles) -> None:
    """Gender and age belong to the customer, the category to the merchant; there are 15 categories."""
    frame = read(files.transactions)
    people = frame.select("customer", "gender", "age", "zipcodeOri").unique()
    shops = frame.select("merchant", "category", "zipMerchant").unique()
    assert people["customer"].is_unique().all()
    assert shops["merchant"].is_unique().all()
    assert shops["category"].n_unique() == 15


def test_importance_has_a_row_for_every_transaction(files: GeneratedFiles) -> None:
    """CustomerImportance names each transaction's pair and category, in order, with a weight of its own."""
    frame, weights = read(files.transactions), read(files.importance)
    pairs = frame.select("customer", "merchant", "category", "fraud").rows()
    assert weights.select("Source", "Target", "typeTrans", "fraud").rows() == pairs
    assert (weights["Weight"] == frame["amount"]).sum() < files.rows / 100


def test_same_arguments_same_bytes(tmp_path: Path) -> None:
    """The same arguments give the same bytes, another seed gives others."""
    a, b = (generate(tmp_path / name, rows=2_000, seed=7) for name in "ab")
    c = generate(tmp_path / "c", rows=2_000, seed=8)
    assert a.transactions.read_bytes() == b.transactions.read_bytes()
    assert a.importance.read_bytes() == b.importance.read_bytes()
    assert a.transactions.read_bytes() != c.transactions.read_bytes()


def test_towns_share_no_keys(tmp_path: Path) -> None:
    """Three towns have three times the customers and merchants, and nobody buys out of town."""
    frame = read(generate(tmp_path, rows=9_000, customers=30, merchants=5, towns=3).transactions)
    assert frame["customer"].n_unique() == 90
    assert frame["merchant"].n_unique() == 15
    assert (frame["zipcodeOri"] == frame["zipMerchant"]).all()
    assert frame.group_by("zipMerchant").agg(pl.col("merchant").n_unique())["merchant"].to_list() == [5, 5, 5]


def test_customers_follow_the_rows(tmp_path: Path) -> None:
    """Without a number of customers there are as many as keep the full size's rows per customer."""
    frame = read(generate(tmp_path, rows=40_000, towns=2).transactions)
    assert frame["customer"].n_unique() == 2 * 138


def test_more_rows_than_one_block(tmp_path: Path) -> None:
    """Rows that do not fit in a block are all there, in order over the seam."""
    rows = BLOCK_ROWS + 1
    step = read(generate(tmp_path, rows=rows, customers=50, steps=rows).transactions)["step"]
    assert step.cast(pl.Int64).to_list() == list(range(rows))


@pytest.mark.parametrize("merchants", [1, 2, 3])
def test_a_hamlet(tmp_path: Path, merchants: int) -> None:
    """One customer and a shop or two are enough."""
    frame = read(generate(tmp_path, rows=500, customers=1, merchants=merchants).transactions)
    assert frame["merchant"].n_unique() == merchants


def test_faults_spoil_their_share_and_leave_the_rest(tmp_path: Path) -> None:
    """The oracle quarantines exactly the rows counted as faulty; all other lines are as without faults."""
    clean = generate(tmp_path / "clean", rows=5_000)
    spoiled = generate(tmp_path / "spoiled", rows=5_000, faults=0.02)
    changed = [
        (a, b)
        for a, b in zip(
            clean.transactions.read_text().splitlines(),
            spoiled.transactions.read_text().splitlines(),
            strict=True,
        )
        if a != b
    ]
    assert len(changed) == spoiled.faulty
    assert spoiled.faulty == pytest.approx(100, abs=40)
    assert clean.importance.read_bytes() == spoiled.importance.read_bytes()
    judge = oracle.Oracle()
    judge.add(0, rows_of(spoiled.transactions))
    assert judge.state().quarantined == spoiled.faulty


def test_faults_are_of_every_kind(tmp_path: Path) -> None:
    """With faults=1 every row is invalid, and each kind of fault is there."""
    files = generate(tmp_path, rows=600, faults=1.0)
    lines = list(csv.reader(files.transactions.read_text().splitlines()[1:]))
    whole = [line for line in lines if len(line) == 10]
    assert files.faulty == 600
    assert {len(line) for line in lines} == {3, 10, 11}
    assert {line[8] for line in whole if line[1] != "''"} == {"abc", "nan", "-1.5"}
    assert any(line[1] == "''" for line in whole)


def rows_of(path: Path) -> list[dict[str, str | None]]:
    """The rows of a file as dicts, a line that is not ten fields as a row without values."""
    with path.open() as file:
        lines = list(csv.reader(file))
    nothing: list[str | None] = [None] * 10
    return [dict(zip(lines[0], line if len(line) == 10 else nothing, strict=True)) for line in lines[1:]]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A file that is there stays as it is, and the error names it."""
    taken = tmp_path / "CustomerImportance.csv"
    taken.write_text("mine")
    with pytest.raises(ConfigError, match=r"CustomerImportance\.csv exists already"):
        generate(tmp_path, rows=10)
    assert [path.name for path in tmp_path.iterdir()] == ["CustomerImportance.csv"]
    assert taken.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": 0}, "rows is 0; it must be 1 or more"),
        ({"customers": -1}, "customers is -1"),
        ({"merchants": 0}, "merchants is 0"),
        ({"towns": 0}, "towns is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"faults": 1.5}, "faults is 1.5"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: dict[str, float], message: str) -> None:
    """An argument out of its range is named with its value, and nothing is made."""
    with pytest.raises(ConfigError, match=message):
        generate(tmp_path / "new", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize("rows", [200_000, 594_643])
def test_all_three_patterns_fire(tmp_path: Path, rows: int) -> None:
    """At the demo's and at the full size every pattern fires often enough, at several chunks."""
    files = generate(tmp_path, rows=rows)
    frame = read(files.transactions)
    weights = read(files.importance).select(customer="Source", merchant="Target", weight="Weight")
    chunks = [frame[start : start + 10_000] for start in range(0, rows, 10_000)]
    found = oracle.detections(chunks, [oracle.pat_id1(), oracle.pat_id2(), oracle.pat_id3()], weights)
    for pattern, at_least in {"PatId1": 24, "PatId2": 24, "PatId3": 3}.items():
        at = [chunk for chunk, id_, *_ in found if id_ == pattern]
        assert len(at) >= at_least
        assert len({chunk for chunk in at if 0 < chunk < len(chunks) - 1}) >= 3
