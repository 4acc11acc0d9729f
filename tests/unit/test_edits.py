"""Patterns that change between runs and during one: taken at a chunk boundary, replayed so, refused when broken."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from tillwatch.audit import audit
from tillwatch.cli.app import app
from tillwatch.errors import StateConflict
from tillwatch.pipeline import Event, Notice, Pipeline
from tillwatch.state.base import RuleSet

HEADER = "step,customer,merchant,category,gender,amount\n"
OFTEN = "id: Often\naction: CALL\nper: [customer, merchant]\nthresholds: {least: 3}\nwhen: transactions >= :least\n"
SPENDS = "id: Spends\naction: LOOK\nper: customer\nwhen: total_amount >= 50\n"


class Site:
    """A pipeline that is given chunks of one row, pattern files, and runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = 0
        (folder / "in").mkdir()
        (folder / "patterns").mkdir()
        self.write("often", OFTEN)
        self.configure("patterns: [./patterns/]")

    @property
    def config(self) -> Path:
        return self.folder / "tillwatch.yaml"

    def configure(self, more: str) -> None:
        """Writes the configuration."""
        self.config.write_text(f"source: {{uri: in, rows: 1, every: 0}}\n{more}\n")

    def write(self, name: str, text: str | None) -> None:
        """Writes a pattern's file, or removes it."""
        path = self.folder / "patterns" / f"{name}.yaml"
        path.unlink() if text is None else path.write_text(text)

    def add(self, *customers: str) -> None:
        """A file with a row, of ten, for each; each row is a chunk."""
        rows = "".join(f"{self._files},{customer},Shop,food,F,10\n" for customer in customers)
        (self.folder / "in" / f"{self._files:03}.csv").write_text(HEADER + rows)
        self._files += 1

    def run(self, *customers: str) -> list[tuple[int, str, str]]:
        """Runs on these rows more; the detections so far by chunk, pattern, customer. Audit must find nothing."""
        if customers:
            self.add(*customers)
        pipeline = Pipeline.open(self.config)
        pipeline.run(once=True)
        assert [problem for check in audit(pipeline) for problem in check.problems] == []
        found = pipeline.detections()
        return list(found.select("chunk", "patternId", "customerName").iter_rows())

    def rule_sets(self) -> list[RuleSet]:
        with Pipeline.open(self.config).opened(readonly=True) as state:
            return state.rule_sets()

    def evidence(self, seq: int) -> dict[str, object]:
        found: dict[str, object] = json.loads(Pipeline.open(self.config).detections()["evidence"][seq - 1])
        return found

    def call(self, *arguments: str) -> str:
        return CliRunner().invoke(app, [arguments[0], "-c", str(self.config), *arguments[1:]]).output


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A pipeline with one pattern, and nothing done."""
    return Site(tmp_path)


def test_an_edited_threshold_is_in_force_from_the_next_chunk_on(site: Site) -> None:
    """What holds already is detected at that chunk and says so; keys that were detected before stay so."""
    assert site.run("A", "A", "A", "B", "B") == [(2, "Often", "A")]
    site.write("often", OFTEN.replace("3", "2"))
    assert site.run("C") == [(2, "Often", "A"), (5, "Often", "B")]
    assert [r.first for r in site.rule_sets()] == [0, 5]
    assert site.evidence(2) == {"chunk": 5, "features": {"transactions": 2}, "in_force_from": 5}
    assert site.run("C")[2:] == [(6, "Often", "C")]
    assert "in_force_from" not in site.evidence(3)
    for seq, threshold in ((1, "3"), (2, "2"), (3, "2")):
        assert f"transactions >= {threshold}" in site.call("explain", str(seq))


def test_an_edit_is_not_in_force_before_there_is_a_chunk(site: Site) -> None:
    """A run with nothing to do records nothing; what is undone before a chunk came never was."""
    site.run("A", "A")
    site.write("often", OFTEN.replace("3", "2"))
    assert site.run() == []
    assert len(site.rule_sets()) == 1
    site.write("often", OFTEN)
    assert site.run("B", "A") == [(3, "Often", "A")]
    assert len(site.rule_sets()) == 1


def test_a_new_pattern_starts_from_the_whole_history(site: Site) -> None:
    """Also one that needs values that were not kept: all rows count, and its detections begin at its first chunk."""
    site.run("A", "B", "A", "A", "A", "A")
    site.write("spends", SPENDS)
    assert site.run("C") == [(3, "Often", "A"), (6, "Spends", "A")]
    assert site.evidence(2)["features"] == {"total_amount": 50.0}
    assert site.run("B", "B", "B", "B")[2:] == [(8, "Often", "B"), (10, "Spends", "B")]
    with Pipeline.open(site.config).opened(readonly=True) as state:
        assert state.cursor().tables == 11


def test_a_pattern_that_is_removed_leaves_its_detections(site: Site) -> None:
    """When it comes back, keys that it has detected are not detected again; what ceased meanwhile turns then."""
    site.write("spends", SPENDS)
    site.write("low", "id: Low\naction: LOW\nper: merchant\nwhen: transactions <= 4\n")
    assert site.run("A", "A", "A")[1:] == [(2, "Often", "A")]
    site.write("often", None)
    site.write("low", None)
    assert site.run("A", "A", "B", "B", "B")[2:] == [(4, "Spends", "A")]
    site.write("often", OFTEN)
    site.write("low", "id: Low\naction: LOW\nper: merchant\nwhen: transactions <= 4\n")
    assert site.run("C")[3:] == [(8, "Often", "B")]
    with Pipeline.open(site.config).opened(readonly=True) as state:
        assert state.turns(99) == [(1, 8, False)]
    assert [r.first for r in site.rule_sets()] == [0, 3, 8]


def test_an_edited_condition_turns_those_that_do_not_hold_any_more(site: Site) -> None:
    """The same id is the same pattern: its detections cease when the new condition is not true for them."""
    site.run("A", "A", "A", "B")
    site.write("often", OFTEN.replace(">= :least", "between 1 and :least - 1") + "cleared: true\n")
    assert site.run("C") == [(2, "Often", "A"), (4, "Often", "B"), (4, "Often", "C")]
    with Pipeline.open(site.config).opened(readonly=True) as state:
        assert state.turns(99) == [(1, 4, False)]
        assert [(c.seq, c.chunk) for c in state.cleared()] == [(1, 4)]


def test_a_pattern_that_leaves_the_shadow_is_detected_anew(site: Site) -> None:
    """What it found in the shadow stays there, and does not count as detected."""
    site.configure("patterns: [./patterns/]\nshadow: [Often]")
    assert site.run("A", "A", "A") == []
    site.configure("patterns: [./patterns/]")
    assert site.run("B") == [(3, "Often", "A")]
    site.configure("patterns: [./patterns/]\nshadow: [Often]")
    assert site.run("B", "B") == [(3, "Often", "A")]
    with Pipeline.open(site.config).opened(readonly=True) as state:
        assert [(s.detection.chunk, s.detection.customer) for s in state.detections(shadow=True)] == [
            (2, "A"),
            (5, "B"),
        ]


def test_the_order_and_other_emits_are_edits_too(site: Site) -> None:
    """Detections of a chunk come in the order in force; a key once detected is so under another emit."""
    site.write("spends", SPENDS.replace("50", "30"))
    first, second = "./patterns/often.yaml", "./patterns/spends.yaml"
    site.configure(f"patterns: [{first}, {second}]")
    assert [p for _, p, _ in site.run("A", "A", "A")] == ["Often", "Spends"]
    site.configure(f"patterns: [{second}, {first}]")
    assert [p for _, p, _ in site.run("B", "B", "B")][2:] == ["Spends", "Often"]
    site.write("often", OFTEN + "emit: every_chunk\n")
    assert [(c, p, who) for c, p, who in site.run("C")][4:] == [(6, "Often", "A"), (6, "Often", "B")]
    site.write("often", OFTEN)
    assert len(site.run("C")) == 6


def test_thresholds_and_features_of_the_configuration_are_edits(site: Site) -> None:
    """As --set and the file say them; they are kept with the patterns."""
    site.configure("patterns: [{./patterns/often.yaml: {least: 2}}]")
    assert site.run("A", "A") == [(1, "Often", "A")]
    site.configure(
        "features: {big: count(*) filter (where amount >= 10)}\npatterns: [{./patterns/often.yaml: {least: 4}}]"
    )
    site.write("often", OFTEN.replace("transactions >=", "big >="))
    assert site.run("B", "B", "B", "B")[1:] == [(5, "Often", "B")]
    (first, last) = site.rule_sets()
    assert json.loads(first.rules)["patterns"][0]["thresholds"] == {"least": "2"}
    assert list(json.loads(last.rules)["features"]) == ["big"]


def test_what_is_not_a_pattern_is_still_refused(site: Site) -> None:
    """Other columns or digits of amounts are another pipeline; the text says what was and what is."""
    site.run("A")
    site.configure("patterns: [./patterns/]\namounts: {digits: 2}")
    with pytest.raises(StateConflict, match=r"was  amounts: 4 fraction digits.*\n.*now  amounts: 2 fraction digits"):
        site.run("A")


def test_a_pattern_that_asks_more_of_rows_is_refused(site: Site) -> None:
    """A column that rows could be without stays so for a state: the old patterns stay, and status says why."""
    site.run("A", "A")
    site.write("kinds", "id: Kinds\naction: A\nper: category\nwhen: transactions >= 1\n")
    site.write("often", OFTEN.replace("3", "1"))
    assert site.run("B", "A") == [(3, "Often", "A")]
    assert "a pattern needs the column category, which rows could be without" in site.call("status")
    site.write("kinds", None)
    assert site.run("C") == [(3, "Often", "A"), (4, "Often", "B"), (4, "Often", "C")]
    assert "refused" not in site.call("status")


def test_a_pattern_that_needs_removed_chunks_is_refused(site: Site) -> None:
    """Values that are kept are enough for a new threshold, and not for a new grain."""
    site.configure("patterns: [./patterns/]\nlanding: {keep: 1d}")
    site.run("A", "A", "B")
    with closing(sqlite3.connect(site.folder / "tillwatch-data/state.db")) as db, db:
        db.execute("UPDATE chunks SET processed_at = '2026-01-02T03:04:05.678+05:30'")
    assert "removed 2 chunks" in site.call("compact", "--leave", "1", "--merge", "2")
    site.write("spends", SPENDS.replace("50", "20"))
    assert site.run("A") == [(3, "Often", "A")]
    assert "chunks 0 to 1 were removed" in site.call("status")
    site.write("spends", None)
    site.write("often", OFTEN.replace("3", "1"))
    assert site.run("B")[1:] == [(4, "Often", "B")]
    assert [r.first for r in site.rule_sets()] == [0, 4]


def test_windows_are_edited_too(site: Site) -> None:
    """With another threshold the window goes on; with another window the log is folded once; audit proves both."""
    window = "id: Fast\naction: CALL\nper: customer\nfeatures: {fast: count(*) within 3 steps}\nwhen: fast >= 3\n"
    site.write("fast", window)
    site.run("A", "A", "B")
    site.write("fast", window.replace("fast >= 3", "fast >= 2"))
    assert (3, "Fast", "A") in site.run("C")
    site.write("fast", window.replace("3 steps", "5 steps").replace("fast >= 3", "fast >= 1"))
    assert [d for d in site.run("C") if d[1] == "Fast"] == [(3, "Fast", "A"), (4, "Fast", "B"), (4, "Fast", "C")]
    assert [r.first for r in site.rule_sets()] == [0, 3, 4]


class Watcher:
    """Hears of a run, and lets wait for what it says."""

    def __init__(self) -> None:
        self._heard = threading.Condition()
        self._texts: list[str] = []

    def __call__(self, event: Event) -> None:
        with self._heard:
            self._texts += [event.text] if isinstance(event, Notice) else []
            self._heard.notify_all()

    def wait_for(self, text: str, times: int = 1) -> None:
        with self._heard:
            told = self._heard.wait_for(lambda: sum(text in t for t in self._texts) >= times, 20)
            assert told, f"{text} was not told, but {self._texts}"

    def count(self, text: str) -> int:
        return sum(text in t for t in self._texts)


def test_a_run_takes_edits_and_refuses_broken_ones(site: Site) -> None:
    """A broken edit is told once, with its place, and the old patterns stay; a good one is in force soon after."""
    site.run("A", "A")
    heard, stop = Watcher(), threading.Event()
    pipeline = Pipeline.open(site.config)
    running = threading.Thread(target=lambda: pipeline.run(stop=stop, observer=heard))
    running.start()
    try:
        site.write("often", OFTEN.replace("transactions >", "transaction >"))
        heard.wait_for("often.yaml:5:7: Often: 'transaction' is not a declared feature")
        assert "refused" in site.call("status")
        site.write("often", OFTEN.replace("3", "2"))
        while not site.rule_sets()[1:]:
            site.add("B")
            heard.wait_for("patterns have changed") if heard.count("patterns have changed") else stop.wait(0.3)
        heard.wait_for("patterns have changed")
    finally:
        stop.set()
        running.join()
    assert heard.count("edit was refused") == 1
    found = site.run()
    assert (site.rule_sets()[1].first, "Often", "A") in found
    assert "refused" not in site.call("status")
