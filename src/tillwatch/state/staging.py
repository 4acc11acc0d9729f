"""The port to staging: how several processes save the tables of running values together.

Who holds the lease of detect makes staging tables. Others put rows there, each process in transactions of its own. Then
the first merges in one transaction what the transactions that it names have staged. What was staged otherwise, by a
process that was killed or by a second one that did the same work, does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class Staged:
    """What a transaction has staged: its number in the database, and how many rows for each table."""

    transaction: int
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Merge:
    """What staged rows bring: the tables then hold the state before `chunk`.

    The rows were made while detect stood at chunk `cursor` and the tables held the state before chunk `tables`. `notes`
    and `token` are as those of a commit.
    """

    chunk: int
    cursor: int
    tables: int
    notes: Mapping[str, str]
    token: str = field(default_factory=lambda: uuid4().hex, compare=False)


class Staging(Protocol):
    """What a state store has that other processes can reach too.

    Used under the lease of detect. After an error, begin with `make_staging` again, and merge with the same Merge.
    """

    def make_staging(self, tables: Iterable[str]) -> Mapping[str, str]:
        """Makes a staging table for each of these tables, and returns their names. Those of before are removed."""
        ...

    def merge_staged(self, merge: Merge, into: Mapping[str, str], staged: Sequence[Staged]) -> None:
        """Replaces rows by id with those that were staged, in one transaction; then removes the staging tables.

        `into` is what `make_staging` gave. A merge that went through already, known by its token, changes nothing.
        Raises StateConflict when detect or the tables stand elsewhere than the merge says, StateError when not all of
        the rows are there any more, LeaseHeld; all change nothing.
        """
        ...
