"""A small pipeline that has run: 24 chunks, all patterns have fired, some rows are not valid. To be looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillwatch.generate import generate
from tillwatch.lookups import patience
from tillwatch.pipeline import Pipeline
from tillwatch.retry import Retry
from tillwatch.testing.small import CONFIG


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its configuration."""
    folder = tmp_path_factory.mktemp("history")
    data = generate(folder, rows=6000, customers=500, merchants=30, seed=3, faults=0.005)
    path = folder / "tillwatch.yaml"
    path.write_text(CONFIG.format(source=data.transactions, importance=data.importance), "utf-8")
    Pipeline.open(path).run(once=True)
    return path


@pytest.fixture
def pipeline(config: Path) -> Pipeline:
    """It, opened anew."""
    return Pipeline.open(config)


@pytest.fixture
def retry() -> Retry:
    """Patience for some seconds."""
    return patience()
