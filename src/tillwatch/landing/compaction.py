"""Compaction: old chunks merged into larger Parquet objects. At every moment each chunk is there, perhaps twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from tillwatch.errors import LogError, ObjectExists
from tillwatch.landing.layout import LayoutName, layout_of
from tillwatch.landing.log import Landing
from tillwatch.landing.merged import MergedChunks, Range, encode_merged, merged_name
from tillwatch.model import Chunk
from tillwatch.stores.base import Store


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did: the objects that it made, and in which chunks are."""

    ranges: tuple[Range, ...] = ()

    @property
    def chunks(self) -> int:
        """How many chunks were merged."""
        return sum(r.last - r.first + 1 for r in self.ranges)


class Compaction:
    """Merges the beginning of a log, `group` chunks into an object, fewer where a column's type or the folder changes.

    A merged object is put and read back before its chunks are removed, so that a compaction that is killed loses
    nothing; the next one removes what it left. Any number may read meanwhile. Raises LogError when a chunk is missing
    or damaged: nothing is removed then.
    """

    def __init__(self, store: Store, layout: LayoutName, group: int) -> None:
        if layout == "folder":
            raise LogError(
                f"{store.uri} has a folder for each chunk, so chunks cannot be merged. "
                "Only landing zones with landing.layout flat or dated are compacted."
            )
        self._store, self._group = store, group
        self._layout = layout_of(layout, store)
        self._landing = Landing(store, "parquet", layout)
        self._merged = MergedChunks(store, self._layout)

    def run(
        self, below: int, *, dry: bool = False, on_progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Compacted:
        """Merges chunks below `below` that are not merged yet, as far as they fill objects; `dry` only says which.

        `on_progress` hears of chunks read, and how many there are.
        """
        start = max((r.last + 1 for r in self._merged.look()), default=0)
        if not dry:
            self._remove(start - 1)
        merge = self._range if dry else self._merge
        return Compacted(tuple(merge(chunks) for chunks in self._groups(start, below, on_progress)))

    def _groups(self, start: int, below: int, on_progress: Callable[[int, int], None]) -> Iterator[list[Chunk]]:
        """Consecutive chunks that are merged together; those at the end that may still be joined by others are not."""
        group: list[Chunk] = []
        types: dict[str, pl.DataType] = {}
        for number in range(start, below):
            chunk = self._landing.read(number)
            if group and not (self._folder(group[0]) == self._folder(chunk) and _fits(types, chunk)):
                yield group
                group, types = [], {}
            group.append(chunk)
            on_progress(number - start + 1, below - start)
            types |= chunk.frame.schema
            if len(group) == self._group:
                yield group
                group, types = [], {}

    def _folder(self, chunk: Chunk) -> str:
        stem = self._layout.find(chunk.info.number) or ""
        return stem[: stem.rfind("/") + 1]

    def _range(self, chunks: Sequence[Chunk]) -> Range:
        first, last = chunks[0].info.number, chunks[-1].info.number
        return Range(first, last, self._folder(chunks[0]) + merged_name(first, last))

    def _merge(self, chunks: Sequence[Chunk]) -> Range:
        merged = self._range(chunks)
        with suppress(ObjectExists):  # one that was killed has put it: it is looked at as if it were ours
            self._store.put(merged.name, encode_merged(chunks))
        for chunk in chunks:
            there = self._merged.read(chunk.info.number, merged, None)
            if there.info != chunk.info or not there.frame.equals(chunk.frame):
                raise LogError(
                    f"{self._store.uri}/{merged.name} does not hold chunk {chunk.info.number} as it was landed. "
                    "No chunk was removed: remove this object, and compact again."
                )
        for chunk in chunks:
            self._delete(chunk.info.number)
        return merged

    def _remove(self, last: int) -> None:
        """Removes what is left of chunks up to `last`; what they are merged in is read once more and must be whole."""
        for number in list(self._layout.apart(last)):
            if merged := self._merged.known(number):
                self._merged.info(number, merged)
                self._delete(number)

    def _delete(self, number: int) -> None:
        for name in self._left(number):
            self._store.delete(name)

    def _left(self, number: int) -> list[str]:
        """What is there of a chunk, the chunk first, and last what says where it is."""
        stem = self._layout.find(number)
        if stem is None:
            return []
        chunk = [name for name in (f"{stem}.parquet", f"{stem}.csv") if self._store.has(name)]
        beside = [name for name in self._store.list(self._layout.beside(stem)) if name.endswith(".json")]
        return [*chunk, *beside, *self._layout.index(number)]


def _fits(types: Mapping[str, pl.DataType], chunk: Chunk) -> bool:
    return all(types.get(name, dtype) == dtype for name, dtype in chunk.frame.schema.items())
