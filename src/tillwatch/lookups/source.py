"""Where a lookup comes from, and what patterns see of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tillwatch.errors import ConfigError
from tillwatch.patterns.features import TEXT_COLUMNS
from tillwatch.patterns.kinds import ValueKind
from tillwatch.patterns.program import LookupSpec, grain_of

_VALUE = re.compile(r"\s*(avg|sum|min|max|count)\s*\(\s*(\*|\"[^\"]+\"|[\w ]+?)\s*\)\s*", re.IGNORECASE)
_KINDS: Mapping[str, ValueKind] = {"avg": "float", "count": "int"}


@dataclass(frozen=True, slots=True)
class LookupSource:
    """Where a lookup comes from: the file, its key columns by logical name, and the aggregate of its value.

    `uri` says where the file is if that is not `path`. Of a PostgreSQL database it has a `table`, or a `query`.
    """

    name: str
    path: Path
    on: Mapping[str, str]
    function: str
    column: str
    uri: str | None = None
    table: str | None = None
    query: str | None = None

    @property
    def place(self) -> str:
        """Where it comes from, to be shown."""
        return self.uri or str(self.path)

    @property
    def said_by(self) -> str | None:
        """Which key of the configuration says what is read of a database; None for a file."""
        return "table" if self.table else "query" if self.query else None

    @property
    def spec(self) -> LookupSpec:
        """What patterns see of it."""
        return LookupSpec(self.name, grain_of(tuple(self.on)), _KINDS.get(self.function, "decimal"))


def lookup_source(name: str, path: Path, on: Mapping[str, str], value: str) -> LookupSource:
    """Checks what the configuration says of a lookup. Raises ConfigError.

    >>> lookup_source("importance", Path("x.csv"), {"customer": "Source"}, "avg(Weight)").spec
    LookupSpec(name='importance', grain=('customer',), kind='float')
    """
    match = _VALUE.fullmatch(value)
    if match is None:
        raise ConfigError(f"lookups.{name}.value: found '{value}', expected avg, sum, min, max or count of a column")
    if match[2] == "*" and match[1].lower() != "count":
        raise ConfigError(f"lookups.{name}.value: found '{value}'; * goes with count only, {match[1]} needs a column")
    wrong = [key for key in on if key not in TEXT_COLUMNS]
    if wrong or not on:
        keys = ", ".join(TEXT_COLUMNS)
        raise ConfigError(f"lookups.{name}.on: found {', '.join(wrong) or 'nothing'}, expected one or more of {keys}")
    return LookupSource(name, path, dict(on), match[1].lower(), match[2].strip('"'))
