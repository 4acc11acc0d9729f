"""For tests: BankSim where it is found, else generated data of its size."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

from tillwatch.generate import generate

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("transactions.csv", "CustomerImportance.csv")


def bank_files(folder: Path) -> tuple[Path, Path]:
    """Transactions and importance in `folder`. BankSim is looked for where TILLWATCH_BANKSIM says, else beside the
    repository.
    """
    packed = Path(os.environ.get("TILLWATCH_BANKSIM") or ROOT.parent / "shared" / "data" / "banksim")
    if not all((packed / f"{name}.gz").is_file() for name in NAMES):
        files = generate(folder, rows=594_643)
        return files.transactions, files.importance
    folder.mkdir(parents=True)
    for name in NAMES:
        with gzip.open(packed / f"{name}.gz") as source, (folder / name).open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    return folder / NAMES[0], folder / NAMES[1]
