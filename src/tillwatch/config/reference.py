"""The configuration reference, written from the models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tillwatch.config.kinds import Kind
from tillwatch.config.loader import SMALLEST
from tillwatch.config.section import Section
from tillwatch.config.settings import Lookup, Output, PatternChoice, Settings

FULL = """\
source:
  uri: ./transactions.csv            # a file, or a folder of files
  rows: 10000                        # per chunk
  every: 1s                          # pace; 0 = as fast as possible
  format: auto                       # or csv, jsonl, parquet
  delimiter: ","
columns: {time: step, customer: customer, merchant: merchant, gender: gender, category: category, amount: amount}
where: category <> 'es_travel'       # rows that are counted; without it all are
time:                                # only read where patterns have windows, or for late: quarantine
  format: auto                       # or number, iso, epoch_s, epoch_ms
  timezone: UTC                      # of ISO times without an offset
  lateness: 0                        # such as 2, or 10min
  late: count                        # or quarantine
amounts:
  digits: 4                          # fraction digits kept exactly
  negative: false                    # a row with a negative amount goes to the quarantine
lookups:
  importance:
    uri: ./CustomerImportance.csv
    on: {customer: Source, merchant: Target}
    value: avg(Weight)
  segment:
    uri: ./customers.csv
    on: {customer: id}
    value: segment                   # a text of every row, for patterns and filters
require: {segment: mark}             # or quarantine: what becomes of customers who are not in it
features:
  spent: sum(amount)                 # a name of your own, for patterns of your own
landing:
  uri: ./data/landing
  format: parquet                    # or csv
  layout: flat                       # or dated, folder
  keep: 30d                          # older chunks are removed by tillwatch compact; without it none ever
quarantine: ./data/quarantine
state: sqlite:///./data/state.db     # or only the path
detections:
  uri: ./data/detections
  cleared: ./data/cleared            # which ceased to hold, of patterns that say so
  rows: 50                           # per file
  linger: 1s
  timezone: Asia/Kolkata
  format: csv                        # or none: only what outputs says
outputs:                             # further places, by name
  archive: {format: jsonl, uri: ./data/jsonl}
  lake: {format: parquet, uri: ./data/parquet}
  table: {format: delta, uri: ./data/delta}
  bank: {format: webhook, uri: "https://bank.example/hooks", secret_env: BANK_HOOK_SECRET}
reports: ./data/reports              # quality reports at the end of a run
backtests: ./data/backtests          # results of tillwatch backtest; null keeps none
alerts:
  channels: {ops: "mailto://mail.bank.example/?from=tillwatch@bank.example&to=ops@bank.example"}
  file_failed: true
  no_new_chunk: 10min
  lag: {over: 50, channels: [ops]}   # all channels when none is named
  quarantine_share: {over: 5%, chunks: 20}
  unreachable: 2min
  detections: [PatId1]               # or {PatId1: [ops]}
  settle: 1min                       # before an end is told
  digest: 1min                       # of detections and failed files
  per_hour: 20                       # messages to a channel
dashboard: {host: 127.0.0.1, port: 8780, header: null, hosts: []}
logs: {file: ./data/tillwatch.log, format: json, level: info, size: 10MB, count: 5}
metrics: {listen: "127.0.0.1:9464"}  # served to Prometheus; without it none are
engine: embedded                     # or spark
spark: {master: "local[4]", state: ./data/spark, buckets: 4, conf: {spark.driver.memory: 2g}}
patterns: [PatId1, {PatId2: {transactions: 20}}, PatId3, ./my-patterns/]
shadow: [PatId3]                     # found and recorded, not published
"""

_INTRO = """\
# Configuration

*This page is written from the code by `tillwatch.config.reference`; edit there, not here.*

All of it is one YAML file, `tillwatch.yaml` or what `-c FILE` names. Only `source` is required. The smallest file:

```yaml
{smallest}```

and with everything said:

```yaml
{full}```

`tillwatch check` reads the file and runs nothing. All mistakes are told at once, each with its place:

```
tillwatch.yaml:4:9: source.rows: found 'ten', expected a whole number from 1 to 1000000
```

## Rules for the whole file

- **Paths** are relative to the folder of the file, also those of the defaults. What has a scheme, such as
  `s3://bucket/prefix`, is a URI and stays as it is.
- **Places** are apart: none of those that a run writes to is in another one, or in the folder of the source, save in a
  hidden folder there.
- **Short forms**: `source`, `landing`, `detections` and each lookup may be a plain path or URI, short for a mapping
  with `uri` alone.
- **Sizes** are `500kB`, `10MB`, `1GB`, or a plain number of bytes.
- **Durations** are `500ms`, `1s`, `2m`, or a plain number of seconds, at most one day.
- **Texts** that YAML would read as a number, `true`, `false` or nothing must be in quotes. Unlike in older YAML, `on`,
  `yes` and `no` are texts.
- **Environment**: `${{NAME}}` in a value is replaced by that environment variable, which must be set; `$${{` is a
  literal `${{`. Between `{{ }}` or `[ ]` put it in quotes. Keys are not replaced, except pattern files and folders.
- **Secrets** must come from the environment: a password in a URI, or a value whose key is named like a secret, is
  refused when it stands in the file, and no error shows it.
- **`--set KEY=VALUE`** overrides one dotted key, such as `--set source.rows=500`, `--set source=./x.csv`,
  `--set columns.gender=null` or `--set patterns.PatId2.transactions=20`. The value is read as YAML. It replaces what
  the file says at that key as a whole, and what an earlier `--set` says. Its paths are relative to the current
  folder. `patterns.…` reaches only patterns that are in the list.
"""

_PATTERNS = """\
## patterns

{meaning}

A list. Each entry is one of:

- the id of a built-in pattern, such as `PatId1`;
- a YAML file, or a folder of them: what has a `/` or ends in `.yaml` or `.yml`;
- one of these with thresholds of your own below it: `PatId2: {{transactions: 20}}`.

A mapping of the same to thresholds does as well: `{{PatId1: , PatId2: {{transactions: 20}}}}`. Thresholds are numbers,
kept exactly as written; those that are not named keep the pattern's value. Nothing may be there twice.

Default: {default}
"""


def reference_markdown() -> str:
    """The whole reference page as Markdown, the same for the same models."""
    parts = [_INTRO.format(smallest=SMALLEST, full=FULL), *_overview(), *_sections()]
    return "\n".join(parts).rstrip("\n") + "\n"


def _overview() -> Iterator[str]:
    yield "## All keys\n"
    rows = [
        (
            f"[`{key}`](#{key})" if _has_section(field, key) else f"`{key}`",
            _type(field),
            _default(field),
            _meaning(field),
        )
        for key, field in ((field.alias or name, field) for name, field in Settings.model_fields.items())
    ]
    yield _table(rows)


def _sections() -> Iterator[str]:
    for key, field in Settings.model_fields.items():
        if key == "patterns":
            default = ", ".join(f"`{choice.ref}`" for choice in field.default)
            yield _PATTERNS.format(meaning=_meaning(field), default=default)
        elif section := _section(field):
            name = f"{key}.NAME" if section in (Lookup, Output) else key
            yield f"## {key}\n\n{_paragraphs(section)}\n"
            yield _table(
                (f"`{name}.{below}`", _type(item), _default(item), _meaning(item))
                for below, item in section.model_fields.items()
            )


def _has_section(field: FieldInfo, key: str) -> bool:
    return key == "patterns" or _section(field) is not None


def _section(field: FieldInfo) -> type[Section] | None:
    """The mapping that the field holds, or holds many of by name."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, Section) and kind is not PatternChoice:
            return kind
    return None


def _paragraphs(section: type[Section]) -> str:
    lines = (line.strip() for line in (section.__doc__ or "").strip().splitlines())
    return "\n".join(lines)


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _type(field: FieldInfo) -> str:
    """In the words of the error texts."""
    kinds = [mark for mark in field.metadata if isinstance(mark, Kind)]
    if kinds:
        return kinds[0].words
    section = _section(field)
    if field.annotation is section:
        return _section_words(section)
    value = get_args(field.annotation)[-1]
    if section is not None:
        return f"a mapping, each value {_section_words(section)}"
    if value is Ellipsis:
        return "a list or a mapping"
    return "a mapping, each value " + next(mark.words for mark in value.__metadata__ if isinstance(mark, Kind))


def _section_words(section: Any) -> str:
    is_short = "uri" in section.model_fields and section is not Output
    return "a path or URI, or a mapping" if is_short else "a mapping"


def _default(field: FieldInfo) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, Section):
        uri = type(default).model_fields.get("uri")
        return _default(uri) if uri else "see below"
    if isinstance(default, tuple):
        return f"`[{', '.join(choice.ref for choice in default)}]`"
    if default == {} or default is None:
        return "none"
    return f"`{_yaml(default)}`"


def _yaml(value: object) -> str:
    """A default as it would be written in the file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}s"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}"
    return f'"{value}"' if value == "," else str(value)


def _meaning(field: FieldInfo) -> str:
    return field.description or ""
