"""Lookups whose source changes: recorded versions, each in force from a chunk on; replayed so, refused when broken."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from tillwatch.audit import audit
from tillwatch.cli.app import app
from tillwatch.detect.change import Taken
from tillwatch.errors import SourceError, StateConflict
from tillwatch.lookups import Refresh
from tillwatch.pipeline import Event, Notice, Pipeline
from tillwatch.retry import Retry
from tillwatch.state.base import LookupVersion

HEADER = "step,customer,merchant,category,gender,amount\n"
RICH = "id: Rich\naction: CALL\nper: customer\nwhen: credit >= 100\ncleared: true\n"
TOP = "id: Top\naction: LOOK\nper: customer\nwhen: percent_rank(credit) over () >= 1 and transactions >= 1\n"
ROW = "id: Row\naction: SEE\nper: customer\njudge: transaction\nwhen: credit >= 100\n"
CONFIG = """\
source: {uri: in, rows: 1, every: 0}
lookups: {credit: {uri: credit.csv, on: {customer: id}, value: max(limit), refresh: 0.05}}
patterns: [./patterns/]
"""


class Site:
    """A pipeline that is given chunks of one row, a lookup, and runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = 0
        (folder / "in").mkdir()
        (folder / "patterns").mkdir()
        self.config.write_text(CONFIG)

    @property
    def config(self) -> Path:
        return self.folder / "tillwatch.yaml"

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline.open(self.config)

    def pattern(self, *texts: str) -> None:
        for text in texts:
            (self.folder / "patterns" / f"{text.split()[1]}.yaml").write_text(text)

    def credit(self, limits: Mapping[str, int] | None, text: str | None = None) -> None:
        """Writes the lookup in one go, or removes it."""
        path, new = self.folder / "credit.csv", self.folder / "credit.new"
        if limits is None and text is None:
            path.unlink()
            return
        rows = "".join(f"{customer},{limit}\n" for customer, limit in (limits or {}).items())
        new.write_text(text if text is not None else "id,limit\n" + rows)
        new.rename(path)

    def add(self, *customers: str) -> None:
        """A file with a row, of ten, for each; each row is a chunk."""
        rows = "".join(f"{self._files},{customer},Shop,food,F,10\n" for customer in customers)
        (self.folder / "in" / f"{self._files:03}.csv").write_text(HEADER + rows)
        self._files += 1

    def run(self, *customers: str) -> list[tuple[int, str, str]]:
        """Runs on these rows more; the detections so far by chunk, pattern, customer. Audit must find nothing."""
        if customers:
            self.add(*customers)
        self.pipeline.run(once=True)
        assert self.problems() == []
        return self.found()

    def problems(self) -> list[str]:
        return [problem for check in audit(self.pipeline) for problem in check.problems]

    def found(self) -> list[tuple[int, str, str]]:
        return list(self.pipeline.detections().select("chunk", "patternId", "customerName").iter_rows())

    def versions(self) -> list[LookupVersion]:
        with self.pipeline.opened(readonly=True) as state:
            return state.lookup_versions()

    def turns(self) -> list[tuple[int, int, bool]]:
        with self.pipeline.opened(readonly=True) as state:
            return state.turns(2**62)

    def evidence(self, seq: int) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.pipeline.detections()["evidence"][seq - 1])
        return found

    def call(self, *arguments: str) -> str:
        return CliRunner().invoke(app, [arguments[0], "-c", str(self.config), *arguments[1:]]).output


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A pipeline with one pattern and a lookup, and nothing done."""
    site = Site(tmp_path)
    site.pattern(RICH)
    site.credit({"A": 100, "B": 50})
    return site


def test_a_changed_lookup_is_a_version_from_the_next_chunk_on(site: Site) -> None:
    """Keys that no row touches are judged again: they are detected, and cease to hold, at that chunk."""
    assert site.run("A", "B") == [(0, "Rich", "A")]
    site.credit({"A": 10, "B": 500, "C": 1})
    assert site.run("C") == [(0, "Rich", "A"), (2, "Rich", "B")]
    assert site.evidence(2) == {"chunk": 2, "features": {"credit": 500.0}}
    assert site.turns() == [(1, 2, False)]
    assert [(v.name, v.number, v.first, v.rows) for v in site.versions()] == [("credit", 1, 0, 2), ("credit", 2, 2, 3)]
    assert site.run("C", "A")[2:] == []
    site.credit({"A": 100, "B": 50})
    assert site.run("C")[2:] == []
    assert [v.first for v in site.versions()] == [0, 2, 5]
    assert site.turns() == [(1, 2, False), (1, 5, True), (2, 5, False)]
    assert len(list((site.folder / "tillwatch-data/landing/_lookups/credit").iterdir())) == 2


def test_a_version_is_not_in_force_before_there_is_a_chunk(site: Site) -> None:
    """A run with nothing to do records nothing; what is undone before a chunk came never was."""
    site.run("A")
    site.credit({"A": 1})
    site.run()
    site.credit({"A": 100, "B": 50})
    site.run("B")
    assert [v.first for v in site.versions()] == [0]


def test_ranks_hear_of_a_version(site: Site) -> None:
    """The order of a group is that of the new values."""
    site.pattern(TOP)
    assert site.run("A", "B") == [(0, "Rich", "A"), (1, "Top", "A")]
    site.credit({"A": 10, "B": 20, "C": 5})
    assert site.run("C")[2:] == [(2, "Top", "B")]
    assert site.run("C")[3:] == []


def test_transactions_see_the_version_of_their_chunk(site: Site) -> None:
    """From the first row of its chunk on."""
    site.pattern(ROW)
    site.run("B")
    site.credit({"B": 100})
    assert [d for d in site.run("B", "A") if d[1] == "Row"] == [(1, "Row", "B")]


def test_explain_and_why_not_go_by_the_version_of_the_chunk(site: Site) -> None:
    """Also when the source is gone."""
    site.run("A", "B")
    site.credit({"A": 10, "B": 500})
    site.run("C")
    site.credit(None)
    assert "credit >= 100" in site.call("explain", "1") and "100" in site.call("explain", "1")
    assert "500" in site.call("explain", "2")
    told = json.loads(site.call("why-not", "Rich", "--customer", "A", "--format", "json"))
    assert not told["holds"] and "10.0" in json.dumps(told["condition"])
    told = json.loads(site.call("why-not", "Rich", "--customer", "A", "--at", "1", "--format", "json"))
    assert told["holds"]
    assert "as run" not in site.call("backtest") and site.problems() == []


def test_a_broken_version_is_refused_and_the_old_one_stays(site: Site) -> None:
    """Told, and by status too, until it is mended; a source that is gone leaves it as well."""
    site.run("A", "B")
    site.credit(None, "id,limit\nB,much\n")
    assert site.run("B") == [(0, "Rich", "A")]
    assert "credit.csv row 1: limit is 'much'" in site.call("status")
    site.credit(None)
    assert site.run("B") == [(0, "Rich", "A")]
    assert "there is no file" in site.call("status")
    site.credit({"B": 100})
    assert site.run("B")[1:] == [(4, "Rich", "B")]
    told = site.call("status")
    assert "refused" not in told and "credit: version 2 since chunk 4" in told


def test_a_lookup_that_was_never_read_must_be_there(site: Site) -> None:
    """Before the first chunk nothing can be judged without it."""
    site.credit(None)
    with pytest.raises(SourceError, match="lookup credit: there is no file"):
        site.run("A")


def test_a_version_and_an_edit_at_one_chunk(site: Site) -> None:
    """Both are in force from it; the tables are made anew with the new values."""
    site.run("A", "B")
    site.credit({"A": 1, "B": 200})
    site.pattern(RICH.replace("credit >= 100", "credit >= 100 and total_amount >= 20"), TOP)
    assert site.run("C")[1:] == [(2, "Top", "B")]
    assert site.run("B")[2:] == [(3, "Rich", "B")]
    site.credit({"A": 200, "C": 3})
    assert site.run("B")[3:] == [(4, "Top", "A")]


def test_a_lookup_that_is_described_otherwise_is_another_pipeline(site: Site) -> None:
    """Its aggregate and its keys are part of what a state is of."""
    site.run("A")
    site.config.write_text(CONFIG.replace("max(limit)", "sum(limit)"))
    with pytest.raises(StateConflict, match=r"was  lookup credit: max\(limit\).*\n.*now  lookup credit: sum\(limit\)"):
        site.run("A")


def test_what_is_kept_is_proved(site: Site) -> None:
    """Audit says of a version that its values were changed, or are gone."""
    site.run("A")
    (kept,) = (site.folder / "tillwatch-data/landing/_lookups/credit").iterdir()
    data = kept.read_bytes()
    kept.write_bytes(data[:-9] + b"x" + data[-8:])
    assert any("is not what was put" in problem for problem in site.problems())
    kept.unlink()
    assert any("is not there: it holds version 1 of the lookup credit" in problem for problem in site.problems())
    kept.write_bytes(data)
    assert site.problems() == []


def test_a_version_needs_no_chunk_that_was_removed(site: Site) -> None:
    """Retention leaves what lookups held, and tables are all that a version needs."""
    site.config.write_text(CONFIG + "landing: {keep: 1d}\n")
    site.run("A", "A", "B")
    with closing(sqlite3.connect(site.folder / "tillwatch-data/state.db")) as db, db:
        db.execute("UPDATE chunks SET processed_at = '2026-01-02T03:04:05.678+05:30'")
    assert "removed 2 chunks" in site.call("compact", "--leave", "1", "--merge", "2")
    site.credit({"A": 1, "B": 100})
    assert site.run("C") == [(0, "Rich", "A"), (3, "Rich", "B")]
    assert site.turns() == [(1, 3, False)]


class Watcher:
    """Hears of a run, and lets wait for what it says."""

    def __init__(self) -> None:
        self._heard = threading.Condition()
        self._texts: list[str] = []

    def __call__(self, event: Event) -> None:
        with self._heard:
            self._texts += [event.text] if isinstance(event, Notice) else []
            self._heard.notify_all()

    def told(self, text: str) -> int:
        return sum(text in t for t in self._texts)

    def wait_for(self, text: str) -> None:
        with self._heard:
            assert self._heard.wait_for(lambda: self.told(text), 20), f"{text} was not told, but {self._texts}"


def test_a_run_takes_versions_and_refuses_broken_ones(site: Site) -> None:
    """A broken one is told once; a good one is in force from a chunk soon after, and replay is the same."""
    site.run("A", "B")
    heard, stop = Watcher(), threading.Event()
    running = threading.Thread(target=lambda: site.pipeline.run(stop=stop, observer=heard))
    running.start()
    try:
        site.credit(None, "id,limit\nB\n")
        heard.wait_for("a new version was refused")
        site.credit({"B": 300})
        while not heard.told("lookup credit: version 2, 1 keys"):
            site.add("B")
            stop.wait(0.2)
    finally:
        stop.set()
        running.join()
    assert heard.told("refused") == 1
    found = site.run()
    assert found[1:] == [(site.versions()[1].first, "Rich", "B")]
    assert "refused" not in site.call("status")


def test_a_version_before_the_first_chunk(site: Site) -> None:
    """What was read at the start is the first version all the same, and nothing is taken twice."""
    pipeline, told = site.pipeline, list[str]()
    retry = Retry(pipeline.clock, threading.Event(), told.append, 0)
    store = pipeline.store(pipeline.settings.landing.uri)
    refresh = Refresh(pipeline.settings, pipeline.composed.lookups, [], store, pipeline.clock, retry, told.append)
    site.credit({"A": 1})
    taken: list[Taken] = []
    with refresh.watching():
        while len(taken) < 2:
            taken += refresh.take(0)
            retry.stop.wait(0.05)
    assert [(t.record.number, t.record.first, t.record.rows) for t in taken] == [(1, 0, 2), (2, 0, 1)]
    assert [t.kept.frame["value"].to_list() for t in taken] == [[1_000_000, 500_000], [10_000]]
    refresh.committed(taken)
    assert told == ["lookup credit: version 2, 1 keys, from chunk 0 on"]
