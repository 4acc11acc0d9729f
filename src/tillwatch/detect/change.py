"""Other patterns at a chunk boundary: their running state, made from the tables as saved or from the log so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tillwatch.detect import snapshot
from tillwatch.detect.recovery import Progress, mark, read_again, recall, unheard
from tillwatch.detect.setup import Setup
from tillwatch.engine.decode import Decoder
from tillwatch.engine.fold import Fold
from tillwatch.engine.lookup import Lookup
from tillwatch.errors import PatternError
from tillwatch.landing import Landing
from tillwatch.patterns.program import Program
from tillwatch.retry import Retry
from tillwatch.state.base import LookupVersion, State


class Edits(Protocol):
    """Where edits of patterns come from. What is refused is told a person and noted by who asked."""

    refused: str

    def look(self) -> Setup | None:
        """The edit that waits to be taken, if there is one."""
        ...

    def taken(self, setup: Setup, chunk: int) -> None:
        """The edit is in force from a chunk on."""
        ...

    def refuse(self, why: str) -> None:
        """The edit cannot be taken."""
        ...


@dataclass(frozen=True, slots=True)
class Taken:
    """A version of a lookup that comes into force: its record, its values at hand, and where they are kept."""

    record: LookupVersion
    data: Lookup
    kept: Lookup


class Refresh(Protocol):
    """Where new versions of lookups come from. What is refused is told a person and noted by who asked."""

    @property
    def refused(self) -> str:
        """Why versions were refused, empty when none was."""
        ...

    def take(self, chunk: int) -> Sequence[Taken]:
        """What waits comes into force at a chunk; the first version of a lookup always was."""
        ...

    def committed(self, taken: Sequence[Taken]) -> None:
        """These were recorded."""
        ...


@dataclass(frozen=True, slots=True)
class Folding:
    """A program at work: its state in memory, and what rows are decoded with."""

    setup: Setup
    decoder: Decoder
    fold: Fold


def folding(setup: Setup) -> Folding:
    """One that has seen nothing."""
    decoder = setup.decoder()
    return Folding(setup, decoder, setup.fold(decoder))


def changed(
    before: Program,
    setup: Setup,
    chunk: int,
    landing: Landing,
    state: State,
    retry: Retry,
    on_progress: Progress = unheard,
) -> Folding:
    """The state before `chunk` for other patterns; the tables of those before are saved up to there.

    What is kept already is taken from the tables. When the patterns need more, the log up to the chunk is folded
    once; nothing is judged again. Raises PatternError when chunks that would be needed were removed.
    """
    made = folding(setup)
    made.fold.begin(chunk)
    if is_kept(before, setup.program):
        snapshot.restore(made.fold, retry(lambda: [state.load_table(shape) for shape in snapshot.shapes(before)]))
        recall(made.fold, made.decoder, landing, state, chunk, retry, on_progress)
    else:
        if gone := retry(landing.removed).chunks:
            raise PatternError(f"the patterns need the whole log, of which chunks 0 to {gone - 1} were removed")
        absorb(made, range(chunk), landing, state, retry, on_progress)
    mark(made.fold, state, chunk, retry)
    return made


def is_kept(before: Program, after: Program) -> bool:
    """Whether the tables of one program have all that the other needs."""
    tables = {table.grain: table for table in before.tables}
    return all(
        table.grain in tables
        and set(table.lookups) <= set(tables[table.grain].lookups)
        and all(acc in tables[table.grain].accumulators for acc in table.accumulators)
        for table in after.tables
    )


def absorb(
    made: Folding, numbers: range, landing: Landing, state: State, retry: Retry, on_progress: Progress = unheard
) -> None:
    """Adds these chunks, and judges nothing."""
    digests = retry(lambda: state.digests(0, len(numbers)))
    for number, decoded in read_again(made.decoder, landing, numbers, digests, retry, on_progress):
        admitted = made.fold.admit(decoded)
        made.fold.absorb(number, admitted.rows, admitted.clock)
