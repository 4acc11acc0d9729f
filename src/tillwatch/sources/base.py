"""The port to places with files: what is there, whether it is still there, and reading it by ranges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from tillwatch.errors import SourceError

T = TypeVar("T")

FIRST_RANGE = 64 << 10
RANGE = 8 << 20
"""Bytes that are asked for at a time: few at first, which do for a header, then more and more, up to these."""

_HIDDEN = (".", "_")
_UNFINISHED = (".tmp", ".part", ".crdownload")


class FileRefused(SourceError):
    """The file is unreadable or has the wrong shape; no row of it was read."""


class FileChanged(SourceError):
    """The file was changed or removed since it was found."""


class Again(Protocol):
    """Patience: tries again what a place refused for now, as `tillwatch.retry.Retry` does."""

    def __call__(self, action: Callable[[], T]) -> T: ...


def at_once(action: Callable[[], T]) -> T:
    """No patience: what is refused once is refused."""
    return action()


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it is now; fields as in SourceFile.

    `checksum` is equal for equal content only: SHA-256 as it is, others with their kind before them. Empty when
    the place gives none, as a disk: then the content is read to know.
    """

    name: str
    size: int
    modified: int
    id: str = ""
    revision: str = ""
    checksum: str = ""

    @property
    def key(self) -> str:
        """What makes it this file and no other, whatever its content: its id, or else its name."""
        return self.id or self.name


@dataclass(frozen=True, slots=True)
class FileIgnored:
    """Something in the source is not taken, and not noted either; a `problem` if it might have been meant."""

    name: str
    reason: str
    problem: bool


@dataclass(slots=True)
class Look:
    """What one look at a source found: its files, and what is left aside. `lone`: the source is one file."""

    files: list[Found] = field(default_factory=list)
    ignored: list[FileIgnored] = field(default_factory=list)
    lone: bool = False


@dataclass(frozen=True, slots=True)
class Remote:
    """One revision of a file elsewhere, to be read.

    `fetch(start, length)` gives bytes from `start` on, at most `length`, and at least one before the end at `size`.
    It raises FileChanged when the file is not that revision any more, SourceError when it cannot be read.
    `where` is fit to be shown.
    """

    where: str
    revision: str
    size: int
    checksum: str
    fetch: Callable[[int, int], bytes] = field(repr=False)


Readable = Path | Remote
"""A file on this machine is read by its path."""


class Source(Protocol):
    """A place with files. It asks for nothing before the first look, and is closed in the end.

    Every method may raise SourceUnavailable, when the same call may succeed later, and SourceError.
    """

    @property
    def uri(self) -> str:
        """Where it is, fit to be shown: no secrets."""
        ...

    @property
    def poll(self) -> float:
        """Seconds to be left between two looks, because looking costs the place something."""
        ...

    def look(self) -> Look:
        """The files as they are now, in any order; hidden and unfinished ones do not count."""
        ...

    def unchanged(self, found: Found) -> bool:
        """Whether the file is still there as it was found."""
        ...

    def file(self, found: Found, again: Again) -> Readable:
        """The file's content, to be read; each request is made with the patience of `again`."""
        ...

    def close(self) -> None:
        """Lets go of connections."""
        ...


class RangeReader:
    """Reads a file elsewhere from its start on, or from where it is told to `seek`, as few bytes as needed."""

    def __init__(self, file: Remote) -> None:
        self._file = file
        self._range = FIRST_RANGE
        self._next = 0
        self._held = b""
        self._read = 0

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end. Raises as `Remote.fetch` does."""
        if self._read == len(self._held):
            self._held, self._read = self._fetched(), 0
        block = self._held[self._read : self._read + size]
        self._read += len(block)
        return block

    def seek(self, offset: int) -> None:
        """Goes on at `offset`, without fetching what is before it."""
        ahead = offset - (self._next - len(self._held))
        if 0 <= ahead <= len(self._held):
            self._read = ahead
        else:
            self._next, self._held, self._read = offset, b"", 0

    def close(self) -> None:
        """Forgets what is held."""
        self._held, self._read = b"", 0

    def _fetched(self) -> bytes:
        length = min(self._range, self._file.size - self._next)
        block = self._file.fetch(self._next, length) if length > 0 else b""
        self._next += len(block)
        self._range = min(4 * self._range, RANGE)
        return block


def counts(name: str) -> bool:
    """Whether a file or folder of that name counts: it is neither hidden nor still being copied.

    >>> counts("a.csv"), counts(".a.csv"), counts("_temporary"), counts("a.csv.part")
    (True, False, False, False)
    """
    return not name.startswith(_HIDDEN) and not name.endswith(_UNFINISHED)


def told_apart(names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name by id, for (id, name): names that several share get the id put before their suffixes.

    >>> told_apart([("1", "in/a.csv.gz"), ("2", "in/a.csv.gz"), ("3", "b.csv")])
    {'1': 'in/a [1].csv.gz', '2': 'in/a [2].csv.gz', '3': 'b.csv'}
    """
    found = dict(names)
    times = Counter(found.values())
    return {id: _with_id(name, id) if times[name] > 1 else name for id, name in found.items()}


def _with_id(name: str, id: str) -> str:
    suffixes = "".join(PurePosixPath(name).suffixes[-2:])
    return f"{name.removesuffix(suffixes)} [{id}]{suffixes}"
