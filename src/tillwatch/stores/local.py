"""The store in a folder of this machine."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from tillwatch.errors import ObjectExists, ObjectMissing, StoreError

_TEMPORARY = ".tmp-"

_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)

_ROOM = "make room there and start again; nothing was stored under this name"
_RIGHTS = "give the user that runs tillwatch the right to it, or choose another folder"
_FOLDER = "a file is where a folder is needed: move it away, or choose another folder"
_FILES = "too many files are open: raise the limit (ulimit -n) and start again"
_ADVICE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) and start again",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "mount it writable, or choose another folder",
    errno.ENOTDIR: _FOLDER,
    errno.EEXIST: _FOLDER,
    errno.ENAMETOOLONG: "choose a shorter name or folder",
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
}


class LocalStore:
    """Objects as files below one folder, which the first `put` makes when it is missing.

    `put` writes a temporary file beside the final name, flushes it to the disk and hard-links it to its name,
    which the file system does for one racer only. What a killed process leaves is such a temporary file: it
    is never listed, and removed by the first `put` of a later store. Safe with many threads and processes.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._root = Path(path).absolute()
        self._prepared: set[Path] = set()
        with _explained("open", self._root):
            if self._root.exists() and not self._root.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    @property
    def uri(self) -> str:
        """The folder's absolute path."""
        return str(self._root)

    @property
    def remote(self) -> bool:
        """No: it is a folder of this machine."""
        return False

    @property
    def resumes(self) -> bool:
        """No: a folder is read whole."""
        return False

    def put(self, name: str, data: bytes) -> None:
        """Creates the file, durably, whole or not at all. Raises ObjectExists when the name is taken."""
        path = self._path(name)
        with _explained("write", path):
            self._prepare(path.parent)
            temporary, file = _open_temporary(path.parent)
            with file:
                try:
                    _write(file, data)
                    taken = not _link(temporary, path)
                finally:
                    temporary.unlink(missing_ok=True)
            # Also when the name is taken: the process that made it may have been killed before its own flush.
            _flush_folder(path.parent)
        if taken:
            raise ObjectExists(f"{path} exists already.")

    def get(self, name: str) -> bytes:
        """The file's bytes. Raises ObjectMissing."""
        path = self._path(name)
        with _explained("read", path):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise ObjectMissing(f"{path} does not exist.") from None

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """At most `length` bytes from `start` on: fewer, or none, where the file ends. Raises ObjectMissing."""
        path = self._path(name)
        with _explained("read", path):
            try:
                with path.open("rb") as file:
                    file.seek(start)
                    return file.read(length)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise ObjectMissing(f"{path} does not exist.") from None

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        path = self._path(name)
        with _explained("read", path):
            try:
                return stat.S_ISREG(path.stat().st_mode)
            except (FileNotFoundError, NotADirectoryError):
                return False

    def list(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Names below the folder, at any depth, that start with `prefix` and sort after `after`, in order."""
        return _walk(self._root, "", prefix, after)

    def delete(self, name: str) -> None:
        """Removes the file, durably; it is fine when there is none. Folders stay."""
        path = self._path(name)
        with _explained("delete", path):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            _flush_folder(path.parent)

    def _path(self, name: str) -> Path:
        parts = name.split("/")
        if "\0" in name or any(part in ("", ".", "..") or part.startswith(_TEMPORARY) for part in parts):
            raise StoreError(
                f"{name!r} is no name for an object below {self._root}: expected parts joined by '/', "
                f"none of them empty, '.', '..' or starting with {_TEMPORARY!r}."
            )
        return self._root.joinpath(*parts)

    def _prepare(self, folder: Path) -> None:
        if folder not in self._prepared:
            _make_folder(folder)
            _remove_orphans(folder)
            self._prepared.add(folder)


@contextmanager
def _explained(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        code = error.errno or 0
        advice = _ADVICE.get(code, "check the disk or mount behind it and start again")
        name = errno.errorcode.get(code, "no error number")
        raise StoreError(f"cannot {verb} {path}: {error.strerror or error} [{name}]; {advice}.") from error


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _flush_folder(folder.parent)


def _open_temporary(folder: Path) -> tuple[Path, FileIO]:
    # The lock says that the owner lives; the kernel drops it with the process, however that ends.
    while True:
        path = folder / f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
        file = FileIO(path, "x")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        if os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()  # taken for an orphan before it was locked


def _remove_orphans(folder: Path) -> None:
    with os.scandir(folder) as entries:
        orphans = [Path(entry.path) for entry in entries if entry.name.startswith(_TEMPORARY)]
    for orphan in orphans:
        try:
            with orphan.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                orphan.unlink()
        except (FileNotFoundError, BlockingIOError, PermissionError):
            continue  # its owner has just finished, or is at work, or is another user


def _write(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _link(temporary: Path, path: Path) -> bool:
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        if path.is_dir():
            raise StoreError(f"cannot write {path}: it is a folder.") from None
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        raise StoreError(
            f"cannot write {path}: {error.strerror} when making a hard link. The store needs a file system "
            "with hard links, to create a file whole or not at all; choose a folder on another one."
        ) from error
    return True


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(folder: Path, base: str, prefix: str, after: str) -> Iterator[str]:
    with _explained("list", folder):
        names = _entries(folder, base, prefix, after)
    for name in names:
        if name.endswith("/"):
            yield from _walk(folder / name[len(base) : -1], name, prefix, after)
        else:
            yield name


def _entries(folder: Path, base: str, prefix: str, after: str) -> list[str]:
    # A folder stands as "name/", which is where its files sort among those beside it.
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = base + entry.name
                if entry.name.startswith(_TEMPORARY):
                    continue
                if entry.is_dir():
                    name += "/"
                    within = name.startswith(prefix) or prefix.startswith(name)
                    if within and (name > after or after.startswith(name)):
                        found.append(name)
                elif name > after and name.startswith(prefix) and entry.is_file():
                    found.append(name)
    except FileNotFoundError:
        return []
    return sorted(found)
