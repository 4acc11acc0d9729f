"""Processes, each measured from its start to its end.

The driver imports neither polars nor tillwatch: the peak memory that Linux reports of a process starts at that of
the process that made it, so this one must stay small.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).parents[1]
TILLWATCH = (sys.executable, "-m", "tillwatch")


@dataclass(frozen=True, slots=True)
class Done:
    """A process that ended well: wall and processor time in seconds, peak memory in bytes, what it printed."""

    seconds: float
    processor: float
    peak: int
    out: str


def environment() -> Mapping[str, str]:
    """The environment as users have it: Python may keep its byte code."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def module(name: str) -> tuple[str, ...]:
    """The command that runs a module of this package."""
    return (sys.executable, "-m", f"benchmarks.{name}")


def spawn(command: tuple[str | Path, ...], out: BinaryIO) -> subprocess.Popen[bytes]:
    """Starts a process; what it prints goes to `out`."""
    return subprocess.Popen([str(c) for c in command], cwd=ROOT, env=environment(), stdout=out, stderr=out)


def run(*command: str | Path, expect: int = 0) -> Done:
    """Runs a process to its end. Raises SystemExit with what it said when it ends otherwise than expected."""
    with tempfile.TemporaryFile() as out:
        began = time.perf_counter()
        process = spawn(command, out)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            stopped(process, signal.SIGKILL)
            raise
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode()
    check(process, text, expect)
    return Done(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, text)


def stopped(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> None:
    """Sends a signal, and waits for the end."""
    process.send_signal(number)
    process.wait()


def check(process: subprocess.Popen[bytes], text: str, expect: int = 0) -> None:
    """Raises SystemExit when the process failed."""
    if process.returncode != expect:
        raise SystemExit(f"{' '.join(map(str, process.args))} ended with {process.returncode}:\n{text}")  # type: ignore[arg-type]
