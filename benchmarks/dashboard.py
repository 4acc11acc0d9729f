"""Whether many viewers of the dashboard slow detection: a run alone, and with 50 pages open on it.

`./run python -m benchmarks.dashboard`. The dashboard is a process of its own, as it would be; its processor time is
said beside.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from benchmarks.data import configured, landed, standard
from tillwatch.pipeline import Pipeline

VIEWERS = 50
TIMES = 3


def main() -> None:
    """Prints rows a second, alone and looked at, in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = standard(folder, quick="--quick" in sys.argv)
        chunks = landed(folder, data)
        found: dict[str, list[float]] = {"alone": [], "looked at": []}
        for n in range(TIMES):
            for how, rates in found.items():
                config = configured(folder / f"{how}-{n}", data, landing={"uri": str(chunks)})
                with looked_at(config) if how == "looked at" else contextlib.nullcontext():
                    rates.append(data.rows / detect(config))
    print(json.dumps({how: {"rows_per_second": [round(r) for r in rates]} for how, rates in found.items()}))
    before, after = (statistics.median(rates) for rates in found.values())
    print(f"with {VIEWERS} viewers: {100 * (after / before - 1):+.1f} %")


def detect(config: Path) -> float:
    """Seconds of detect over all that is landed."""
    began = time.perf_counter()
    Pipeline.open(config).detect(once=True)
    return time.perf_counter() - began


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
