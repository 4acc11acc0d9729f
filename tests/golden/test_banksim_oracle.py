"""The oracle gives what is known to come out of the published data set."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import polars as pl
import pytest

from tillwatch.testing.oracle import detections, pat_id1, pat_id2, pat_id3

BESIDE = Path(__file__).parents[3] / "shared" / "data" / "banksim"
BANKSIM = Path(os.environ.get("TILLWATCH_BANKSIM") or BESIDE)


@pytest.mark.slow
@pytest.mark.skipif(not BANKSIM.is_dir(), reason=f"BankSim is not at {BANKSIM}; name it in TILLWATCH_BANKSIM")
def test_oracle_finds_every_expected_detection() -> None:
    """Over BankSim in 60 chunks the oracle gives the expected rows, all and no other, in their order."""
    frame = pl.read_csv(BANKSIM / "transactions.csv.gz", infer_schema=False)
    weights = pl.read_csv(BANKSIM / "CustomerImportance.csv.gz", infer_schema=False)
    with (BANKSIM / "expected.csv").open(newline="") as file:
        expected = [(int(chunk), *row) for chunk, *row in list(csv.reader(file))[1:]]
    chunks = [frame[start : start + 10_000] for start in range(0, frame.height, 10_000)]
    found = detections(
        chunks,
        [pat_id1(), pat_id2(), pat_id3()],
        weights.select(customer="Source", merchant="Target", weight="Weight"),
    )
    assert len(chunks) == 60
    assert len(expected) == 160
    assert found == expected
