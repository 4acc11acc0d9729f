"""What a demo found, on a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tillwatch.cli.words import many
from tillwatch.config.environment import command_name
from tillwatch.patterns.program import Program
from tillwatch.pipeline import Pipeline
from tillwatch.report.words import evidence_lines
from tillwatch.state.base import StoredDetection
from tillwatch.status import Status, status


def show_results(pipeline: Pipeline, config: Path) -> None:
    """Detections by pattern, one with its evidence, where the files are, and what to try next."""
    console = Console(highlight=False)
    now = status(pipeline)
    quarantined = sum(now.quarantined.values())
    console.print(
        f"\n[bold]{many(sum(now.detections.values()), 'detection')}[/] in {many(now.landed_rows, 'row')}; "
        f"{many(quarantined, 'row')} not valid, set aside in the quarantine"
    )
    console.print(_by_pattern(pipeline.composed.program, now))
    example = _example(pipeline)
    if example is not None:
        _show_example(console, example)
    _show_places(console, pipeline, now)
    _show_next(console, config)


def _by_pattern(program: Program, now: Status) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("pattern", style="cyan")
    table.add_column("action")
    table.add_column("found", justify="right", style="bold")
    table.add_column("what it means")
    for plan in program.plans:
        pattern = plan.pattern
        count = (now.shadow if pattern.shadow else now.detections)[pattern.id]
        table.add_row(pattern.id, pattern.action, f"{count:,}", escape(pattern.title))
    return table


def _example(pipeline: Pipeline) -> StoredDetection | None:
    """The first detection of the first pattern that has one."""
    with pipeline.opened(readonly=True) as state:
        first: dict[str, StoredDetection] = {}
        for stored in state.detections():
            first.setdefault(stored.detection.pattern, stored)
    return next((first[p.pattern.id] for p in pipeline.composed.program.plans if p.pattern.id in first), None)


def _show_example(console: Console, stored: StoredDetection) -> None:
    found = stored.detection
    who = " and ".join(f"{name} [bold]{escape(value)}[/]" for name, value in found.key.items())
    console.print(f"For example: [cyan]{found.action}[/] for {who}, found after chunk {found.chunk}, because")
    for line in evidence_lines(found.evidence):
        console.print(Padding(Text(line), (0, 0, 0, 2)))
    console.print()


def _show_places(console: Console, pipeline: Pipeline, now: Status) -> None:
    settings = pipeline.settings
    places = {
        f"detections, {many(now.files_published, 'CSV file')}": settings.detections.uri,
        f"landing zone, {many(now.landed_chunks, 'chunk')}": settings.landing.uri,
        "quarantine": settings.quarantine,
    }
    width = max(map(len, places))
    for label, place in places.items():
        console.print(Text.assemble((label.ljust(width), "bold"), "  ", _near(place)), soft_wrap=True)
    console.print()


def _near(place: str) -> str:
    """The path from here, when it is below."""
    path = Path(place).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _show_next(console: Console, config: Path) -> None:
    console.print("[bold]Try next[/]")
    for what, command in {"where it stands": "status", "all detections": "detections", "the proof": "audit"}.items():
        line = Text.assemble(f"  {what:<17}", (f"{command_name()} {command} -c {config}", "green"))
        console.print(line, soft_wrap=True)
