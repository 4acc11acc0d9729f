"""One Spark for all tests of a worker, which pipelines of this process use, and a small data set to work on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tillwatch.config import Spark
from tillwatch.generate import GeneratedFiles, generate
from tillwatch.pipeline import Pipeline
from tillwatch.spark.session import session
from tillwatch.testing.crash import Site

FLAGS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Halves what a Java takes to start."""

CONFIG = """\
source: {{uri: {source}, rows: 250, every: 0}}
lookups: {{importance: {importance}}}
detections: {{uri: ./tillwatch-data/detections, rows: 12, linger: 0.05}}
patterns:
  PatId1: {{merchant_transactions: 60, transactions_rank: 0.8, importance_rank: 0.2}}
  PatId2: {{transactions: 8, avg_amount: 25}}
  PatId3: {{female_customers: 3}}
engine: spark
spark: {{master: "local[2]", buckets: 2, conf: {{spark.driver.memory: 768m, spark.driver.extraJavaOptions: "{flags}"}}}}
"""


@pytest.fixture(scope="session")
def spark() -> Iterator[None]:
    """A Spark in this process: whatever pipeline runs here uses it."""
    with session(
        Spark(master="local[2]", conf={"spark.driver.memory": "768m", "spark.driver.extraJavaOptions": FLAGS})
    ):
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> GeneratedFiles:
    """6,000 transactions and their lookup."""
    return generate(tmp_path_factory.mktemp("data"), rows=6000, customers=500, merchants=30, seed=3, faults=0.005)


@pytest.fixture(scope="session")
def landed(data: GeneratedFiles, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A pipeline with 24 chunks landed and nothing detected. To be copied, not to be worked on."""
    site = Site(tmp_path_factory.mktemp("landed") / "site")
    site.folder.mkdir()
    text = CONFIG.format(source=data.transactions, importance=data.importance, flags=FLAGS)
    site.config.write_text(text, "utf-8")
    site.pipeline.ingest(once=True)
    return site


@pytest.fixture(scope="session")
def done(landed: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The same after the work of the embedded engine. To be looked at."""
    site = landed.copy(tmp_path_factory.mktemp("done") / "site")
    Pipeline.open(site.config, ["engine=embedded"]).detect(once=True)
    assert site.problems() == []
    return site


@pytest.fixture
def site(landed: Site, tmp_path: Path) -> Site:
    """A copy of the landed pipeline."""
    return landed.copy(tmp_path / "site")
