"""The Spark engine on a real standalone cluster, and by spark-submit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyspark
import pytest

import tillwatch
from tillwatch.errors import StateError
from tillwatch.spark.session import java_home
from tillwatch.testing.crash import Site
from tillwatch.testing.servers.spark_cluster import spark_cluster

pytestmark = pytest.mark.slow


def test_a_worker_killed_on_the_way_changes_nothing(new: Site, done: Site, tmp_path: Path) -> None:
    """Two workers on loopback, one killed with its executor while chunks land and are worked off: the same result."""
    with spark_cluster(tmp_path) as cluster:
        paced = ("source.every=1", "detections.linger=3600")
        overrides = (f"spark.master={cluster.url}", *paced, "spark.conf={spark.executor.memory: 512m}")
        command = [sys.executable, "-m", "tillwatch", "run", "--once", "-c", str(new.config)]
        with (tmp_path / "driver.log").open("wb") as log:
            driver = subprocess.Popen([*command, *(a for o in overrides for a in ("--set", o))], stdout=log, stderr=log)
            try:
                wait_for_chunks(new, 3, driver, tmp_path / "driver.log")
                cluster.workers[0].send_signal(signal.SIGKILL)
                assert driver.wait(180) == 0, (tmp_path / "driver.log").read_text()
            finally:
                driver.kill()
                driver.wait()
    assert new.outcome() == done.outcome()
    assert new.problems() == []


def wait_for_chunks(site: Site, count: int, driver: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when so many chunks are processed."""
    from watchfiles import watch

    folder, until = site.folder / "tillwatch-data", time.monotonic() + 120
    folder.mkdir(exist_ok=True)
    for _ in watch(folder, yield_on_timeout=True, rust_timeout=200, debounce=20, step=10):
        assert driver.poll() is None and time.monotonic() < until, log.read_text()
        with suppress(StateError), site.pipeline.opened(readonly=True) as state:  # it may not be made yet
            if state.cursor().chunk >= count:
                return


def test_spark_submit(site: Site, done: Site, tmp_path: Path) -> None:
    """The package's own main module is what spark-submit is given, with the arguments of the command line."""
    home = Path(pyspark.__file__).parent
    command = [home / "bin" / "spark-submit", "--master", "local[2]", "--driver-memory", "768m"]
    main = Path(tillwatch.__file__).parent / "__main__.py"
    environment = {**os.environ, "JAVA_HOME": str(java_home(tmp_path)), "PYSPARK_PYTHON": sys.executable}
    told = subprocess.run(
        [*command, main, "detect", "--once", "-c", str(site.config), "--set", "spark.master=null"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert site.outcome() == done.outcome()
    assert site.problems() == []
