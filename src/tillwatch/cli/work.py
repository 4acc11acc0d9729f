"""What run, ingest and detect have in common: a pipeline at work, its progress, a clean stop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from tillwatch.cli.options import opened
from tillwatch.cli.outcome import tell
from tillwatch.cli.signals import stop_on_signal
from tillwatch.cli.words import duration, rate
from tillwatch.errors import TillwatchError

if TYPE_CHECKING:
    import threading

    from tillwatch.cli.progress import Counts
    from tillwatch.pipeline import Observer, Pipeline


class Mechanism(Protocol):
    """`Pipeline.run`, `Pipeline.ingest` or `Pipeline.detect`."""

    def __call__(self, *, once: bool, stop: threading.Event, observer: Observer) -> None: ...


def work(name: str, config: Path, overrides: tuple[str, ...], *, once: bool) -> None:
    """Runs a mechanism by name until it is done or a signal asks it to stop."""
    notices = deque[str](maxlen=1000)
    with stop_on_signal(notices.append) as stop:
        pipeline = opened(config, overrides)
        mechanism: Mechanism = {"run": pipeline.run, "ingest": pipeline.ingest, "detect": pipeline.detect}[name]
        observed(
            pipeline,
            notices,
            stop,
            lambda counts: mechanism(once=once, stop=stop, observer=counts),
            lands=name != "detect",
            detects=name != "ingest",
        )


def observed(
    pipeline: Pipeline,
    notices: deque[str],
    stop: threading.Event,
    action: Callable[[Counts], None],
    *,
    lands: bool = True,
    detects: bool = True,
) -> Counts:
    """Shows progress while `action` runs, then a line of what was done; when it fails, of what was done before.

    Returns the counts at the end.
    """
    from tillwatch.cli.progress import Counts, Report, display_for, shown

    counts = Counts([plan.pattern.id for plan in pipeline.composed.program.plans], notices)
    report = Report(Path(pipeline.settings.source.uri).name, pipeline, counts, lands=lands, detects=detects)
    completed, silent = False, pipeline.settings.logs.on_stderr
    try:
        with nullcontext() if silent else shown(display_for(report), stop.set):
            action(counts)
        completed = True
    except TillwatchError as error:
        if silent:  # the log has said it
            raise click.exceptions.Exit(error.exit_code) from None
        raise
    finally:
        if not silent and (completed or counts.landed_chunks or counts.processed_chunks):
            seconds = report.now() - report.began
            tell(report.text(f"{duration(seconds)}, {rate(report.rows, seconds)}"))
    return counts
