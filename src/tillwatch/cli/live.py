"""The live display of a run on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tillwatch.cli.progress import Report, Speed
from tillwatch.cli.words import Ahead, many, percent

STILL_SECONDS = 1.0
"""Without news it is drawn again this often, for the time it shows."""

BAR_WIDTH = 44


class LiveDisplay:
    """Redrawn in place when something is new, at most as often as it is ticked. Notices are printed above."""

    def __init__(self, report: Report, console: Console) -> None:
        self._report, self._console = report, console
        self._landing, self._processing, self._ahead = Speed(), Speed(), Ahead()
        self._drawn, self._drawn_at = "", 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._landing.at(report.began, 0)
        self._processing.at(report.began, 0)
        self._live.start()

    def tick(self) -> None:
        self._print_notices()
        now, done = self._report.now(), f"{self._report.text('')}{self._report.counts.read_again}"
        if done != self._drawn or now - self._drawn_at >= STILL_SECONDS:
            self._drawn, self._drawn_at = done, now
            self._draw(now)

    def close(self) -> None:
        self._print_notices()
        self._draw(self._report.now())  # the end is seen, however quickly it came
        self._live.stop()

    def _draw(self, now: float) -> None:
        lines = Text("\n", no_wrap=True, overflow="ellipsis").join(self._lines(now))
        self._live.update(Group(lines, *self._bars(now)), refresh=True)

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

    def _bars(self, now: float) -> Iterator[RenderableType]:
        """The bar, where the end is known; while chunks are read again, that of these."""
        if again := self._report.counts.read_again:
            yield _bar(again.done / again.chunks, f"{again.done:,} of {many(again.chunks, 'chunk')} read again")
        elif (part := self._report.part()) is not None:
            self._ahead.note(now, part)
            yield _bar(part, f"{percent(part):>5}  {self._ahead.left(1.0)}")

    def _behind(self) -> Text:
        chunks = self._report.behind()
        return Text(f"{many(chunks, 'chunk')} behind", "yellow") if chunks else Text("up to date", "green")


def _bar(part: float, text: str) -> Padding:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=BAR_WIDTH)
    grid.add_column(no_wrap=True)
    grid.add_row(ProgressBar(total=1.0, completed=part, width=BAR_WIDTH), Text(text, "dim"))
    return Padding(grid, (0, 0, 0, 2))


def _line(label: str, count: int, noun: str, rest: str, style: str = "") -> Text:
    unit = many(count, noun).partition(" ")[2] if noun else ""
    return Text.assemble((f"  {label:<11}", "bold"), (f"{count:>12,}", style), f" {unit:<6}{rest}")
