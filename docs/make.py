"""Writes the generated pages of the documentation: `./run python docs/make.py`. A test keeps them current."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tillwatch.cli import reference as command_line
from tillwatch.config import reference as configuration
from tillwatch.config.schema import config_schema
from tillwatch.patterns.catalogue import built_in, built_in_features, read_pattern
from tillwatch.patterns.fields import pattern_schema
from tillwatch.patterns.pattern import Pattern

HERE = Path(__file__).resolve().parent

_PATTERNS = """\
# Pattern catalogue

*This page is written from the catalogue by `docs/make.py`; edit the files in `src/tillwatch/patterns/catalogue`.*

The patterns that come with tillwatch. The language they are written in is described in [patterns](../patterns.md);
how they are chosen and tuned, in [configuration](configuration.md#patterns).

| id | action | per | title |
|---|---|---|---|
"""

_FEATURES = """\
## Features

What every pattern may use. A feature is per the pattern's own key, or per a part of it that is written before it, as
in `merchant.transactions`.

| name | what it is |
|---|---|
"""


def pages() -> dict[Path, str]:
    """Every generated page: its path and its text."""
    texts = {
        "configuration.md": configuration.reference_markdown(),
        "cli.md": command_line.reference_markdown(),
        "patterns.md": patterns_markdown(),
        "tillwatch.schema.json": json.dumps(config_schema(), indent=2) + "\n",
        "pattern.schema.json": json.dumps(pattern_schema(), indent=2) + "\n",
    }
    return {HERE / "reference" / name: text for name, text in texts.items()}


def patterns_markdown() -> str:
    """The page of the built-in patterns and features."""
    catalogue = [read_pattern(text, f"{name}.yaml") for name, text in sorted(built_in().items())]
    rows = (f"| [`{p.id}`](#{p.id.lower()}) | {p.action} | {', '.join(p.per)} | {p.title} |" for p in catalogue)
    parts = [_PATTERNS + "\n".join(rows) + "\n", *(section for p in catalogue for section in _pattern(p))]
    features = (f"| `{name}` | `{feature.text}` |" for name, feature in built_in_features().items())
    return "\n".join([*parts, _FEATURES + "\n".join(features)]) + "\n"


def _pattern(pattern: Pattern) -> Iterator[str]:
    yield f"## {pattern.id}\n"
    yield f"{pattern.title}. {pattern.why}\n"
    yield f"Marks a {' and '.join(pattern.per)} as `{pattern.action}` when\n\n```text\n{pattern.when.strip()}\n```\n"
    rows = (f"| `{name}` | {value} |" for name, value in pattern.thresholds.items())
    yield "\n".join(["| threshold | value |\n|---|---|", *rows]) + "\n"
    yield f"**What to do.** {pattern.runbook}\n"
    yield "Its examples, run by `tillwatch test`:\n"
    yield "\n".join(f"- {'finds' if e.expect else 'does not find'}: {e.name}" for e in pattern.examples) + "\n"


def main() -> None:
    """Writes all pages."""
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
