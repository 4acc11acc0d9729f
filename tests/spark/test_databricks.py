"""The jobs and notebooks of the Databricks bundle run here, with their own parameters and a stand-in workspace."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tillwatch.audit import audit
from tillwatch.generate import GeneratedFiles
from tillwatch.pipeline import Pipeline
from tillwatch.testing.crash import Site
from tillwatch.testing.servers.databricks import DatabricksServer, databricks_server

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "databricks"
JOBS = yaml.safe_load((FOLDER / "resources" / "every_minute.yml").read_text("utf-8"))["resources"]["jobs"]
PATTERNS = (
    "{PatId1: {merchant_transactions: 60, transactions_rank: 0.8, importance_rank: 0.2}, "
    "PatId2: {transactions: 8, avg_amount: 25}, PatId3: {female_customers: 3}}"
)
FAST = (
    '{spark.driver.memory: 768m, spark.driver.extraJavaOptions: "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC", '
    "spark.python.authenticate.socketTimeout: 120s}"  # a busy machine is no failure
)


@pytest.fixture(scope="module")
def server() -> Iterator[DatabricksServer]:
    with databricks_server() as workspace:
        yield workspace


def overrides(data: GeneratedFiles, *more: str) -> str:
    """What is different here: the volume is not mounted, so that files are read elsewhere; the data is small."""
    here = (f"source={data.transactions}", f"lookups.importance={data.importance}", "source.rows=250")
    every = (*here, "source.every=0", "detections.rows=12", f"patterns={PATTERNS}", *more)
    return " ".join(f"'{override}'" for override in every)


def call(
    job: dict[str, Any], parameters: dict[str, str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Runs the job's task as Databricks does: the entry point, with the parameters filled in."""
    wheel = job["tasks"][0]["python_wheel_task"]
    filled = [re.sub(r"\{\{job\.parameters\.(\w+)\}\}", lambda m: parameters[m[1]], p) for p in wheel["parameters"]]
    program = Path(sys.executable).with_name(wheel["entry_point"])
    return subprocess.run(
        [program, *filled],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_the_jobs_give_what_the_embedded_engine_gives(
    server: DatabricksServer, data: GeneratedFiles, done: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the landing zone and all objects in a volume: the same detections, and audit proves them."""
    uri, environment = server.make(), server.client_environment()
    catalog, schema, volume = uri.removeprefix("dbfs:/Volumes/").split("/")
    parameters = {
        "config": str(FOLDER / "tillwatch.yaml"),
        "catalog": catalog,
        "schema": schema,
        "volume": volume,
        "state": str(tmp_path / "state.db"),
        "overrides": overrides(data, "spark.master=local[2]", "spark.buckets=2", f"spark.conf={FAST}"),
    }
    for name in ("ingest_every_minute", "detect_every_minute"):
        told = call(JOBS[name], parameters, environment)
        assert told.returncode == 0, told.stderr
    for name, value in {**environment, "TILLWATCH_STATE": parameters["state"]}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TILLWATCH_VOLUME", uri.removeprefix("dbfs:"))
    pipeline = Pipeline.open(FOLDER / "tillwatch.yaml", shlex.split(parameters["overrides"]))
    assert identities(pipeline) == identities(done.pipeline)
    there = {name.partition("/")[0] for name in server.peek(uri)}
    assert there == {"landing", "quarantine", "detections", "spark"}
    assert [problem for finding in audit(pipeline) for problem in finding.problems] == []


def identities(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """Which detections there are, in order."""
    return list(pipeline.detections().select("seq", "chunk", "patternId", "key", "evidence").iter_rows())


class Widgets:
    """A stand-in for `dbutils.widgets`: what a person has filled in goes over the defaults."""

    def __init__(self, **filled: str) -> None:
        self._filled, self._values = filled, dict[str, str]()

    def text(self, name: str, default: str) -> None:
        self._values[name] = self._filled.get(name, default)

    def get(self, name: str) -> str:
        return self._values[name]


@pytest.mark.usefixtures("spark")
def test_the_notebooks_run_one_after_the_other(
    data: GeneratedFiles, done: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ingest, then detect in the Spark session that is there, which stays; the detections are shown."""
    from pyspark.sql import SparkSession

    for name in ("TILLWATCH_VOLUME", "TILLWATCH_STATE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "19.0")
    monkeypatch.chdir(FOLDER / "notebooks")
    places = [f"{name}={tmp_path / name}" for name in ("landing", "quarantine", "detections", "spark.state")]
    widgets = Widgets(state=str(tmp_path / "state.db"), overrides=overrides(data, "spark.buckets=2", *places))
    shown: list[Any] = []
    names = {"dbutils": SimpleNamespace(widgets=widgets), "display": shown.append}
    for notebook in ("ingest.py", "detect.py"):
        exec(compile(Path(notebook).read_text("utf-8"), notebook, "exec"), dict(names))
    (table,) = shown
    found = list(table[["seq", "chunk", "patternId", "key", "evidence"]].itertuples(index=False, name=None))
    assert found == identities(done.pipeline)
    assert SparkSession.builder.getOrCreate().range(3).count() == 3
