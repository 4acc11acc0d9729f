"""The live display of a run on a terminal."""

from __future__ import annotations

import time

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tillwatch.cli.progress import Report, Speed
from tillwatch.cli.words import many

STILL_SECONDS = 1.0
"""Without news it is drawn again this often, for the time it shows."""


class LiveDisplay:
    """Redrawn in place when something is new, at most as often as it is ticked. Notices are printed above."""

    def __init__(self, report: Report, console: Console) -> None:
        self._report, self._console = report, console
        self._landing, self._processing = Speed(), Speed()
        self._drawn, self._drawn_at = "", 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._landing.at(report.began, 0)
        self._processing.at(report.began, 0)
        self._live.start()

    def tick(self) -> None:
        self._print_notices()
        now, done = time.monotonic(), self._report.text("")
        if done != self._drawn or now - self._drawn_at >= STILL_SECONDS:
            self._drawn, self._drawn_at = done, now
            self._live.update(self._table(now), refresh=True)

    def close(self) -> None:
        self._print_notices()
        self._live.stop()

    def _print_notices(self) -> None:
        while self._report.counts.notices:
            text = self._report.counts.notices.popleft()
            self._console.print(f"[yellow]tillwatch:[/] {escape(text)}", highlight=False, soft_wrap=True)

    def _table(self, now: float) -> Table:
        report, counts = self._report, self._report.counts
        minutes, seconds = divmod(int(now - report.began), 60)
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold")
        for _ in range(3):
            table.add_column(justify="right")
        table.add_column()
        table.add_row(Text(report.title, "bold cyan"), "", "", "", Text(f"{minutes}:{seconds:02d}", "dim"))
        if report.lands:
            speed = self._landing.at(now, counts.landed_rows)
            table.add_row("landed", *_work(counts.landed_rows, counts.landed_chunks), speed, "")
        if report.detects:
            speed = self._processing.at(now, counts.processed_rows)
            table.add_row("processed", *_work(counts.processed_rows, counts.processed_chunks), speed, self._behind())
            table.add_row("detections", f"{sum(counts.detections.values()):,}", *_patterns(counts.detections))
            style = "yellow" if counts.quarantined else "dim"
            table.add_row("quarantined", Text(many(counts.quarantined, "row"), style))
        return table

    def _behind(self) -> Text:
        chunks = self._report.behind()
        return Text(f"{many(chunks, 'chunk')} behind", "yellow") if chunks else Text("up to date", "green")


def _work(rows: int, chunks: int) -> tuple[str, str]:
    return many(rows, "row"), many(chunks, "chunk")


def _patterns(found: dict[str, int]) -> tuple[str, ...]:
    return tuple(f"{pattern} {count:,}" for pattern, count in found.items())
