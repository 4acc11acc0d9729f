"""A small data set with everything in it: all three patterns fire often, two rows of a hundred are not valid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tillwatch.generate import GeneratedFiles, generate

CONFIG = """\
source: {{uri: {source}, rows: 200}}
lookups: {{importance: {importance}}}
detections: {{uri: ./tillwatch-data/detections, rows: 7, linger: 0.05}}
patterns:
  PatId1: {{merchant_transactions: 250, transactions_rank: 0.8, importance_rank: 0.3}}
  PatId2: {{transactions: 10, avg_amount: 25}}
  PatId3: {{female_customers: 3}}
"""

Configure = Callable[[Path], Path]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> GeneratedFiles:
    """6,000 transactions and their lookup."""
    return generate(tmp_path_factory.mktemp("data"), rows=6000, customers=150, merchants=30, seed=3, faults=0.02)


@pytest.fixture(scope="session")
def configure(data: GeneratedFiles) -> Configure:
    """Writes the configuration of a pipeline on the data set into a folder, which is made, and returns its path."""

    def write(folder: Path) -> Path:
        folder.mkdir(parents=True)
        config = folder / "tillwatch.yaml"
        config.write_text(CONFIG.format(source=data.transactions, importance=data.importance), "utf-8")
        return config

    return write
