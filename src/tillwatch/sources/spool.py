"""Files elsewhere that must be at hand as a whole: kept for a while in a folder of this machine."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path, PurePosixPath

from tillwatch.errors import SourceError
from tillwatch.sources.base import RANGE, Again, Remote, Source

_SUFFIXES = 20
_KEPT_SECONDS = 7 * 86_400
"""So long a part of a file that nobody came back for is kept."""


@contextmanager
def spooled(file: Remote) -> Iterator[Path]:
    """The file on this machine, fetched by ranges, never as a whole in memory.

    What an earlier, interrupted call has fetched of the same revision is not fetched again. The copy is removed
    at the end, but kept when the block is left by `GeneratorExit`, SystemExit or the like: then somebody goes on
    later. Raises SourceError as the file's `fetch` does, and when there is no room.
    """
    folder = _folder(file)
    with _part(folder, file) as (path, part):
        _complete(part, file, path)
        try:
            yield path
        except Exception:
            path.unlink()
            raise
        path.unlink()


@contextmanager
def local_copy(source: Source, again: Again) -> Iterator[Path]:
    """The one file of a source, as a path of this machine. Raises SourceError when the source is a folder."""
    seen = again(source.look)
    if not seen.lone or not seen.files:
        raise SourceError(f"{source.uri} is not a file, or not there")
    file = source.file(seen.files[0], again)
    if isinstance(file, Path):
        yield file
    else:
        with spooled(file) as path:
            yield path


def _folder(file: Remote) -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tillwatch"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _forget_old(folder)
    except OSError as error:
        raise _no_room(file, folder, error) from error
    return folder


def _forget_old(folder: Path) -> None:
    for path in folder.glob("*.part*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                path.unlink()


@contextmanager
def _part(folder: Path, file: Remote) -> Iterator[tuple[Path, io.FileIO]]:
    """The part of that revision that nobody else is at work on, locked."""
    known = hashlib.sha256(f"{file.where}\n{file.revision}\n{file.checksum}".encode()).hexdigest()[:32]
    suffixes = "".join(PurePosixPath(file.where.removesuffix(")")).suffixes[-2:])[-_SUFFIXES:]
    for number in count(1):
        path = folder / f"{known}.{number}.part{suffixes}"
        try:
            part = io.FileIO(path, "a+")
        except OSError as error:
            raise _no_room(file, folder, error) from error
        with part:
            if _is_ours(part, path):
                yield path, part
                return


def _is_ours(part: io.FileIO, path: Path) -> bool:
    """Whether the part could be locked, and is the file of that name still."""
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path.stat().st_ino == os.fstat(part.fileno()).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _complete(part: io.FileIO, file: Remote, path: Path) -> None:
    """Fetches what is not there yet; each range is on the disk before the next is asked for."""
    at = part.seek(0, io.SEEK_END)
    if at > file.size:
        at = part.truncate(0)
    while at < file.size:
        block = file.fetch(at, min(RANGE, file.size - at))
        try:
            view = memoryview(block)
            while view:
                view = view[part.write(view) :]
            os.fdatasync(part.fileno())
        except OSError as error:
            raise _no_room(file, path.parent, error) from error
        at += len(block)


def _no_room(file: Remote, folder: Path, error: OSError) -> SourceError:
    return SourceError(
        f"{file.where} cannot be kept in {folder}: {error.strerror}. It needs {file.size} bytes there; "
        "set XDG_CACHE_HOME to use another folder"
    )
