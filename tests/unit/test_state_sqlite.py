"""The SQLite state: what it makes of files that are not its own, of folders and disks that refuse, of other tools."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tillwatch.errors import LeaseHeld, StateError, TillwatchError
from tillwatch.state import open_state, sqlite
from tillwatch.state.base import State, TableRows
from tillwatch.state.migrations import VERSION
from tillwatch.state.queries import named, read_sql
from tillwatch.state.tables import TableShape
from tillwatch.testing.commits import MEANING, SHAPE, STARTED, commit, everything, info

NOBODY = 65534


@contextmanager
def opened(path: Path, *, readonly: bool = False) -> Iterator[State]:
    """A connection, closed at the end."""
    state = open_state(str(path), readonly=readonly)
    try:
        yield state
    finally:
        state.close()


def run(path: Path, sql: str) -> list[tuple[object, ...]]:
    """What another SQLite tool does with the file."""
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute(sql).fetchall()


def objects(path: Path) -> list[tuple[object, ...]]:
    """All tables, views and indexes in the file."""
    return run(path, "SELECT type, name FROM sqlite_schema ORDER BY 1, 2")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, whom no mode of a folder holds back."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that any user can reach, which tmp_path is not."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


# Files that are not a state


def test_a_missing_state_is_told_to_a_reader(tmp_path: Path) -> None:
    """Nothing has been run yet; nothing is made by looking."""
    with pytest.raises(StateError, match=rf"^there is no state at {tmp_path}/x/s\.db yet: nothing has been run"):
        open_state(str(tmp_path / "x" / "s.db"), readonly=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("content", [b"customer,merchant\n" * 500, b"\0" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes, readonly: bool) -> None:
    """It is told that the file is something else; no byte of it changes."""
    path = tmp_path / "s.db"
    path.write_bytes(content)
    with pytest.raises(StateError, match=r"file is not a database; this file is something else: choose another path"):
        open_state(str(path), readonly=readonly)
    assert path.read_bytes() == content


def test_a_newer_state_is_refused(tmp_path: Path) -> None:
    """A schema of another version is told with both versions."""
    path = tmp_path / "s.db"
    with opened(path):
        pass
    run(path, f"UPDATE meta SET value = '{VERSION + 1}' WHERE key = 'schema'")  # noqa: S608
    for readonly in (False, True):
        with pytest.raises(StateError, match=rf"has schema {VERSION + 1}, this version of tillwatch reads {VERSION}$"):
            open_state(str(path), readonly=readonly)


def test_a_reader_tells_of_a_database_of_another_program(tmp_path: Path) -> None:
    """Opened to be read it is a StateError that names the file."""
    path = tmp_path / "s.db"
    run(path, "CREATE TABLE orders (id INTEGER)")
    with pytest.raises(StateError, match=rf"^state sqlite:///{path}: "):
        open_state(str(path), readonly=True)


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """A SQLite file with tables and without ours is somebody else's: it is refused, and nothing is made in it."""
    path = tmp_path / "s.db"
    run(path, "CREATE TABLE orders (id INTEGER)")
    with pytest.raises(StateError):
        open_state(str(path))
    assert objects(path) == [("table", "orders")]


def test_a_newer_state_is_left_alone(tmp_path: Path) -> None:
    """Opening a state of a newer version adds nothing to it."""
    path = tmp_path / "s.db"
    with opened(path):
        pass
    run(path, f"UPDATE meta SET value = '{VERSION + 1}' WHERE key = 'schema'")  # noqa: S608
    run(path, "DROP TABLE turns")
    before = objects(path)
    with pytest.raises(StateError):
        open_state(str(path))
    assert objects(path) == before


def test_a_state_that_is_just_being_made_is_told_to_a_reader(tmp_path: Path) -> None:
    """A file that is still empty is no state yet: that is what is said."""
    path = tmp_path / "s.db"
    path.touch()
    with pytest.raises(StateError, match=r"there is no state at .* yet"):
        open_state(str(path), readonly=True)


def test_a_damaged_state_is_told(tmp_path: Path) -> None:
    """A file whose pages were overwritten is told with what to do."""
    path = tmp_path / "s.db"
    with opened(path) as state:
        state.start("f", MEANING, STARTED, [SHAPE])
        state.commit(commit(0, [200]), 50)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x55" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StateError, match=r"malformed; the file is damaged: move it away, the state is rebuilt"):
        open_state(str(path))


# Places that refuse


def test_a_folder_that_cannot_be_written_to_is_told(public: Path) -> None:
    """Neither a new state nor a lease can be made there: path and advice are told."""
    folder = public / "folder"
    folder.mkdir(mode=0o555)
    for path in (folder / "s.db", folder / "sub" / "s.db"):
        with as_nobody(), pytest.raises(StateError, match=rf"{path}.*check that the folder exists and can be written"):
            open_state(str(path))


def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    """A path that is a folder is no state."""
    with pytest.raises(StateError, match=r"unable to open database file; check that the folder exists"):
        open_state(str(tmp_path))


def test_a_state_that_cannot_be_written_to_is_told(public: Path) -> None:
    """Of a file that only others may write, reading works, and writing is told with advice."""
    path = public / "s.db"
    with opened(path) as state:
        state.start("f", MEANING, STARTED, [SHAPE])
    path.chmod(0o444)
    with as_nobody(), pytest.raises(StateError, match=r"readonly database; make the file and its folder writable"):
        open_state(str(path))


def test_who_may_only_read_sees_whether_somebody_is_at_work(public: Path) -> None:
    """A user who may read the state and not write it is told the truth by `status`."""
    path = public / "s.db"
    with opened(path) as state:
        for _ in range(2):
            with state.lease("detect"), as_nobody(), opened(path, readonly=True) as reader:
                assert reader.at_work("detect")
            with as_nobody(), opened(path, readonly=True) as reader:
                assert not reader.at_work("detect")


def test_a_lock_file_that_is_something_else_is_told(tmp_path: Path) -> None:
    """Whatever is in the place of the lock file, the error is one of ours."""
    path = tmp_path / "s.db"
    with opened(path) as state:
        (tmp_path / "s.db.detect.lock").write_bytes(b"something else, longer than the header of a database" * 40)
        for use in (lambda: state.at_work("detect"), lambda: state.lease("detect").__enter__()):
            try:
                use()
            except TillwatchError:
                continue


def test_a_lock_that_is_left_over_is_free(tmp_path: Path) -> None:
    """The files of a lease stay behind; who held it last is told only while it is held."""
    with opened(tmp_path / "s.db") as state, opened(tmp_path / "s.db") as other:
        for _ in range(2):
            with state.lease("detect"), pytest.raises(LeaseHeld, match=rf"process {os.getpid()} on "):
                other.lease("detect").__enter__()
        assert not state.at_work("detect")


def test_a_locked_state_is_told_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another program holds a write lock for too long the commit fails whole, and goes through later."""
    monkeypatch.setattr(sqlite, "BUSY_MS", 50)
    path = tmp_path / "s.db"
    with opened(path) as state:
        state.start("f", MEANING, STARTED, [SHAPE])
        before = everything(state)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StateError, match=r"database is locked; another program holds a write lock"):
                state.commit(commit(0, [3]), 2)
            assert everything(state) == before
            other.execute("ROLLBACK")
        assert state.commit(commit(0, [3]), 2) == 4


FULL_DISK = """
import sys
from tillwatch.errors import StateError
from tillwatch.state import open_state
from tillwatch.testing.commits import MEANING, SHAPE, STARTED, commit, everything

state = open_state(sys.argv[1] + "/s.db")
state.start("f", MEANING, STARTED, [SHAPE])
number = 0
try:
    while True:
        before = everything(state)
        state.commit(commit(number, [40]), 7)
        number += 1
except StateError as error:
    print(error)
assert everything(state) == before, "after the failure"
state.close()
state = open_state(sys.argv[1] + "/s.db", readonly=True)
assert everything(state) == before, "after a restart"
print(number > 0, state.cursor().chunk == number)
"""


def test_a_full_disk_fails_the_commit_whole(tmp_path: Path) -> None:
    """On a full disk the commit fails with advice; the state is that of the last commit, now and after a restart."""
    mount = 'mount -t tmpfs -o size=400k none "$1" || exit 77; exec "$2" -c "$3" "$1"'
    words = ["unshare", "--mount", "sh", "-c", mount, "sh", tmp_path, sys.executable, FULL_DISK]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare, from util-linux")
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("needs the right to mount a small file system")
    assert done.returncode == 0, done.stderr
    error, facts = done.stdout.splitlines()
    assert "database or disk is full; free some space; the work goes on from the last commit" in error
    assert facts == "True True"


# For other tools


def test_any_sqlite_tool_can_read_it_while_it_is_written_to(tmp_path: Path) -> None:
    """It is in WAL mode, so that a reader neither waits nor keeps the writer waiting."""
    path = tmp_path / "s.db"
    with opened(path) as state:
        state.start("f", MEANING, STARTED, [SHAPE])
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as tool:
            tool.execute("BEGIN")
            assert tool.execute("SELECT count(*) FROM detections").fetchall() == [(0,)]
            state.commit(commit(0, [3]), 2)
            assert tool.execute("SELECT count(*) FROM detections").fetchall() == [(0,)]
            tool.execute("COMMIT")
            assert tool.execute("SELECT seq, customer, merchant FROM detections").fetchall() == [
                (1, "0.0", "M"),
                (2, "0.1", "M"),
                (3, "0.2", "M"),
            ]
    assert run(path, "PRAGMA journal_mode") == [("wal",)]


def test_features_can_be_read_as_views(tmp_path: Path) -> None:
    """The view of a table shows keys and features by name."""
    shape = TableShape("merchant", ("merchant",), ("transactions", "sum_amount"), (), {"total": '"sum_amount" / 10.0'})
    path = tmp_path / "s.db"
    with opened(path) as state:
        state.start("f", MEANING, STARTED, [shape])
        rows = {"id": [0], "merchant": ["M'1"], "transactions": [3], "sum_amount": [125]}
        state.save_tables([TableRows("merchant", rows)], 0)
    assert run(path, "SELECT merchant, total FROM merchant_stats") == [("M'1", 12.5)]


@pytest.mark.parametrize("name", ["", "1st", "a b", 'a"b', "a;b", "größe", "a.b"])
def test_names_that_sql_would_misread_are_refused(name: str) -> None:
    """Names of tables and columns are letters, digits and underscores."""
    for parts in ((name, ("k",), ("c",), ("l",), {}), ("t", (name,), (), (), {}), ("t", (), (), (), {name: "1"})):
        with pytest.raises(StateError, match="cannot be a name in the state"):
            TableShape(*parts)  # type: ignore[arg-type]


def test_a_state_opened_twice_is_made_once(tmp_path: Path) -> None:
    """Opening a state that is there changes neither its schema nor its content."""
    path = tmp_path / "s.db"
    with opened(path) as state:
        state.start("f", MEANING, STARTED, [SHAPE])
        state.commit(commit(0, [3]), 2)
        state.record_landed([info(0), info(1)])
        held = everything(state)
    made = objects(path)
    with opened(path) as state:
        assert everything(state) == held
    assert objects(path) == made


def test_every_statement_of_the_file_is_sql(tmp_path: Path) -> None:
    """Each named statement can be prepared against the schema."""
    path = tmp_path / "s.db"
    with opened(path):
        pass
    statements = named(read_sql("queries.sql"))
    assert statements
    with closing(sqlite3.connect(path)) as db:
        for sql in statements.values():
            db.execute(f"EXPLAIN {sql}", [None] * sql.count("?"))
