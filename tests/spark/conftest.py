"""A small data set with everything in it, to work on with Spark."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillwatch.generate import GeneratedFiles, generate
from tillwatch.pipeline import Pipeline
from tillwatch.testing.crash import Site
from tillwatch.testing.sparks import FLAGS

CONFIG = """\
source: {{uri: {source}, rows: {rows}, every: 0}}
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
def data(tmp_path_factory: pytest.TempPathFactory) -> GeneratedFiles:
    """6,000 transactions and their lookup."""
    return generate(tmp_path_factory.mktemp("data"), rows=6000, customers=500, merchants=30, seed=3, faults=0.005)


def new_site(data: GeneratedFiles, folder: Path, rows: int = 250) -> Site:
    """A pipeline that has not run yet, with so many rows a chunk."""
    folder.mkdir()
    site = Site(folder)
    text = CONFIG.format(source=data.transactions, importance=data.importance, rows=rows, flags=FLAGS)
    site.config.write_text(text, "utf-8")
    return site


@pytest.fixture(scope="session")
def landed(data: GeneratedFiles, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A pipeline with 24 chunks landed and nothing detected. To be copied, not to be worked on."""
    site = new_site(data, tmp_path_factory.mktemp("landed") / "site")
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


@pytest.fixture
def new(data: GeneratedFiles, tmp_path: Path) -> Site:
    """The pipeline before anything was landed."""
    return new_site(data, tmp_path / "new")


@pytest.fixture
def fine(data: GeneratedFiles, tmp_path: Path) -> Site:
    """A pipeline with nothing landed, whose 300 chunks are small."""
    return new_site(data, tmp_path / "fine", rows=20)


@pytest.fixture(scope="session")
def done_fine(data: GeneratedFiles, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The same after the work of the embedded engine. To be looked at."""
    site = new_site(data, tmp_path_factory.mktemp("fine") / "site", rows=20)
    Pipeline.open(site.config, ["engine=embedded"]).run(once=True)
    return site
