"""With its state in PostgreSQL the executors write the tables of running values, and come to what one process does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tillwatch.errors import StateError
from tillwatch.pipeline import Pipeline
from tillwatch.spark import detect, staging
from tillwatch.spark.staging import stage_shards, staged_by
from tillwatch.state import open_state
from tillwatch.state.copy import copy_state
from tillwatch.state.sql_state import SqlState
from tillwatch.testing.crash import Site, finish
from tillwatch.testing.servers.postgres import PASSWORD, PostgresServer, postgres_server

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("spark")]

VIEWS = ("customer_merchant_stats", "merchant_transaction_counts", "merchant_gender_stats")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    with postgres_server() as running:
        yield running


@pytest.fixture(scope="module")
def passfile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A password file: the executors of this process's Spark have the environment of when it was started."""
    file = tmp_path_factory.mktemp("secret") / "pgpass"
    file.write_text(f"*:*:*:*:{PASSWORD}\n")
    file.chmod(0o600)
    return file


@pytest.fixture
def here(site: Site, server: PostgresServer, passfile: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The landed pipeline, with its state in PostgreSQL and five chunks a batch."""
    monkeypatch.setattr(detect, "BATCH_CHUNKS", 5)
    return moved(site, f"{server.new_place()}&passfile={passfile}")


def moved(site: Site, place: str) -> Site:
    """The pipeline with its state, in which only ingest has worked, at another place."""
    with site.pipeline.opened() as old, closing(open_state(place)) as new:
        assert isinstance(old, SqlState)
        copy_state(old, new)
    site.config.write_text(f"{site.config.read_text()}state: {place}\n")
    return site


@pytest.fixture(scope="module")
def expected(landed: Site, server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What the views show after the work of the embedded engine."""
    site = moved(landed.copy(tmp_path_factory.mktemp("embedded") / "site"), server.new_place())
    Pipeline.open(site.config, ["engine=embedded"]).detect(once=True)
    return shown(server, site)


def schema(site: Site) -> str:
    """The schema of a pipeline's state."""
    return site.pipeline.settings.state.partition("schema=")[2].partition("&")[0]


def shown(server: PostgresServer, site: Site) -> dict[str, list[Any]]:
    """What people read."""
    return {v: sorted(server.run(f"SELECT * FROM {schema(site)}.{v}"), key=repr) for v in VIEWS}  # noqa: S608


def left(server: PostgresServer, site: Site) -> list[str]:
    """The staging tables."""
    query = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname = %s AND tablename LIKE 'staging%%'"
    return [name for (name,) in server.run(query, [schema(site)])]


def assert_right(server: PostgresServer, site: Site, done: Site, expected: dict[str, list[Any]]) -> None:
    """Statistics and all else are those of the embedded engine, ids without gaps, nothing is left, no password told."""
    assert shown(server, site) == expected
    assert site.outcome().differences(done.outcome()) in ([], ["published"])  # each run ended with a short file
    assert site.problems() == []
    assert left(server, site) == []
    ids = server.run(f"SELECT count(*), min(id), max(id) + 1 FROM {schema(site)}.customer_merchant")  # noqa: S608
    assert [p for p in site.folder.rglob("*") if p.is_file() and PASSWORD.encode() in p.read_bytes()] == []
    assert ids == [(len(expected["customer_merchant_stats"]), 0, len(expected["customer_merchant_stats"]))]


def test_statistics_are_those_of_the_embedded_engine(
    here: Site, server: PostgresServer, done: Site, expected: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several savings, with more chunks and the other engine in between; no row goes through the driver."""
    monkeypatch.setattr(detect, "saved_tables", None)
    landing, away = here.folder / "tillwatch-data/landing", here.folder / "away"
    away.mkdir()
    for file in sorted(landing.iterdir())[6:]:
        file.rename(away / file.name)
    for engine in ("spark", "spark", "embedded", "spark"):
        Pipeline.open(here.config, [f"engine={engine}"]).detect(once=True)
        for file in sorted(away.iterdir())[:6]:
            file.rename(landing / file.name)
    assert_right(server, here, done, expected)


def test_a_driver_killed_when_all_is_staged(
    here: Site, server: PostgresServer, done: Site, expected: dict[str, list[Any]]
) -> None:
    """Killed before the merge: nothing of it can be read, the next run removes what was staged, and ends the work."""
    killed = here.start("--batch-chunks", "24", "--kill-at", "state.merge_staged.before#1", "detect")
    assert finish(killed, 180) == -signal.SIGKILL, here.said
    assert shown(server, here) == {view: [] for view in VIEWS}
    assert sum(rows for (rows,) in [server.run(f"SELECT count(*) FROM {t}")[0] for t in left(server, here)]) > 0  # noqa: S608
    here.pipeline.detect(once=True)
    assert_right(server, here, done, expected)


def test_tasks_that_run_twice_count_once(
    here: Site, server: PostgresServer, done: Site, expected: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every task's work was done before by one that nobody heard of, as when Spark tries again or speculates."""

    def stage_twice(order: Any, place: str, into: Any, shards: Any, batches: Any) -> Any:
        for batch in batches:
            unheard = staged_by(stage_shards(order, place, into, shards, [batch]))
            assert sum(sum(s.rows.values()) for s in unheard) > 0
            yield from stage_shards(order, place, into, shards, [batch])

    monkeypatch.setattr(staging, "stage_shards", stage_twice)
    here.pipeline.detect(once=True)
    assert_right(server, here, done, expected)


def test_an_executor_that_cannot_get_in_is_told(
    here: Site, server: PostgresServer, passfile: Path, done: Site, expected: dict[str, list[Any]]
) -> None:
    """The driver has the password, its executors do not: the run says which of them, and why; with it all is done."""
    good = here.config.read_text()
    here.config.write_text(good.replace(f"&passfile={passfile}", ""))
    with pytest.raises(StateError, match=r"executor on .*password.*its own environment \(PGPASSWORD, PGPASSFILE\)"):
        here.pipeline.detect(once=True)
    here.config.write_text(good)
    here.pipeline.detect(once=True)
    assert_right(server, here, done, expected)


def test_tables_without_a_row_are_saved_too(here: Site) -> None:
    """When no row of the stream is valid there is no shard: the tables are empty, as the state after all chunks."""
    for name, other in (("buckets", "spark.buckets=2"), ("state", f"state={here.folder / 'other.db'}")):
        amiss = ["columns={amount: gender, gender: null}", "patterns=[PatId2]", other]
        pipeline = Pipeline.open(here.config, [*amiss, f"quarantine={here.folder}/{name}"])
        pipeline.detect(once=True)
        with pipeline.opened(readonly=True) as state:
            assert (state.cursor().tables, state.totals().counted) == (24, 0)
