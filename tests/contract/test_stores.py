"""Every store adapter keeps the promises of the port, and the local one those of a folder."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tillwatch.errors import ConfigError, ObjectExists, StoreError
from tillwatch.stores import LocalStore, open_store
from tillwatch.stores.base import Store
from tillwatch.testing.stores import Fault, FaultyStore, MemoryStore, StoreSuite, claim

NOBODY = 65534


class TestMemoryStore(StoreSuite):
    """The store in memory keeps the promises of the port."""

    @pytest.fixture
    def place(self) -> MemoryStore:
        return MemoryStore()

    def open(self, place: MemoryStore) -> Store:
        return place

    def peek(self, place: MemoryStore) -> dict[str, bytes]:
        return dict(place.objects)

    def plant(self, place: MemoryStore, name: str, data: bytes) -> None:
        place.objects[name] = data


class TestFaultyStore(TestMemoryStore):
    """A faulty store without faults is a store."""

    def open(self, place: MemoryStore) -> Store:
        return FaultyStore(place)


class TestLocalStore(StoreSuite):
    """The store in a folder keeps the promises of the port, in a folder that is not there at first."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        return tmp_path / "not" / "there"

    def open(self, place: Path) -> Store:
        return LocalStore(place)

    def peek(self, place: Path) -> dict[str, bytes]:
        files = (file for file in place.rglob("*") if file.is_file())
        return {file.relative_to(place).as_posix(): file.read_bytes() for file in files}

    def plant(self, place: Path, name: str, data: bytes) -> None:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_one_of_many_racing_processes_wins(tmp_path: Path) -> None:
    """Of 4 processes that put under the same 100 names each name has one winner, whose bytes it holds."""
    racers, names = 4, [f"{number:03}" for number in range(100)]
    context = multiprocessing.get_context("spawn")
    open_folder = partial(LocalStore, tmp_path / "store")
    with ProcessPoolExecutor(racers, context, context.Barrier(racers).wait) as pool:
        running = [pool.submit(claim, open_folder, names, b"%d" % racer * 9999) for racer in range(racers)]
        won = [future.result() for future in running]
    assert sorted(name for names_won in won for name in names_won) == names
    for racer, names_won in enumerate(won):
        assert all((tmp_path / "store" / name).read_bytes() == b"%d" % racer * 9999 for name in names_won)
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == names


KILLED_PUT = """
import os, signal, sys
from pathlib import Path
from tillwatch.stores import LocalStore

folder, owner, call, when, nth = sys.argv[1], *sys.argv[2].split(".")
kind = {"os": os, "Path": Path}[owner]
original, calls = getattr(kind, call), 0

def deadly(*args, **kwargs):
    global calls
    calls += 1
    if calls == int(nth) and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*args, **kwargs)
    if calls == int(nth):
        os.kill(os.getpid(), signal.SIGKILL)
    return result

store = LocalStore(folder)
store.put("first", b"first")
setattr(kind, call, deadly)
store.put("second", b"second" * 100_000)
"""


@pytest.mark.parametrize(
    ("moment", "there"),
    [
        ("os.fstat.before.1", False),
        ("os.fsync.before.1", False),
        ("os.fsync.after.1", False),
        ("Path.hardlink_to.before.1", False),
        ("Path.hardlink_to.after.1", True),
        ("Path.unlink.before.1", True),
        ("Path.unlink.after.1", True),
        ("os.fsync.after.2", True),
    ],
)
def test_a_put_killed_at_any_moment_leaves_all_or_nothing(tmp_path: Path, moment: str, there: bool) -> None:
    """After SIGKILL between any two steps of put the object is whole or absent; the next put tidies up."""
    killed = subprocess.run([sys.executable, "-c", KILLED_PUT, tmp_path, moment], check=False)
    assert killed.returncode == -signal.SIGKILL
    store = LocalStore(tmp_path)
    assert [*store.list()] == (["first", "second"] if there else ["first"])
    if there:
        assert store.get("second") == b"second" * 100_000
        with pytest.raises(ObjectExists):
            store.put("second", b"again")
    else:
        store.put("second", b"again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_the_temporary_file_of_a_living_put_is_left_alone(tmp_path: Path) -> None:
    """A store that starts while another is in the middle of a put does not take its file for an orphan."""
    store, other = LocalStore(tmp_path), LocalStore(tmp_path)
    original = os.fsync

    def fsync(descriptor: int) -> None:
        original(descriptor)
        patch.undo()
        other.put("other", b"other")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        store.put("object", b"object")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["object", "other"]
    assert store.get("object") == b"object"


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


def test_a_folder_without_rights_is_reported(public: Path) -> None:
    """Where the user may not write, read or look, each operation fails with path, error and advice."""
    LocalStore(public).put("folder/object", b"")
    folder = public / "folder"
    cases = (
        (0o555, lambda store: store.put("new", b""), "cannot write"),
        (0o555, lambda store: store.put("sub/new", b""), "cannot write"),
        (0o444, lambda store: store.get("object"), "cannot read"),
        (0o444, lambda store: store.has("object"), "cannot read"),
        (0o000, lambda store: [*store.list()], "cannot list"),
    )
    for mode, operation, words in cases:
        folder.chmod(mode)
        with as_nobody(), pytest.raises(StoreError, match=rf"{words} {folder}.*\[EACCES\]; give .*\."):
            operation(LocalStore(folder))
    folder.chmod(0o755)
    assert [*LocalStore(public).list()] == ["folder/object"]


def test_a_file_where_a_folder_is_needed_is_reported(tmp_path: Path) -> None:
    """A file in the place of the store, or of a folder in it, is told apart from a taken name."""
    (tmp_path / "file").write_bytes(b"")
    store = LocalStore(tmp_path)
    for refused in (
        lambda: LocalStore(tmp_path / "file"),
        lambda: LocalStore(tmp_path / "file" / "below").put("object", b""),
        lambda: store.put("file/object", b""),
        lambda: store.put("file/deep/object", b""),
    ):
        with pytest.raises(StoreError, match=rf"{tmp_path}/file.* a file is where a folder is needed") as caught:
            refused()
        assert not isinstance(caught.value, ObjectExists)


def test_a_folder_where_an_object_should_go_is_reported(tmp_path: Path) -> None:
    """A name that is a folder is no object, and cannot become one."""
    store = LocalStore(tmp_path)
    store.put("folder/object", b"")
    with pytest.raises(StoreError, match="folder: it is a folder") as caught:
        store.put("folder", b"")
    assert not isinstance(caught.value, ObjectExists)
    assert [*store.list()] == ["folder/object"]


@pytest.mark.parametrize(
    "name", ["", "/", "/etc/x", "..", "../x", "a/../../x", "a/..", ".", "./a", "a//b", "a/", "a\0b", ".tmp-1"]
)
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    """A name that is absolute, climbs, has empty parts or is kept for temporary files is refused."""
    store = LocalStore(tmp_path / "store")
    for operation in (partial(store.put, name, b""), partial(store.get, name), partial(store.has, name)):
        with pytest.raises(StoreError, match="no name for an object"):
            operation()
    assert [*tmp_path.iterdir()] == []


def test_a_name_too_long_for_the_file_system_is_reported(tmp_path: Path) -> None:
    """A name longer than the file system takes fails with advice and leaves nothing."""
    with pytest.raises(StoreError, match=r"\[ENAMETOOLONG\]; choose a shorter name"):
        LocalStore(tmp_path).put("x" * 300, b"")
    assert [*tmp_path.iterdir()] == []


def test_a_file_size_limit_in_the_middle_of_a_write_leaves_nothing(tmp_path: Path) -> None:
    """A write that stops half-way fails with advice, leaves no file of any kind, and can be repeated."""
    store, limits = LocalStore(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StoreError, match=rf"cannot write {tmp_path}/object.*\[EFBIG\]; raise the limit"):
            store.put("object", b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [*tmp_path.iterdir()] == []
    store.put("object", b"x" * 5000)
    assert store.get("object") == b"x" * 5000


FULL_DISK = """
import sys
from pathlib import Path
from tillwatch.errors import StoreError
from tillwatch.stores import LocalStore

folder = sys.argv[1]
store = LocalStore(folder)
store.put("first", b"x" * 30_000)
try:
    store.put("second", b"y" * 60_000)
except StoreError as error:
    print(error)
print(*sorted(path.name for path in Path(folder).iterdir()))
store.put("third", b"z" * 20_000)
"""


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """On a full disk put fails with ENOSPC and advice, leaves nothing, and smaller objects still fit."""
    mount = 'mount -t tmpfs -o size=64k none "$1" || exit 77; exec "$2" -c "$3" "$1"'
    words = ["unshare", "--mount", "sh", "-c", mount, "sh", tmp_path, sys.executable, FULL_DISK]
    try:
        run = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare, from util-linux")
    if run.returncode == 77 or "unshare failed" in run.stderr:
        pytest.skip("needs the right to mount a small file system")
    assert run.returncode == 0, run.stderr
    error, names = run.stdout.splitlines()
    assert f"cannot write {tmp_path}/second: No space left on device [ENOSPC]; make room" in error
    assert names == "first"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Where hard links are refused, put says that the file system is unfit and leaves nothing."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreError, match="needs a file system with hard links"):
        LocalStore(tmp_path).put("object", b"")
    assert [*tmp_path.iterdir()] == []


def test_a_uri_opens_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path, relative or absolute, and a file URI with escapes name the same folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a folder"
    for uri in (
        "a folder",
        "./a folder",
        str(folder),
        folder.as_uri(),
        f"file://localhost{tmp_path}/a%20folder",
    ):
        assert open_store(uri).uri == str(folder)


@pytest.mark.parametrize("scheme", ["gdrive", "ftp", "https", "file"])
def test_a_place_without_a_store_is_refused(scheme: str) -> None:
    """A place that is no store is a configuration error that repeats no secret of the URI."""
    with pytest.raises(
        ConfigError, match=r"Use a path, file:///path, s3://, az://, abfss://, gs:// or dbfs:/Volumes/\."
    ) as caught:
        open_store(f"{scheme}://key:secret@place/prefix")
    assert "secret" not in str(caught.value)
    assert scheme.lower() in str(caught.value)


def test_an_empty_place_is_refused() -> None:
    """The empty string is no place, and not the current folder."""
    with pytest.raises(ConfigError, match="is empty"):
        open_store("")


def test_a_fault_strikes_once_where_it_should() -> None:
    """A fault hits the nth matching call only, before it or after it took effect."""
    inner = MemoryStore()
    store = FaultyStore(inner, Fault(name="*.b", nth=2), Fault("get", when="after"), Fault("list"), Fault("has"))
    store.put("1.b", b"")
    store.put("1.a", b"")
    with pytest.raises(StoreError, match=r"memory:/2\.b: fault on purpose, before put number 2"):
        store.put("2.b", b"")
    assert set(inner.objects) == {"1.b", "1.a"}
    store.put("2.b", b"")
    for operation in (partial(store.get, "1.a"), store.list, partial(store.has, "1.a")):
        with pytest.raises(StoreError, match="fault on purpose"):
            operation()
        operation()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_deadly_fault_kills_the_process(tmp_path: Path, when: str) -> None:
    """A fault that kills ends the process by SIGKILL, before the object is there or after."""
    code = (
        "from tillwatch.stores import LocalStore; from tillwatch.testing.stores import Fault, FaultyStore; "
        f"FaultyStore(LocalStore({str(tmp_path)!r}), Fault(when={when!r}, action='kill')).put('object', b'')"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert LocalStore(tmp_path).has("object") == (when == "after")
