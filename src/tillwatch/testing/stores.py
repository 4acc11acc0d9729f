"""For tests: a store in memory, a store that fails on purpose, and the suite every store adapter passes."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from threading import Barrier, Event, Lock
from typing import Any, Literal, TypeVar

from tillwatch.errors import ObjectExists, ObjectMissing, StoreError
from tillwatch.stores.base import Store, put_same
from tillwatch.stores.probe import check_creates

T = TypeVar("T")


class MemoryStore:
    """A store in memory. `objects` is its whole content, for tests to look at and to damage."""

    uri = "memory:"
    remote = False
    resumes = False

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._lock = Lock()

    def put(self, name: str, data: bytes) -> None:
        """Creates the object. Raises ObjectExists when the name is taken."""
        with self._lock:
            if name in self.objects:
                raise ObjectExists(f"{self.uri}/{name} exists already.")
            self.objects[name] = bytes(data)

    def get(self, name: str) -> bytes:
        """The object's bytes. Raises ObjectMissing."""
        try:
            return self.objects[name]
        except KeyError:
            raise ObjectMissing(f"{self.uri}/{name} does not exist.") from None

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """At most `length` bytes from `start` on."""
        return self.get(name)[start : start + length]

    def has(self, name: str) -> bool:
        """Whether the object is there."""
        return name in self.objects

    def delete(self, name: str) -> None:
        """Removes the object, if it is there."""
        self.objects.pop(name, None)

    def list(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Names that start with `prefix` and sort after `after`, in code point order."""
        with self._lock:
            names = sorted(self.objects)
        return (name for name in names if name.startswith(prefix) and name > after)


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong: before or after the `nth` (from 1) `operation` whose name matches the glob `name`.

    `raise` raises StoreError, `kill` ends this process by SIGKILL. A call that fails by itself has no after.
    For `list` the name is the prefix asked for, and the call is over when the whole list is made.
    """

    operation: Literal["put", "get", "has", "list", "delete"] = "put"
    name: str = "*"
    nth: int = 1
    when: Literal["before", "after"] = "before"
    action: Literal["raise", "kill"] = "raise"

    def strike(self, where: str) -> None:
        """Does what `action` says."""
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise StoreError(f"{where}: fault on purpose, {self.when} {self.operation} number {self.nth}.")


class FaultyStore:
    """A store that does what `inner` does, except for its faults, each of which strikes once.

    >>> store = FaultyStore(MemoryStore(), Fault(name="*.parquet", nth=2, when="after"))
    >>> store.put("0.parquet", b""); store.put("x.json", b"")
    >>> store.put("1.parquet", b"")
    Traceback (most recent call last):
    tillwatch.errors.StoreError: memory:/1.parquet: fault on purpose, after put number 2.
    >>> store.has("1.parquet")
    True
    """

    def __init__(self, inner: Store, *faults: Fault) -> None:
        self._inner = inner
        self._faults = faults
        self._calls = [0] * len(faults)
        self._lock = Lock()

    @property
    def uri(self) -> str:
        """Where the inner store is."""
        return self._inner.uri

    @property
    def remote(self) -> bool:
        """As the inner store."""
        return self._inner.remote

    @property
    def resumes(self) -> bool:
        """As the inner store."""
        return self._inner.resumes

    def put(self, name: str, data: bytes) -> None:
        """As the inner store, or a fault."""
        self._call("put", name, lambda: self._inner.put(name, data))

    def get(self, name: str) -> bytes:
        """As the inner store, or a fault."""
        return self._call("get", name, lambda: self._inner.get(name))

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """As the inner store, or a fault."""
        return self._call("get", name, lambda: self._inner.get_range(name, start, length))

    def has(self, name: str) -> bool:
        """As the inner store, or a fault."""
        return self._call("has", name, lambda: self._inner.has(name))

    def list(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """As the inner store, or a fault."""
        return iter(self._call("list", prefix, lambda: [*self._inner.list(prefix, after)]))

    def delete(self, name: str) -> None:
        """As the inner store, or a fault."""
        self._call("delete", name, lambda: self._inner.delete(name))

    def _call(self, operation: str, name: str, run: Callable[[], T]) -> T:
        due = self._due(operation, name)
        where = f"{self.uri}/{name}"
        for fault in due:
            if fault.when == "before":
                fault.strike(where)
        result = run()
        for fault in due:
            fault.strike(where)
        return result

    def _due(self, operation: str, name: str) -> Sequence[Fault]:
        due = []
        with self._lock:
            for index, fault in enumerate(self._faults):
                if fault.operation == operation and fnmatchcase(name, fault.name):
                    self._calls[index] += 1
                    if self._calls[index] == fault.nth:
                        due.append(fault)
        return due


def claim(open_store: Callable[[], Store], names: Sequence[str], data: bytes) -> set[str]:
    """Puts `data` under each of the names; returns those that this call won. Runs in a racing process too."""
    store, won = open_store(), set()
    for name in names:
        try:
            store.put(name, data)
        except ObjectExists:
            continue
        won.add(name)
    return won


ODD_NAMES = (
    "with space.csv",
    " space at both ends ",
    ".hidden",
    "a.b..c",
    "..up",
    "down..",
    "ünïcødé-日本語-🛒.parquet",
    "percent%20plus+and&hash#question?semi;equal=",
    "quote'double\"star*bracket[1]{2}~",
    "2026/11/20/deep.csv",
    "long-" + "x" * 200,
)

# Siblings on both sides of "/" (code point 47), which a sort folder by folder gets wrong.
TREE_NAMES = (
    "a!",
    "a-b",
    "a.b",
    "a/b",
    "a/b-",
    "a/c/d",
    "a/c/e",
    "a/c0",
    "a0",
    "aa/b",
    "b/a",
    "é",
    "日/x",
    "🛒",
)


class StoreSuite:
    """What every adapter promises. A subclass says how to open it on a `place` and how to look behind it.

    It defines a pytest fixture `place`: an empty place of its own for each test, a folder or a bucket.
    `listings` is how many of the combinations of prefix and after are tried, all when None.
    """

    listings: int | None = None

    def open(self, place: Any) -> Store:
        """A new adapter on the place."""
        raise NotImplementedError

    def peek(self, place: Any) -> dict[str, bytes]:
        """All that is at the place, with its bytes, read without the adapter, temporary things as well."""
        raise NotImplementedError

    def plant(self, place: Any, name: str, data: bytes) -> None:
        """Makes an object without the adapter."""
        raise NotImplementedError

    def test_put_stores_exactly_these_bytes(self, place: Any) -> None:
        """What put stored is at the place, byte for byte, nothing else is, and a later adapter gets it."""
        data = bytes(range(256)) * 1000
        self.open(place).put("object", data)
        assert self.peek(place) == {"object": data}
        assert self.open(place).get("object") == data

    def test_an_object_made_by_others_is_seen(self, place: Any) -> None:
        """has, get and list see what was not made by this adapter, also after they have looked in vain."""
        store = self.open(place)
        assert not store.has("object")
        self.plant(place, "object", b"planted")
        assert store.has("object")
        assert store.get("object") == b"planted"
        assert [*store.list()] == ["object"]

    def test_a_taken_name_stays_as_it_is(self, place: Any) -> None:
        """A second put fails with ObjectExists, with the same bytes as well, and changes nothing."""
        store = self.open(place)
        store.put("object", b"first")
        for data in (b"first", b"other", b""):
            _expect(ObjectExists, store.put, "object", data)
        assert self.peek(place) == {"object": b"first"}

    def test_an_empty_object_is_an_object(self, place: Any) -> None:
        """An object of no bytes is there, is listed, and its name is taken."""
        store = self.open(place)
        store.put("empty", b"")
        assert store.get("empty") == b""
        assert store.has("empty")
        assert [*store.list()] == ["empty"]
        _expect(ObjectExists, store.put, "empty", b"x")

    def test_a_range_is_a_slice(self, place: Any) -> None:
        """A range is the bytes it names, cut at the end of the object, and none past it."""
        store, data = self.open(place), bytes(range(100))
        store.put("folder/object", data)
        store.put("empty", b"")
        for start, length in ((0, 1), (0, 100), (0, 1000), (37, 21), (99, 1), (99, 2), (100, 1), (200, 5)):
            assert store.get_range("folder/object", start, length) == data[start : start + length]
        assert store.get_range("empty", 0, 10) == b""
        assert "missing" in str(_expect(ObjectMissing, store.get_range, "missing", 0, 1))

    def test_a_deleted_object_is_gone(self, place: Any) -> None:
        """What is deleted is gone and its name is free; what is not there can be deleted as well."""
        store = self.open(place)
        for name in ("a", "folder/b", *ODD_NAMES[:3]):
            store.put(name, b"first")
        store.put("stays", b"")
        for name in ("a", "folder/b", *ODD_NAMES[:3], "a", "missing", "missing/deep", "folder"):
            store.delete(name)
        assert self.peek(place) == {"stays": b""}
        assert [*store.list()] == ["stays"]
        store.put("a", b"second")
        assert self.open(place).get("a") == b"second"

    def test_the_probe_leaves_nothing(self, place: Any) -> None:
        """The probe finds that the store creates once, beside what is there, and leaves nothing."""
        self.plant(place, "object", b"planted")
        check_creates(self.open(place))
        assert self.peek(place) == {"object": b"planted"}

    def test_a_missing_object_is_said_to_be_missing(self, place: Any) -> None:
        """Without the object, get fails with ObjectMissing that names it, and has is false."""
        store = self.open(place)
        assert [*store.list()] == []
        store.put("folder/there", b"")
        for name in ("missing", "missing/deep", "folder/missing", "folder"):
            assert name in str(_expect(ObjectMissing, store.get, name))
            assert not store.has(name)

    def test_odd_names_are_kept(self, place: Any) -> None:
        """Spaces, dots, Unicode, signs with a meaning in URIs and long names come back as they were given."""
        store = self.open(place)
        for name in ODD_NAMES:
            store.put(name, name.encode())
        assert [*store.list()] == sorted(ODD_NAMES)
        assert self.peek(place) == {name: name.encode() for name in ODD_NAMES}
        assert all(store.has(name) and store.get(name) == name.encode() for name in ODD_NAMES)

    def test_list_is_sorted_filtered_names(self, place: Any) -> None:
        """For every prefix and after, list is what filtering and sorting all names by code point gives."""
        store = self.open(place)
        for name in TREE_NAMES:
            store.put(name, b"")
        starts = {name[:length] for name in TREE_NAMES for length in range(len(name) + 1)}
        texts = sorted(starts | {"a/c/d/", "a/c/z", "a//", "../", "z", "\U0010ffff"})
        pairs = [(prefix, after) for prefix in texts for after in texts]
        for prefix, after in pairs if self.listings is None else random.Random(11).sample(pairs, self.listings):
            expected = sorted(name for name in TREE_NAMES if name.startswith(prefix) and name > after)
            assert [*store.list(prefix, after)] == expected, (prefix, after)

    def test_list_goes_on_past_a_page(self, place: Any) -> None:
        """More than 1,000 names, the usual page of an object store, are listed whole and in order."""
        names = [f"{number:012}.parquet" for number in range(1234)]
        for name in random.Random(7).sample(names, len(names)):
            self.plant(place, name, b"")
        store = self.open(place)
        assert [*store.list()] == names
        assert [*store.list(after=names[1099])] == names[1100:]
        assert [*store.list("0000000011")] == names[1100:1200]

    def test_one_of_many_racers_wins(self, place: Any) -> None:
        """Of 64 threads that put under one name exactly one succeeds, and its bytes are the object."""
        racers, store, barrier = 64, self.open(place), Barrier(64)

        def race(racer: int) -> bool:
            data = b"%d " % racer * 1000
            barrier.wait()
            return bool(claim(lambda: store, ["object"], data))

        with ThreadPoolExecutor(racers) as pool:
            won = [*pool.map(race, range(racers))]
        assert won.count(True) == 1
        assert self.peek(place) == {"object": b"%d " % won.index(True) * 1000}

    def test_only_whole_objects_are_ever_seen(self, place: Any) -> None:
        """While another thread puts, list and get show complete objects only, and nothing else is left."""
        data, names, done = b"whole" * 50_000, [f"{number:03}" for number in range(20)], Event()

        def write() -> None:
            try:
                claim(lambda: self.open(place), names, data)
            finally:
                done.set()

        with ThreadPoolExecutor(1) as pool:
            writing, reader = pool.submit(write), self.open(place)
            while not done.is_set():
                seen = [*reader.list()]
                assert set(seen) <= set(names)
                assert all(reader.get(name) == data for name in seen[-1:])
            writing.result()
        assert self.peek(place) == dict.fromkeys(names, data)

    def test_put_same_accepts_the_same_bytes_only(self, place: Any) -> None:
        """put_same creates, then finds its own bytes, and fails loudly on others without changing them."""
        store = self.open(place)
        assert put_same(store, "object", b"data")
        assert not put_same(store, "object", b"data")
        assert "object" in str(_expect(StoreError, put_same, store, "object", b"other"))
        assert self.peek(place) == {"object": b"data"}


def _expect(kind: type[StoreError], call: Callable[..., object], *args: object) -> StoreError:
    try:
        call(*args)
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")
