"""BankSim with ten times the customers: Spark's detections are exactly those of the embedded engine.

It takes a minute or two, so it is done with TILLWATCH_SPARK_FULL=1 only; that BankSim itself gives exactly what is
expected is in tests/golden, for both engines.
"""

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
from tillwatch.testing.sparks import untouched

ROOT = Path(__file__).resolve().parents[2]
BANKSIM = Path(os.environ.get("TILLWATCH_BANKSIM", ROOT.parent / "shared" / "data" / "banksim"))
NEEDED = ("transactions.csv.gz", "CustomerImportance.csv.gz")

pytestmark = [
    pytest.mark.skipif(not all((BANKSIM / n).exists() for n in NEEDED), reason="the BankSim data is not here"),
    pytest.mark.skipif(os.environ.get("TILLWATCH_SPARK_FULL") != "1", reason="only with TILLWATCH_SPARK_FULL=1"),
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


def tenfold(name: str, column: str, folder: Path) -> Path:
    """A file of BankSim with ten customers in place of each: rows take turns, in both files alike."""
    with gzip.open(BANKSIM / name) as file:
        rows = pl.read_csv(io.BytesIO(file.read()), infer_schema=False, quote_char=None)
    turn = (pl.int_range(pl.len()) * 7919 % 10).cast(pl.String)
    target = folder / name.removesuffix(".gz")
    rows.with_columns(pl.col(column).str.strip_suffix("'") + turn + "'").write_csv(target, quote_style="never")
    return target


def test_ten_times_the_customers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here PatId1 comes true for pairs that no row touched, because the cut-off moved: a state that kept only what was
    touched would detect them again."""
    monkeypatch.setattr(detect, "BATCH_CHUNKS", 5)
    importance = tenfold("CustomerImportance.csv.gz", "Source", tmp_path)
    transactions = tenfold("transactions.csv.gz", "customer", tmp_path)
    embedded, spark = on_both_engines(new_site(tmp_path / "embedded", transactions, importance), tmp_path)
    assert untouched(embedded.pipeline) > 50
    assert spark.outcome() == embedded.outcome()
    assert spark.problems() == []
