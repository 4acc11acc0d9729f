"""What the tasks of a batch told, put together on the driver in the order that the embedded engine gives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tillwatch import errors
from tillwatch.errors import RunError, TillwatchError
from tillwatch.model import Detection, Turn
from tillwatch.patterns.program import Program
from tillwatch.spark.manifest import Version
from tillwatch.spark.reading import Account, account_of


@dataclass(frozen=True, slots=True)
class Told:
    """A batch: what became of each chunk, what was found, where each shard that it touched stands now."""

    chunks: tuple[Account, ...]
    detections: tuple[Detection, ...]
    turns: tuple[Turn, ...]
    versions: Mapping[int, Version]


def told_by(rows: Iterable[tuple[int, str, bytes]], program: Program) -> Told:
    """The batch from its records of (shard, kind, data). Raises the error that a task met."""
    chunks, versions = [], {}
    detections: list[Detection] = []
    turns: list[Turn] = []
    for shard, kind, data in rows:
        match kind:
            case "error":
                raise raised(data)
            case "chunk":
                chunks.append(account_of(data))
            case "version":
                fields = json.loads(data)
                versions[shard] = Version(**{**fields, "chain": tuple(fields["chain"])})
            case "found":
                found = json.loads(data)
                detections += [Detection(*fields) for fields in found["detections"]]
                turns += [Turn(*fields) for fields in found["turns"]]
    detections.sort(key=lambda d: (d.chunk, _place(program, d), *d.place))
    turns.sort(key=lambda t: (t.chunk, _place(program, t), *t.key.values()))
    chunks.sort(key=lambda c: c[0].number)
    return Told(tuple(chunks), tuple(detections), tuple(turns), versions)


def _place(program: Program, found: Detection | Turn) -> int:
    """The place of the pattern among those that were in force at the chunk."""
    plans = (p for p in program.plans if p.pattern.id == found.pattern and p.judges(found.chunk))
    return next(plans).place


def raised(data: bytes) -> TillwatchError:
    """The error that a task met, as it was raised there."""
    told = json.loads(data)
    kind = getattr(errors, told["error"], RunError)
    error: TillwatchError = kind(told["text"])
    return error
