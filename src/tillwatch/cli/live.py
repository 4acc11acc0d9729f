"""The live display of a run on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
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
        now, done = self._report.now(), self._report.text("")
        if done != self._drawn or now - self._drawn_at >= STILL_SECONDS:
            self._drawn, self._drawn_at = done, now
            lines = Text("\n", no_wrap=True, overflow="ellipsis").join(self._lines(now))
            self._live.update(lines, refresh=True)

    def close(self) -> None:
        self._print_notices()
        self._live.stop()

    def _print_notices(self) -> None:
        while self._report.counts.notices:
            text = Text.assemble(("tillwatch: ", "yellow"), self._report.counts.notices.popleft())
            self._console.print(text, soft_wrap=True)

    def _lines(self, now: float) -> Iterator[Text]:
        report, counts = self._report, self._report.counts
        minutes, seconds = divmod(int(now - report.began), 60)
        yield Text.assemble((report.title, "bold cyan"), (f"  {minutes}:{seconds:02d}", "dim"))
        if report.lands:
            speed = self._landing.at(now, counts.landed_rows)
            yield _line("landed", counts.landed_rows, "row", f"{many(counts.landed_chunks, 'chunk'):<13}{speed}")
        if report.detects:
            speed = self._processing.at(now, counts.processed_rows)
            work = f"{many(counts.processed_chunks, 'chunk'):<13}{speed:<18}"
            yield Text.assemble(_line("processed", counts.processed_rows, "row", work), self._behind())
            yield _line("quarantined", counts.quarantined, "row", "", "yellow" if counts.quarantined else "")
            if counts.filtered:
                yield _line("filtered", counts.filtered, "row", "")
            found = "  ".join(f"{pattern} {count:,}" for pattern, count in counts.detections.items())
            yield _line("detections", sum(counts.detections.values()), "", found, "bold")

    def _behind(self) -> Text:
        chunks = self._report.behind()
        return Text(f"{many(chunks, 'chunk')} behind", "yellow") if chunks else Text("up to date", "green")


def _line(label: str, count: int, noun: str, rest: str, style: str = "") -> Text:
    unit = many(count, noun).partition(" ")[2] if noun else ""
    return Text.assemble((f"  {label:<11}", "bold"), (f"{count:>12,}", style), f" {unit:<6}{rest}")
