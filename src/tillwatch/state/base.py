"""The port to a state store, and the frozen records that pass through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol
from uuid import uuid4

from tillwatch.model import ChunkInfo, Detection, SourceFile, Turn
from tillwatch.state.figures import Figures
from tillwatch.state.look import Look
from tillwatch.state.review import Review
from tillwatch.state.staging import Staging
from tillwatch.state.tables import TableShape

if TYPE_CHECKING:
    from tillwatch.state.activity import Activity

FileStatus = Literal["reading", "done", "refused", "changed", "broken", "duplicate"]
Mechanism = Literal["ingest", "detect"]
Stream = Literal["detections", "cleared"]
"""What is published in files, each with numbers from 1 of its own: detections, and that some ceased to hold."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A source file in the ledger.

    `status`: reading; done; refused (never read: unreadable or of the wrong shape); changed (after it was
    taken); broken (ended early); duplicate (same content as an earlier file). `rows` landed so far, `digest` the
    SHA-256 of the file once read to its end, `problem` what is wrong with it.
    """

    file: SourceFile
    status: FileStatus
    rows: int = 0
    digest: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where detect stands: the next chunk, the next seq, the chunk the tables hold the state before."""

    chunk: int
    seq: int
    tables: int


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What became of a chunk: rows counted, quarantined by reason code, filtered out, and when (ISO 8601).

    `marked` are those of the counted rows that a lookup does not have, by its name.
    """

    info: ChunkInfo
    counted: int
    quarantined: Mapping[str, int]
    at: str
    filtered: int = 0
    marked: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Patterns in force from chunk `first` on, until the next ones are.

    `meaning` is all that detections depend on beside the rows, a line each, `hash` its SHA-256; `rules` says the same
    as it was written, in JSON, so that it can be compiled again.
    """

    first: int
    hash: str
    meaning: str
    rules: str
    at: str


@dataclass(frozen=True, slots=True)
class RuleChange:
    """Patterns that come into force with a commit.

    When the tables that they need are others, `tables` are their shapes, and `rows` gives the rows of all of them after
    the commit's last chunk, each time it is called.
    """

    rules: RuleSet
    tables: tuple[TableShape, ...] = ()
    rows: Callable[[], Iterable[TableRows]] = tuple


@dataclass(frozen=True, slots=True)
class LookupVersion:
    """Which content of a lookup is in force from chunk `first` on; its versions are numbered from 1.

    `digest` tells versions apart, `rows` are the keys with a value, `kept` is the name of the object that holds them.
    """

    name: str
    number: int
    first: int
    digest: str
    rows: int
    kept: str
    at: str


@dataclass(frozen=True, slots=True)
class Commit:
    """All that folding some chunks brought: `results` are of consecutive chunks, detections in order.

    `notes` are facts to keep by name, for who works with the state. `change` are the patterns that came into force at
    the first chunk, `lookups` the versions of lookups that are to be recorded. `token` is its own alone: by it
    a store knows the commit that it has stored when it is asked for it again.
    """

    results: tuple[ChunkResult, ...]
    detections: tuple[Detection, ...]
    turns: tuple[Turn, ...]
    notes: Mapping[str, str] = field(default_factory=dict)
    change: RuleChange | None = None
    lookups: tuple[LookupVersion, ...] = ()
    token: str = field(default_factory=lambda: uuid4().hex, compare=False)

    @property
    def first(self) -> int:
        """The first chunk."""
        return self.results[0].info.number

    @property
    def last(self) -> int:
        """The last chunk."""
        return self.results[-1].info.number


@dataclass(frozen=True, slots=True)
class StoredDetection:
    """A detection as it was committed. `at` is its detectionTime, `file` the name it is planned for, if any."""

    seq: int
    detection: Detection
    at: str
    holds: bool
    file: str | None


@dataclass(frozen=True, slots=True)
class StoredCleared:
    """That the detection `seq` ceased to hold after `chunk`. `at` is its clearedTime, `file` as of a detection."""

    number: int
    seq: int
    chunk: int
    pattern: str
    action: str
    key: Mapping[str, str]
    at: str
    file: str | None


@dataclass(frozen=True, slots=True)
class FilePlan:
    """A file of the outbox: the detections, or what is cleared, `first`…`last` go into `name`."""

    name: str
    first: int
    last: int
    published_at: str | None = None


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows of a table of running values: column name to values; `id` is the slot."""

    name: str
    columns: Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """A chunk in the ledger; `counted`, `quarantined` and `filtered` are None until it is processed."""

    number: int
    file: int
    first_row: int
    rows: int
    digest: str
    counted: int | None
    quarantined: int | None
    filtered: int | None


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts over the ledger: chunks and rows landed, chunks processed, rows counted, quarantined, filtered out."""

    chunks: int
    rows: int
    processed: int
    counted: int
    quarantined: int
    filtered: int


class Ledger(Protocol):
    """What ingest keeps. It may be behind the landing zone, never ahead of it."""

    def files(self) -> list[FileRecord]:
        """All files, by number."""
        ...

    def record_file(self, record: FileRecord) -> None:
        """Notes a file, or what became of it."""
        ...

    def landed(self) -> int:
        """The next chunk number that the ledger expects."""
        ...

    def record_landed(self, chunks: Sequence[ChunkInfo], at: str | None = None) -> None:
        """Notes landed chunks, at this time, None when that is not known.

        Noting one again changes nothing, save that what was not known is filled in.
        """
        ...


class State(Ledger, Figures, Look, Review, Protocol):
    """A state store. Every method that writes is one transaction, durable when it returns.

    After an error a transaction may have gone through all the same, when only the answer was lost. So every method
    that writes can be called again with the same arguments, on the same object, until it returns: what went through
    is not done twice.
    """

    def lease(self, mechanism: Mechanism) -> AbstractContextManager[None]:
        """Holds the mechanism's lease while open, and lets go when the process dies. Raises LeaseHeld.

        While it is open nothing is written by this object unless it holds the lease: when it was lost and another
        has it now, whatever would write raises LeaseHeld.
        """
        ...

    def make_tables(self, tables: Sequence[TableShape]) -> None:
        """Makes the tables of running values and their views, where they are not there; `start` does so too."""
        ...

    def start(self, fingerprint: str, meaning: str, at: str, tables: Sequence[TableShape], rules: str = "{}") -> Cursor:
        """Claims the state for a program, makes its tables, and says where detect stands.

        `at` becomes YStartTime when this is the first start. Raises StateError when the state was made by a
        program with another fingerprint; `meaning` is that program in words, to show the difference. `rules` are kept
        as those in force from the first chunk on, when none are known.
        """
        ...

    def rule_sets(self) -> list[RuleSet]:
        """The patterns that were in force, and since when; the last ones are. None before the first start."""
        ...

    def lookup_versions(self) -> list[LookupVersion]:
        """All versions of lookups that were in force, by their first chunk; of a lookup the last one is."""
        ...

    def claim_allowed(self, fingerprint: str, meaning: str) -> None:
        """Raises StateConflict when the state was made by a program with another fingerprint."""
        ...

    def base_allowed(self, meaning: str) -> None:
        """Raises StateConflict when the state was made by a program that differs in more than its patterns."""
        ...

    def get_meta(self, key: str) -> str | None:
        """A fact of the state by its name, None when it is not known."""
        ...

    def note(self, notes: Mapping[str, str]) -> None:
        """Keeps facts by name, as a commit's `notes` are kept."""
        ...

    def cursor(self) -> Cursor:
        """Where detect stands; chunk 0, seq 1 before its first start."""
        ...

    def started_at(self) -> str | None:
        """YStartTime."""
        ...

    def at_work(self, mechanism: Mechanism) -> bool:
        """Whether an instance of the mechanism is at work now."""
        ...

    def activities(self) -> list[Activity]:
        """The last run of each mechanism, ingest first."""
        ...

    def record_activity(self, activity: Activity, *, begins: bool = False) -> None:
        """Notes it: what `begins` takes the place of the run before, else it counts only while that run is the last.

        Needs no lease, waits for nobody for longer than a second, and may be lost when the machine fails.
        """
        ...

    def size(self) -> int:
        """The bytes that the state takes where it is kept."""
        ...

    def waiting_since(self) -> str | None:
        """When the first chunk that waits to be processed was landed; None when none does, or it is not known."""
        ...

    def commit(self, commit: Commit, rows_per_file: int) -> int:
        """Stores results, detections (giving them seq), turns, what is cleared, the cursor, and plans full files.

        Returns the next seq. A commit that went through already, known by its token, is only answered again: so the
        caller tries the same Commit until there is an answer. Raises StateConflict when the cursor is not at the
        commit's first chunk, or a chunk is not the one that ingest noted; both change nothing.
        """
        ...

    def plan_rest(self, rows_per_file: int, stream: Stream = "detections") -> None:
        """Plans the detections that are in no file yet, the last file with fewer rows."""
        ...

    def unplanned(self, stream: Stream = "detections") -> int:
        """How many detections are in no file yet."""
        ...

    def unpublished(self, stream: Stream = "detections") -> list[FilePlan]:
        """Planned files not marked as published, in order."""
        ...

    def mark_published(self, plans: Sequence[FilePlan], at: str, stream: Stream = "detections") -> None:
        """Notes that the files are there."""
        ...

    def undelivered(self, output: str) -> list[FilePlan]:
        """The planned files that the further output of this name does not have yet, in order, from the first on."""
        ...

    def mark_delivered(self, output: str, plan: FilePlan, at: str) -> None:
        """Notes that the output has the file; noting it again changes nothing."""
        ...

    def save_tables(
        self, tables: Iterable[TableRows], chunk: int, notes: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Replaces rows by id; the tables then hold the state before `chunk`. Keeps `notes` as a commit does."""
        ...

    def staging(self) -> Staging | None:
        """How several processes save tables together, None where only this one can."""
        ...

    def load_table(self, shape: TableShape) -> TableRows:
        """All rows of a table, by id."""
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """While open, reads see the state as it was at the first one, whatever is committed meanwhile."""
        ...

    def detections(self, first: int = 1, last: int | None = None, *, shadow: bool = False) -> Iterator[StoredDetection]:
        """Detections by seq; those of patterns in the shadow have a seq of their own."""
        ...

    def turns(self, before: int, *, shadow: bool = False) -> list[tuple[int, int, bool]]:
        """(seq, chunk, holds) of turns at chunks below `before`, in order."""
        ...

    def cleared(self, first: int = 1, last: int | None = None) -> Iterator[StoredCleared]:
        """What is cleared, by number."""
        ...

    def files_planned(self, stream: Stream = "detections") -> list[FilePlan]:
        """All files of the outbox, in order."""
        ...

    def chunks(self) -> Iterator[ChunkRecord]:
        """All chunks of the ledger, by number."""
        ...

    def processed(self) -> dict[int, str]:
        """When each processed chunk was processed, by number, in order."""
        ...

    def digests(self, first: int, last: int) -> dict[int, str]:
        """Digests of the chunks noted, by number."""
        ...

    def quarantined(self) -> dict[str, int]:
        """Rows quarantined by reason code."""
        ...

    def marked(self) -> dict[str, int]:
        """Counted rows that a lookup does not have, by its name."""
        ...

    def totals(self) -> Totals:
        """Counts over all chunks."""
        ...

    def by_pattern(self, *, shadow: bool = False) -> dict[str, int]:
        """Detections by pattern."""
        ...

    def close(self) -> None:
        """Lets go of the store."""
        ...
