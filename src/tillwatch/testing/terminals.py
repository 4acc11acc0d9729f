"""For tests: the real program with a terminal, read as it draws."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HIDDEN, BACK = "\x1b[?25l", "\x1b[?25h"
"""What hides the cursor, and what brings it back."""

PATIENCE = 60.0


class Terminal:
    """A program with a terminal for stderr, and for stdout too if asked; `seen` is what came to it so far."""

    def __init__(self, process: subprocess.Popen[bytes], ours: int) -> None:
        self._process, self._ours = process, ours
        self.seen = ""
        self._raw, self._heard = b"", 0

    @property
    def text(self) -> str:
        """What came, without what moves the cursor or colours."""
        return re.sub(r"\x1b\[[\d;?]*\w", "", self.seen)

    def until(self, wanted: str) -> None:
        """Reads until this text was drawn, spaces aside. Raises AssertionError when the program ends before."""
        over = time.monotonic() + PATIENCE
        while " ".join(wanted.split()) not in " ".join(self.text[self._heard :].split()):
            assert self._read(), f"the program ended; on the terminal was: {self.text}"
            assert time.monotonic() < over, f"'{wanted}' did not come; on the terminal was: {self.text[-3000:]}"

    def forget(self) -> None:
        """What came so far does not count for `until` any more."""
        self._heard = len(self.text)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def rest(self) -> int:
        """Reads to the end; the exit code."""
        while self._read():
            pass
        return self._process.wait(PATIENCE)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], PATIENCE)
        assert ready, f"nothing came for {PATIENCE} s; on the terminal was: {self.text}"
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Linux says so when the other side is closed
            return False
        self._raw += data
        self.seen = self._raw.decode("utf-8", "replace")
        return bool(data)


@contextmanager
def on_terminal(
    *arguments: str | Path, stdout: bool = False, program: Sequence[str] = ("-m", "tillwatch")
) -> Iterator[Terminal]:
    """Starts Python with a program, `tillwatch`, and these arguments on a terminal; it is ended with the block."""
    ours, theirs = pty.openpty()
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        stderr=theirs,
        stdout=theirs if stdout else subprocess.DEVNULL,
        env=variables,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE)
        os.close(ours)
