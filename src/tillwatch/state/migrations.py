"""The schema, step by step: numbered `.sql` files, `sql/sqlite/0002_ledger.sql`; the last number is its version.

A step has the same number and meaning in every store, so that states of one version hold the same.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Literal

from tillwatch.errors import StateConflict

Dialect = Literal["sqlite", "postgres"]

VERSION = 7
"""The schema that this version of tillwatch reads and writes."""

_NAME = re.compile(r"([0-9]{4})_\w+\.sql")


def migrations(dialect: Dialect, after: int, to: int = VERSION) -> list[str]:
    """The statements that bring a state of schema `after` to schema `to`; 0 is no state yet."""
    steps: dict[int, str] = {}
    for entry in (resources.files("tillwatch.state") / "sql" / dialect).iterdir():
        if match := _NAME.fullmatch(entry.name):
            steps[int(match[1])] = entry.read_text("utf-8")
    wanted = [number for number in sorted(steps) if after < number <= to]
    return [s for number in wanted for s in steps[number].split(";\n") if s.strip()]


def known_version(found: str | None, uri: str, *, readonly: bool) -> int:
    """The version of a state whose `meta` says `found`, None for no state.

    Raises StateConflict for one that this version of tillwatch cannot work with, or, readonly, not bring up to date.
    """
    version = int(found) if found is not None and found.isdecimal() else 0
    if found is not None and not 1 <= version <= VERSION:
        raise StateConflict(f"{uri} has schema {found}, this version of tillwatch reads {VERSION}")
    if readonly and 0 < version < VERSION:
        raise StateConflict(
            f"{uri} has schema {found}, of an earlier version of tillwatch, which is brought to {VERSION} by the next "
            "run, ingest, detect or 'tillwatch state migrate'"
        )
    return version
