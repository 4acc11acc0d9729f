"""Whether many viewers of the dashboard slow detection: runs alone, and with 50 pages open on each.

`./run python -m benchmarks.dashboard`; `--quick` is small generated data. The dashboard is a process of its own; those
who look are threads of this one, and what they need of the processors is part of what is measured.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx

from benchmarks.child import TILLWATCH, run
from benchmarks.data import Data, configured, standard
from benchmarks.report import spread

VIEWERS = 50
ROUNDS = 3
PACES = {"as fast as possible": 0, "a chunk every 50 ms": 0.05}


def main() -> None:
    """Prints, by pace, what a run takes alone and looked at."""
    with tempfile.TemporaryDirectory() as name:
        folder, quick = Path(name), "--quick" in sys.argv
        data = standard(folder, quick=quick)
        for pace, every in PACES.items():
            for how in ("alone", f"{VIEWERS} viewers"):
                done = [one(folder / f"{every}-{how}-{n}", data, every, how) for n in range(1 if quick else ROUNDS)]
                seconds, processor = (spread(figures).shown() for figures in zip(*done, strict=True))
                print(f"{pace}, {how}: {seconds} s, {processor} s of processors", flush=True)


def one(folder: Path, data: Data, every: float, how: str) -> tuple[float, float]:
    """Seconds of a run, of wall and of processors."""
    config = configured(folder, data, source={"uri": str(data.transactions), "rows": 10_000, "every": every})
    with contextlib.nullcontext() if how == "alone" else looked_at(config):
        done = run(*TILLWATCH, "run", "--once", "-c", config)
    return done.seconds, done.processor


@contextlib.contextmanager
def looked_at(config: Path) -> Iterator[None]:
    """The dashboard in a process of its own, and pages of it that do what a browser does."""
    command = [sys.executable, "-m", "tillwatch", "dashboard", "-c", str(config), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        url = server.stderr.readline().split()[-1]
        over = threading.Event()
        viewers = [threading.Thread(target=view, args=(url, over), daemon=True) for _ in range(VIEWERS)]
        for viewer in viewers:
            viewer.start()
        try:
            yield
        finally:
            over.set()
            used = _processor_seconds(server.pid)
            server.terminate()
            print(f"the dashboard used {used:.1f} s of a processor", file=sys.stderr)


def view(url: str, over: threading.Event) -> None:
    """A page: hears the stream, and asks for its part after every news."""
    with (
        contextlib.suppress(httpx.HTTPError),
        httpx.Client(base_url=url, timeout=30) as web,
        web.stream("GET", "/live") as stream,
    ):
        for line in stream.iter_lines():
            if over.is_set():
                return
            if line.startswith("data: "):
                web.get("/parts/now")


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
