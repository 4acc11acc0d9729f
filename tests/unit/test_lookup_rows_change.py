"""Lookups that rows are looked up in, and that change: each row by the version of its chunk, also when replayed."""

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
from tillwatch.compose import reporter
from tillwatch.errors import StateConflict
from tillwatch.pipeline import Event, Notice, Pipeline
from tillwatch.status import status

CONFIG = """\
source: {uri: in, rows: 1, every: 0}
columns: {gender: null}
lookups:
  segment: {uri: customers.csv, on: {customer: id}, value: Segment, refresh: 0.05}
  shops: {uri: shops.csv, on: {merchant: shop}, refresh: 0.05}
require: {segment: mark, shops: mark}
where: segment is null or segment <> 'staff'
patterns: [./patterns/]
"""
THRICE = "id: Thrice\naction: LOOK\nper: segment\nfeatures: {now: count(*) within 1 step}\n"
THRICE += "when: transactions >= 3 and now >= 0\n"
PAIR = "id: Pair\naction: SEE\nper: segment\nfeatures: {who: count(distinct customer)}\nwhen: who >= 2\n"
WINDOW = "id: Window\naction: SEE\nper: segment\nfeatures: {recent: count(*) within 9 steps}\nwhen: recent >= 3\n"


class Site:
    """A pipeline that is given chunks of one row, and what customers and shops are known."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._files = folder, 0
        (folder / "in").mkdir()
        (folder / "patterns").mkdir()
        (folder / "tillwatch.yaml").write_text(CONFIG)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline.open(self.folder / "tillwatch.yaml")

    def pattern(self, *texts: str) -> None:
        for text in texts:
            (self.folder / "patterns" / f"{text.split()[1]}.yaml").write_text(text)

    def known(self, customers: str, shops: str) -> None:
        """Writes both lookups: customers as `A=gold`, shops by name."""
        self.write("customers.csv", "id,Segment", [pair.replace("=", ",") for pair in customers.split()])
        self.write("shops.csv", "shop", shops.split())

    def write(self, name: str, header: str, lines: list[str]) -> None:
        new = self.folder / "new"
        new.write_text("\n".join([header, *lines, ""]))
        new.rename(self.folder / name)

    def add(self, *rows: str) -> None:
        """A file with a row for each, customer and shop; each row is a chunk."""
        lines = [f"{self._files},{row.replace(' ', ',')},food,10" for row in rows]
        (self.folder / "in" / f"{self._files:03}.csv").write_text(
            "\n".join(["step,customer,merchant,category,amount", *lines, ""])
        )
        self._files += 1

    def run(self, *rows: str) -> list[tuple[int, str, str]]:
        """Runs on these rows more; the detections so far by chunk, pattern, segment. Audit must find nothing."""
        self.add(*rows)
        self.pipeline.run(once=True)
        assert self.problems() == []
        return self.found()

    def found(self) -> list[tuple[int, str, str]]:
        frame = self.pipeline.detections().select("chunk", "patternId", "key")
        return [(chunk, pattern, json.loads(key)["segment"]) for chunk, pattern, key in frame.iter_rows()]

    def problems(self) -> list[str]:
        return [problem for check in audit(self.pipeline) for problem in check.problems]

    def versions(self) -> list[tuple[str, int, int]]:
        with self.pipeline.opened(readonly=True) as state:
            return sorted((v.name, v.number, v.first) for v in state.lookup_versions())

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.folder / "tillwatch-data/state.db")) as state:
            return state.execute(query).fetchall()

    def call(self, *arguments: str) -> str:
        config = str(self.folder / "tillwatch.yaml")
        return CliRunner().invoke(app, [arguments[0], "-c", config, *arguments[1:]]).output


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A pipeline with one pattern and both lookups, and nothing done."""
    site = Site(tmp_path)
    site.pattern(THRICE)
    site.known("A=gold", "M")
    return site


@pytest.fixture
def changed(site: Site) -> Site:
    """The same after seven chunks, before the fourth and the seventh of which lookups changed."""
    assert site.run("A M", "B M", "A N") == []
    site.known("A=silver B=gold", "N")
    assert site.run("B N", "A M", "A N") == [(3, "Thrice", "gold")]
    site.known("A=staff B=gold", "N")
    assert site.run("A N") == [(3, "Thrice", "gold")]
    return site


def test_rows_are_looked_up_in_the_version_of_their_chunk(changed: Site) -> None:
    """Counted, marked and filtered by it; rows that were counted before keep the text they had."""
    assert changed.versions() == [
        ("segment", 1, 0),
        ("segment", 2, 3),
        ("segment", 3, 6),
        ("shops", 1, 0),
        ("shops", 2, 3),
    ]
    assert changed.rows("SELECT chunk, lookup, rows FROM marked ORDER BY chunk") == [
        (1, "segment", 1),
        (2, "shops", 1),
        (4, "shops", 1),
    ]
    assert changed.rows("SELECT segment, transactions FROM by_segment ORDER BY segment") == [
        ("", 1),
        ("gold", 3),
        ("silver", 2),
    ]
    now = status(changed.pipeline)
    assert (now.counted, now.filtered, dict(now.marked)) == (6, 1, {"segment": 1, "shops": 2})


def test_replay_needs_no_source(changed: Site) -> None:
    """Explain, why-not, the quality report and audit go by the versions that were kept."""
    pipeline = changed.pipeline
    for name in ("customers.csv", "shops.csv"):
        (changed.folder / name).unlink()
    with pipeline.opened(readonly=True) as state:
        total = reporter(pipeline.composed, pipeline.landing, state).whole().total
    assert (dict(total.marked), total.filtered) == ({"segment": 1, "shops": 2}, 1)
    explained = json.loads(changed.call("explain", "1", "--format", "json"))
    assert [(t["chunk"], t["cells"]["customer"]) for t in explained["transactions"]["newest"]] == [
        (0, "A"),
        (2, "A"),
        (3, "B"),
    ]
    asked = ("why-not", "Thrice", "--key", "segment=gold", "--format", "json")
    assert json.loads(changed.call(*asked))["holds"]
    assert not json.loads(changed.call(*asked, "--at", "2"))["holds"]
    assert changed.problems() == []


@pytest.mark.parametrize("pattern", [PAIR, WINDOW])
def test_an_edit_reads_the_log_by_its_versions(changed: Site, pattern: str) -> None:
    """What the log has to give anew for other patterns is that of the time, also at the chunk of a version."""
    changed.pattern(pattern)
    changed.known("B=staff C=new", "N")
    assert changed.run("C N")[1:] == [(7, pattern.split()[1], "gold")]
    assert changed.versions()[3] == ("segment", 4, 7)
    assert changed.run("C N", "C N")[2:] in ([(9, "Thrice", "new")], [(9, "Thrice", "new"), (9, "Window", "new")])


def test_a_broken_version_leaves_texts_as_they_are(changed: Site) -> None:
    """Two texts of one key are refused, and told by status; the rows have those of before."""
    changed.write("customers.csv", "id,Segment", ["B,gold", "B,new", "A,new"])
    changed.run("A N", "B N")
    assert status(changed.pipeline).filtered == 2
    assert "segment" in changed.call("status")
    assert "'B'" in status(changed.pipeline).refused_lookup
    assert len(changed.versions()) == 5


def test_a_run_at_work_takes_texts_and_keys_anew(site: Site) -> None:
    """Every row after the chunk has the new text, none before it; audit proves each chunk."""
    site.run("B M", "B N")
    told, taken, stop = list[str](), threading.Event(), threading.Event()

    def hear(event: Event) -> None:
        told.extend([event.text] if isinstance(event, Notice) else [])
        if all(any(f"lookup {name}: version 2" in text for text in told) for name in ("segment", "shops")):
            taken.set()

    running = threading.Thread(target=lambda: site.pipeline.run(stop=stop, observer=hear))
    running.start()
    try:
        site.known("A=gold B=new", "M N")
        for _ in range(100):
            site.add("B N")
            if taken.wait(0.2):
                break
    finally:
        stop.set()
        running.join()
    assert taken.is_set(), told
    site.run("B N")
    first = {name: chunk for name, number, chunk in site.versions() if number == 2}
    ((chunks,),) = site.rows("SELECT count(*) FROM chunks")
    assert isinstance(chunks, int)
    for name, began in (("segment", 0), ("shops", 1)):
        marked = site.rows(f"SELECT chunk FROM marked WHERE lookup = '{name}' ORDER BY chunk")  # noqa: S608 - ours
        assert marked == [(chunk,) for chunk in range(began, first[name])]
    counted = site.rows("SELECT transactions FROM by_segment WHERE segment = 'new'")
    assert counted == [(chunks - first["segment"],)]


def test_a_lookup_that_quarantines_must_not_change(site: Site) -> None:
    """A start is refused with what to do, a run at work does not look; put back, all goes on; texts may change."""
    config = site.folder / "tillwatch.yaml"
    config.write_text(config.read_text().replace("shops: mark", "shops: quarantine"))
    site.run("A M", "A N")
    site.known("A=gold", "N")
    site.add("A N")
    with pytest.raises(StateConflict, match=r"the lookup shops has changed since .* Put it back, or say 'require: "):
        site.pipeline.run(once=True)
    site.known("A=silver", "M")
    site.run("A N")
    assert site.versions() == [("segment", 1, 0), ("segment", 2, 2), ("shops", 1, 0)]
    assert site.rows("SELECT chunk, reason, rows FROM quarantine ORDER BY chunk") == [
        (chunk, "shops_unknown", 1) for chunk in (1, 2, 3)
    ]
