"""The machine in words: what a reader needs to compare, and no name of it."""

from __future__ import annotations

import os
import platform
import resource
import sqlite3
import statistics
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.report import table

FLUSHES = 50


def described(folder: Path) -> str:
    """A Markdown table of the machine, of what runs on it, and of the disk below `folder`."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("polars", "numpy"))
    rows = [
        ["cores", f"{len(os.sched_getaffinity(0))} × {_processor()}"],
        ["memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"],
        ["software", f"{platform.system()}, Python {platform.python_version()}, {packages}, "
                     f"SQLite {sqlite3.sqlite_version}"],
        ["disk", f"{_file_system(folder)}; writing 4 KiB and fsync: {flush_ms(folder):.2f} ms (median)"],
        ["load average before", ", ".join(f"{value:.2f}" for value in os.getloadavg())],
    ]  # fmt: skip
    return table(["machine", ""], rows)


class Others:
    """How much of the processors other programs use from now on: with more than a few percent, times are too long."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.perf_counter(), _busy_seconds(), _own_seconds()

    def share(self) -> float:
        """Between 0 and 1, since this was made."""
        taken = (_busy_seconds() - self._busy) - (_own_seconds() - self._own)
        return max(0.0, taken / (time.perf_counter() - self._began) / (os.cpu_count() or 1))


def _busy_seconds() -> float:
    """Processor time that any program has used: user, nice, system, irq, softirq, steal of /proc/stat."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return sum(ticks[i] for i in (0, 1, 2, 5, 6, 7)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def flush_ms(folder: Path) -> float:
    """How long a small write takes until it is on the disk, in milliseconds: the price of every durable commit."""
    times = []
    with (folder / "flush").open("wb", buffering=0) as file:
        for _ in range(FLUSHES):
            began = time.perf_counter()
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    (folder / "flush").unlink()
    return statistics.median(times) * 1000


def _processor() -> str:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return models[0].partition(":")[2].strip() if models else platform.machine()


def _file_system(folder: Path) -> str:
    """The type of the file system that holds `folder`: on tmpfs a flush costs nothing, and proves nothing."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(len(place), kind) for place, kind in mounts if folder.resolve().is_relative_to(place)]
    return max(holding)[1]
