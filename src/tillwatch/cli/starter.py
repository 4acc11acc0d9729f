"""The configuration that is written beside generated data."""

from __future__ import annotations

from pathlib import Path

TEXT = """\
# Everything that is not said here has a default; 'tillwatch check' shows what it comes to.
source: ./transactions.csv
lookups:
  importance: ./CustomerImportance.csv
"""


def write_config(folder: Path) -> tuple[Path, bool]:
    """The folder's `tillwatch.yaml`, written when there is none, and whether it was. Raises OSError."""
    path = folder / "tillwatch.yaml"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEXT)
    except FileExistsError:
        return path, False
    return path, True
