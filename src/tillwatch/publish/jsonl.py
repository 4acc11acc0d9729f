"""Detections as JSON Lines: one object for each planned file, one line for each detection."""

from __future__ import annotations

import json

from tillwatch.publish.files import put_planned
from tillwatch.publish.output import Batch
from tillwatch.stores.base import Store


class JsonLines:
    """Objects such as `detections-000000000001-000000000050.jsonl`, put if absent."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def place(self) -> str:
        """Where the objects are."""
        return self._store.uri

    def deliver(self, batch: Batch) -> None:
        put_planned(self._store, f"{batch.stem}.jsonl", batch.plan, render(batch))


def render(batch: Batch) -> bytes:
    """The object's bytes, the same for the same batch."""
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in batch.records).encode()
