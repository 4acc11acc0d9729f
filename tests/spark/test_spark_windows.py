"""Windows and patterns judged on transactions on Spark: as the embedded engine does them, also when they take turns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tillwatch.model import Detection
from tillwatch.pipeline import Pipeline
from tillwatch.spark import detect
from tillwatch.testing.crash import Site

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("spark")]

BUSY = """
id: BUSY
action: LOOK
per: [customer, merchant]
features: {few: count(*) within 20 steps, least: min(amount) within 20 steps, kinds: count(distinct category) within 30}
when: few >= 2 and least > 5 and customer.kinds >= 2
"""
SAME = """
id: SAME
action: LOOK
per: [merchant, amount]
judge: transaction
features: {same: count(*) within 100 steps}
when: same >= 1
"""
PATTERNS = """
time: {lateness: 1}
patterns:
  - ./busy.yaml
  - FREQUENCY: {transactions: 1}
  - OUTLIER: {transactions: 3, deviations: 1.5}
  - ./same.yaml
"""


@pytest.fixture
def windowed(landed: Site, tmp_path: Path) -> Site:
    """The landed pipeline with other patterns."""
    site = landed.copy(tmp_path / "windowed")
    (site.folder / "busy.yaml").write_text(BUSY)
    (site.folder / "same.yaml").write_text(SAME)
    before = site.config.read_text("utf-8")
    head, _, rest = before.partition("patterns:")
    site.config.write_text(head + PATTERNS.lstrip() + rest[rest.index("engine:") :], "utf-8")
    return site


def test_windows_on_spark_are_those_of_the_embedded_engine(
    windowed: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detections with evidence, tables and all else are the same; and when each engine does a part of the work."""
    monkeypatch.setattr(detect, "BATCH_CHUNKS", 5)
    here, turns = windowed.copy(tmp_path / "here"), windowed.copy(tmp_path / "turns")
    Pipeline.open(here.config, ["engine=embedded"]).detect(once=True)
    Pipeline.open(windowed.config).detect(once=True)
    away = sorted((turns.folder / "tillwatch-data/landing").iterdir())
    for part, engine in ((away[:9], "spark"), (away[9:16], "embedded"), (away[16:], "spark")):
        for file in away:
            there = turns.folder / "tillwatch-data/landing" / file.name
            if file in part and not there.exists():
                (turns.folder / file.name).rename(there)
            elif file > part[-1] and there.exists():
                there.rename(turns.folder / file.name)
        Pipeline.open(turns.config, [f"engine={engine}"]).detect(once=True)
    assert {d.pattern for d in found(here)} == {"BUSY", "FREQUENCY", "OUTLIER", "SAME"}
    for site in (windowed, turns):
        assert [(d.identity, d.evidence) for d in found(site)] == [(d.identity, d.evidence) for d in found(here)]
        assert site.problems() == []
    assert windowed.outcome() == here.outcome()
    assert replace(turns.outcome(), published=here.outcome().published) == here.outcome()  # each run ends a file


def found(site: Site) -> list[Detection]:
    """All detections."""
    with site.pipeline.opened(readonly=True) as state:
        return [stored.detection for stored in state.detections()]
