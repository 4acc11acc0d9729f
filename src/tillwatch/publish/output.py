"""The port to a further output of detections, and what is delivered to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tillwatch.publish.files import COLUMNS
from tillwatch.state.base import FilePlan, State, StoredDetection

FIELDS = ("id", *COLUMNS, "seq", "chunk", "key", "evidence")
"""The fields of a detection in every further output: its id, the six columns of the CSV, and what is behind them."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """The detections of one planned file, as records with all FIELDS, in order of `seq`.

    The same plan gives the same batch, whenever it is asked for.
    """

    plan: FilePlan
    started_at: str
    records: Sequence[Record]

    @property
    def stem(self) -> str:
        """The planned file's name without its ending: unique, and sorts in order."""
        return self.plan.name.rpartition(".")[0]


class Output(Protocol):
    """A place that gets every batch, in order, perhaps more than once."""

    @property
    def place(self) -> str:
        """Where it is, fit to be shown: no secrets."""
        ...

    def deliver(self, batch: Batch) -> None:
        """Returns once the batch is there, durably. Delivering again what is there changes nothing.

        Raises OutputUnavailable or StoreError when it may work later, PublishError when it will not by itself.
        """
        ...


def batch_of(plan: FilePlan, state: State) -> Batch:
    """The batch of a plan, from the state."""
    stored = list(state.detections(plan.first, plan.last))
    digests = {n: state.digests(n, n)[n] for n in {s.detection.chunk for s in stored}}
    begun = state.started_at() or ""
    rules = [(r.first, r.hash) for r in state.rule_sets()] or [(0, state.get_meta("fingerprint") or "")]
    records = []
    for each in stored:
        chunk = each.detection.chunk
        in_force = [mark for first, mark in rules if first <= chunk][-1]
        records.append(_record(begun, each, detection_id(in_force, digests[chunk], each)))
    return Batch(plan, begun, records)


def detection_id(fingerprint: str, chunk_digest: str, stored: StoredDetection) -> str:
    """32 hexadecimal digits that say: this pattern, this key, in this chunk, by these patterns; where a key can be
    detected on several rows of a chunk also on which.

    The same log and the same patterns give the same id, also when the state was lost and made anew.
    """
    d = stored.detection
    row = [d.row] if d.occasion and d.row is not None else []
    text = json.dumps([fingerprint, chunk_digest, d.pattern, d.key_text, *row])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _record(begun: str, stored: StoredDetection, identity: str) -> Record:
    d = stored.detection
    columns = (begun, stored.at, d.pattern, d.action, d.customer, d.merchant)
    return dict(zip(FIELDS, (identity, *columns, stored.seq, d.chunk, d.key, d.evidence), strict=True))
