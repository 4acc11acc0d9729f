"""Columns of one's own and filters beside windows, transactions, lives of detections, and patterns that change."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from tillwatch.audit import audit
from tillwatch.cli.app import app
from tillwatch.config import load
from tillwatch.edits import Edits
from tillwatch.errors import StateConflict
from tillwatch.pipeline import Pipeline
from tillwatch.status import Status, status
from tillwatch.testing.clocks import ScriptedClock

CONFIG = """\
source: {uri: in, rows: 2, every: 0}
columns: {customer: null, merchant: null, gender: null, category: kind, device: device_id, zone: zone}
where: category <> 'test'
lookups: {}
patterns: [./patterns/]
"""
OFTEN = """\
id: Often
action: LOOK
per: device
where: zone = 'n'
when: transactions >= 2
cleared: true
"""
NEW = """\
id: New
action: SEE
per: [zone, device]
where: category = 'food'
emit: on_enter
features: {kinds: count(distinct category)}
when: kinds = 1 and zone.transactions >= 2
"""
AGAIN = """\
id: Again
action: SEE
per: [device, amount]
judge: transaction
where: category = 'food'
features: {same: count(*) within 5 steps}
when: same >= 1
cleared: true
"""
FAST = """\
id: Fast
action: SEE
per: device
features: {fast: count(*) within 3 steps}
when: fast >= 2
cleared: true
"""


class Site:
    """A pipeline of rows (step, kind, device, zone, amount), two in a chunk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = 0
        (folder / "in").mkdir()
        (folder / "patterns").mkdir()
        self.config = folder / "tillwatch.yaml"
        self.config.write_text(CONFIG)

    def write(self, name: str, text: str | None) -> None:
        """Writes a pattern's file, or removes it."""
        path = self.folder / "patterns" / f"{name}.yaml"
        path.unlink() if text is None else path.write_text(text)

    def run(self, *rows: tuple[object, ...], set: Sequence[str] = ()) -> list[tuple[int, str, dict[str, str]]]:
        """Runs on a file with these rows more; the detections so far. Audit must find nothing."""
        with (self.folder / "in" / f"{self._files:03}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("step", "kind", "device_id", "zone", "amount"), *rows])
        self._files += 1
        pipeline = Pipeline.open(self.config, set)
        pipeline.run(once=True)
        assert [problem for check in audit(pipeline) for problem in check.problems] == []
        found = pipeline.detections().select("chunk", "patternId", "key").iter_rows()
        return [(chunk, pattern, json.loads(key)) for chunk, pattern, key in found]

    def status(self, *overrides: str) -> Status:
        return status(Pipeline.open(self.config, overrides))

    def cleared(self, *overrides: str) -> list[tuple[int, int]]:
        """Seq and chunk of what ceased to hold."""
        with Pipeline.open(self.config, overrides).opened(readonly=True) as state:
            return [(c.seq, c.chunk) for c in state.cleared()]

    def call(self, *arguments: str) -> str:
        return CliRunner().invoke(app, [arguments[0], "-c", str(self.config), *arguments[1:]]).output


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A pipeline without patterns, and nothing done."""
    return Site(tmp_path)


def test_another_filter_of_a_pattern_is_an_edit(site: Site) -> None:
    """It is in force from the next chunk on. Of a key that has no row that passes, the detection ceases to hold."""
    site.write("often", OFTEN)
    assert site.run((1, "a", "d1", "n", 5), (1, "a", "d1", "n", 5)) == [(0, "Often", {"device": "d1"})]
    site.write("often", OFTEN.replace("zone = 'n'", "zone = 's'"))
    assert len(site.run((2, "a", "d2", "s", 5), (2, "a", "d2", "s", 5))) == 2
    assert site.cleared() == [(1, 1)]
    with Pipeline.open(site.config).opened(readonly=True) as state:
        assert [r.first for r in state.rule_sets()] == [0, 1]
        assert ["where zone = 's'" in r.meaning for r in state.rule_sets()] == [False, True]
    site.write("often", OFTEN.replace("where: zone = 'n'\n", ""))
    assert len(site.run((3, "a", "d3", "x", 5), (3, "a", "d3", "n", 5))) == 3
    assert "transactions >= 2" in site.call("explain", "1")


def test_a_key_without_rows_that_pass_is_none_to_an_edited_pattern(site: Site) -> None:
    """Also where the condition would be true of no rows: it held before, and ceases to."""
    few = OFTEN.replace("transactions >= 2", "transactions <= 5")
    site.write("often", few)
    site.run((1, "a", "d1", "n", 5), (1, "a", "d2", "x", 5))
    site.write("often", few.replace("zone = 'n'", "zone = 's'"))
    assert site.run((2, "a", "d3", "s", 5)) == [(0, "Often", {"device": "d1"}), (1, "Often", {"device": "d3"})]
    assert site.cleared() == [(1, 1)]


def test_patterns_come_and_go_with_keys_of_ones_own(site: Site) -> None:
    """A pattern that is gone is read again from the state, with the columns that it knew; a new one has the history."""
    site.write("often", OFTEN)
    site.run((1, "food", "d1", "n", 5), (1, "food", "d1", "n", 5), (1, "test", "d1", "n", 5))
    site.write("often", None)
    site.write("new", NEW)
    found = site.run((2, "a", "d2", "s", 5), (2, "test", "d2", "s", 5))
    assert found == [(0, "Often", {"device": "d1"}), (2, "New", {"device": "d1", "zone": "n"})]
    site.write("often", OFTEN)
    assert site.run((3, "food", "d3", "s", 5), (3, "food", "d3", "s", 5))[2:] == [
        (3, "New", {"device": "d3", "zone": "s"})
    ]
    assert site.status().filtered == 2
    assert "d1" in site.call("explain", "1")


def test_another_order_of_keys_is_another_pipeline(site: Site) -> None:
    """Tables are made by it: it is no edit of the patterns."""
    site.write("new", NEW)
    site.run((1, "food", "d1", "n", 5))
    site.config.write_text(CONFIG.replace("device: device_id, zone: zone", "zone: zone, device: device_id"))
    with pytest.raises(StateConflict, match="own columns in order: zone, device"):
        site.run((1, "food", "d1", "n", 5))


def test_columns_in_another_order_are_no_edit_of_a_run_at_work(site: Site) -> None:
    """They are taken by the next start, which refuses them; the run goes on with those that it has."""
    site.write("new", NEW)
    pipeline, clock, told = Pipeline.open(site.config), ScriptedClock(), list[str]()
    edits = Edits(
        lambda: load(site.config),
        (site.config,),
        pipeline.composed,
        pipeline.setup,
        pipeline.setup,
        clock,
        lambda notice: told.append(notice.text),
    )
    site.config.write_text(CONFIG.replace("device: device_id, zone: zone", "zone: zone, device: device_id"))
    for _ in range(3):
        clock.seconds += 1
        assert edits.look() is None
    assert [text for text in told if "more than its patterns" in text] == told != []


def test_a_pattern_on_transactions_sees_only_what_passes_its_filter(site: Site) -> None:
    """Other rows are neither judged nor counted, and do not say that the last one was not true any more."""
    site.write("again", AGAIN)
    rows = [(1, "food", "d1", "n", 5), (1, "fun", "d1", "n", 5), (2, "fun", "d1", "n", 5), (2, "test", "d1", "n", 5)]
    assert site.run(*rows) == []
    assert site.run((3, "food", "d1", "n", 5), (3, "fun", "d1", "n", 5)) == [
        (2, "Again", {"amount": "5", "device": "d1"})
    ]
    assert site.cleared() == []
    site.run((20, "fun", "d1", "n", 5), (20, "test", "d1", "n", 5))
    assert site.cleared() == []
    site.run((20, "food", "d1", "n", 5), (20, "fun", "d9", "n", 5))
    assert site.cleared() == [(1, 4)]


def test_rows_that_are_filtered_out_move_the_clock(site: Site) -> None:
    """Time has passed all the same: what is in a window leaves it, also after a restart."""
    site.write("fast", FAST)
    assert site.run((1, "a", "d1", "n", 5), (2, "a", "d1", "n", 5)) == [(0, "Fast", {"device": "d1"})]
    site.run((3, "test", "d2", "n", 5), (3, "test", "d2", "n", 5))
    assert site.cleared() == []
    site.run((4, "test", "d2", "n", 5), (4, "test", "d2", "n", 5))
    assert site.cleared() == [(1, 2)]
    assert (site.status().counted, site.status().filtered) == (2, 4)


def test_a_late_row_is_in_the_quarantine_whether_it_passes_or_not(site: Site) -> None:
    """Whether it is valid is asked first; the clock that it is behind may be that of a row that was filtered out."""
    late = ["time.late=quarantine", "time.lateness=2"]
    site.write("fast", FAST)
    site.run((1, "a", "d1", "n", 5), (9, "test", "d1", "n", 5), set=late)
    site.run(
        (6, "a", "d1", "n", 5), (6, "test", "d1", "n", 5), (7, "a", "d1", "n", 5), (7, "test", "", "n", 5), set=late
    )
    now = site.status(*late)
    assert (now.counted, now.filtered, dict(now.quarantined)) == (2, 1, {"device_empty": 1, "late": 2})


def test_why_not_of_a_key_that_the_pattern_has_not_seen(site: Site) -> None:
    """Its rows do not pass the filter: it is unknown to the pattern, now and after a chunk."""
    site.write("often", OFTEN)
    site.run((1, "a", "d1", "s", 5), (1, "a", "d2", "n", 5))
    for at in ((), ("--at", "0")):
        told = [
            json.loads(site.call("why-not", "Often", "--key", f"device={device}", "--format", "json", *at))
            for device in ("d1", "d2")
        ]
        assert [(each["seen"], each["unseen"]) for each in told] == [(False, [] if at else ["device"]), (True, [])]
