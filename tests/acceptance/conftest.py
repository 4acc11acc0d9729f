"""A small data set with everything in it: all patterns fire, cease and fire again, and some rows are not valid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tillwatch.generate import GeneratedFiles, generate
from tillwatch.pipeline import Pipeline
from tillwatch.testing.crash import Site
from tillwatch.testing.places import Data, Job, Servers, all_servers, found_by, new_job
from tillwatch.testing.small import CONFIG, add_lives

NewSite = Callable[[Path], Site]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> GeneratedFiles:
    """6,000 transactions and their lookup."""
    return generate(tmp_path_factory.mktemp("data"), rows=6000, customers=500, merchants=30, seed=3, faults=0.005)


@pytest.fixture(scope="session")
def new_site(data: GeneratedFiles) -> NewSite:
    """Makes a folder with a pipeline on the data set that has not run yet: 24 chunks are to be landed."""

    def make(folder: Path) -> Site:
        folder.mkdir(parents=True)
        site = Site(folder)
        site.config.write_text(CONFIG.format(source=data.transactions, importance=data.importance), "utf-8")
        add_lives(site.config)
        return site

    return make


@pytest.fixture(scope="session")
def landed(new_site: NewSite, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A pipeline with everything landed and nothing detected. To be copied, not to be worked on."""
    site = new_site(tmp_path_factory.mktemp("landed") / "site")
    assert site.work("--record", str(site.folder / "ingest.points"), "ingest") == 0, site.said
    return site


@pytest.fixture(scope="session")
def done(landed: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The pipeline after its whole work, which nothing interrupted. To be looked at."""
    site = landed.copy(tmp_path_factory.mktemp("done") / "site")
    assert site.work("--record", str(site.folder / "detect.points"), "detect") == 0, site.said
    assert site.problems() == []
    return site


MIDDLING = """\
patterns:
  PatId1: {merchant_transactions: 3000, transactions_rank: 0.9, importance_rank: 0.1}
  PatId2: {transactions: 12, avg_amount: 23}
  PatId3: {female_customers: 40}
"""


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A server of each kind of place."""
    with all_servers() as started:
        yield started


@pytest.fixture
def jobs() -> Iterator[Callable[..., Job]]:
    """Makes jobs as `new_job` does; what is still at work for one of them at the end is killed."""
    made: list[Job] = []

    def make(*arguments: Any, **options: str) -> Job:
        made.append(new_job(*arguments, **options))
        return made[-1]

    yield make
    for job in made:
        job.end()


@pytest.fixture(scope="session")
def middling(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """60,000 transactions in 60 chunks, and what a run on this machine alone finds in them."""
    folder = tmp_path_factory.mktemp("middling")
    files = generate(folder, rows=60_000, customers=1500, merchants=40, seed=5, faults=0.002)
    config = folder / "tillwatch.yaml"
    lines = [f"source: {{uri: {files.transactions}, rows: 1000}}", f"lookups: {{importance: {files.importance}}}"]
    config.write_text("\n".join([*lines, MIDDLING]), "utf-8")
    pipeline = Pipeline.open(config)
    pipeline.run(once=True)
    return Data(files.transactions, files.importance, 1000, 60, MIDDLING, found_by(pipeline))
