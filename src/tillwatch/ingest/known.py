"""Which files were taken before, and what that means for one that is found."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from tillwatch.model import SourceFile
from tillwatch.sources.base import Found
from tillwatch.state.base import FileRecord


class Finding(enum.Enum):
    """What a found file is, seen from the ledger."""

    NEW = "to be read from its start"
    BEGUN = "to be read on"
    WHOLE = "read to its end before, or a known duplicate"
    PARTIAL = "read in part before, with nothing more to be had"
    CHANGED = "other content under the name of a file that was taken"
    DUPLICATE = "the content of a file that was taken, under another name"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a file is. `record` is the one of the file, `original` of the file that a duplicate repeats."""

    finding: Finding
    record: FileRecord
    original: FileRecord | None = None


class Known:
    """The files of the ledger. Once a row of a file is landed, its key stands for its content.

    `digest_of` reads a file of which the place gives no checksum; None when that cannot be done now.
    """

    def __init__(self, records: Iterable[FileRecord], digest_of: Callable[[Found], str | None]) -> None:
        self._digest_of = digest_of
        self._by_key: dict[str, FileRecord] = {}
        self._by_digest: dict[str, FileRecord] = {}
        self._sizes: set[int] = set()
        self._next_number = 0
        for record in records:
            self.add(record)

    def add(self, record: FileRecord) -> None:
        """Remembers a file, or what became of it."""
        self._by_key[record.file.key] = record
        self._next_number = max(self._next_number, record.file.number + 1)
        if record.rows and record.digest:
            self._by_digest.setdefault(record.digest, record)
            self._sizes.add(record.file.size)

    def begun(self) -> FileRecord | None:
        """The file that was being read when the last run ended."""
        return next((record for record in self._by_key.values() if _is_begun(record)), None)

    def follow(
        self, record: FileRecord, found: Iterable[Found], continues: Callable[[Found], bool] = lambda _: True
    ) -> FileRecord:
        """The record of a begun file under the name it has now, if it was renamed since.

        Size and time may be those of another file too: `continues` says whether one has the rows that were landed.
        """
        files = list(found)
        if record.file.id or any(file.key == record.file.key for file in files):
            return record
        alike = [f for f in files if _same(record.file, f) and f.key not in self._by_key]
        if len(alike) != 1 or not continues(alike[0]):
            return record
        del self._by_key[record.file.key]
        renamed = replace(record, file=replace(record.file, name=alike[0].name))
        self.add(renamed)
        return renamed

    def judge(self, found: Found) -> Judgement:
        """What a found file is. Reads it when one of the same size was taken; SourceError when the disk fails."""
        record = self._by_key.get(found.key)
        if record and _same(record.file, found):
            if _is_begun(record):
                return Judgement(Finding.BEGUN, record)
            if record.status in ("changed", "broken"):
                return Judgement(Finding.PARTIAL, record)
            if record.status in ("done", "duplicate"):
                return Judgement(Finding.WHOLE, record)
        digest = found.checksum or (self._digest_of(found) if found.size in self._sizes else None)
        if record and record.rows:
            same = digest is not None and digest == record.digest
            return Judgement(Finding.WHOLE if same else Finding.CHANGED, record)
        number = record.file.number if record else self._next_number
        fresh = FileRecord(file_of(number, found), "reading")
        if digest in self._by_digest:
            return Judgement(Finding.DUPLICATE, fresh, self._by_digest[digest])
        return Judgement(Finding.NEW, fresh)


def file_of(number: int, found: Found) -> SourceFile:
    """A found file as it is noted."""
    return SourceFile(number, found.name, found.size, found.modified, found.id, found.revision)


def _is_begun(record: FileRecord) -> bool:
    return record.status == "reading" and record.rows > 0


def _same(file: SourceFile, found: Found) -> bool:
    if found.revision or file.revision:
        return file.revision == found.revision
    return (file.size, file.modified) == (found.size, found.modified)
