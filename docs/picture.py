"""Takes the picture of `./run demo`: `./run python docs/picture.py` runs it on a terminal of its own and draws
what that shows, with one moment of the live display, which the real one redraws and takes away at the end."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
WIDTH = 100
ROWS = "150,000 rows"
"""The moment of the live display that is drawn."""

_REDRAWN = re.compile(r"\r(?:\x1b\[2K|\x1b\[1A)+")
_NOT_STYLE = re.compile(r"\x1b\[[?\d;]*[A-Zhl]|\r")
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def recorded() -> str:
    """Everything that the demo writes to a terminal of WIDTH columns."""
    with tempfile.TemporaryDirectory() as folder:
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(folder)
            os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(WIDTH), "LINES": "50"}
            os.execlp("tillwatch", "tillwatch", "demo")
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
        written = b""
        try:
            while more := os.read(terminal, 1 << 16):
                written += more
        except OSError:  # the way in which Linux says that the other end is closed
            pass
        os.waitpid(child, 0)
    return written.decode()


def screen(written: str) -> str:
    """What is drawn: what stands before the live display, one moment of it, what is left at the end."""
    first, *moments, last = _REDRAWN.split(written)
    before = first.splitlines()[0]
    moment = next(moment for moment in moments if moment.count(ROWS) == 2)
    parts = ["\x1b[32m$\x1b[0m ./run demo", before, moment, last.partition("\x1b[1mTry next")[0]]
    return "\n".join(_NOT_STYLE.sub("", part).rstrip() for part in parts)


def main() -> None:
    """Writes docs/images/demo.svg."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(screen(recorded())))
    picture = console.export_svg(title="tillwatch", unique_id="demo")
    (HERE / "images" / "demo.svg").write_text(_FONT_FACE.sub("", picture), "utf-8")


if __name__ == "__main__":
    main()
