"""Everything that can be known to be wrong before a run, and the plan of the run in words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from tillwatch.alerts.configured import channels_of, rules_in_words
from tillwatch.compose import Composed, object_places, overlaps
from tillwatch.config import Output, Settings, is_uri, masked
from tillwatch.config.mounted import secret_of
from tillwatch.config.secrets import is_hidden_setting
from tillwatch.detect.event_time import time_meaning
from tillwatch.errors import StateMissing, TillwatchError
from tillwatch.ingest import IngestSettings, look
from tillwatch.ingest.formats import is_whole, pieces_of
from tillwatch.lookups import LookupSource, read_lookup
from tillwatch.model import Position
from tillwatch.patterns.examples import unknown_columns
from tillwatch.patterns.expression import (
    And,
    Compare,
    Expr,
    Not,
    Number,
    Or,
    conjuncts,
)
from tillwatch.patterns.program import Plan
from tillwatch.patterns.sanity import findings
from tillwatch.patterns.shown import show
from tillwatch.pipeline import Pipeline
from tillwatch.sources import Source, open_source
from tillwatch.sources.base import Found, Remote, at_once
from tillwatch.state.postgres_place import SCHEMES
from tillwatch.stores import open_store

FILES_LOOKED_INTO = 20
TRIED_FIRST = ("landing", "quarantine", "detections", "detections.cleared", "spark.state")


@dataclass(frozen=True, slots=True)
class Report:
    """The plan, line by line, what is wrong, and what is odd but does no harm."""

    lines: tuple[str, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the run can begin."""
        return not self.problems


def check(pipeline: Pipeline) -> Report:
    """Looks at all that the configuration names and writes nothing; reads lookups, and heads of source files."""
    composed = pipeline.composed
    odd = list(_pattern_findings(composed))
    problems = [text for text, wrong in odd if wrong]
    problems += [*_source_problems(pipeline), *_lookup_problems(composed), *_place_problems(composed)]
    problems += _channel_problems(pipeline)
    if not problems:
        problems += [*_layout_problems(pipeline), *_state_problems(pipeline)]
    return Report(tuple(plan(pipeline)), tuple(problems), tuple(text for text, wrong in odd if not wrong))


def plan(pipeline: Pipeline) -> Iterator[str]:
    """What a run does, in words."""
    settings, composed = pipeline.settings, pipeline.composed
    source = settings.source
    pace = f"one every {source.every:g} s" if source.every else "as fast as possible"
    yield f"source      {masked(source.uri)}: chunks of {source.rows:,} rows, {pace}"
    names = [f"{name} from {column}" for name, column in composed.columns.items()]
    yield f"columns     {', '.join(names)}"
    if composed.where is not None:
        yield f"where       {show(composed.where)}: other rows are filtered out"
    amounts = settings.amounts
    yield f"amounts     {amounts.digits} fraction digits, {'also' if amounts.negative else 'not'} negative"
    yield from (line.replace("time: ", "time        ") for line in time_meaning(composed.detail, composed.lateness))
    for lookup in composed.lookups:
        on = ", ".join(f"{column} = {key}" for key, column in lookup.on.items())
        place = f"{lookup.table or 'a query'} in {lookup.place}" if lookup.said_by else lookup.place
        yield f"lookup      {lookup.name}: {lookup.shown} of {place}, joined on {on}{_rows_of(lookup)}"
        if what := settings.require.get(lookup.name):
            keys = " and ".join(lookup.on)
            yield f"            a row whose {keys} it does not have {_REQUIRED[what]}"
    yield from _place_lines(pipeline)
    yield from _alert_lines(settings)
    yield from _engine_lines(settings)
    for each in composed.program.plans:
        yield from _pattern_lines(each)


_REQUIRED = {"quarantine": "goes to the quarantine", "mark": "is counted, and counted as marked"}


def _rows_of(lookup: LookupSource) -> str:
    return ", to every row" if lookup.spec.kind == "text" else ""


def _place_lines(pipeline: Pipeline) -> Iterator[str]:
    settings = pipeline.settings
    landing, out = settings.landing, settings.detections
    layout = "" if landing.layout == "flat" else f", layout {landing.layout}"
    yield f"landing     {masked(landing.uri)}, {landing.format}{layout}"
    yield f"quarantine  {masked(settings.quarantine)}"
    yield f"state       {masked(settings.state)}"
    place = "no files of their own" if out.format == "none" else masked(out.uri)
    yield f"detections  {place}: {out.rows} per file, linger {out.linger:g} s, times in {out.timezone}"
    if pipeline.composed.clears:
        yield f"cleared     {masked(out.cleared)}"
    for name, output in pipeline.outputs().items():
        yield f"output      {name}: {settings.outputs[name].format}, {output.place}"
    if settings.reports is not None:
        yield f"reports     {masked(settings.reports)}"
    elsewhere = [name for name, uri in object_places(pipeline.composed).items() if open_store(uri).remote]
    if first := [name for name in elsewhere if name in TRIED_FIRST]:
        yield f"            not asked now, but tried first thing in a run: {', '.join(first)}"
    if later := [name for name in elsewhere if name not in TRIED_FIRST]:
        yield f"            not asked now, but when a run writes there: {', '.join(later)}"


def _alert_lines(settings: Settings) -> Iterator[str]:
    """Channels by name only: their addresses are secret."""
    for number, name in enumerate(settings.alerts.channels):
        yield f"{'' if number else 'alerts':<12}channel {name}"
    yield from (f"            {line}" for line in rules_in_words(settings.alerts))


def _engine_lines(settings: Settings) -> Iterator[str]:
    """What is different from the embedded engine."""
    if settings.engine != "spark":
        return
    spark = settings.spark
    yield f"engine      spark, master {masked(spark.master or 'as spark-submit says, else local[*]')}"
    yield f"            its state in {masked(spark.state)}, {spark.buckets or 'as many as cores'} buckets"
    for name, value in spark.conf.items():
        yield f"            {name} = {'***' if is_hidden_setting(name) else masked(value)}"


def _pattern_lines(plan: Plan) -> Iterator[str]:
    pattern = plan.pattern
    yield f"pattern     {pattern.id}: {pattern.title or pattern.action}"
    if pattern.where is not None:
        yield f"            sees only rows with {show(pattern.where)}"
    judged = "when" if pattern.judge == "chunk" else "on a transaction when, with the values before it,"
    yield f"            marks a {' and '.join(plan.per)} as {pattern.action} {judged}"
    for number, clause in enumerate(conjuncts(plan.tree)):
        yield f"            {'and ' if number else '    '}{in_words(clause)}"
    if pattern.life:
        yield f"            {pattern.life}"


_WORDS = {"=": "is", "<>": "is not", "<": "is below", "<=": "is at most", ">": "is more than", ">=": "is at least"}


def in_words(tree: Expr) -> str:
    """A condition in words.

    >>> from tillwatch.patterns.expression import parse
    >>> in_words(parse("merchant.transactions > 50000 or not avg_amount < 23"))
    "the merchant's transactions is more than 50,000 or not (avg_amount is below 23)"
    """
    match tree:
        case Compare(op=op, left=left, right=right):
            return f"{_value(left)} {_WORDS[op]} {_value(right)}"
        case Or(left=left, right=right):
            return f"{in_words(left)} or {in_words(right)}"
        case And(left=left, right=right):
            return f"{in_words(left)} and {in_words(right)}"
        case Not(x=x):
            return f"not ({in_words(x)})"
        case _:
            return show(tree)


def _value(tree: Expr) -> str:
    if isinstance(tree, Number):
        return f"{tree.value:,}"
    text = show(tree)
    owner, dot, name = text.partition(".")
    return f"the {owner}'s {name}" if dot and owner.isidentifier() and name.isidentifier() else text


def _pattern_findings(composed: Composed) -> Iterator[tuple[str, bool]]:
    """Conditions that can never hold, clauses without effect, and examples with columns that are not mapped.

    Each with whether it is a mistake, and not only odd.
    """
    columns, names = [*composed.columns, "time"], [lookup.name for lookup in composed.lookups]
    for each in composed.program.plans:
        found = findings(each, composed.program, negative=composed.settings.amounts.negative)
        yield from ((finding.text, finding.wrong) for finding in found)
        pattern = each.pattern
        yield from ((problem, True) for problem in unknown_columns(pattern.id, pattern.examples, columns, names))


def _source_problems(pipeline: Pipeline) -> Iterator[str]:
    """A source that is not there, and files whose heads are not what is expected."""
    settings = replace(pipeline.ingest_settings(), rows=1)
    with closing(open_source(settings.root)) as source:
        try:
            seen = look(source, settings.format)
        except TillwatchError as error:
            yield f"source: {error}"
            return
        yield from (f"source: {i.name} {i.reason}" for i in seen.ignored if i.problem)
        for found in seen.files[:FILES_LOOKED_INTO]:
            yield from _file_problems(source, found, settings)


def _file_problems(source: Source, found: Found, settings: IngestSettings) -> Iterator[str]:
    """What the head of a file shows; one that must be fetched whole to see its head is left for the run."""
    try:
        file = source.file(found, at_once)
        if isinstance(file, Remote) and is_whole(found.name, settings.format):
            return
        with closing(pieces_of(file, found.name, settings, Position())) as pieces:
            next(pieces, None)
    except TillwatchError as error:
        yield f"source: {found.name} {error}"


def _lookup_problems(composed: Composed) -> Iterator[str]:
    for lookup in composed.lookups:
        try:
            read_lookup(lookup, composed.settings.amounts.digits)
        except TillwatchError as error:
            yield str(error)


def _place_problems(composed: Composed) -> Iterator[str]:
    """Places that are used twice or cannot be written to, and secrets that are not there; no cloud is asked."""
    settings = composed.settings
    yield from overlaps(composed)
    for name, uri in object_places(composed).items():
        store = open_store(uri)
        if not store.remote:
            yield from _unwritable(name, Path(store.uri))
    for name, output in settings.outputs.items():
        if output.format == "delta" and not is_uri(output.uri):
            yield from _unwritable(f"outputs.{name}", Path(output.uri))
        elif output.format == "webhook":
            yield from _secret_problems(name, output)
    if not settings.state.startswith(SCHEMES):
        yield from _unwritable("state", Path(settings.state).parent)


def _layout_problems(pipeline: Pipeline) -> Iterator[str]:
    """Chunks that are there in another layout; no cloud is asked."""
    if not open_store(pipeline.settings.landing.uri).remote:
        try:
            pipeline.landing.check_layout()
        except TillwatchError as error:
            yield f"landing: {error}"


def _secret_problems(name: str, output: Output) -> Iterator[str]:
    try:
        secret_of(output.secret_env, output.secret_file)()
    except TillwatchError as error:
        yield f"outputs.{name}: {error}"


def _channel_problems(pipeline: Pipeline) -> list[str]:
    """Channels whose address is none; nothing is sent."""
    try:
        channels_of(pipeline.settings)
    except TillwatchError as error:
        return str(error).splitlines()
    return []


def _unwritable(name: str, folder: Path) -> Iterator[str]:
    nearest = next(p for p in (folder, *folder.parents) if p.exists())
    if not nearest.is_dir():
        yield f"{name}: {nearest} is a file, expected a folder"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        yield f"{name}: the folder {nearest} cannot be written to"


def _state_problems(pipeline: Pipeline) -> Iterator[str]:
    """A state that was made by another configuration, or a database that does not answer."""
    place = pipeline.settings.state
    if not place.startswith(SCHEMES) and not Path(place).exists():
        return
    try:
        with pipeline.opened(readonly=True) as state:
            pipeline.history(state)
    except StateMissing:
        return
    except TillwatchError as error:
        yield str(error)
