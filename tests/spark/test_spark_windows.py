"""Windows and patterns judged on transactions on Spark: as the embedded engine does them, also when they take turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillwatch.generate import GeneratedFiles
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
LAST = """
id: LAST
action: LOOK
per: [customer, merchant]
features: {mean: avg(amount) within 4 transactions, kinds: count(distinct category) within 5 transactions}
when: mean > 30 and customer.kinds >= 3
emit: on_enter
cleared: true
"""
RISES = """
id: RISES
action: LOOK
per: [customer]
judge: transaction
features: {most: max(amount) within 3 transactions, few: count(*) filter (where gender = 'F') within 6 transactions}
when: amount > 2 * most and few >= 2
emit: every_transaction
"""
PATTERNS = """
time: {lateness: 1, late: LATE}
patterns:
  - ./busy.yaml
  - FREQUENCY: {transactions: 1}
  - OUTLIER: {transactions: 3, deviations: 1.5}
  - ./same.yaml
  - ./last.yaml
  - ./rises.yaml
"""


@pytest.fixture(scope="session")
def shaken(landed: Site, data: GeneratedFiles, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """24 chunks landed, in which a ninth of the rows comes ten steps late, and another one two. To be copied."""
    folder = tmp_path_factory.mktemp("shaken")
    header, *rows = data.transactions.read_text("utf-8").splitlines()
    later = sorted(range(len(rows)), key=lambda n: n + {0: 350, 1: 60}.get(n % 9, 0))
    (folder / "rows.csv").write_text("\n".join([header, *(rows[n] for n in later), ""]), "utf-8")
    site = Site(folder / "site")
    site.folder.mkdir()
    text = landed.config.read_text("utf-8").replace(str(data.transactions), str(folder / "rows.csv"))
    site.config.write_text(text, "utf-8")
    site.pipeline.ingest(once=True)
    return site


@pytest.fixture(params=["count", "quarantine"])
def windowed(shaken: Site, tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    """The landed pipeline with other patterns."""
    site = shaken.copy(tmp_path / "windowed")
    for name, text in {"busy": BUSY, "same": SAME, "last": LAST, "rises": RISES}.items():
        (site.folder / f"{name}.yaml").write_text(text)
    before = site.config.read_text("utf-8")
    head, _, rest = before.partition("patterns:")
    patterns = PATTERNS.replace("LATE", request.param).lstrip()
    site.config.write_text(head + patterns + rest[rest.index("engine:") :], "utf-8")
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
    assert {d.pattern for d in found(here)} == {"BUSY", "FREQUENCY", "OUTLIER", "SAME", "LAST", "RISES"}
    for site in (windowed, turns):
        assert [(d.identity, d.evidence) for d in found(site)] == [(d.identity, d.evidence) for d in found(here)]
        assert site.problems() == []
    assert windowed.outcome() == here.outcome()
    assert turns.outcome().differences(here.outcome()) == ["published", "told"]  # each run ends a file
    with windowed.pipeline.opened(readonly=True) as state:
        assert (state.quarantined().get("late", 0) > 100) == (windowed.pipeline.settings.time.late == "quarantine")


def found(site: Site) -> list[Detection]:
    """All detections."""
    with site.pipeline.opened(readonly=True) as state:
        return [stored.detection for stored in state.detections()]
