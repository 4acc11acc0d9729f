"""Quarantined rows are shown as they came, with the cells that were wrong."""

from __future__ import annotations

import pytest

from tillwatch.history import samples as module
from tillwatch.history.samples import Sample, samples
from tillwatch.pipeline import Pipeline
from tillwatch.state.review import WrongChunk

ROWS = """\
step,customer,merchant,gender,category,amount
0,'C1','M1','F','a',1
0,'','M1','F','a',2
1,'C2','M1','F','a',-3
1,'C2','M1','F','a',much
2,'C2'
2,'C3',,'F','a',4
3,'C3','M1','<b>','a',5
"""


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline with a wrong row of every kind, three rows a chunk."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "in.csv").write_text(ROWS)
    (folder / "tillwatch.yaml").write_text("source: {uri: ./in.csv, rows: 3}\npatterns: [PatId2]\n")
    pipeline = Pipeline.open(folder / "tillwatch.yaml")
    pipeline.run(once=True)
    return pipeline


def found(pipeline: Pipeline, reason: str | None = None, limit: int = 100, each: int = 100) -> list[Sample]:
    with pipeline.opened(readonly=True) as state:
        chunks = state.wrong_chunks(reason, 100)
    store = pipeline.store(pipeline.settings.quarantine)
    return samples(store, chunks, pipeline.composed.columns, reason, limit, each)


def test_the_wrong_cells_are_marked(wrong: Pipeline) -> None:
    """Newest chunk first, each row with its place and reason; of a malformed one the text."""
    said = [(s.chunk, s.row, s.code, [(c.column, c.text) for c in s.cells if c.wrong], s.text) for s in found(wrong)]
    assert said == [
        (1, 4, "amount_not_a_number", [("amount", "much")], None),
        (1, 5, "malformed", [], "2,'C2'"),
        (1, 6, "merchant_empty", [("merchant", "")], None),
        (0, 2, "customer_empty", [("customer", "''")], None),
        (0, 3, "amount_negative", [("amount", "-3")], None),
    ]
    assert [c.column for c in found(wrong)[0].cells] == ROWS.splitlines()[0].split(",")
    assert "is negative: '-3'" in found(wrong, "amount_negative")[0].reason


def test_no_more_is_read_than_asked_for(wrong: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """By reason, in all and of each chunk; a long file is cut at a line, a missing one is left out."""
    assert [s.code for s in found(wrong, "merchant_empty")] == ["merchant_empty"]
    assert [(s.chunk, s.row) for s in found(wrong, limit=3, each=2)] == [(1, 4), (1, 5), (0, 2)]
    store = wrong.store(wrong.settings.quarantine)
    assert samples(store, [WrongChunk(77, 1, "")], {}, None, 10, 10) == []
    monkeypatch.setattr(module, "MOST_BYTES", 300)
    assert [(s.chunk, s.row) for s in found(wrong)] == [(1, 4), (0, 2)]
    monkeypatch.setattr(module, "MOST_TEXT", 3)
    assert [c.text for c in found(wrong)[0].cells][-1] == "mu…"
