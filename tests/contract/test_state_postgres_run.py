"""A whole pipeline with its state in PostgreSQL comes to what it comes to with SQLite, also when it is killed."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tillwatch.clock import SystemClock
from tillwatch.errors import LeaseHeld, StateConflict, StateError
from tillwatch.generate import generate
from tillwatch.pipeline import Notice, Pipeline
from tillwatch.state import open_state
from tillwatch.status import status
from tillwatch.testing.crash import Outcome, Site
from tillwatch.testing.servers.postgres import PASSWORD, PostgresServer, postgres_server
from tillwatch.testing.servers.postgres_relay import relay
from tillwatch.testing.small import CONFIG

NewSite = Callable[[str], Site]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    with postgres_server() as running:
        yield running


@pytest.fixture(scope="module")
def new_site(tmp_path_factory: pytest.TempPathFactory) -> NewSite:
    """Makes a folder with a pipeline of 24 chunks whose state is at the given place."""
    folder = tmp_path_factory.mktemp("data")
    data = generate(folder, rows=6000, customers=500, merchants=30, seed=3, faults=0.005)

    def make(state: str) -> Site:
        site = Site(tmp_path_factory.mktemp("site"))
        text = (CONFIG + "state: {state}\n").format(source=data.transactions, importance=data.importance, state=state)
        site.config.write_text(text, "utf-8")
        return site

    return make


@pytest.fixture(scope="module")
def expected(new_site: NewSite) -> Outcome:
    """What the pipeline comes to with SQLite."""
    site = new_site("./state.db")
    assert site.work("run") == 0, site.said
    assert site.problems() == []
    return site.outcome()


class TellingClock(SystemClock):
    """A clock that tells when somebody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits.set()
        return super().wait(event, seconds)


def assert_same(site: Site, expected: Outcome) -> None:
    """It has come to the same, and nothing that it said or wrote holds the password."""
    assert site.problems() == []
    assert site.outcome().differences(expected) == []
    assert [p for p in site.folder.rglob("*") if p.is_file() and PASSWORD.encode() in p.read_bytes()] == []


def test_a_run_gives_what_it_gives_with_sqlite(server: PostgresServer, new_site: NewSite, expected: Outcome) -> None:
    """Detections with their evidence, turns, chunks, files, quarantine and published files, and audit finds nothing."""
    site = new_site(server.new_place())
    assert site.work("run") == 0, site.said
    assert_same(site, expected)
    now = status(site.pipeline)
    assert (now.landed_chunks, now.processed_chunks, now.lag) == (24, 24, 0)
    assert not now.ingest_at_work and not now.detect_at_work


def test_ingest_and_detect_in_two_processes_at_once(
    server: PostgresServer, new_site: NewSite, expected: Outcome
) -> None:
    """Both work on the same schema side by side, and detect ends what ingest has landed meanwhile."""
    site = new_site(server.new_place())
    detect = site.start("--endless", "detect")
    try:
        assert site.work("ingest") == 0, site.said
    finally:
        detect.terminate()
        detect.join(60)
    assert detect.exitcode == 0, site.said
    assert site.work("detect") == 0, site.said
    assert site.problems() == []
    assert site.outcome().differences(expected) in ([], ["published"])  # detect may have lingered in between


@pytest.mark.parametrize(
    "point",
    [
        "state.open.before#1",
        "state.start.after#1",
        "state.commit.before#3",
        "state.commit.after#3",
        "state.save_tables.before#1",
        "state.save_tables.after#1",
        "state.mark_published.before#2",
        "detections.put.after#1",
    ],
)
def test_killed_at_a_point_of_detect(point: str, server: PostgresServer, new_site: NewSite, expected: Outcome) -> None:
    """After SIGKILL, also between a commit and what follows it, a restart comes to the same."""
    site = new_site(server.new_place())
    assert site.work("ingest") == 0, site.said
    assert site.work("--kill-at", point, "detect") == -signal.SIGKILL, site.said
    assert site.work("detect") == 0, site.said
    assert_same(site, expected)


@pytest.mark.parametrize(
    "point", ["landing.put.after#5", "state.record_landed.before#1", "state.record_landed.after#1"]
)
def test_killed_at_a_point_of_ingest(point: str, server: PostgresServer, new_site: NewSite, expected: Outcome) -> None:
    """What is landed and not noted is found by the restart."""
    site = new_site(server.new_place())
    assert site.work("--kill-at", point, "ingest") == -signal.SIGKILL, site.said
    assert site.work("ingest", "detect") == 0, site.said
    assert_same(site, expected)


def test_answers_lost_in_a_run_are_found_out(server: PostgresServer, new_site: NewSite, expected: Outcome) -> None:
    """Commits that went through and whose answers were lost, one after the other: the run goes on by itself."""
    place = server.new_place()
    with relay(server.port) as between:
        site = new_site(place.replace(f":{server.port}/", f":{between.port}/"))
        lost = []

        def lose_one_more(event: object) -> None:
            lost.append(event)
            if len(lost) in (2, 9, 15):
                between.lose(b"COMMIT\0")

        site.pipeline.run(once=True, observer=lose_one_more)
        assert_same(site, expected)


def test_a_restart_of_the_server_does_not_end_a_run(
    server: PostgresServer, new_site: NewSite, expected: Outcome
) -> None:
    """The server is restarted while both mechanisms are at work: both go on, each with its lease."""
    site = new_site(server.new_place())
    seen: list[object] = []

    def restart(event: object) -> None:
        seen.append(event)
        if len(seen) == 5:
            server.restart()

    site.pipeline.run(once=True, observer=restart)
    assert_same(site, expected)


@pytest.mark.parametrize("at", [2, 12])
def test_an_outage_does_not_end_a_run(at: int, server: PostgresServer, new_site: NewSite, expected: Outcome) -> None:
    """The server is killed under both mechanisms and comes back after a while: what failed is told and tried again."""
    site = new_site(server.new_place())
    seen: list[object] = []
    back = threading.Timer(0.4, server.start)

    def kill(event: object) -> None:
        seen.append(event)
        if len(seen) == at:
            server.kill()
            back.start()

    try:
        site.pipeline.run(once=True, observer=kill)
    finally:
        back.join()
    assert any(isinstance(event, Notice) and "trying again in" in event.text for event in seen)
    assert not any(isinstance(event, Notice) and PASSWORD in event.text for event in seen)
    assert_same(site, expected)


def test_who_has_nothing_to_do_finds_out_that_another_has_the_lease(
    server: PostgresServer, new_site: NewSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detect that waits, and whose connection was ended, does not wait on beside the one that took over."""
    place = server.new_place()
    site = new_site(place)
    site.pipeline.run(once=True)
    pipeline = site.pipeline
    pipeline.clock = clock = TellingClock()
    ended: list[str] = []

    def detect() -> None:
        try:
            pipeline.detect(stop=stop)
        except LeaseHeld as error:
            ended.append(str(error))

    stop, waiting = threading.Event(), threading.Thread(target=detect)
    with closing(open_state(place)) as state:
        waiting.start()
        try:
            assert clock.waits.wait(10)
            server.run("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
            with state.lease("detect"):
                monkeypatch.setattr("tillwatch.detect.loop.LIST_SECONDS", 0.0)
                waiting.join(10)
                assert len(ended) == 1
                assert "detect is at work on this pipeline already" in ended[0]
        finally:
            stop.set()
            waiting.join()


def test_a_removed_schema_is_rebuilt_from_the_landing_zone(
    server: PostgresServer, new_site: NewSite, expected: Outcome
) -> None:
    """All state is a function of the log: in a new schema, a run over the landed chunks comes to the same."""
    site = new_site(server.new_place())
    assert site.work("run") == 0, site.said
    shutil.rmtree(site.pipeline.settings.detections.uri)
    elsewhere = f"state={server.new_place()}"
    Pipeline.open(site.config, [elsewhere]).run(once=True)
    site.config.write_text(site.config.read_text().replace(site.pipeline.settings.state, elsewhere[6:]))
    assert_same(site, expected)


def test_another_configuration_is_refused(server: PostgresServer, new_site: NewSite) -> None:
    """A schema that was made with other digits is told, line by line."""
    site = new_site(server.new_place())
    assert site.work("run") == 0, site.said
    with pytest.raises(StateConflict, match=r"was made by another configuration.*\n  was  amounts: 4"):
        Pipeline.open(site.config, ["amounts.digits=2"]).detect(once=True)


def test_who_only_looks_is_told_that_nothing_has_run(server: PostgresServer, new_site: NewSite) -> None:
    """status makes no schema."""
    place = server.new_place()
    with pytest.raises(StateError, match=r"there is no state at postgresql://.* yet: nothing has been run"):
        status(new_site(place).pipeline)
    assert server.run("SELECT count(*) FROM pg_namespace WHERE nspname = %s", [place.rpartition("=")[2]]) == [(0,)]
