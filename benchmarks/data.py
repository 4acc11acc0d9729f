"""What is measured on: BankSim where it is found, else generated data of its size; and generated data of any size."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.child import ROOT, TILLWATCH, run

FULL_ROWS = 594_643
FULL_CUSTOMERS = 4_112
QUICK_ROWS = 60_000
CHUNK_ROWS = 10_000

TRANSACTIONS = "transactions.csv"
IMPORTANCE = "CustomerImportance.csv"


@dataclass(frozen=True)
class Data:
    """A data set: a folder with transactions.csv and CustomerImportance.csv. `expected` lists BankSim's detections."""

    name: str
    folder: Path
    expected: Path | None = None

    @property
    def transactions(self) -> Path:
        return self.folder / TRANSACTIONS

    @property
    def importance(self) -> Path:
        return self.folder / IMPORTANCE

    @cached_property
    def rows(self) -> int:
        """Transactions, counted."""
        with self.transactions.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1

    @property
    def chunks(self) -> int:
        return -(-self.rows // CHUNK_ROWS)


def standard(folder: Path, *, quick: bool) -> Data:
    """BankSim unpacked into `folder`, or generated data in its place: of its size, small when `quick`."""
    packed = Path(os.environ.get("TILLWATCH_BANKSIM") or ROOT.parent / "shared" / "data" / "banksim")
    there = all((packed / f"{name}.gz").is_file() for name in (TRANSACTIONS, IMPORTANCE))
    if quick or not there:
        return generated(folder, "generated", rows=QUICK_ROWS if quick else FULL_ROWS)
    target = folder / "BankSim"
    if not target.exists():
        target.mkdir(parents=True)
        for name in (TRANSACTIONS, IMPORTANCE):
            with gzip.open(packed / f"{name}.gz") as source, (target / name).open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
    return Data("BankSim", target, packed / "expected.csv")


def generated(folder: Path, name: str, **arguments: int) -> Data:
    """Data made by `tillwatch generate` with these arguments, once per name."""
    target = folder / name
    if not target.exists():
        options = [word for key, value in arguments.items() for word in (f"--{key}", str(value))]
        run(*TILLWATCH, "generate", *options, target)
    return Data(name, target)


def header_only(data: Data, folder: Path) -> Data:
    """The same files with nothing below their headers: what a process needs to start and to end."""
    folder.mkdir(parents=True)
    for path in (data.transactions, data.importance):
        with path.open("rb") as file:
            (folder / path.name).write_bytes(file.readline())
    return Data(f"{data.name}, headers only", folder)


def configured(folder: Path, data: Data, **settings: Any) -> Path:
    """A `tillwatch.yaml` in a new folder, where its landing zone, state and detections will be too."""
    folder.mkdir(parents=True)
    said: Mapping[str, Any] = {
        "source": {"uri": str(data.transactions), "rows": CHUNK_ROWS, "every": 0},
        "lookups": {"importance": str(data.importance)},
        **settings,
    }
    path = folder / "tillwatch.yaml"
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in said.items()), "utf-8")
    return path


def landed(folder: Path, data: Data) -> Path:
    """The folder of all chunks of a data set, landed once by `tillwatch ingest`."""
    target = folder / f"landed-{data.name}"
    if not target.exists():
        run(*TILLWATCH, "ingest", "--once", "-c", configured(target, data))
    return target / "tillwatch-data" / "landing"
