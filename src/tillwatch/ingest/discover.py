"""What is in the source: one file, or the files in and below a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tillwatch.errors import SourceError
from tillwatch.ingest.formats import KNOWN, format_of
from tillwatch.ingest.settings import FileIgnored, Format

_HIDDEN = (".", "_")
_UNFINISHED = (".tmp", ".part", ".crdownload")


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it is now; fields as in SourceFile."""

    path: Path
    name: str
    size: int
    modified: int

    @property
    def revision(self) -> tuple[str, int, int]:
        """Differs when the file does."""
        return self.name, self.size, self.modified

    def unchanged(self) -> bool:
        """Whether the file is still there as it was found."""
        try:
            now = self.path.stat()
        except OSError:
            return False
        return (now.st_size, now.st_mtime_ns) == (self.size, self.modified)


@dataclass(slots=True)
class Look:
    """What one look at the source found: files to read in their order, and what is left aside."""

    files: list[Found] = field(default_factory=list)
    ignored: list[FileIgnored] = field(default_factory=list)


def look(root: Path, format: Format) -> Look:
    """The source as it is now, ordered by modification time, then name.

    Hidden files and folders (`.` or `_` first) and those that are still being copied (`.tmp`, `.part`,
    `.crdownload`) do not count. Raises SourceError when the source is not there or cannot be listed.
    """
    try:
        if not stat.S_ISDIR(root.stat().st_mode):
            return _single(root, format)
        seen = Look()
        for path in _walk(root, root, seen.ignored, set()):
            _sort_in(path, path.relative_to(root).as_posix(), format, seen)
    except OSError as error:
        raise SourceError(f"the source {root} cannot be read: {error.strerror}") from error
    seen.files.sort(key=lambda found: (found.modified, found.name))
    return seen


def _single(path: Path, format: Format) -> Look:
    seen = Look()
    _sort_in(path, path.name, format, seen)
    if seen.ignored:
        raise SourceError(f"the source {path} {seen.ignored[0].reason}")
    return seen


def _walk(folder: Path, root: Path, ignored: list[FileIgnored], inside: set[tuple[int, int]]) -> Iterator[Path]:
    here = folder.stat()
    if (here.st_dev, here.st_ino) in inside:  # a link that leads back up
        return
    inside = inside | {(here.st_dev, here.st_ino)}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(_HIDDEN) or entry.name.endswith(_UNFINISHED):
            continue
        if not entry.is_dir():
            yield entry
            continue
        try:
            yield from _walk(entry, root, ignored, inside)
        except OSError as error:
            name = entry.relative_to(root).as_posix()
            ignored.append(FileIgnored(name, f"is a folder that cannot be read: {error.strerror}", True))
