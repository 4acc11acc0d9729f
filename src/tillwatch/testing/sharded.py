"""For tests: what the tasks of the Spark engine do, done in this process, without Spark.

The same functions run, on the same bytes and objects; only planning and moving records is left out. A process that has
forgotten what it held is one that Spark started anew.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from tillwatch.clock import SystemClock
from tillwatch.engine.decode import Decoded, Decoder
from tillwatch.engine.fold import PUNCTUAL
from tillwatch.engine.late import Lateness
from tillwatch.engine.lookup import Lookup
from tillwatch.model import Detection, Turn
from tillwatch.patterns.program import Program
from tillwatch.retry import Retry
from tillwatch.spark import worker
from tillwatch.spark.batch import told_by
from tillwatch.spark.detect import columns_of, saves_of
from tillwatch.spark.gather import gather
from tillwatch.spark.manifest import SHARDS, Manifest, from_text, to_text
from tillwatch.spark.objects import Objects
from tillwatch.spark.records import Record, records
from tillwatch.spark.shards import groups_of
from tillwatch.spark.tables import Order, dump_shards, next_saved, table_rows
from tillwatch.spark.worker import Job, fold_shards
from tillwatch.stores import open_store


class Sharded:
    """A program folded in shards whose state is in a folder."""

    def __init__(
        self,
        program: Program,
        lookups: Sequence[Lookup],
        folder: Path,
        buckets: int,
        lateness: Lateness = PUNCTUAL,
    ) -> None:
        self._program = program
        self._store = open_store(str(folder))
        self.objects = Objects(self._store, Retry(SystemClock(), threading.Event(), lambda text: None, 0))
        self._lateness = lateness
        self.manifest = Manifest(buckets)
        self.know(lookups)
        self.tables: dict[str, dict[int, tuple[object, ...]]] = {t.name: {} for t in program.tables}

    def know(self, lookups: Sequence[Lookup]) -> None:
        """The versions of lookups are these from now on."""
        self.groups = groups_of(self._program, self.manifest.buckets, self._lateness, lookups)
        self._lookups = self.objects.put_lookups(self.groups, lookups, "0123456789abcdef", self.manifest.chunk)

    @property
    def _job(self) -> Job:
        self.manifest = from_text(to_text(self.manifest)) or self.manifest  # as it would have been kept
        manifest = self.manifest
        job = Job(self.groups, manifest.chunk, manifest.run, manifest.shards, self._store.uri, self._lookups)
        return cast(Job, pickle.loads(pickle.dumps(job)))  # as it travels to the executors

    def batch(self, decoder: Decoder, chunks: Sequence[tuple[int, Decoded]]) -> tuple[list[Detection], list[Turn]]:
        """Folds a batch of chunks and takes what it gave for committed."""
        sent = [
            (shard, number, "rows", data)
            for number, decoded in reversed(chunks)  # tasks end in any order
            for shard, data in gather(number, decoded, decoder.dictionaries, self.groups)
        ]
        told = told_by([(r[0], r[2], r[3]) for r in self._folded(sent)], self._program)
        before, self.manifest = self.manifest, self.manifest.after(chunks[-1][0] + 1, told.versions)
        self.objects.replaced(before, self.manifest)
        return list(told.detections), list(told.turns)

    def lose(self, decoder: Decoder, chunks: Sequence[tuple[int, Decoded]]) -> None:
        """Folds a batch that nobody commits: its objects stay, and what the process holds is ahead of the manifest."""
        before = self.manifest
        for number, decoded in chunks:
            there = gather(number, decoded, decoder.dictionaries, self.groups)
            sent = [(shard, number, "rows", data) for shard, data in there]
            self._folded(sent)
        self.manifest = before

    def _folded(self, sent: Sequence[Record]) -> list[Record]:
        out = fold_shards(self._job, [records(sent)] if sent else [])
        return [r for batch in out for r in zip(*(c.to_pylist() for c in batch.columns), strict=True)]

    def forget(self) -> None:
        """A new process: nothing is held."""
        worker.forget()

    def restart(self) -> None:
        """A new run begins: what its manifest does not name goes."""
        self.manifest = replace(self.manifest, run=self.objects.last_run() + 1)
        self.objects.collect(self.manifest)

    @property
    def names(self) -> set[str]:
        """The objects of all shards."""
        return set(self._store.list(SHARDS))

    def save(self) -> None:
        """Saves the tables, as rows by id."""
        saved = next_saved(self.manifest, saves_of(self.groups, self._program))
        order = Order(self._job, self.manifest.saved.chunk, saved.ids, columns_of(self._program))
        shards = tuple(sorted(saved.ids))
        numbers = records([(n, 0, "", b"") for n in range(len(shards))])
        for batch in dump_shards(order, shards, [numbers]):
            for kind, data in zip(batch.column(2).to_pylist(), batch.column(3).to_pylist(), strict=True):
                rows = table_rows(kind, data)
                columns = [c for c in rows.columns if c != "id"]
                for identity, *values in zip(rows.columns["id"], *(rows.columns[c] for c in columns), strict=True):
                    self.tables[rows.name][identity] = tuple(values)
        self.manifest = replace(self.manifest, saved=saved)
