"""From settings to what the mechanisms work with: the program, its lookups, its columns, its meaning in words."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from tillwatch.clock import SystemClock
from tillwatch.config import Settings, Sql, is_uri
from tillwatch.detect.event_time import detail_of, time_meaning
from tillwatch.detect.setup import Setup
from tillwatch.engine.decode import PLAIN, Decoder, Detail, sources_of
from tillwatch.engine.fold import PUNCTUAL
from tillwatch.engine.joined import RowLookups
from tillwatch.engine.late import Lateness
from tillwatch.engine.lookup import Lookup
from tillwatch.errors import ConfigError, PatternError, SourceError, StateError, StoreError, TillwatchError
from tillwatch.landing import Landing
from tillwatch.lookups import LookupSource, kept, lookup_sources, patience, read_lookup
from tillwatch.model import STANDARD_KEYS
from tillwatch.patterns.catalogue import declared_features, read_patterns
from tillwatch.patterns.compiler import Compiler
from tillwatch.patterns.derived import Derived, parse_derived
from tillwatch.patterns.expression import Expr, ExpressionError
from tillwatch.patterns.features import Feature, check_nulls, columns_in, parse_filter
from tillwatch.patterns.history import plan_lines
from tillwatch.patterns.pattern import Pattern
from tillwatch.patterns.program import Program
from tillwatch.patterns.rules import Rules, read_rules, to_text
from tillwatch.patterns.sanity import findings
from tillwatch.patterns.shown import show
from tillwatch.publish.outputs import open_output
from tillwatch.report.reports import Reporter
from tillwatch.retry import Retry
from tillwatch.sources import open_source
from tillwatch.sources.base import counts
from tillwatch.state.base import State
from tillwatch.state.postgres_place import SCHEMES, postgres_place
from tillwatch.stores import open_store

ALWAYS = ("customer", "merchant", "amount")


@dataclass(frozen=True, slots=True)
class Composed:
    """A configuration understood: nothing has been read but pattern files.

    `columns` maps the logical names that detect reads to column names, or to what is worked out from columns;
    `required` are the columns that every source file must have, by what they are needed for; `optional` are default
    logical names that a source may lack. Only rows that pass `where` are counted.
    """

    settings: Settings
    program: Program
    lookups: tuple[LookupSource, ...]
    columns: Mapping[str, str | Derived]
    required: Mapping[str, str]
    optional: frozenset[str]
    rules: Rules
    detail: Detail = PLAIN
    lateness: Lateness = PUNCTUAL
    where: Expr | None = None

    @property
    def clears(self) -> bool:
        """Whether a pattern publishes that detections cease to hold."""
        return any(plan.pattern.cleared and not plan.pattern.shadow for plan in self.program.plans)


@dataclass(frozen=True, slots=True)
class Language:
    """What patterns may name in a configuration: its features, its lookups, and its columns by logical name.

    `columns` are those that are mapped, `names` the text columns that there can be, in the order of grains, those that
    lookups bring being the last.
    """

    features: Mapping[str, Feature]
    lookups: tuple[LookupSource, ...]
    columns: Mapping[str, str | Derived]
    digits: int
    names: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The text columns that rows have, in the order of grains."""
        mapped = (name for name in self.columns if name not in ("amount", "time"))
        return (*mapped, *self.joined)

    @property
    def joined(self) -> tuple[str, ...]:
        """Those of them that lookups bring."""
        return tuple(s.name for s in self.lookups if s.spec.kind == "text")

    def compiler(self) -> Compiler:
        """A new compiler of patterns."""
        named = {s.name: s.spec for s in self.lookups if s.spec.kind != "bool"}
        return Compiler(self.features, named, self.digits, self.keys)


def language(settings: Settings, declared: Mapping[str, str] | None = None) -> Language:
    """What patterns may name, with the features that the configuration declares or with these.

    Raises ConfigError or PatternError with the place of the mistake.
    """
    columns, names = _columns(settings), settings.texts
    keys = [name for name in columns if name not in ("amount", "time")]
    sources = tuple(lookup_sources(settings, keys))
    texts = settings.features if declared is None else declared
    features = declared_features(texts, settings.where("features"), names)
    _check_names(features, sources, keys, settings)
    return Language(features, sources, columns, settings.amounts.digits, names)


def compose(settings: Settings, patterns: Sequence[Pattern] | None = None, rules: Rules | None = None) -> Composed:
    """Understands a configuration, with its own patterns, or with these instead, or as they were written once.

    Raises ConfigError or PatternError with the place of the mistake.
    """
    _check_places(settings)
    _check_outputs(settings)
    known = language(settings, rules.features if rules else None)
    where = _where(settings, known)
    if patterns is not None:
        rules, program = Rules((), settings.features), known.compiler().program(patterns)
    elif rules is not None:
        program = known.compiler().program(rules.patterns(known.names))
    else:
        rules, program = _own(settings, known)
    detail, lateness = detail_of(settings, program)
    used = program.columns | columns_in(where) | ({"time"} if detail.times else set())
    used |= {key for source in known.lookups if source.by_row for key in source.on}
    if "time" in used and "time" not in known.columns:
        raise PatternError(f"{settings.where('columns')}: the patterns need the column time, which is set to null")
    needed = {*ALWAYS, *settings.columns.explicit, *used}
    return Composed(
        settings,
        program,
        known.lookups,
        {n: c for n, c in known.columns.items() if n != "time" or detail.times},
        _required(known.columns, needed),
        frozenset(n for n in known.columns if n not in needed),
        rules,
        detail,
        lateness,
        where,
    )


def _columns(settings: Settings) -> dict[str, str | Derived]:
    """The mapped columns, those in SQL understood."""
    columns: dict[str, str | Derived] = {}
    for name, column in settings.columns.mapped.items():
        if isinstance(column, Sql):
            try:
                columns[name] = parse_derived(column.text, "number" if name == "amount" else "text")
            except ExpressionError as error:
                raise ConfigError(f"{settings.where('columns', name, 'sql')}: columns.{name}: {error}") from None
        else:
            columns[name] = column
    return columns | ({"time": settings.columns.time} if settings.columns.time else {})


def _where(settings: Settings, known: Language) -> Expr | None:
    """The filter on all rows."""
    if settings.row_filter is None:
        return None
    try:
        where = parse_filter(settings.row_filter, known.keys)
        check_nulls(where, known.keys, known.joined)
        return where
    except ExpressionError as error:
        raise ConfigError(f"{settings.where('where')}: where: {error}") from None


def _required(columns: Mapping[str, str | Derived], needed: Collection[str]) -> dict[str, str]:
    """The columns that every source file must have, each by a logical name that needs it."""
    return {
        name if isinstance(column, str) else f"{name}: {source}": source
        for name, column in columns.items()
        if name in needed
        for source in sources_of({name: column})
    }


def _check_names(
    features: Collection[str], lookups: Sequence[LookupSource], keys: Sequence[str], settings: Settings
) -> None:
    """A name stands for one thing."""
    own = [key for key in keys if key not in STANDARD_KEYS]
    named = [s.name for s in lookups if s.spec.kind != "bool"]  # keys alone are nothing that patterns name
    for section, names in (("lookups", named), ("columns", own)):
        if clash := sorted(set(features) & set(names)):
            raise ConfigError(f"{settings.where(section, clash[0])}: '{clash[0]}' is the name of a feature already")
    if clash := sorted(set(own) & {s.name for s in lookups}):
        raise ConfigError(f"{settings.where('columns', clash[0])}: '{clash[0]}' is the name of a lookup already")


def _own(settings: Settings, known: Language) -> tuple[Rules, Program]:
    """The configured patterns, as they are written and as a program."""
    try:
        rules = read_rules(settings.patterns, settings.features, settings.shadow)
        return rules, known.compiler().program(rules.patterns(known.names, settings.where("shadow")))
    except PatternError as error:
        raise all_problems(settings, known, error) from None


def all_problems(settings: Settings, known: Language, first: PatternError) -> PatternError:
    """What is wrong with every pattern, each by itself and in the order of the files; then what else `first` says."""
    lines: list[str] = []
    for pattern in read_patterns(settings.patterns, known.names):
        try:
            if isinstance(pattern, ConfigError):
                raise pattern
            program = known.compiler().program([pattern])
            found = [f for p in program.plans for f in findings(p, program, negative=settings.amounts.negative)]
            lines += [f.text for f in found if f.wrong]
        except ConfigError as error:
            lines += str(error).splitlines()
    return PatternError("\n".join(dict.fromkeys([*lines, *str(first).splitlines()])))


def _check_places(settings: Settings) -> None:
    """Places that this version cannot reach are told before anything runs."""
    _check_source(settings.source.uri, settings, "source", "uri")
    for path, uri in (
        (("landing", "uri"), settings.landing.uri),
        (("quarantine",), settings.quarantine),
        (("detections", "uri"), settings.detections.uri),
        (("detections", "cleared"), settings.detections.cleared),
        *([(("reports",), settings.reports)] if settings.reports else []),
        *([(("backtests",), settings.backtests)] if settings.backtests else []),
        *([(("spark", "state"), settings.spark.state)] if settings.engine == "spark" else []),
    ):
        try:
            open_store(uri)
        except (ConfigError, StoreError) as error:
            raise _told(settings, error, *path) from None
    if settings.state.startswith(SCHEMES):
        try:
            postgres_place(settings.state)
        except StateError as error:
            raise _told(settings, error, "state") from None


def _told(settings: Settings, problem: TillwatchError | str, *path: str) -> ConfigError:
    """What is wrong with the value at `path`, after its place in the file and its key."""
    where, key = settings.where(*path), ".".join(path)
    return ConfigError(f"{where}: {problem}" if where == key else f"{where}: {key}: {problem}")


def _check_outputs(settings: Settings) -> None:
    """What a further output needs is told before anything runs, and that there is any output at all."""
    if settings.detections.format == "none" and not settings.outputs:
        text = "found 'none', and there are no outputs: detections would go nowhere"
        raise _told(settings, text, "detections", "format")
    for name, output in settings.outputs.items():
        try:
            open_output(output, open_store, SystemClock())
        except (ConfigError, StoreError) as error:
            raise _told(settings, error, "outputs", name) from None


def object_places(composed: Composed) -> dict[str, str]:
    """The places that a run creates objects in, by their name in the configuration."""
    settings = composed.settings
    places = {"landing": settings.landing.uri, "quarantine": settings.quarantine}
    if settings.detections.format != "none":
        places["detections"] = settings.detections.uri
    if composed.clears:
        places["detections.cleared"] = settings.detections.cleared
    if settings.engine == "spark":
        places["spark.state"] = settings.spark.state
    places |= {f"outputs.{name}": o.uri for name, o in settings.outputs.items() if o.format in ("jsonl", "parquet")}
    return places if settings.reports is None else places | {"reports": settings.reports}


def overlaps(composed: Composed) -> Iterator[str]:
    """What would be mixed up: places of two uses, one in the other too, and places that the source would read again."""
    settings = composed.settings
    others = {f"outputs.{name}": o.uri for name, o in settings.outputs.items() if o.format == "delta"}
    others |= {"backtests": settings.backtests} if settings.backtests else {}
    with closing(open_source(settings.source.uri)) as source:
        taken = {"source": _whole(source.uri)}
    for name, uri in (object_places(composed) | others).items():
        place = _whole(open_store(uri).uri if is_uri(uri) else uri)
        for other, there in taken.items():
            if place == there:
                yield f"{name}: {place} is the place of {other} too; give each its own"
                break
            if _is_in(place, there) and (other != "source" or all(map(counts, place[len(there) + 1 :].split("/")))):
                yield f"{name}: {place} is in the place of {other}; give each its own"
                break
            if _is_in(there, place):
                yield f"{other}: {there} is in the place of {name}; give each its own"
                break
        taken[name] = place


def _is_in(place: str, folder: str) -> bool:
    return place.startswith(folder.rstrip("/") + "/")


def _whole(place: str) -> str:
    """A place by which it is known whether two are the same."""
    return place if is_uri(place) else os.path.realpath(place)


def _check_source(uri: str, settings: Settings, *path: str) -> None:
    try:
        open_source(uri).close()
    except (ConfigError, SourceError, StoreError) as error:
        raise _told(settings, error, *path) from None


def meaning(composed: Composed) -> str:
    """Everything that detections depend on besides the log and the contents of lookups, a line each.

    Equal texts give equal detections.
    """
    settings, program = composed.settings, composed.program
    plain = {n: c for n, c in sorted(composed.columns.items()) if isinstance(c, str)}
    own = [key for key in program.keys if key not in STANDARD_KEYS]
    lines = [
        f"columns: {', '.join(f'{n}={c}' for n, c in plain.items())}",
        *(f"column {n}: {show(c.tree)}" for n, c in sorted(composed.columns.items()) if isinstance(c, Derived)),
        *([f"own columns in order: {', '.join(own)}"] if len(own) > 1 else []),
        *([f"where {show(composed.where)}"] if composed.where else []),
        f"amounts: {settings.amounts.digits} fraction digits, negative {settings.amounts.negative}",
        *time_meaning(composed.detail, composed.lateness),
    ]
    for source in composed.lookups:
        on = ", ".join(f"{k}={c}" for k, c in source.on.items())
        lines.append(f"lookup {source.name}: {source.shown} on {on}")
    lines += [f"require {name}: {what}" for name, what in settings.require.items()]
    for plan in program.plans:
        lines += plan_lines(plan, program)
    return "\n".join(lines)


def setup(composed: Composed, retry: Retry | None = None, known: Sequence[Lookup] = ()) -> Setup:
    """What detect works with; reads the lookups, those elsewhere with `retry`, but when their versions are `known`.

    Raises SourceError.
    """
    settings = composed.settings
    lookups = known or [read_lookup(source, settings.amounts.digits, retry) for source in composed.lookups]
    text = meaning(composed)
    return Setup(
        composed.program,
        hashlib.sha256(text.encode()).hexdigest(),
        text,
        to_text(composed.rules),
        composed.columns,
        lookups,
        composed.optional,
        settings.amounts.negative,
        settings.detections.rows,
        settings.detections.linger,
        composed.detail,
        composed.lateness,
        composed.where,
        settings.require,
    )


def reporter(composed: Composed, landing: Landing, state: State) -> Reporter:
    """What makes quality reports of this pipeline; lookups are those that the state has recorded, or are read."""
    settings = composed.settings
    digits, negative = settings.amounts.digits, settings.amounts.negative
    needed = [source for source in composed.lookups if source.by_row]
    recorded = kept(state.lookup_versions(), needed, open_store(settings.landing.uri), patience())
    known = RowLookups.of(recorded or [read_lookup(source, digits) for source in needed], settings.require)
    decoder = Decoder(composed.columns, digits, negative, composed.optional, composed.detail, composed.where, known)
    return Reporter(landing, decoder, settings.columns.time, state)
