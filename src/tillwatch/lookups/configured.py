"""The lookups of a configuration: where they come from, what they give, and which of them are required."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tillwatch.config import Lookup, Settings, is_uri
from tillwatch.config.kinds import key_problem
from tillwatch.config.yaml import suggestion
from tillwatch.errors import ConfigError, SourceError, StoreError
from tillwatch.lookups.source import LookupSource, lookup_source
from tillwatch.sources import open_source


def lookup_sources(settings: Settings, keys: Sequence[str]) -> Iterator[LookupSource]:
    """All of them; `keys` are the text columns that are mapped. Raises ConfigError with the place of the mistake.

    Values that are features may be known by the texts of other lookups too.
    """
    for name in settings.require:
        if name not in settings.lookups:
            hint = suggestion(name, settings.lookups) if settings.lookups else "there are no lookups"
            raise ConfigError(f"{settings.where('require', name)}: require: there is no lookup '{name}'; {hint}")
    texts = [name for name, lookup in settings.lookups.items() if lookup.is_text]
    for name, lookup in settings.lookups.items():
        try:
            yield _source(name, settings, lookup, keys, texts)
        except (ConfigError, SourceError, StoreError) as error:
            raise ConfigError(f"{settings.where('lookups', name)}: {error}") from None


def _source(name: str, settings: Settings, lookup: Lookup, keys: Sequence[str], texts: Sequence[str]) -> LookupSource:
    required = name in settings.require
    if lookup.is_text:
        _check_text(name, [*settings.columns.keys, *texts])
    uri = lookup.uri if is_uri(lookup.uri) else None
    if uri and not lookup.in_database:
        _check_reachable(name, uri)
    known = keys if required or lookup.is_text else (*keys, *texts)
    source = lookup_source(name, Path(lookup.uri), lookup.on, _value(lookup, required=required), known)
    if source.function == "keys" and not required:
        raise ConfigError(f"lookups.{name}.value: found null, which is for a lookup that is named under require")
    return replace(source, uri=uri, table=lookup.table, query=lookup.query, required=required)


def _value(lookup: Lookup, *, required: bool) -> str | None:
    """What is joined; nothing of a lookup that is required, and says where its keys are and nothing of a value."""
    said = lookup.model_fields_set
    return None if required and "on" in said and "value" not in said else lookup.value


def _check_text(name: str, columns: Sequence[str]) -> None:
    """The text of a lookup is a column under its name."""
    if (problem := key_problem(name)) is not None:
        raise ConfigError(f"lookups: found the key '{name}', of a text that is joined to rows: {problem}")
    if [column.lower() for column in columns].count(name.lower()) > 1:
        raise ConfigError(f"lookups: found the key '{name}', of a text that is joined to rows: there is such a column")


def _check_reachable(name: str, uri: str) -> None:
    try:
        open_source(uri).close()
    except (ConfigError, SourceError, StoreError) as error:
        raise ConfigError(f"lookups.{name}: {error}") from None
