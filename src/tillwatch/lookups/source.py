"""Where a lookup comes from, and what patterns see of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tillwatch.config.kinds import plain_column
from tillwatch.errors import ConfigError
from tillwatch.model import STANDARD_KEYS
from tillwatch.patterns.kinds import ValueKind
from tillwatch.patterns.program import LookupSpec, grain_of

_VALUE = re.compile(r"\s*(avg|sum|min|max|count)\s*\(\s*(\*|\"[^\"]+\"|[\w ]+?)\s*\)\s*", re.IGNORECASE)
_KINDS: Mapping[str, ValueKind] = {"avg": "float", "count": "int", "text": "text", "keys": "bool"}


@dataclass(frozen=True, slots=True)
class LookupSource:
    """Where a lookup comes from: the file, its key columns by logical name, and the aggregate of its value.

    Instead of an aggregate, `text` is the column as it is, and `keys` no value at all. Of one that is `required`, keys
    without a value are kept too. `uri` says where the file is if that is not `path`. Of a PostgreSQL database it has a
    `table`, or a `query`.
    `keys` are the text columns, in the order of grains.
    """

    name: str
    path: Path
    on: Mapping[str, str]
    function: str
    column: str
    uri: str | None = None
    table: str | None = None
    query: str | None = None
    keys: tuple[str, ...] = STANDARD_KEYS
    required: bool = False

    @property
    def by_row(self) -> bool:
        """Whether rows are looked up in it."""
        return self.required or self.function == "text"

    @property
    def shown(self) -> str:
        """Its value, to be shown."""
        match self.function:
            case "text":
                return f"the text {self.column}"
            case "keys":
                return "the keys"
            case _:
                return f"{self.function}({self.column})"

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
        return LookupSpec(self.name, grain_of(self.on, self.keys), _KINDS.get(self.function, "decimal"))


def lookup_source(
    name: str, path: Path, on: Mapping[str, str], value: str | None, keys: Sequence[str] = STANDARD_KEYS
) -> LookupSource:
    """Checks what the configuration says of a lookup; `keys` are the text columns that are mapped. Raises ConfigError.

    A `value` is an aggregate, or a column of texts; without one only the keys are wanted.

    >>> lookup_source("importance", Path("x.csv"), {"customer": "Source"}, "avg(Weight)").spec
    LookupSpec(name='importance', grain=('customer',), kind='float')
    """
    function, column = ("keys", "") if value is None else _value(name, value)
    wrong = [key for key in on if key not in keys]
    if wrong or not on:
        known = ", ".join(keys)
        raise ConfigError(f"lookups.{name}.on: found {', '.join(wrong) or 'nothing'}, expected one or more of {known}")
    return LookupSource(name, path, dict(on), function, column, keys=tuple(keys))


def _value(name: str, value: str) -> tuple[str, str]:
    """The function of a value and its column."""
    if (column := plain_column(value)) is not None:
        return "text", column
    match = _VALUE.fullmatch(value)
    if match is None:
        raise ConfigError(
            f"lookups.{name}.value: found '{value}', expected avg, sum, min, max or count of a column, or a column"
        )
    if match[2] == "*" and match[1].lower() != "count":
        raise ConfigError(f"lookups.{name}.value: found '{value}'; * goes with count only, {match[1]} needs a column")
    return match[1].lower(), match[2].strip('"')
