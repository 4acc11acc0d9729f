"""For tests: a pipeline that is killed at a point of its work, and what a pipeline has come to.

    python -m tillwatch.testing.crash --config tillwatch.yaml --record points.txt ingest detect
    python -m tillwatch.testing.crash --config tillwatch.yaml --kill-at 'state.commit.before#3' detect

A point is `role.operation.step#nth`, such as `detections.put.link#2`: the step `before` and `after` an operation
of a store or of the state, and every step within it that changes something, each just before it is done: file
operations below the pipeline's folder, writes of half an object, locks, flushes, and SQL statements that are not
queries. Nothing in the product knows of points, and none is listed here: what writes has them, also what is added
later.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import multiprocessing
import os
import re
import shutil
import signal
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from functools import wraps
from io import FileIO
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, cast

from tillwatch.audit import audit
from tillwatch.config import Settings, load
from tillwatch.detect import loop, saving
from tillwatch.events import Observer
from tillwatch.observe.activity import Keeper
from tillwatch.observe.run import Run
from tillwatch.pipeline import Pipeline
from tillwatch.state.base import ChunkRecord, FileRecord, State, StoredDetection
from tillwatch.stores import local
from tillwatch.stores.base import Store

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["__main__", __name__])
_CHANGES = {"os.link", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
_NOISE = {"into", "or", "replace", "table", "view", "if", "not", "exists", "on"}

Which = Literal["first", "middle", "last"]


def forked(target: Callable[..., None], *arguments: object) -> BaseProcess:
    """A process that works on its own, from one that has imported everything, in the environment as it is now."""
    process = _SERVER.Process(target=_in_environment, args=(dict(os.environ), target, arguments), daemon=True)
    process.start()
    return cast(BaseProcess, process)


def _in_environment(environment: Mapping[str, str], target: Callable[..., None], arguments: Sequence[object]) -> None:
    # The process that forks has the environment of when it began.
    os.environ.clear()
    os.environ.update(environment)
    target(*arguments)


class Points:
    """The points that this process passes: each is recorded, and kills the process when it is the one."""

    def __init__(self, folder: Path, kill_at: str | None, record: Path | None) -> None:
        self._folder, self._kill_at = f"{folder.absolute()}/", kill_at
        self._record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if record else None
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._here = threading.local()

    def watch(self) -> None:
        """From now on file operations and SQL statements of this process are steps."""
        sys.addaudithook(self._audited)
        flush, connect = os.fsync, sqlite3.connect

        def fsync(descriptor: int) -> None:
            self.reach("fsync")
            flush(descriptor)

        def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **kwargs)
            connection.set_trace_callback(self._stated)
            return connection

        os.fsync = fsync  # type: ignore[assignment]
        sqlite3.connect = traced  # type: ignore[assignment]
        local.FileIO = _in_halves(self)  # type: ignore[attr-defined]

    @contextmanager
    def within(self, operation: str) -> Iterator[None]:
        """An operation: its steps are named after it. One that fails has no after."""
        outer, self._here.operation = self._operation, operation
        try:
            self.reach("before")
            yield
            self.reach("after")
        finally:
            self._here.operation = outer

    def reach(self, step: str) -> None:
        """Passes a point, or dies at it."""
        with self._lock:
            name = f"{self._operation}.{step}"
            self._counts[name] += 1
            point = f"{name}#{self._counts[name]}"
            if self._record is not None:
                os.write(self._record, f"{point}\n".encode())
            if point == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    @property
    def _operation(self) -> str:
        return cast(str, getattr(self._here, "operation", "process.work"))

    def _audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CHANGES or (event == "open" and arguments[2] & _WRITING):
            if self._is_inside(arguments[0]):
                self.reach(event.removeprefix("os."))
        elif event == "fcntl.flock":
            self.reach("flock")

    def _is_inside(self, path: object) -> bool:
        return isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith(self._folder)

    def _stated(self, sql: str) -> None:
        if (step := statement_name(sql)) is not None:
            self.reach(step)


def _in_halves(points: Points) -> type[FileIO]:
    """A file whose first write takes half of what it is given, so that a point has nothing and one half written."""

    class Halves(FileIO):
        _begun = False

        def write(self, data: Any, /) -> int:
            points.reach("write")
            half = len(data) if self._begun else (len(data) + 1) // 2
            self._begun = True
            return super().write(memoryview(data)[:half])

    return Halves


def statement_name(sql: str) -> str | None:
    """What a statement that is not a query does, and to which table.

    >>> statement_name("-- Why.\\nINSERT INTO chunks (number) VALUES (1)"), statement_name("COMMIT")
    ('insert-chunks', 'commit')
    """
    words = re.findall(r"\w+", _COMMENT.sub("", sql[:300]))[:8]
    verb = words[0].lower() if words else ""
    if verb in ("", "select"):
        return None
    return "-".join([verb, *[w.lower() for w in words[1:] if w.lower() not in _NOISE][:1]])


class Marked:
    """Passes everything on to `inner`; every call of a public method is an operation."""

    def __init__(self, inner: object, role: str, points: Points) -> None:
        self._inner, self._role, self._points = inner, role, points

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._marked(name, found) if callable(found) else found

    def _marked(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._points.within(f"{self._role}.{name}"):
                found = method(*args, **kwargs)
                return self if found is self._inner else found

        return call


class MarkedPipeline(Pipeline):
    """A pipeline whose stores and state are marked."""

    def __init__(self, settings: Settings, points: Points) -> None:
        super().__init__(settings)
        self.points = points

    def store(self, uri: str) -> Store:
        """The store at a configured place, by its role."""
        settings = self.settings
        roles = {
            settings.landing.uri: "landing",
            settings.detections.uri: "detections",
            settings.detections.cleared: "cleared",
            settings.spark.state: "shards",
        }
        return cast(Store, Marked(super().store(uri), roles.get(uri, "quarantine"), self.points))

    def alive(self, keeper: Keeper, run: Run, tell: Observer) -> AbstractContextManager[None]:
        """Says nothing: that is written by a thread, at times of its own, and points are to be the same each time."""
        return nullcontext()

    @contextmanager
    def opened(self, *, readonly: bool = False) -> Iterator[State]:
        """The state; making it is an operation too."""
        opening = super().opened(readonly=readonly)
        with self.points.within("state.open"):
            state = opening.__enter__()
        try:
            yield cast(State, Marked(state, "state", self.points))
        finally:
            opening.__exit__(None, None, None)


def main(arguments: Sequence[str]) -> None:
    """Works as the arguments say, one after the other. Exits as any Python program does."""
    options = _options(arguments)
    loop.BATCH_CHUNKS, saving.CHUNKS, saving.PAUSE = options.batch_chunks, options.save_chunks, 0
    points = Points(options.config.parent, options.kill_at, options.record)
    pipeline = MarkedPipeline(load(options.config, options.set), points)
    if pipeline.settings.engine == "spark":
        from tillwatch.spark import detect  # imported only where Spark is at work

        detect.BATCH_CHUNKS = options.batch_chunks
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    points.watch()
    for name in options.work:
        getattr(pipeline, name)(once=not options.endless, stop=stop)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("tillwatch.testing.crash")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--kill-at", metavar="POINT", help="die by SIGKILL there")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write down every point that is passed")
    parser.add_argument("--batch-chunks", type=int, default=loop.BATCH_CHUNKS, help="chunks per commit, at most")
    parser.add_argument("--save-chunks", type=int, default=saving.CHUNKS, help="chunks until tables are saved")
    parser.add_argument("--endless", action="store_true", help="work until SIGTERM")
    parser.add_argument("work", nargs="+", choices=("ingest", "detect", "run"))
    return parser.parse_args(arguments)


def writing(record: Path) -> list[str]:
    """The recorded points that belong to operations which changed something, in the order they were passed."""
    points = record.read_text("utf-8").split()
    changed = {_operation(p) for p in points if not _name(p).endswith((".before", ".after"))}
    return [p for p in points if _operation(p) in changed]


def occurrences(points: Sequence[str], which: Which) -> list[str]:
    """One point of each name, in order. None is in two of first, middle and last."""
    by_name: dict[str, list[str]] = {}
    for point in points:
        by_name.setdefault(_name(point), []).append(point)
    chosen = []
    for same in by_name.values():
        at = {"first": 0, "middle": len(same) // 2, "last": len(same) - 1}[which]
        if which == "first" or (at > 0 and (which == "last" or at < len(same) - 1)):
            chosen.append(same[at])
    return chosen


def _name(point: str) -> str:
    return point.partition("#")[0]


def _operation(point: str) -> str:
    return _name(point).rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a pipeline has come to, times aside: equal whatever befell it on the way.

    Detections have seq, chunk, pattern, action, key, evidence, and whether they hold; `landed` and `quarantined`
    map the names of objects to their digests, `published` and `told` (what is cleared) map those of files to their rows
    without the times.
    """

    detections: Sequence[tuple[object, ...]]
    turns: list[tuple[int, int, bool]]
    in_shadow: Sequence[tuple[object, ...]]
    shadow_turns: list[tuple[int, int, bool]]
    cleared: Sequence[tuple[object, ...]]
    chunks: list[ChunkRecord]
    marked: Mapping[str, int]
    files: list[FileRecord]
    landed: dict[str, str]
    quarantined: dict[str, str]
    published: dict[str, list[list[str]]]
    told: dict[str, list[list[str]]]
    rules: list[tuple[int, str]]
    lookups: list[tuple[str, int, int, str, str]]

    def differences(self, other: Outcome) -> list[str]:
        """The names of what is not the same in both."""
        return [f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)]


@dataclass(frozen=True, slots=True)
class Site:
    """A pipeline in a folder of its own, and processes that work on it.

    They commit two chunks at most at a time and save their tables after six, unless told otherwise: little enough
    for a small data set to pass every point many times.
    """

    folder: Path

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.folder / "tillwatch.yaml"

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline, unmarked, to be looked at from this process."""
        return Pipeline.open(self.config)

    @property
    def said(self) -> str:
        """The end of all that its processes have printed."""
        return self._log.read_text("utf-8")[-3000:] if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self.folder / "processes.log"

    def copy(self, folder: Path) -> Site:
        """The same in another folder. No process may be at work."""
        shutil.copytree(self.folder, folder)
        return Site(folder)

    def start(self, *arguments: str) -> BaseProcess:
        """A process that works as `main` does. Forked from one that has imported everything, it starts at once."""
        small = ("--config", str(self.config), "--batch-chunks", "2", "--save-chunks", "6")
        return forked(_work, self._log, [*small, *arguments])

    def work(self, *arguments: str) -> int:
        """The exit code of such a process once it has ended; -9 is SIGKILL."""
        return finish(self.start(*arguments))

    def objects(self) -> dict[str, dict[str, bytes]]:
        """All objects of `landing`, `quarantine`, `detections` and `cleared`, by name, read behind the stores' back.

        Without temporary files, which a killed process may leave and nobody sees.
        """
        settings = self.pipeline.settings
        uris = {
            "landing": settings.landing.uri,
            "quarantine": settings.quarantine,
            "detections": settings.detections.uri,
            "cleared": settings.detections.cleared,
        }
        return {role: _files(Path(uri)) for role, uri in uris.items()}

    def outcome(self) -> Outcome:
        """What the pipeline has come to."""
        there = self.objects()
        digests = {
            role: {name: hashlib.sha256(data).hexdigest() for name, data in there[role].items()}
            for role in ("landing", "quarantine")
        }
        with self.pipeline.opened(readonly=True) as state:
            return Outcome(
                _told(state.detections()),
                state.turns(2**62),
                _told(state.detections(shadow=True)),
                state.turns(2**62, shadow=True),
                [(c.number, c.seq, c.chunk, c.pattern, c.action, c.key) for c in state.cleared()],
                list(state.chunks()),
                state.marked(),
                state.files(),
                digests["landing"],
                digests["quarantine"],
                {name: [row[2:] for row in _rows(data)] for name, data in there["detections"].items()},
                {name: [row[1:] for row in _rows(data)] for name, data in there["cleared"].items()},
                [(r.first, r.hash) for r in state.rule_sets()],
                [(v.name, v.number, v.first, v.digest, v.kept) for v in state.lookup_versions()],
            )

    def problems(self) -> list[str]:
        """What audit finds, and where the published files, read apart from it, are not what the state says."""
        found = [problem for check in audit(self.pipeline) for problem in check.problems]
        with self.pipeline.opened(readonly=True) as state:
            begun = state.started_at()
            expected = [
                [begun, s.at, d.pattern, d.action, d.customer, d.merchant, s.file]
                for s in state.detections()
                for d in [s.detection]
            ]
        files = self.objects()["detections"]
        published = [[*row, name] for name, data in files.items() for row in _rows(data)[1:]]
        if published != expected:
            found.append(f"{len(published)} published rows are not the {len(expected)} detections in their order")
        return found


def _told(detections: Iterable[StoredDetection]) -> list[tuple[object, ...]]:
    found = ((s.seq, s.detection, s.holds) for s in detections)
    return [(seq, d.chunk, d.pattern, d.action, d.key, d.evidence, holds) for seq, d, holds in found]


def finish(process: BaseProcess, seconds: float = 60.0) -> int:
    """The exit code of a process once it has ended. One that hangs is an AssertionError."""
    process.join(seconds)
    code = process.exitcode
    if code is None:
        process.kill()
        raise AssertionError(f"process {process.pid} was still at work after {seconds:g} s")
    process.close()
    return code


def _work(log: Path, arguments: Sequence[str]) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    main(arguments)


def _files(folder: Path) -> dict[str, bytes]:
    there = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".tmp-"))
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in there}


def _rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


if __name__ == "__main__":
    main(sys.argv[1:])
