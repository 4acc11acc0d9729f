"""A run in figures as one page of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from tillwatch.patterns.pattern import Pattern
from tillwatch.patterns.shown import show
from tillwatch.report.chart import COLOURS, Bars, Line, bars, curve, growth
from tillwatch.report.frame import framed
from tillwatch.report.parts import Html, behind, facts, html, listing, section, share, table
from tillwatch.report.run import Run, cumulated
from tillwatch.report.timing import Bins, Floats, Ints, Lag, clock_text, in_time, lag
from tillwatch.report.words import evidence_lines, many, seconds
from tillwatch.state.figures import Found

TICKS = 4
"""Spaces between moments written below a picture."""


@dataclass(frozen=True, slots=True)
class About:
    """What the page says beside the figures: of which source, what else is worth knowing of places and versions.

    `patterns` are those of each of the run's rule sets, in words; `zone` is the time zone for people.
    """

    source: str
    facts: Mapping[str, str]
    patterns: Sequence[Sequence[Pattern]]
    zone: str


def run_page(run: Run, about: About) -> str:
    """The page, the same for the same figures."""
    parts = _Parts(run, about)
    body = (
        facts(parts.facts()),
        section("What came in", parts.came_in()),
        section("What was found", parts.found()),
        section("Quality", parts.quality()),
        section("Timing", parts.timing()),
        *parts.patterns(),
        section("Places and versions", listing(about.facts)),
    )
    return framed(f"Report: {about.source}", parts.about(), "\n".join(body), wide=True)


class _Parts:
    """The sections."""

    def __init__(self, run: Run, about: About) -> None:
        self._run, self._about = run, about
        self._zone = ZoneInfo(about.zone)
        known = [p.id for patterns in about.patterns for p in patterns]
        names = dict.fromkeys([*known, *(f.pattern for f in run.found)])
        self._looks = {name: f"c{min(n, COLOURS - 1)}" for n, name in enumerate(n for n in names if n in run.growth)}

    def about(self) -> str:
        run = self._run
        chunks = f"Chunk {run.first:,}" if run.first == run.last else f"Chunks {run.first:,} to {run.last:,}"
        if (span := run.ledger.span) is None:
            return f"{chunks}."
        first, last = (self._moment(moment, year=True) for moment in span)
        return f"{chunks}, from {first} to {last} ({self._about.zone})."

    def facts(self) -> dict[str, str]:
        run, ledger = self._run, self._run.ledger
        rows, wrong, out = (int(column.sum()) for column in (ledger.rows, ledger.quarantined, ledger.filtered))
        waiting = int(np.isnan(ledger.processed).sum())
        found = {
            "rows in": f"{rows:,}",
            "detections": f"{run.detections:,}",
            "quarantined": f"{wrong:,} ({share(wrong, rows)})",
            "landing to processed": _briefly(lag(ledger.lags)),
            "landing to published": _briefly(run.publishing),
            "rows per second": self._speed(),
            "chunks": f"{len(ledger.rows):,}",
            "files": f"{run.files:,}",
        }
        found |= {"filtered out": f"{out:,} ({share(out, rows)})"} if out else {}
        return found | ({"not processed yet": many(waiting, "chunk")} if waiting else {})

    def came_in(self) -> Html:
        run, ledger = self._run, self._run.ledger
        landed = np.where(np.isnan(ledger.landed), ledger.processed, ledger.landed)
        parts = [self._over_time("Rows by the time of landing", landed, "rows")]
        head = ("file", "chunks", "rows", "from chunk", "to chunk", "size", "status")
        rows = (
            (
                f.name,
                f"{f.chunks:,}",
                f"{f.rows:,}",
                f"{f.first:,}",
                f"{f.last:,}",
                _size(f.size),
                f.problem or f.status,
            )
            for f in run.last_files
        )
        parts += [Html("<h3>Files</h3>"), table(head, rows, brief=("status",))]
        if run.files > len(run.last_files):
            parts.append(_note(f"The last {len(run.last_files):,} of {run.files:,} files."))
        return Html("\n".join(parts))

    def found(self) -> Html:
        run = self._run
        parts = [_by_pattern(run.found)]
        if run.found:
            parts += [Html("<h3>Detections so far, along the chunks</h3>"), self._growth()]
        if run.merchants:
            parts += [Html("<h3>Merchants with most</h3>"), self._merchants()]
        if run.newest:
            about = "All of them" if len(run.newest) == run.detections else f"The last {len(run.newest):,}"
            parts += [Html("<h3>The newest</h3>"), _note(f"{about}, the newest first."), self._newest()]
        if run.shadow:
            note = _note("Recorded, and not published.")
            parts += [Html("<h3>In the shadow</h3>"), note, _by_pattern(run.shadow)]
        return Html("\n".join(parts))

    def quality(self) -> Html:
        run, ledger = self._run, self._run.ledger
        rows = int(ledger.rows.sum())
        head = ("reason", "rows", "share of rows in", "chunks", "from chunk", "to chunk")
        reasons = (
            (q.reason, f"{q.rows:,}", share(q.rows, rows), f"{q.chunks:,}", f"{q.first:,}", f"{q.last:,}")
            for q in run.quarantined
        )
        parts: list[Html] = []
        if out := int(ledger.filtered.sum()):
            parts.append(_note(f"{many(out, 'row')} did not pass the configured filter ({share(out, rows)})."))
        if not run.quarantined:
            parts.append(_note("No row was quarantined."))
        else:
            parts.append(table(head, reasons))
            parts += [Html("<h3>Rows quarantined, along the chunks</h3>"), self._wrong()]
            parts += [Html("<h3>Samples</h3>"), self._samples()]
        return Html("\n".join(parts))

    def timing(self) -> Html:
        run, ledger = self._run, self._run.ledger
        lags = {
            "landing to processed, by chunk": lag(ledger.lags),
            "landing to published, by detection": run.publishing,
        }
        head = ("", "measured", "half within", "99 % within", "all within")
        parts = [table(head, (_lag_row(name, each) for name, each in lags.items() if each))]
        done = ledger.counted + ledger.quarantined + ledger.filtered
        parts.append(self._over_time("Rows by the time of processing", ledger.processed, "rows processed", done))
        if len(ledger.lags):
            parts += [Html("<h3>From landing to processed, along the chunks</h3>"), self._lags()]
        return Html("\n".join(parts))

    def patterns(self) -> Iterator[Html]:
        run = self._run
        for number, (rules, patterns) in enumerate(zip(run.rules, self._about.patterns, strict=True)):
            title = "Patterns in force" if not number else f"Patterns in force from chunk {rules.first:,} on"
            taken = self._moment(datetime.fromisoformat(rules.at).timestamp(), year=True)
            about = f"From chunk {rules.first:,} on, taken {taken}. Their fingerprint begins with {rules.hash[:12]}."
            yield section(title, "\n".join(self._pattern(p, first=not number) for p in patterns), about)

    def _pattern(self, pattern: Pattern, *, first: bool) -> str:
        said = " ".join(f"{text.strip().rstrip('.')}." for text in (pattern.title, pattern.why) if text.strip())
        about = ", ".join(filter(None, [f"{pattern.action}, per {', '.join(pattern.per)}", pattern.life]))
        where = f"where {show(pattern.where)}\n" if pattern.where else ""
        parts = [f"<h3>{html(pattern.id)} <small>{html(about)}</small></h3>"]
        parts += [f"<p>{html(said)}</p>"] if said else []
        parts.append(f"<pre>{html(where + show(pattern.tree))}</pre>")
        if first and (stored := self._run.firsts.get(pattern.id)):
            d = stored.detection
            key = ", ".join(f"{name} {value}" for name, value in d.key.items())
            lines = "; ".join(evidence_lines(d.evidence))
            parts.append(_note(f"First found after chunk {d.chunk:,}, for {key}: {lines}."))
        return f"<article>{''.join(parts)}</article>"

    # pictures

    def _over_time(self, title: str, times: Floats, noun: str, amounts: Ints | None = None) -> Html:
        ledger = self._run.ledger
        if ledger.span is None:
            return _note("Nothing is known of when.")
        binned = in_time(times, ledger.rows if amounts is None else amounts, ledger.span, self._zone)
        length = binned.width * len(binned.amounts)
        ends = [clock_text(binned.start + length * n / TICKS, self._zone, length) for n in range(TICKS + 1)]
        each = f"every {seconds(binned.width)}"
        picture = bars(f"{title}, {each}: {self._told(binned)}", [Bars(noun, "c0", binned.amounts)], ends)
        rows = (
            (self._moment(binned.start + n * binned.width), f"{amount:,.0f}") for n, amount in enumerate(binned.amounts)
        )
        return Html(f"<h3>{html(title)}, {each}</h3>{picture}{behind(table(('from', noun), rows))}")

    def _told(self, binned: Bins) -> str:
        most = max(range(len(binned.amounts)), key=binned.amounts.__getitem__)
        at = self._moment(binned.start + most * binned.width)
        return f"{sum(binned.amounts):,.0f} in all, at most {binned.amounts[most]:,.0f}, from {at} on"

    def _growth(self) -> Html:
        run = self._run
        apart, others = [], np.zeros((run.last - run.first) // run.width + 1, np.int64)
        for name, look in self._looks.items():
            if look == f"c{COLOURS - 1}":
                others += np.array(run.growth[name])
            else:
                apart.append((name, look, run.growth[name]))
        if others.any():
            apart.append(("others", f"c{COLOURS - 1}", others.tolist()))
        lines = [Line(name, look, self._steps(cumulated(counts))) for name, look, counts in apart]
        told = ", ".join(f"{name} {sum(counts):,}" for name, _, counts in apart)
        head = ("up to chunk", *(name for name, _, _ in apart))
        totals = [cumulated(counts) for _, _, counts in apart]
        rows = (
            (f"{self._group_end(n):,}", *(f"{column[n]:,}" for column in totals))
            for n in range(len(totals[0]))
            if not n or any(column[n] != column[n - 1] for column in totals)
        )
        picture = growth(f"Detections so far, along the chunks: {told}", lines, self._chunk_ends())
        return Html(picture + behind(table(head, rows)))

    def _steps(self, counts: Sequence[int]) -> list[tuple[float, float]]:
        run = self._run
        points = [(float(run.first), 0.0)]
        points += [(float(self._group_end(n)), float(count)) for n, count in enumerate(counts)]
        return points

    def _group_end(self, group: int) -> int:
        return min(self._run.first + (group + 1) * self._run.width - 1, self._run.last)

    def _merchants(self) -> Html:
        run = self._run
        most = sum(run.merchants[0][1].values())
        rows = []
        for merchant, counts in run.merchants:
            parts = "".join(
                f'<i class="{self._looks[name]}" style="width: {100 * n / most:.2f}%"></i>'
                for name, n in sorted(counts.items(), key=lambda item: list(self._looks).index(item[0]))
            )
            told = ", ".join(f"{name} {n:,}" for name, n in counts.items())
            rows.append((merchant, f"{sum(counts.values()):,}", Html(f'<span class="strip">{parts}</span>'), told))
        return table(("merchant", "detections", "by pattern", "which"), rows, ("by pattern", "which"))

    def _wrong(self) -> Html:
        run, counts = self._run, self._run.ledger.quarantined
        groups = [int(counts[n : n + run.width].sum()) for n in range(0, len(counts), run.width)]
        title = f"Rows quarantined, along the chunks: {sum(groups):,} in all, at most {max(groups):,}"
        picture = bars(title, [Bars("quarantined", "wrong", [float(n) for n in groups])], self._chunk_ends())
        rows = ((f"{self._group_end(n):,}", f"{count:,}") for n, count in enumerate(groups) if count)
        return Html(picture + behind(table(("up to chunk", "rows"), rows)))

    def _lags(self) -> Html:
        run, ledger = self._run, self._run.ledger
        took = np.maximum(ledger.processed - ledger.landed, 0.0)
        groups = [took[n : n + run.width] for n in range(0, len(took), run.width)]
        known = [(float(self._group_end(n)), lag(g[~np.isnan(g)])) for n, g in enumerate(groups)]
        there = [(x, each) for x, each in known if each]
        lines = [
            Line("99 % within", "c1", [(x, e.p99) for x, e in there]),
            Line("half within", "c0", [(x, e.p50) for x, e in there]),
        ]
        title = "Seconds from landing to processed, along the chunks"
        picture = curve(title, lines if run.width > 1 else lines[1:], self._chunk_ends(), unit=" s")
        rows = ((f"{x:,.0f}", seconds(e.p50), seconds(e.p99), seconds(e.most)) for x, e in there)
        return Html(picture + behind(table(("up to chunk", "half within", "99 % within", "all within"), rows)))

    def _chunk_ends(self) -> list[str]:
        run = self._run
        chunks = [run.first + round((run.last - run.first) * n / TICKS) for n in range(TICKS + 1)]
        return [f"chunk {chunk:,}" if not n else f"{chunk:,}" for n, chunk in enumerate(dict.fromkeys(chunks))]

    # words

    def _samples(self) -> Html:
        rows: list[tuple[str, str, str, str]] = []
        for reason, samples in self._run.samples.items():
            if samples is None:
                rows.append((reason, "", "", "the quarantine has the object of its last chunk no more"))
            rows += [(s.reason, s.file, f"{s.row:,}", _cut(s.text)) for s in samples or ()]
        head = ("reason", "file", "row", "as it came")
        return Html(f'<div class="samples">{table(head, rows, ("file", "as it came"))}</div>')

    def _newest(self) -> Html:
        head = ("seq", "chunk", "pattern", "action", "key", "detected", "holds")
        rows = (
            (
                f"{s.seq:,}",
                f"{s.detection.chunk:,}",
                s.detection.pattern,
                s.detection.action,
                ", ".join(f"{name} {value}" for name, value in s.detection.key.items()),
                self._moment(datetime.fromisoformat(s.at).timestamp()),
                "yes" if s.holds else "no",
            )
            for s in self._run.newest
        )
        return table(head, rows, texts=("key",), brief=("pattern", "action", "detected", "holds"))

    def _speed(self) -> str:
        ledger = self._run.ledger
        times = ledger.processed[~np.isnan(ledger.processed)]
        if not len(times) or ledger.span is None or times.max() <= ledger.span[0]:
            return "–"
        done = ledger.counted + ledger.quarantined + ledger.filtered
        return f"{float(done.sum() / (times.max() - ledger.span[0])):,.0f}"

    def _moment(self, moment: float, *, year: bool = False) -> str:
        at = datetime.fromtimestamp(moment, self._zone)
        day = f"{at.day} {at:%b %Y}" if year else f"{at.day} {at:%b}"
        return f"{day} {clock_text(moment, self._zone, 1.0)}"


def _by_pattern(found: Iterable[Found]) -> Html:
    head = ("pattern", "action", "detections", "hold now", "first chunk", "last chunk")
    rows = ((f.pattern, f.action, f"{f.count:,}", f"{f.holds:,}", f"{f.first:,}", f"{f.last:,}") for f in found)
    return table(head, rows, brief=("action",))


def _briefly(each: Lag | None) -> str:
    return f"{seconds(each.p50)}, p99 {seconds(each.p99)}" if each else "–"


def _lag_row(name: str, each: Lag) -> tuple[str, ...]:
    return (name, f"{each.count:,}", seconds(each.p50), seconds(each.p99), seconds(each.most))


def _note(text: str) -> Html:
    return Html(f'<p class="note">{html(text)}</p>')


def _cut(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[:most]} …"


def _size(size: int) -> str:
    """
    >>> _size(999), _size(48_123_456)
    ('999 B', '48.1 MB')
    """
    for unit, power in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= power:
            return f"{size / power:.1f} {unit}"
    return f"{size} B"
