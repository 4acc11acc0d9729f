"""Results of back-tests are kept as they were, and what is none is told."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tillwatch.cli.app import app
from tillwatch.errors import ObjectMissing, StoreError
from tillwatch.history import kept
from tillwatch.history.backtest import Backtest
from tillwatch.history.kept import Kept, names, read
from tillwatch.pipeline import Pipeline
from tillwatch.stores import Store, open_store

PASSWORD = "swordfish-42"
SWEEP = "PatId2.transactions=6:10:2"


@pytest.fixture(scope="module")
def copy(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a pipeline of this module's own."""
    folder = tmp_path_factory.mktemp("kept") / "site"
    shutil.copytree(config.parent, folder, ignore=shutil.ignore_patterns("backtests"))
    return folder / config.name


def called(config: Path, *arguments: str) -> str:
    """What a back-test prints on stdout."""
    done = CliRunner().invoke(app, ["backtest", "-c", str(config), *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def printed(copy: Path) -> dict[str, object]:
    """What a back-test with a draft and a sweep has printed as JSON, and kept."""
    said = called(copy, "--set", "patterns.PatId2.transactions=5", "--sweep", SWEEP, "--format", "json")
    found: dict[str, object] = json.loads(said)
    return found


def store_of(config: Path) -> Store:
    place = Pipeline.open(config).settings.backtests
    assert place is not None
    return open_store(place)


def test_a_result_is_kept_as_it_was_printed(copy: Path, printed: dict[str, object]) -> None:
    """With what was tried and when; read again it says the same numbers, and nothing else of the pipeline changes."""
    store = store_of(copy)
    (name,) = names(store)
    said = json.loads(store.get(name))
    assert {key: value for key, value in said.items() if key not in ("made_at", "tried")} == printed
    found = read(store, name)
    assert found.tried == ("--set patterns.PatId2.transactions=5", f"--sweep {SWEEP}")
    assert (found.name, found.at, found.first, found.last, found.rows, found.as_run) == (
        name,
        said["made_at"],
        0,
        23,
        6000,
        True,
    )
    assert _numbers(found) == [
        (p["patternId"], p["now"], p["draft"], len(p["added"]), len(p["removed"]), len(p["moved"]))
        for p in said["patterns"]
    ]
    assert sum(c.draft["PatId2"] for c in found.chunks) == next(
        p.draft for p in found.patterns if p.pattern == "PatId2"
    )
    (curve,) = found.curves
    assert (curve.pattern, curve.threshold, curve.now, [p[0] for p in curve.points]) == (
        "PatId2",
        "transactions",
        8.0,
        [6.0, 8.0, 10.0],
    )
    assert next(p for p in curve.points if p[0] == 8)[2:] == (0, 0, 0)


def _numbers(found: Kept) -> list[tuple[object, ...]]:
    kinds = ("added", "removed", "moved")
    return [(p.pattern, p.now, p.draft, *(p.count(kind) for kind in kinds)) for p in found.patterns]


def test_the_newest_is_first_and_nothing_is_kept_where_none_is_wanted(copy: Path, printed: dict[str, object]) -> None:
    """Each call keeps one; with `backtests: null` none."""
    store = store_of(copy)
    before = names(store)
    called(copy, "PatId2")
    now = names(store)
    assert now[1:] == before and len(now) == len(before) + 1
    assert read(store, now[0]).tried == ("PatId2",)
    called(copy, "PatId2", "--set", "backtests=null")
    assert names(store) == now


def test_secrets_are_not_kept(tmp_path: Path) -> None:
    """A password in what was tried is masked, wherever it stands."""
    found = kept.keep(
        store := open_store(str(tmp_path)),
        _nothing(),
        [f"--set lookups.i.uri=postgresql://till:{PASSWORD}@db/x", f"--set lookups.i=s3://b/x?token={PASSWORD}"],
        datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC),
    )
    text = store.get(found).decode()
    assert PASSWORD not in text and "till:***@db/x" in text
    assert found.startswith("20261120T000000000000Z-")


def _nothing() -> Backtest:
    return Backtest(0, 0, 0, (), (), (), True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"made_at": 1}', "\xff", "null", '"x"', "{" * 5000])
def test_what_is_no_result_is_told(tmp_path: Path, text: str) -> None:
    """Anything else in the folder neither counts nor stops anyone; too much is not even read."""
    store = open_store(str(tmp_path))
    store.put("x.json", text.encode("latin-1"))
    store.put("below/y.json", b"{}")
    store.put("notes.txt", b"")
    assert names(store) == ["x.json"]
    with pytest.raises(StoreError, match="is not the result of a back-test"):
        read(store, "x.json")
    with pytest.raises(ObjectMissing):
        read(store, "z.json")


def test_too_much_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beyond the limit is told with its name."""
    monkeypatch.setattr(kept, "MOST_BYTES", 2**20)
    store = open_store(str(tmp_path))
    store.put("x.json", b" " * (2**20 + 1))
    with pytest.raises(StoreError, match=r"x\.json is larger than 1 MiB"):
        read(store, "x.json")
