"""Event time in a configuration: how it is read, what is late, and whether the windows of the patterns fit it."""

from __future__ import annotations

from collections.abc import Iterator

from tillwatch.config import Settings
from tillwatch.engine.decode import Detail
from tillwatch.engine.late import Lateness
from tillwatch.engine.times import TimeRule
from tillwatch.errors import ConfigError, PatternError
from tillwatch.patterns.program import Program
from tillwatch.patterns.windows import WindowKind, parse_span

_HOLDS: dict[str, WindowKind] = {"number": "number", "iso": "duration", "epoch_s": "duration", "epoch_ms": "duration"}
_WORDS = {"number": "numbers, measured in steps", "duration": "timestamps, measured in s, min, h, d, w"}


def detail_of(settings: Settings, program: Program) -> tuple[Detail, Lateness]:
    """What is decoded of each row besides keys and amount. Raises ConfigError or PatternError with the place."""
    time = settings.time
    reads_time = bool(program.windows) or time.late == "quarantine"
    transactions = any(p.pattern.judge == "transaction" for p in program.plans)
    amounts = any("amount" in table.grain for table in program.tables)
    if not reads_time:
        return Detail(None, transactions, amounts), Lateness()
    kind = _kind(settings, program)
    lateness = _lateness(settings, kind)
    _check_keep(settings, program)
    return Detail(TimeRule(time.format, time.timezone, kind), transactions, amounts), lateness


def _check_keep(settings: Settings, program: Program) -> None:
    """What windows and late rows need of the log must stay there."""
    if settings.landing.keep is None:
        return
    if any(window.kind == "transactions" for window in program.windows):
        raise ConfigError(
            f"{settings.where('landing', 'keep')}: landing.keep: a pattern has a window of the last transactions, "
            "which can be of any time: all chunks must be kept"
        )
    if settings.time.late == "quarantine":
        raise ConfigError(
            f"{settings.where('time', 'late')}: time.late: found quarantine together with landing.keep; which rows "
            "were late cannot be told without the chunks before them. Use late: count, or keep all chunks"
        )


def _kind(settings: Settings, program: Program) -> WindowKind | None:
    """What the time column holds, as far as the format or the windows say it."""
    holds = _HOLDS.get(settings.time.format)
    for window in program.windows:
        if holds is not None and window.kind not in (holds, "transactions"):
            raise PatternError(
                f"{settings.where('time', 'format')}: time.format {settings.time.format} means {_WORDS[holds]}, and a "
                f"pattern has a window of {window.text}"
            )
    return holds or program.time_kind


def _lateness(settings: Settings, kind: WindowKind | None) -> Lateness:
    where = settings.where("time", "lateness")
    try:
        span = parse_span(settings.time.lateness)
    except ValueError as error:
        raise ConfigError(f"{where}: time.lateness: {error}") from None
    if span.size and kind is not None and span.kind != kind:
        raise ConfigError(f"{where}: time.lateness: found {span.text}, but the time column holds {_WORDS[kind]}")
    return Lateness(span.size, span.text, settings.time.late == "quarantine")


def time_meaning(detail: Detail, lateness: Lateness) -> Iterator[str]:
    """What detections depend on of it, in words; nothing where times are not read."""
    if (rule := detail.times) is not None:
        late = f"later than {lateness.text} {'quarantined' if lateness.quarantine else 'counted'}"
        yield f"time: {'/'.join(rule.formats)} in {rule.timezone}, {late}"
