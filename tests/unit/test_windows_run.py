"""Pipelines with windows and with patterns judged on transactions: crashes, late rows, retention, mistakes."""

from __future__ import annotations

import random
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tillwatch import Pipeline
from tillwatch.audit import audit
from tillwatch.errors import ConfigError
from tillwatch.landing.retention import limit
from tillwatch.model import REACH, Reach
from tillwatch.pipeline import Event

BUSY = """
id: BUSY
action: LOOK
per: [customer, merchant]
features: {day: count(*) within 24h, least: min(amount) within 24h, shops: count(distinct category) within 36h}
when: day >= 3 and (least > 2 or customer.shops >= 3)
"""
AGAIN = """
id: AGAIN
action: LOOK
per: [customer, amount]
judge: transaction
features: {same: count(*) within 90min, shops: count(distinct merchant) within 1d}
when: same >= 1 and category <> 'c' and customer.shops >= 2 and customer.stddev_amount > 0
"""
CONFIG = """
source: {{uri: ./source, rows: 10}}
columns: {{time: at}}
time: {{timezone: Europe/Berlin, lateness: 30min, late: {late}}}
state: ./state.db
detections: {{uri: ./detections, rows: 7, linger: 0.01}}
patterns: [./busy.yaml, ./again.yaml, PatId2: {{transactions: 3, avg_amount: 5}}]
"""


class Killed(BaseException):
    """The run ends as if its process had been killed."""


def write_source(path: Path, rows: int, seed: int) -> None:
    """Transactions around the night in which clocks are put back, some of them late, some without a time."""
    draw = random.Random(seed)
    now = datetime(2026, 10, 24 + seed, 20, tzinfo=ZoneInfo("UTC"))
    lines = ["at,customer,merchant,gender,category,amount"]
    for _ in range(rows):
        now += timedelta(minutes=draw.choice([0, 0, 1, 3, 9]))
        shown = now - timedelta(minutes=draw.choice([0, 0, 0, 5, 25, 55, 300]))
        local = shown.astimezone(ZoneInfo("Europe/Berlin")).strftime("%Y-%m-%dT%H:%M:%S")
        text = draw.choice([local, local, shown.isoformat(), "" if draw.random() < 0.1 else local])
        keys = f"C{draw.randrange(4)},M{draw.randrange(3)},F,{draw.choice('abcd')}"
        lines.append(f"{text},{keys},{draw.choice([1, 2, 3, 5, 5, 8])}")
    path.write_text("\n".join(lines) + "\n")


def site(folder: Path, late: str = "quarantine") -> Path:
    """A folder with a pipeline and the first file of its source."""
    (folder / "source").mkdir(parents=True)
    write_source(folder / "source" / "a.csv", 250, 0)
    for name, text in {"busy": BUSY, "again": AGAIN}.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "tillwatch.yaml").write_text(CONFIG.format(late=late))
    return folder


def opened(folder: Path) -> Pipeline:
    """The pipeline of a folder."""
    return Pipeline.open(folder / "tillwatch.yaml")


def killed_after(commits: int) -> object:
    """An observer that ends the run behind a commit: nothing is saved afterwards."""
    seen = [0]

    def observe(event: Event) -> None:
        seen[0] += type(event).__name__ == "Processed"
        if seen[0] >= commits:
            raise Killed

    return observe


def found(folder: Path) -> list[tuple[object, ...]]:
    """All detections with their evidence."""
    return opened(folder).detections().drop("detectionTime", "file").rows()


@pytest.mark.parametrize("late", ["quarantine", "count"])
def test_a_crash_changes_nothing(tmp_path: Path, late: str) -> None:
    """Killed behind a saving and again without one, the outcome is that of a run that was not, and audit proves it."""
    whole, broken = site(tmp_path / "whole", late), site(tmp_path / "broken", late)
    opened(broken).run(once=True)
    for folder in (whole, broken):
        write_source(folder / "source" / "b.csv", 520, 1)
    opened(whole).run(once=True)
    opened(broken).ingest(once=True)
    for _ in range(2):
        with pytest.raises(Killed):
            opened(broken).detect(once=True, observer=killed_after(1))  # type: ignore[arg-type]
    opened(broken).detect(once=True)
    detections = found(broken)
    assert detections == found(whole)
    assert {row[2] for row in detections} == {"BUSY", "AGAIN", "PatId2"}
    for folder in (whole, broken):
        assert [c for c in audit(opened(folder)) if not c.ok] == []
    with opened(broken).opened(readonly=True) as state:
        codes = state.quarantined()
    assert codes.keys() == ({"late", "time_empty"} if late == "quarantine" else {"time_empty"})
    assert {"chunk", "source", "row", "features", "columns"} == evidence_of(broken, "AGAIN").keys()


def evidence_of(folder: Path, pattern: str) -> dict[str, object]:
    """The evidence of a pattern's first detection."""
    with opened(folder).opened(readonly=True) as state:
        return next(s.detection.evidence for s in state.detections() if s.detection.pattern == pattern)


def test_the_evidence_names_the_row(tmp_path: Path) -> None:
    """File and row number are those of the transaction, whose columns and values before it are shown."""
    folder = site(tmp_path / "site")
    opened(folder).run(once=True)
    evidence = evidence_of(folder, "AGAIN")
    row, columns = evidence["row"], evidence["columns"]
    assert evidence["source"] == "a.csv" and isinstance(row, int) and isinstance(columns, dict)
    line = (folder / "source" / "a.csv").read_text().splitlines()[row].split(",")
    assert columns == {"category": line[4]} and line[4] != "c"


def test_chunks_that_windows_need_are_kept(tmp_path: Path) -> None:
    """Retention stops at the first chunk that a window reaches back to, and says so."""
    folder = site(tmp_path / "site", "count")
    write_source(folder / "source" / "a.csv", 1500, 0)  # two days and more
    opened(folder).run(once=True)
    with opened(folder).opened(readonly=True) as state:
        reach = Reach.of(state.get_meta(REACH) or "")
        kept = limit(state, 1, datetime(2999, 1, 1, tzinfo=ZoneInfo("UTC")), [], files=True)
        assert 0 < reach.first < state.cursor().tables
    assert (kept.chunk, kept.why) == (reach.first, "windows of the patterns still need them")


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("lateness: 30min", "lateness: 2 steps", r"yaml:4:43: time.lateness: found 2 steps, but the time column holds"),
        ("lateness: 30min", "lateness: long", "time.lateness: found 'long', expected a number of steps"),
        (
            "timezone: Europe/Berlin",
            "format: number",
            r"yaml:4:16: time.format number means numbers, measured in steps",
        ),
        ("time: at", "time: null", "the patterns need the column time, which is set to null"),
        ("state: ./state.db", "landing: {keep: 3d}", "found quarantine together with landing.keep"),
        ("state: ./state.db", "engine: spark", r"yaml:5:9: engine: spark cannot quarantine late rows yet"),
        ("PatId2: {transactions: 3, avg_amount: 5}", "FREQUENCY", "a time column holds numbers or timestamps"),
        ("timezone: Europe/Berlin", "timezone: Mars", "expected an IANA time zone"),
    ],
)
def test_mistakes_are_told_before_a_run(tmp_path: Path, was: str, now: str, message: str) -> None:
    """What does not go together is refused, with its place."""
    folder = site(tmp_path / "site")
    text = (folder / "tillwatch.yaml").read_text()
    assert was in text
    (folder / "tillwatch.yaml").write_text(text.replace(was, now))
    with pytest.raises(ConfigError, match=message):
        opened(folder)


def test_times_are_not_looked_at_without_need(tmp_path: Path) -> None:
    """Without windows a row needs no time, and the state is what it was before there were windows."""
    folder = site(tmp_path / "site")
    (folder / "tillwatch.yaml").write_text("source: ./source\nstate: ./state.db\npatterns: [PatId2]\n")
    shutil.rmtree(folder / "detections", ignore_errors=True)
    opened(folder).run(once=True)
    with opened(folder).opened(readonly=True) as state:
        assert state.quarantined() == {} and state.get_meta(REACH) is None
        assert "time" not in opened(folder).setup.meaning
