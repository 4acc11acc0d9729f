"""A quality report as one page of HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tillwatch.report.frame import framed
from tillwatch.report.parts import facts, section, share, table
from tillwatch.report.quality import Quality


def page(title: str, about: str, total: Quality, days: Mapping[str, Quality]) -> str:
    """The page, the same for the same values."""
    by_day = ("day", "chunks", "rows in", "counted", "quarantined", "filtered out")
    parts = (
        facts(_facts(total)),
        section("By day", table(by_day, _days(days))),
        section("Quarantined by reason", table(("reason", "rows", "share"), _reasons(total))),
        *([section("Marked by lookup", table(("not in", "rows", "share"), _marked(total)))] if total.marked else []),
        section("Empty values by column", table(("column", "rows", "empty", "share"), _columns(total))),
    )
    return framed(title, about, "\n".join(parts))


def _facts(total: Quality) -> dict[str, str]:
    times = "–" if total.first_time is None else f"{total.first_time} to {total.last_time}"
    found = {
        "rows in": f"{total.rows:,}",
        "counted": f"{total.counted:,}",
        "quarantined": f"{total.set_aside:,} ({share(total.set_aside, total.rows)})",
        "first and last time": times,
    }
    if total.filtered:
        found["filtered out"] = f"{total.filtered:,} ({share(total.filtered, total.rows)})"
    return found


def _days(days: Mapping[str, Quality]) -> Iterator[tuple[str, ...]]:
    for day, q in days.items():
        yield (day, f"{q.chunks:,}", f"{q.rows:,}", f"{q.counted:,}", f"{q.set_aside:,}", f"{q.filtered:,}")


def _reasons(total: Quality) -> Iterator[tuple[str, ...]]:
    for reason, rows in sorted(total.quarantined.items(), key=lambda item: -item[1]):
        yield (reason, f"{rows:,}", share(rows, total.rows))


def _marked(total: Quality) -> Iterator[tuple[str, ...]]:
    for lookup, rows in sorted(total.marked.items(), key=lambda item: -item[1]):
        yield (lookup, f"{rows:,}", share(rows, total.counted))


def _columns(total: Quality) -> Iterator[tuple[str, ...]]:
    for name, (rows, empty) in total.columns.items():
        yield (name, f"{rows:,}", f"{empty:,}", share(empty, rows))
