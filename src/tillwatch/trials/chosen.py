"""Which patterns are tried with their examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tillwatch.compose import Language, language
from tillwatch.config import PatternChoice, Settings
from tillwatch.config.yaml import suggestion
from tillwatch.errors import ConfigError, PatternError
from tillwatch.patterns.catalogue import built_in, read_patterns
from tillwatch.patterns.examples import unknown_columns
from tillwatch.patterns.pattern import Pattern


def chosen(settings: Settings, names: Sequence[str] = ()) -> list[Pattern]:
    """The configured patterns, or those of the ids, files and folders named, in order.

    Their thresholds are those of their files: examples are written for them. Raises ConfigError or PatternError with
    everything that keeps a pattern or an example from being tried.
    """
    known = language(settings)
    configured = [_as_written(choice) for choice in settings.patterns]
    problems: list[str] = []
    patterns: list[Pattern] = []
    for found in _named(names, configured) if names else read_patterns(configured):
        if isinstance(found, ConfigError):
            problems += str(found).splitlines()
            continue
        problems += _problems(found, known)
        patterns.append(found)
    if problems:
        raise PatternError("\n".join(dict.fromkeys(problems)))
    return patterns


def _as_written(choice: PatternChoice) -> PatternChoice:
    """The choice without thresholds of its own."""
    return choice.model_copy(update={"thresholds": {}})


def _problems(pattern: Pattern, known: Language) -> list[str]:
    try:
        known.compiler().program([pattern])
    except PatternError as error:
        return str(error).splitlines()
    names = [lookup.name for lookup in known.lookups]
    return list(unknown_columns(pattern.id, pattern.examples, tuple(known.columns), names))


def _named(names: Sequence[str], configured: Sequence[PatternChoice]) -> Iterator[Pattern | ConfigError]:
    """The patterns of ids, of those configured or of the catalogue, and of files and folders."""
    read = read_patterns(configured)
    there = {p.id: p for p in read if isinstance(p, Pattern)}
    for name in names:
        choice = PatternChoice(ref=name, where=name)
        if name in there:
            yield there[name]
        elif name in built_in() or choice.path is not None:
            yield from read_patterns([choice])
        elif Path(name).exists():
            yield from read_patterns([PatternChoice(ref=f"./{name}", where=name)])
        else:
            yield from (problem for problem in read if isinstance(problem, ConfigError))
            hint = suggestion(name, [*there, *built_in()])
            yield PatternError(f"'{name}' is neither a pattern's id nor a file; {hint}")
