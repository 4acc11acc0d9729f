"""Alerts of a pipeline whose state is in PostgreSQL: told when the database is gone, and when it is back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tillwatch.events import Event, Landed
from tillwatch.generate import generate
from tillwatch.pipeline import Pipeline
from tillwatch.testing.servers.inbox import webhook
from tillwatch.testing.servers.postgres import PostgresServer, postgres_server
from tillwatch.testing.small import CONFIG

ALERTS = """\
alerts:
  channels: {hook: "${HOOK}"}
  unreachable: 1s
  no_new_chunk: 500ms
  settle: 0s
"""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of its own, as it is killed."""
    with postgres_server() as running:
        yield running


@pytest.mark.slow
def test_a_database_that_is_gone_is_told(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a channel that has nothing to do with it, once; and once when it answers again, after which it knows."""
    data = generate(tmp_path, rows=2000)
    config = tmp_path / "tillwatch.yaml"
    text = CONFIG.format(source=data.transactions, importance=data.importance)
    config.write_text(f"{text}state: {server.new_place()}\n{ALERTS}", "utf-8")
    stop, landed = threading.Event(), threading.Event()

    def hear(event: Event) -> None:
        if isinstance(event, Landed):
            landed.set()

    with webhook() as hook:
        monkeypatch.setenv("HOOK", hook.address)
        pipeline = Pipeline.open(config, ["source.every=0"])
        thread = threading.Thread(target=pipeline.run, kwargs={"stop": stop, "observer": hear})
        thread.start()
        try:
            assert landed.wait(30)
            hook.wait_for(lambda i: len(i.titles) == 1)
            server.kill()
            hook.wait_for(lambda i: "transactions.csv: state cannot be reached" in i.titles)
            server.start()
            hook.wait_for(lambda i: "transactions.csv: state can be reached again" in i.titles)
        finally:
            stop.set()
            thread.join()
    # On a slow machine half a second passes between the first chunks too, which is told as well.
    assert [title.partition(": ")[2] for title in hook.titles][-3:] == [
        "no new chunk for 0.5 s",
        "state cannot be reached",
        "state can be reached again",
    ]
    with pipeline.opened(readonly=True) as state:
        assert list(state.get_meta("alerts.no_new_chunk") or "")[:2] == ["{", '"']
        assert state.get_meta("alerts.unreachable.run") == "{}"
