"""What is in the source: one file, or the files in and below a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tillwatch.errors import SourceError
from tillwatch.ingest.formats import KNOWN, format_of
from tillwatch.ingest.settings import FileIgnored, Format, IngestSettings

_HIDDEN = (".", "_")
_UNFINISHED = (".tmp", ".part", ".crdownload")


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it is now; fields as in SourceFile."""

    path: Path
    name: str
    size: int
    modified: int

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


def look(settings: IngestSettings) -> Look:
    """The source as it is now, ordered by modification time, then name.

    Hidden files and folders (`.` or `_` first) and files that are still being copied (`.tmp`, `.part`,
    `.crdownload`) do not count. Raises SourceError when the source is not there or cannot be listed.
    """
    root, format = settings.root, settings.format
    try:
        about = root.stat()
        if not stat.S_ISDIR(about.st_mode):
            return _look_at_file(root, about, format)
        seen = Look()
        for path, what in _walk(root, frozenset()):
            _add(seen, path, path.relative_to(root).as_posix(), what, format)
    except OSError as error:
        raise SourceError(f"the source {root} cannot be read: {error.strerror}") from error
    seen.files.sort(key=lambda found: (found.modified, found.name))
    return seen


def _look_at_file(path: Path, about: os.stat_result, format: Format) -> Look:
    seen = Look()
    _add(seen, path, path.name, about, format)
    if seen.ignored:
        raise SourceError(f"the source {path} {seen.ignored[0].reason}")
    return seen


def _walk(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[tuple[Path, os.stat_result | OSError]]:
    """What is in and below a folder, each with what is known about it or why that is not known."""
    here = folder.stat()
    if (here.st_dev, here.st_ino) in above:  # a link that leads back up
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_HIDDEN) or entry.name.endswith(_UNFINISHED):
                continue
            try:
                about = entry.stat()
                if stat.S_ISDIR(about.st_mode):
                    yield from _walk(Path(entry.path), above | {(here.st_dev, here.st_ino)})
                else:
                    yield Path(entry.path), about
            except OSError as error:
                yield Path(entry.path), error


def _add(seen: Look, path: Path, name: str, about: os.stat_result | OSError, format: Format) -> None:
    if isinstance(about, OSError):
        if path.is_symlink() or not isinstance(about, FileNotFoundError):  # else it has just been removed
            seen.ignored.append(FileIgnored(name, f"cannot be looked at: {about.strerror}", True))
    elif _not_text(name):
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        seen.ignored.append(FileIgnored(shown, "has a name that is not UTF-8 text: rename it", True))
    elif not stat.S_ISREG(about.st_mode):
        seen.ignored.append(FileIgnored(name, "is not a regular file", True))
    elif format_of(name, format) is None:
        reason = f"is of no known format ({KNOWN}): rename it, or set source.format"
        seen.ignored.append(FileIgnored(name, reason, False))
    else:
        seen.files.append(Found(path, name, about.st_size, about.st_mtime_ns))


def _not_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False
