"""Folders that are needed while a run lives: removed at its end, or by the next run when it was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "tillwatch-spark-"
_LOCK = "at-work"
"""A file in the folder, locked by its process: the system lets go of it when that dies."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A new temporary folder, for this user alone. Those that killed runs have left are removed first."""
    _sweep(Path(tempfile.gettempdir()))
    new = Path(tempfile.mkdtemp(prefix="tillwatch-new-"))
    folder = new.with_name(_PREFIX + new.name.removeprefix("tillwatch-new-"))
    with (new / _LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(folder)  # only now can it be found by a sweep
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _sweep(among: Path) -> None:
    for folder in among.glob(f"{_PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / _LOCK).open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # somebody is at work in it, or removes it just now
