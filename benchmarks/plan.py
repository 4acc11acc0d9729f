"""What a run of the benchmarks was asked for."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.data import Data, standard


@contextmanager
def workplace(within: Path | None = None) -> Iterator[Path]:
    """A temporary folder, removed at the end, also that by SIGTERM. Raises SystemExit where there is no /proc."""
    if not sys.platform.startswith("linux"):
        raise SystemExit("the benchmarks need Linux: they read the load of the processors from /proc")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="tillwatch-bench-", dir=within) as name:
        yield Path(name)


@dataclass(frozen=True)
class Plan:
    """`folder` holds everything that is made; `big` says whether data of 30 times the size are wanted."""

    folder: Path
    repeat: int
    quick: bool
    big: bool

    @property
    def warm_up(self) -> int:
        """Rounds that do not count: files come into the page cache, Python keeps its byte code."""
        return 0 if self.quick else 1

    @cached_property
    def standard(self) -> Data:
        """BankSim, or what stands for it."""
        return standard(self.folder, quick=self.quick)

    def say(self, text: str) -> None:
        """Tells the person what is going on; the figures go to stdout."""
        print(f"bench: {text}", file=sys.stderr, flush=True)
