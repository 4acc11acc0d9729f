"""For tests: a real standalone Spark cluster on this machine, a master and workers of one core each."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tillwatch.spark.session import java_home

SECONDS = 90.0


@dataclass(slots=True)
class Cluster:
    """A cluster at work. `workers` are the processes of its workers; their executors end with them."""

    url: str
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)


@contextmanager
def spark_cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """A cluster that is up; it is ended at the end, also on failure."""
    port = _free_port()
    url = f"spark://127.0.0.1:{port}"
    started: list[subprocess.Popen[bytes]] = []
    try:
        names = ("--host", "127.0.0.1", "--webui-port", "0")
        deploy = "org.apache.spark.deploy"
        started.append(_start(folder, "master", f"{deploy}.master.Master", *names, "--port", str(port)))
        _wait(folder / "master.log", "New state: ALIVE", started)
        cluster = Cluster(url)
        for number in range(workers):
            place = folder / f"worker-{number}"
            size = ("-c", "1", "-m", "700m", "-d", str(place))
            started.append(_start(folder, place.name, f"{deploy}.worker.Worker", *names, *size, url))
            cluster.workers.append(started[-1])
        for number in range(workers):
            _wait(folder / f"worker-{number}.log", "Successfully registered", started)
        yield cluster
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(folder: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    import pyspark

    home = Path(pyspark.__file__).parent
    environment = {
        **os.environ,
        "JAVA_HOME": str(java_home(folder)),
        "SPARK_HOME": str(home),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "SPARK_LOCAL_DIRS": str(folder / "local"),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen([home / "bin" / "spark-class", *arguments], env=environment, stdout=log, stderr=log)


def _wait(log: Path, text: str, processes: list[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + SECONDS
    while text not in log.read_text(errors="replace"):
        ended = any(p.poll() is not None for p in processes)
        if ended or time.monotonic() > until:
            raise AssertionError(f"Spark's {log.stem} did not come up:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
