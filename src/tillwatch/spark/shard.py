"""The running state of a shard on an executor: a fold, as bytes and back, whole or what some chunks changed.

A row of a state object is named by its key, so it says the same to every process, whatever codes that has for texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tillwatch.engine.decode import Decoder, Detail
from tillwatch.engine.fold import Fold, Outcome
from tillwatch.engine.joined import RowLookups
from tillwatch.engine.lookup import Lookup
from tillwatch.model import Reach
from tillwatch.patterns.program import Grain
from tillwatch.spark.arrays import pack, pack_texts, unpack, unpack_texts
from tillwatch.spark.gather import scattered
from tillwatch.spark.shards import Group, Part

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Held = tuple[Ints, dict[str, NDArray[Any]]]
"""How many rows a ring has for some slots, and their columns: NUMBERS, and codes of texts."""

NUMBERS = {"time", "amount"}


class Shard:
    """A fold over the keys of a shard. `touched` has, by grain, the last chunk that touched each slot.

    What its windows still need of the log is kept as it was sent, by chunk, and made into rows again after a load; the
    rows of windows of transactions are kept as they are.
    """

    def __init__(self, group: Group) -> None:
        program = group.program
        detail = Detail(amounts=any("amount" in table.grain for table in program.tables))
        texts = tuple(c for c in group.columns if c in program.lookups)
        columns = {c: c for c in (*group.columns, "amount") if c not in texts}
        decoder = Decoder(columns, program.digits, detail=detail, lookups=RowLookups(texts=texts))
        self.fold = Fold(program, decoder, (), group.lateness, rings_kept=True)
        self._group = group
        self._known: dict[Part, Lookup] = {}
        self._log: dict[int, bytes] = {}
        self._reach: Reach | None = None
        self.touched: dict[Grain, Ints] = {g: np.zeros(0, np.int64) for g in self.fold.tables}
        self._marks = _marks(self.fold)

    @property
    def sizes(self) -> dict[str, int]:
        """How many rows each table has."""
        return {t.spec.name: t.size for t in self.fold.tables.values()}

    @property
    def clock(self) -> int | None:
        """The greatest time of all rows that were sent to any shard, as far as this one has got."""
        return self.fold.windows.clock

    def expects_only(self, lookups: Mapping[Part, Lookup]) -> bool:
        """Whether the versions of lookups that are to come into force are among these: a run that ended on the way may
        have had others.
        """
        expected = {id(version) for version in self.fold.expected}
        return all(part in lookups for part, version in self._known.items() if id(version) in expected)

    def begin(self, lookups: Mapping[Part, Lookup], chunk: int) -> bool:
        """Takes versions of lookups; those before a chunk are in force. Returns whether `refresh` is due."""
        new = {part: version for part, version in lookups.items() if part not in self._known}
        self._known |= new
        self.fold.expect(new.values())
        return self.fold.begin(chunk)

    def step(self, chunk: int, data: bytes) -> Outcome:
        """The step of the engine over the rows that were sent."""
        rows, clock = scattered(data, self.fold.decoder.dictionaries, self._group)
        outcome = self.fold.step(chunk, self.fold.punctual(rows), clock)
        if self._group.timed:
            self._log[chunk] = data
            self._reach = self.fold.reach(chunk + 1)
            self._forget()
        for grain, slots in self.fold.take_dirty().items():
            self._room(grain)
            self.touched[grain][slots] = chunk
        return outcome

    def snapshot(self) -> bytes:
        """All of it."""
        everything = {g: np.arange(t.size) for g, t in self.fold.tables.items()}
        marked = [np.flatnonzero(j.detected) for j in self.fold.judges]
        self._marks = _marks(self.fold)
        return self._packed(everything, marked, self._log)

    def delta(self, since: int) -> bytes:
        """What chunks from `since` on changed; what patterns hold for can also change for keys not touched."""
        slots = {g: np.flatnonzero(touched[: self.fold.tables[g].size] >= since) for g, touched in self.touched.items()}
        now = _marks(self.fold)
        changed = [_different(a, b) for a, b in zip(self._marks, now, strict=True)]
        self._marks = now
        return self._packed(slots, changed, {chunk: data for chunk, data in self._log.items() if chunk >= since})

    def _forget(self) -> None:
        """Lets go of what no window needs any more."""
        if self._reach is not None:
            self._log = {chunk: data for chunk, data in self._log.items() if chunk >= self._reach.first}

    def _packed(self, slots: Mapping[Grain, Ints], marked: Sequence[Ints], log: Mapping[int, bytes]) -> bytes:
        rings = self._rings(slots)
        arrays: dict[str, NDArray[Any]] = self._texts(slots, rings)
        for grain, table in self.fold.tables.items():
            at, name = slots[grain], table.spec.name
            for key in grain:
                arrays[f"{name}.{key}"] = _places(arrays[f"codes.{key}"], table.keys[key][at])
            for column, values in table.columns.items():
                arrays[f"{name}.{column}"] = values[at]
            arrays[f"{name}._touched"] = self.touched[grain][at]
        for grain, (filled, held) in rings.items():
            name = f"{self.fold.tables[grain].spec.name}._ring"
            arrays[name] = filled
            for column, values in held.items():
                coded = column not in NUMBERS
                arrays[f"{name}.{column}"] = _places(arrays[f"codes.{column}"], values) if coded else values
        if self._reach is not None:
            arrays["reach"] = pack_texts([self._reach.text()])
            arrays |= {f"log.{chunk}": np.frombuffer(data, np.uint8) for chunk, data in log.items()}
        arrays["marks"] = pack_texts([json.dumps(m) for m in self._marked(marked)])
        return pack({name: a for name, a in arrays.items() if not name.startswith("codes.")})

    def _rings(self, slots: Mapping[Grain, Ints]) -> dict[Grain, Held]:
        """The rows that windows of transactions have for these slots."""
        tables = self.fold.tables
        return {grain: ring.held(slots[grain], tables[grain].size) for grain, ring in self.fold.rings.items()}

    def _texts(self, slots: Mapping[Grain, Ints], rings: Mapping[Grain, Held]) -> dict[str, NDArray[Any]]:
        """By text column: the distinct texts of keys in tables and of rows in rings, and their codes (sorted)."""
        used: dict[str, list[NDArray[Any]]] = {}
        for grain, at in slots.items():
            for key in grain:
                used.setdefault(key, []).append(self.fold.tables[grain].keys[key][at])
        for _, held in rings.values():
            for column in held.keys() - NUMBERS:
                used.setdefault(column, []).append(held[column])
        arrays: dict[str, NDArray[Any]] = {}
        for column, some in used.items():
            codes = np.unique(np.concatenate(some)).astype(np.int64)
            arrays[f"codes.{column}"] = codes
            arrays[f"texts.{column}"] = pack_texts(self.fold.decoder.dictionaries[column].texts(codes))
        return arrays

    def _marked(self, marked: Sequence[Ints]) -> list[tuple[int, list[dict[str, str]], list[bool]]]:
        return [
            (number, self.fold.keys(judge.plan.per, slots), judge.holding[slots].tolist())
            for number, (judge, slots) in enumerate(zip(self.fold.judges, marked, strict=True))
            if len(slots)
        ]

    def load(self, data: bytes, where: str) -> None:
        """Brings the shard forward by a snapshot (when it is empty) or a delta. Then `refresh` is due."""
        arrays = unpack(data, where)
        codes = {
            name.removeprefix("texts."): np.array(
                self.fold.decoder.dictionaries[name.removeprefix("texts.")].codes(unpack_texts(a)), np.int64
            )
            for name, a in arrays.items()
            if name.startswith("texts.")
        }
        for grain in sorted(self.fold.tables, key=len):  # coarser tables first: finer ones refer to their slots
            self._load_table(grain, codes, arrays)
        for text in unpack_texts(arrays["marks"]):
            number, keys, holds = json.loads(text)
            self.fold.mark(number, keys, holds)
        if "reach" in arrays:
            self._reach = Reach.of(unpack_texts(arrays["reach"])[0])
            self._log |= {int(n.removeprefix("log.")): a.tobytes() for n, a in arrays.items() if n.startswith("log.")}

    def _load_table(self, grain: Grain, codes: Mapping[str, Ints], arrays: Mapping[str, NDArray[Any]]) -> None:
        table = self.fold.tables[grain]
        name = table.spec.name
        touched = arrays[f"{name}._touched"]
        if not len(touched):
            return
        keys = {k: codes[k][arrays[f"{name}.{k}"]] for k in grain}
        self.fold.load(grain, keys, {c: arrays[f"{name}.{c}"] for c in table.columns})
        self._room(grain)
        slots = table.slots_of(keys, len(touched))
        self.touched[grain][slots] = touched
        self._load_ring(grain, slots, codes, arrays)

    def _load_ring(
        self, grain: Grain, slots: Ints, codes: Mapping[str, Ints], arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        table, name = self.fold.tables[grain], f"{self.fold.tables[grain].spec.name}._ring"
        if (ring := self.fold.rings.get(grain)) is None:
            return
        columns = {n.removeprefix(f"{name}."): values for n, values in arrays.items() if n.startswith(f"{name}.")}
        held = {c: values if c in NUMBERS else codes[c][values] for c, values in columns.items()}
        ring.put(slots, arrays[name], held, table.size)

    def refresh(self) -> None:
        """Forgets what judging keeps for speed, which loading has made untrue; what is detected and holds stays."""
        self.fold.judges = [self.fold.renewed(judge) for judge in self.fold.judges]
        if self._reach is not None:
            self._forget()
            self.fold.resume(self._reach)
            for chunk, data in sorted(self._log.items()):
                rows, clock = scattered(data, self.fold.decoder.dictionaries, self._group)
                self.fold.remember(chunk, self.fold.punctual(rows), clock)
        self._marks = _marks(self.fold)

    def _room(self, grain: Grain) -> None:
        size, room = self.fold.tables[grain].size, len(self.touched[grain])
        if size > room:
            more = max(1024, size, 2 * room) - room
            self.touched[grain] = np.concatenate([self.touched[grain], np.zeros(more, np.int64)])


def _marks(fold: Fold) -> list[tuple[Bools, Bools]]:
    return [(j.detected.copy(), j.holding.copy()) for j in fold.judges]


def _different(before: tuple[Bools, Bools], now: tuple[Bools, Bools]) -> Ints:
    """The slots for which either mark is another; what was not there was False."""
    changed = np.zeros(len(now[0]), np.bool_)
    for old, new in zip(before, now, strict=True):
        moved = new.copy()
        moved[: len(old)] ^= old
        changed |= moved
    return np.flatnonzero(changed)


def _places(codes: Ints, wanted: Ints) -> NDArray[np.int32]:
    return np.searchsorted(codes, wanted).astype(np.int32)
