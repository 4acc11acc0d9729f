"""What a pipeline at work tells: frozen events, heard by plain callables.

Events come from several threads, a few for each chunk and never one for a row. Those that a person should hear of in
words are notices. The mechanism of an event is that of its kind; a notice says whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tillwatch.model import Detection
from tillwatch.state.activity import How
from tillwatch.state.base import FileStatus, Mechanism, Stream


@dataclass(frozen=True, slots=True)
class RunBegan:
    """A mechanism begins; the state may not be reached yet. `run` is the same for both mechanisms of one call."""

    run: str
    mechanism: Mechanism
    once: bool = False


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A mechanism came to its end; with `failed`, the class and the text of the error."""

    run: str
    mechanism: Mechanism
    how: How
    error: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class FileStarted:
    """Reading a source file begins, behind `row` rows of an earlier run."""

    name: str
    row: int = 0


@dataclass(frozen=True, slots=True)
class FileFinished:
    """A source file was read to its end; so many rows of it are landed."""

    name: str
    rows: int


@dataclass(frozen=True, slots=True)
class Landed:
    """Progress of ingest: a chunk of so many rows is in the landing zone and in the ledger.

    `bytes` is the size of its object, None where that is not known, `seconds` what landing it took.
    """

    chunk: int
    rows: int
    bytes: int | None = None
    seconds: float = 0.0
    file: str = ""


@dataclass(frozen=True, slots=True)
class Processed:
    """Progress of detect: chunks `first`…`last` were committed.

    So many rows were counted, quarantined, filtered out; `detections` by pattern, without those in the shadow, which
    are `found`, in order; `reasons` of the quarantine by code. `fold` is the seconds of decoding and folding, `commit`
    those of the transaction.
    """

    first: int
    last: int
    counted: int
    quarantined: int
    detections: Mapping[str, int]
    filtered: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    fold: float = 0.0
    commit: float = 0.0
    found: tuple[Detection, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Published:
    """A file is there, with the numbers `first`…`last` of its stream, which are of these chunks."""

    file: str
    stream: Stream
    first: int
    last: int
    chunks: tuple[int, ...]
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        """The rows of the file."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Delivered:
    """A further output has the detections `first`…`last`."""

    output: str
    file: str
    first: int
    last: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was tried again has worked, after so many failures and seconds."""

    place: str
    attempts: int
    seconds: float
    mechanism: Mechanism | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should know."""

    text: str
    mechanism: Mechanism | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Retried(Notice):
    """What failed is tried again after `wait` seconds.

    `place` is its name in the configuration, such as `landing` or `outputs.bank`, `error` the class of the error,
    `attempt` counts the failures, from 1.
    """

    place: str = ""
    error: str = ""
    wait: float = 0.0
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class FileProblem(Notice):
    """A source file that its owner should look after.

    `status` is `done` for one without rows, `ignored` for one that is not taken at all.
    """

    name: str = ""
    status: FileStatus | Literal["ignored"] = "broken"
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Serving(Notice):
    """Something of the run is served at a URL."""

    url: str = ""


@dataclass(frozen=True, slots=True)
class EditTaken(Notice):
    """Other patterns are in force from `chunk` on."""

    chunk: int = 0


@dataclass(frozen=True, slots=True)
class EditRefused(Notice):
    """An edit of the patterns is not taken; those in force stay."""


Event = (
    RunBegan | RunEnded | FileStarted | FileFinished | Landed | Processed | Published | Delivered | Recovered | Notice
)
Observer = Callable[[Event], None]


def ignore(_: Event) -> None:
    """The observer that does nothing."""
