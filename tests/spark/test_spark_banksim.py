"""BankSim on Spark: exactly the expected detections, and with ten times the customers exactly the embedded engine's."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import polars as pl
import pytest

from tillwatch.pipeline import Pipeline
from tillwatch.spark import detect
from tillwatch.testing.crash import Site

ROOT = Path(__file__).resolve().parents[2]
BANKSIM = Path(os.environ.get("TILLWATCH_BANKSIM", ROOT.parent / "shared" / "data" / "banksim"))
NEEDED = ("transactions.csv.gz", "CustomerImportance.csv.gz", "expected.csv")

pytestmark = [
    pytest.mark.skipif(not all((BANKSIM / n).exists() for n in NEEDED), reason="the BankSim data is not here"),
    pytest.mark.slow,
    pytest.mark.usefixtures("spark"),
]


def new_site(folder: Path, transactions: Path, importance: Path) -> Site:
    """A pipeline with all landed, and nothing detected."""
    folder.mkdir()
    site = Site(folder)
    site.config.write_text(f"source: {{uri: {transactions}, every: 0}}\nlookups: {{importance: {importance}}}\n")
    site.pipeline.ingest(once=True)
    return site


def on_both_engines(site: Site, folder: Path) -> tuple[Site, Site]:
    """The pipeline worked off by the embedded engine, and a copy by Spark."""
    other = site.copy(folder / "spark")
    site.pipeline.detect(once=True)
    Pipeline.open(other.config, ["engine=spark", "spark.buckets=2"]).detect(once=True)
    return site, other


def found(site: Site) -> list[str]:
    """chunk,patternId,ActionType,customerName,MerchantId of every detection, by seq."""
    columns = ("chunk", "patternId", "ActionType", "customerName", "MerchantId")
    return [",".join(map(str, row)) for row in site.pipeline.detections().select(columns).iter_rows()]


def test_exactly_the_expected_detections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """seq for seq and file for file those of the embedded engine and of the published list, chunk included."""
    monkeypatch.setattr(detect, "BATCH_CHUNKS", 7)
    packed = (BANKSIM / NEEDED[0], BANKSIM / NEEDED[1])
    embedded, spark = on_both_engines(new_site(tmp_path / "embedded", *packed), tmp_path)
    assert found(spark) == (BANKSIM / "expected.csv").read_text().splitlines()[1:]
    assert spark.outcome() == embedded.outcome()
    assert spark.problems() == []


def tenfold(name: str, column: str, folder: Path) -> Path:
    """A file of BankSim with ten customers in place of each: rows take turns, in both files alike."""
    with gzip.open(BANKSIM / name) as file:
        rows = pl.read_csv(io.BytesIO(file.read()), infer_schema=False, quote_char=None)
    turn = (pl.int_range(pl.len()) * 7919 % 10).cast(pl.String)
    target = folder / name.removesuffix(".gz")
    rows.with_columns(pl.col(column).str.strip_suffix("'") + turn + "'").write_csv(target, quote_style="never")
    return target


def untouched(site: Site) -> int:
    """How many detections are of a pair that had no row in their chunk."""
    count = 0
    for (chunk,), rows in site.pipeline.detections().filter(pl.col("customerName") != "").group_by("chunk"):
        frame = site.pipeline.landing.read(int(chunk), ["customer", "merchant"]).frame
        there = set(zip(*(frame[c].str.strip_chars("'").to_list() for c in ("customer", "merchant")), strict=True))
        count += sum(pair not in there for pair in rows.select("customerName", "MerchantId").iter_rows())
    return count


def test_ten_times_the_customers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here PatId1 comes true for pairs that no row touched, because the cut-off moved: a state that kept only what was
    touched would detect them again."""
    monkeypatch.setattr(detect, "BATCH_CHUNKS", 5)
    importance = tenfold("CustomerImportance.csv.gz", "Source", tmp_path)
    transactions = tenfold("transactions.csv.gz", "customer", tmp_path)
    embedded, spark = on_both_engines(new_site(tmp_path / "embedded", transactions, importance), tmp_path)
    assert untouched(embedded) > 50
    assert spark.outcome() == embedded.outcome()
    assert spark.problems() == []
