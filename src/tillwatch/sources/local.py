"""A source on this machine: one file, or the files in and below a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tillwatch.errors import SourceError
from tillwatch.sources.base import Again, FileIgnored, Found, Look, counts


class LocalSource:
    """Files on a disk; a disk knows a revision by size and modification time."""

    poll = 0.0

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def uri(self) -> str:
        return str(self._root)

    def look(self) -> Look:
        root = self._root
        try:
            about = root.stat()
            if not stat.S_ISDIR(about.st_mode):
                return _look_at_file(root, about)
            seen = Look()
            for path, what in _walk(root, frozenset()):
                _add(seen, path, path.relative_to(root).as_posix(), what)
        except OSError as error:
            raise SourceError(f"the source {root} cannot be read: {error.strerror}") from error
        return seen

    def unchanged(self, found: Found) -> bool:
        try:
            now = self._path(found).stat()
        except OSError:
            return False
        return (now.st_size, now.st_mtime_ns) == (found.size, found.modified)

    def file(self, found: Found, again: Again) -> Path:
        return self._path(found)

    def close(self) -> None:
        pass

    def _path(self, found: Found) -> Path:
        inside = self._root / found.name
        return self._root if found.name == self._root.name and not self._root.is_dir() else inside


def _look_at_file(path: Path, about: os.stat_result) -> Look:
    seen = Look(lone=True)
    _add(seen, path, path.name, about)
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
            if not counts(entry.name):
                continue
            try:
                about = entry.stat()
                if stat.S_ISDIR(about.st_mode):
                    yield from _walk(Path(entry.path), above | {(here.st_dev, here.st_ino)})
                else:
                    yield Path(entry.path), about
            except OSError as error:
                yield Path(entry.path), error


def _add(seen: Look, path: Path, name: str, about: os.stat_result | OSError) -> None:
    if isinstance(about, OSError):
        if path.is_symlink() or not isinstance(about, FileNotFoundError):  # else it has just been removed
            seen.ignored.append(FileIgnored(name, f"cannot be looked at: {about.strerror}", True))
    elif _not_text(name):
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        seen.ignored.append(FileIgnored(shown, "has a name that is not UTF-8 text: rename it", True))
    elif not stat.S_ISREG(about.st_mode):
        seen.ignored.append(FileIgnored(name, "is not a regular file", True))
    else:
        seen.files.append(Found(name, about.st_size, about.st_mtime_ns))


def _not_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False
