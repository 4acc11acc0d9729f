"""Where a chunk's object is: the layouts of a landing zone.

| layout | chunk 12 |
|---|---|
| flat | `000000000012.parquet` |
| folder | `chunk=000000000012/part.parquet` |
| dated | `year=2026/month=11/day=20/000000000012.parquet`, by the day (UTC) on which it was landed |

With dated folders an object `_index/000000000012` comes first and holds the folder. It is put if absent, so a number
has one folder whoever puts it and whenever, also after midnight, and the chunk is found without listing. A chunk is
never in an earlier folder than the one before it, whatever the clock does: so the order of names is that of numbers.
Engines that read folders as tables leave out what begins with `_`.

What retention has removed is said by objects below `_removed/`, in every layout (`landing.removed`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import takewhile
from typing import Literal, Protocol, get_args

from tillwatch.errors import LogError, ObjectExists, ObjectMissing
from tillwatch.stores.base import Store

LayoutName = Literal["flat", "dated", "folder"]
LAYOUTS: tuple[LayoutName, ...] = get_args(LayoutName)

_FLAT = re.compile(r"([0-9]{12})\.(?:parquet|csv)")
_FOLDER = re.compile(r"chunk=([0-9]{12})/part\.(?:parquet|csv)")
_DATED = re.compile(r"year=[0-9]{4}/month=[0-9]{2}/day=[0-9]{2}/([0-9]{12})\.(?:parquet|csv)")
_ANY_FLAT = re.compile(r"[0-9]{12}(?:-[0-9]{12})?\.(?:parquet|csv)")
_ANY_DATED = re.compile(r"year=[0-9]{4}/month=[0-9]{2}/day=[0-9]{2}/[0-9]{12}[-.]")
_DAY = re.compile(r"year=[0-9]{4}/month=[0-9]{2}/day=[0-9]{2}")
_FLAT_OR_BESIDE = re.compile(r"([0-9]{12})\.[a-z0-9.]+")
_BEHIND_DIGITS = ":"
_INDEX = "_index/"
_INDEXED = re.compile(r"_index/([0-9]{12})")
_KEPT = 4096


class Layout(Protocol):
    """Names of objects by chunk number, without their endings."""

    def find(self, number: int) -> str | None:
        """Where the chunk is if it is landed; None when it is certain that it is not."""
        ...

    def fix(self, number: int) -> str:
        """Where the chunk is to be put: from now on this and no other place."""
        ...

    def beside(self, stem: str) -> str:
        """How names begin of what belongs to the chunk at `stem` and is no part of a table."""
        ...

    def chunks(self, start: int) -> Iterator[tuple[int, str]]:
        """Number and name of every object of a chunk from `start` on, in order, by listing the store."""
        ...

    def names(self) -> Iterator[str]:
        """Names of all that is part of the table, in the order of the log, and perhaps others."""
        ...

    def index(self, number: int) -> list[str]:
        """Names of what says where the chunk is, if it is there."""
        ...

    def apart(self, last: int) -> Iterator[int]:
        """Numbers up to `last` of which something is there that is not merged, in order, by listing the store."""
        ...


def utc_now() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


def layout_of(name: LayoutName, store: Store, now: Callable[[], datetime] = utc_now) -> Layout:
    """The layout of that name over a store. `now` is in UTC; dated folders ask it for the day."""
    match name:
        case "flat":
            return Flat(store)
        case "folder":
            return Folders(store)
        case "dated":
            return Dated(store, now)


def found_layout(store: Store) -> LayoutName | None:
    """The layout of the chunks that are there, None when there are none."""
    for name in store.list():
        if name.startswith(_INDEX) or _ANY_DATED.match(name):
            return "dated"
        if _ANY_FLAT.fullmatch(name):
            return "flat"
        if _FOLDER.fullmatch(name):
            return "folder"
    return None


class Flat:
    """All objects side by side."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, number: int) -> str:
        return f"{number:012}"

    fix = find

    def beside(self, stem: str) -> str:
        return f"{stem}."

    def chunks(self, start: int) -> Iterator[tuple[int, str]]:
        return _matching(self._numbered(f"{start:012}"), _FLAT)

    def names(self) -> Iterator[str]:
        return self._numbered("")

    def index(self, number: int) -> list[str]:
        return []

    def apart(self, last: int) -> Iterator[int]:
        return _up_to(last, (n for n, _ in _matching(self._numbered(""), _FLAT_OR_BESIDE)))

    def _numbered(self, after: str) -> Iterator[str]:
        return takewhile(lambda name: name < _BEHIND_DIGITS, self._store.list(after=after))


class Folders:
    """A folder for each chunk."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, number: int) -> str:
        return f"chunk={number:012}/part"

    fix = find

    def beside(self, stem: str) -> str:
        return f"{stem.removesuffix('part')}_"

    def chunks(self, start: int) -> Iterator[tuple[int, str]]:
        return _matching(self._store.list("chunk=", after=f"chunk={start:012}"), _FOLDER)

    def names(self) -> Iterator[str]:
        return iter(())  # these are never merged

    def index(self, number: int) -> list[str]:
        return []

    def apart(self, last: int) -> Iterator[int]:
        return iter(())


class Dated:
    """A folder for each day."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store, self._now = store, now
        self._known: dict[int, str] = {}

    def find(self, number: int) -> str | None:
        folder = self._folder(number)
        return folder and f"{folder}/{number:012}"

    def fix(self, number: int) -> str:
        folder = self._known.get(number)
        if folder is None:
            today = f"{self._now():year=%Y/month=%m/day=%d}"
            folder = max(today, (number and self._folder(number - 1)) or "")
            try:
                self._store.put(f"{_INDEX}{number:012}", folder.encode())
            except ObjectExists:
                folder = self._folder(number) or folder
            self._remember(number, folder)
        return f"{folder}/{number:012}"

    def beside(self, stem: str) -> str:
        folder, _, number = stem.rpartition("/")
        return f"{folder}/_{number}."

    def chunks(self, start: int) -> Iterator[tuple[int, str]]:
        if (first := self._from(start)) is None:
            return
        for number, name in _matching(self._store.list("year=", after=first), _DATED):
            if number >= start:
                self._remember(number, name.rpartition("/")[0])
                yield number, name

    def names(self) -> Iterator[str]:
        return self._store.list("year=")

    def index(self, number: int) -> list[str]:
        name = f"{_INDEX}{number:012}"
        return [name] if self._store.has(name) else []

    def apart(self, last: int) -> Iterator[int]:
        return _up_to(last, (n for n, _ in _matching(self._store.list(_INDEX), _INDEXED)))

    def _from(self, start: int) -> str | None:
        """A name before that of chunk `start`, or of the first one after it; None when nothing is landed from there."""
        if start == 0:
            return "year="
        if folder := self._known.get(start):
            return f"{folder}/{start:012}"
        index = _matching(self._store.list(_INDEX, after=f"{_INDEX}{start - 1:012}"), _INDEXED)
        first = next(index, None)
        return first and f"{self._folder(first[0])}/{first[0]:012}"

    def _folder(self, number: int) -> str | None:
        if known := self._known.get(number):
            return known
        name = f"{_INDEX}{number:012}"
        try:
            folder = self._store.get(name).decode(errors="replace")
        except ObjectMissing:
            return None
        if not _DAY.fullmatch(folder):
            raise LogError(f"{self._store.uri}/{name} names no folder of a day: {folder[:60]!r}. Bring it back.")
        self._remember(number, folder)
        return folder

    def _remember(self, number: int, folder: str) -> None:
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[number] = folder


def _up_to(last: int, numbers: Iterator[int]) -> Iterator[int]:
    """The numbers up to `last`, each once."""
    previous = -1
    for number in takewhile(lambda n: n <= last, numbers):
        if number != previous:
            yield number
        previous = number


def _matching(names: Iterator[str], pattern: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    return ((int(match[1]), name) for name in names if (match := pattern.fullmatch(name)))
