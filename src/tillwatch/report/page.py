"""A quality report as one page of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape

from tillwatch.report.frame import framed
from tillwatch.report.quality import Quality


def page(title: str, about: str, total: Quality, days: Mapping[str, Quality]) -> str:
    """The page, the same for the same values."""
    parts = (
        "<dl>",
        *_facts(total),
        "</dl>",
        _section("By day", ("day", "chunks", "rows in", "counted", "quarantined", "filtered out"), _days(days)),
        _section("Quarantined by reason", ("reason", "rows", "share"), _reasons(total)),
        *([_section("Marked by lookup", ("not in", "rows", "share"), _marked(total))] if total.marked else []),
        _section("Empty values by column", ("column", "rows", "empty", "share"), _columns(total)),
    )
    return framed(title, about, "tillwatch.report", "\n".join(parts))


def share(part: int, whole: int) -> str:
    """A share for people; one that is not none is never shown as none.

    >>> share(1, 3), share(0, 5), share(1, 10**6), share(0, 0), share(999_999, 10**6), share(5, 5)
    ('33.33 %', '0 %', '< 0.01 %', '0 %', '> 99.99 %', '100 %')
    """
    if part in (0, whole):
        return "100 %" if part else "0 %"
    percent = 100 * part / whole
    if percent < 0.01:
        return "< 0.01 %"
    return "> 99.99 %" if percent > 99.99 else f"{percent:.2f} %"


def _facts(total: Quality) -> Iterator[str]:
    times = "–" if total.first_time is None else f"{total.first_time} to {total.last_time}"
    facts = {
        "rows in": f"{total.rows:,}",
        "counted": f"{total.counted:,}",
        "quarantined": f"{total.set_aside:,} ({share(total.set_aside, total.rows)})",
        "first and last time": times,
    }
    if total.filtered:
        facts["filtered out"] = f"{total.filtered:,} ({share(total.filtered, total.rows)})"
    for name, value in facts.items():
        yield f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>"


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


def _section(title: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [_row(row) for row in rows]
    if not lines:
        return f"<section><h2>{title}</h2><p>None.</p></section>"
    head = "".join(f'<th scope="col">{name}</th>' for name in header)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table>"
    return f"<section><h2>{title}</h2>{table}</section>"


def _row(cells: tuple[str, ...]) -> str:
    first, *rest = map(escape, cells)
    return f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>"
