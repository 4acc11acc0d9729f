"""Google Drive as a source: what is found, how it is read, what is said when Google refuses."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tillwatch.errors import ConfigError, SourceError, SourceUnavailable
from tillwatch.retry import Retry
from tillwatch.sources import Source, open_source
from tillwatch.sources.base import FileChanged, FileIgnored, FileRefused, Found, RangeReader, Remote, at_once
from tillwatch.testing.clocks import ScriptedClock
from tillwatch.testing.servers.drive import DOCUMENT, EMAIL, SHEET, SHORTCUT, DriveServer, Fault, drive_server

NewSource = Callable[[str], Source]


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DriveServer]:
    """A server of the test's own, which the environment names."""
    with drive_server() as server:
        for name, value in server.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def new(drive: DriveServer) -> Iterator[NewSource]:
    """Opens sources by id, and closes them in the end."""
    opened: list[Source] = []

    def open_one(id: str) -> Source:
        opened.append(open_source(f"gdrive://{id}"))
        return opened[-1]

    yield open_one
    for source in opened:
        source.close()


def read(source: Source, found: Found, again: Retry | None = None, start: int = 0) -> bytes:
    """The file's bytes from `start` on."""
    file = source.file(found, again or at_once)
    assert isinstance(file, Remote)
    reader = RangeReader(file)
    reader.seek(start)
    parts = []
    while block := reader.read(1 << 20):
        parts.append(block)
    return b"".join(parts)


def patience(clock: ScriptedClock, said: list[str]) -> Retry:
    """Retries on that clock, 60 s long, without jitter that a test would have to allow for."""
    return Retry(clock, threading.Event(), said.append, 60.0, random.Random(1))


def names(source: Source) -> list[str]:
    """The names of the files found, sorted."""
    return sorted(found.name for found in source.look().files)


@pytest.mark.parametrize("shared", [False, True])
def test_folder_in_pages(drive: DriveServer, new: NewSource, shared: bool) -> None:
    """All files in and below a folder are found, page by page, also those of a shared drive."""
    root = drive.folder(drive="0ADrive" if shared else "")
    below = drive.folder("2026", drive.folder("in", root))
    for number in range(5):
        drive.put(f"{number}.csv", "a\n", root)
    drive.put("deep.csv", "a\n", below)
    drive.put("elsewhere.csv", "a\n", drive.folder())
    drive.pages = 2
    assert names(new(root)) == ["0.csv", "1.csv", "2.csv", "3.csv", "4.csv", "in/2026/deep.csv"]
    assert drive.served.times["list"] == 5


def test_what_is_known_of_a_file(drive: DriveServer, new: NewSource) -> None:
    """A file has its id, its head revision, its size, its time and its SHA-256, or what else makes it unlike others."""
    root = drive.folder()
    id = drive.put("a.csv", "a\n1\n", root, age=0.25)
    (found,) = new(root).look().files
    assert (found.name, found.id, found.size, found.revision) == ("a.csv", id, 4, f"{id}r1")
    assert found.modified == 1_763_629_199_750_000_000 + 365 * 86_400 * 10**9
    assert found.checksum == hashlib.sha256(b"a\n1\n").hexdigest()
    drive.files[id].hashed = False
    (bare,) = new(root).look().files
    assert bare.checksum == f"revision:{id}@{id}r1"


def test_two_files_of_one_name(drive: DriveServer, new: NewSource) -> None:
    """Files that share a name are two files, told apart by their ids, each with its own content."""
    root = drive.folder()
    first, second = drive.put("a.csv", "a\n1\n", root), drive.put("a.csv", "a\n2\n", root)
    source = new(root)
    found = {f.name: read(source, f) for f in source.look().files}
    assert found == {f"a [{first}].csv": b"a\n1\n", f"a [{second}].csv": b"a\n2\n"}


def test_what_is_left_aside(drive: DriveServer, new: NewSource) -> None:
    """Hidden, unfinished and trashed files do not count; documents, and what may not be read, are told."""
    root = drive.folder()
    for name in (".a.csv", "_b.csv", "c.csv.part"):
        drive.put(name, "a\n", root)
    drive.files[drive.put("gone.csv", "a\n", root)].trashed = True
    drive.put("minutes", kind=DOCUMENT, parent=root)
    drive.files[drive.put("locked.csv", "a\n", root)].downloadable = False
    drive.put("lost", kind=SHORTCUT, parent=root, target="1Nowhere")
    seen = new(root).look()
    assert seen.files == []
    told = {ignored.name: ignored for ignored in seen.ignored}
    assert told["minutes"] == FileIgnored(
        "minutes", "is a Google document, expected a file or a Google Sheet", problem=False
    )
    assert told["locked.csv"].problem
    assert told["lost"].reason.startswith("is a shortcut, and gdrive://1Nowhere is not there, or not shared with")
    assert len(told) == 3


def test_shortcuts(drive: DriveServer, new: NewSource) -> None:
    """A shortcut stands for its target, file or folder; what is reached twice is there once, a circle ends."""
    root = drive.folder()
    other = drive.folder("other")
    file = drive.put("a.csv", "a\n1\n", other)
    drive.put("link.csv", kind=SHORTCUT, parent=root, target=file)
    drive.put("folder", kind=SHORTCUT, parent=root, target=other)
    drive.put("back", kind=SHORTCUT, parent=other, target=root)
    source = new(root)
    (found,) = source.look().files
    assert (found.id, read(source, found)) == (file, b"a\n1\n")
    (same,) = new(drive.put("to", kind=SHORTCUT, target=file)).look().files
    assert same.id == file


def test_one_file(drive: DriveServer, new: NewSource) -> None:
    """The id of a file is a source of one file; one in the trash, or that may not be had, is an error."""
    id = drive.put("a.csv", "a\n1\n")
    source = new(id)
    seen = source.look()
    assert (seen.lone, read(source, seen.files[0])) == (True, b"a\n1\n")
    drive.files[id].downloadable = False
    with pytest.raises(SourceError, match=rf"the source gdrive://{id} may not be downloaded"):
        source.look()
    drive.files[id].trashed = True
    with pytest.raises(SourceError, match="is in the trash"):
        source.look()


def test_reading_from_the_middle(drive: DriveServer, new: NewSource) -> None:
    """Nothing before the offset is fetched, nothing is fetched twice, and ranges grow up to 8 MiB."""
    content = random.Random(7).randbytes(16 << 20)
    source = new(drive.put("a.csv", content))
    (found,) = source.look().files
    assert read(source, found) == content
    lengths = [length for _, _, length in drive.served.ranges]
    assert (sum(lengths), lengths[0], max(lengths)) == (len(content), 64 << 10, 8 << 20)
    drive.served.ranges.clear()
    start = len(content) - 100_000
    assert read(source, found, start=start) == content[start:]
    assert drive.served.bytes_of(found.id) == 100_000


def test_answer_that_breaks_off(drive: DriveServer, new: NewSource) -> None:
    """What came of a range that broke off is kept, and reading goes on behind it; one that gave nothing is retried."""
    content = random.Random(7).randbytes(50_000)
    source = new(drive.put("a.csv", content))
    (found,) = source.look().files
    drive.faults += [Fault("media", after_bytes=20_000), Fault("media", after_bytes=0), Fault("media", status=0)]
    said: list[str] = []
    assert read(source, found, patience(ScriptedClock(*[lambda: None] * 9), said)) == content
    assert drive.served.bytes_of(found.id) == 50_000
    assert len(said) == 2
    assert all("Google Drive cannot be reached (RemoteProtocolError)" in text for text in said)


@pytest.mark.parametrize("how", ["changed", "trashed", "removed", "shorter"])
def test_changed_while_it_is_read(drive: DriveServer, new: NewSource, how: str) -> None:
    """No byte of another revision is taken for one of the revision that was found."""
    root = drive.folder()
    id = drive.put("a.csv", bytes(100_000), root)
    source = new(root)
    (found,) = source.look().files
    assert source.unchanged(found)
    file = source.file(found, at_once)
    assert isinstance(file, Remote)
    file.fetch(0, 50_000)
    match how:
        case "changed":
            drive.change(id, b"x" * 100_000)
        case "trashed":
            drive.files[id].trashed = True
        case "removed":
            del drive.files[id]
        case "shorter":
            drive.change(id, b"x")
    with pytest.raises(FileChanged):
        file.fetch(50_000, 50_000)
    assert not source.unchanged(found)


def test_sheet(drive: DriveServer, new: NewSource) -> None:
    """A Google Sheet is a CSV file, whose revision is when it was changed."""
    root = drive.folder()
    id = drive.put("Shop", "a\n1\n", root, kind=SHEET)
    source = new(root)
    (found,) = source.look().files
    assert (found.name, read(source, found)) == ("Shop.csv", b"a\n1\n")
    drive.change(id, "a\n2\n")
    with pytest.raises(FileChanged):
        source.file(found, at_once)
    (now,) = source.look().files
    assert (read(source, now), now.revision != found.revision) == (b"a\n2\n", True)
    drive.change(id, bytes(10_000_001))
    (large,) = source.look().files
    with pytest.raises(FileRefused, match="too large to be exported"):
        source.file(large, at_once)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(403, "rateLimitExceeded"), (403, "userRateLimitExceeded"), (429, ""), (500, "backendError"), (503, ""), (0, "")],
)
@pytest.mark.parametrize("asked", ["about", "list", "media"])
def test_refused_for_now(drive: DriveServer, new: NewSource, asked: str, status: int, reason: str) -> None:
    """Quota errors, errors of the server and lost connections are tried again, after the time that Google says."""
    root = drive.folder()
    drive.put("a.csv", "a\n1\n", root)
    source = new(root)
    clock, said = ScriptedClock(*[lambda: None] * 9), list[str]()
    again = patience(clock, said)
    drive.faults += [Fault(asked, status, reason, "7"), Fault(asked, status, reason)]  # type: ignore[arg-type]
    (found,) = again(source.look).files
    assert read(source, found, again) == b"a\n1\n"
    assert len(said) == len(clock.waits) == 2
    assert clock.waits[0] == 7.0 if status else clock.waits[0] < 1.0
    assert clock.waits[1] < 1.0


def test_patience_ends(drive: DriveServer, new: NewSource) -> None:
    """Who waits for a limited time gets Google's refusal in the end."""
    id = drive.put("a.csv", "a\n1\n")
    drive.faults.append(Fault("about", 429, "rateLimitExceeded", "3600"))
    with pytest.raises(SourceUnavailable, match="is busy or out of quota \\(429 rateLimitExceeded\\)") as caught:
        patience(ScriptedClock(), [])(new(id).look)
    assert caught.value.after == 3600.0


def test_not_shared(drive: DriveServer, new: NewSource) -> None:
    """A file that is not shared is told with the address to share it with; one read so far is asked for again."""
    root = drive.folder()
    id = drive.put("a.csv", bytes(100), root)
    source = new(root)
    (found,) = source.look().files
    drive.files[root].shared = drive.files[id].shared = False
    with pytest.raises(SourceError, match=f"gdrive://{root} is not there, or not shared with {EMAIL}: share it"):
        source.look()
    with pytest.raises(SourceUnavailable, match=f"share it with {EMAIL} as a viewer"):
        read(source, found)


@pytest.mark.parametrize("file", ["none", "[]", "cut", "other"])
def test_no_usable_credentials(
    drive: DriveServer, new: NewSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """Credentials that are not there, or are no credentials, are an error that shows nothing of them."""
    path = tmp_path / "service-account.json"
    whole = path.read_text()
    texts = {"none": None, "[]": "[]", "cut": whole[:900], "other": '{"type": "planted-type"}'}
    text = texts[file]
    path.unlink() if text is None else path.write_text(text)
    where = f", there is no file {path}: set" if text is None else f" in the file {path}: set GOOGLE_APPLICATION"
    with pytest.raises(SourceError, match=f"no usable Google credentials were found{where}") as caught:
        new("1Any").look()
    assert not isinstance(caught.value, SourceUnavailable)
    assert all(part not in str(caught.value) for part in ("PRIVATE", "planted", whole[300:340]))


def test_refused_key(drive: DriveServer, new: NewSource) -> None:
    """A key that Google does not take any more is told by its address, without what was sent or answered."""
    id = drive.put("a.csv", "a\n1\n")
    drive.key_ids = {"key2"}
    with pytest.raises(SourceError) as caught:
        new(id).look()
    assert str(caught.value).startswith(f"Google refuses the credentials of {EMAIL} (invalid_grant): set GOOGLE_")
    assert "Signature" not in str(caught.value)


def test_expired_token(drive: DriveServer, new: NewSource) -> None:
    """A token that is refused is replaced by a new one, unseen."""
    source = new(drive.put("a.csv", "a\n1\n"))
    source.look()
    drive.expire_tokens()
    assert len(source.look().files) == 1
    assert drive.served.times["token"] == 2


def test_rotated_key(drive: DriveServer, new: NewSource, tmp_path: Path) -> None:
    """A key file that is replaced while the old key is withdrawn is read again; until then there is hope."""
    source = new(drive.put("a.csv", "a\n1\n"))
    source.look()
    drive.key_ids = {"key2"}
    drive.expire_tokens()
    with pytest.raises(SourceUnavailable, match="invalid_grant"):
        source.look()
    (tmp_path / "service-account.json").write_text(json.dumps(drive.key_file("key2")))
    assert len(source.look().files) == 1


def test_api_that_is_not_enabled(drive: DriveServer, new: NewSource) -> None:
    """A project without the Drive API is told to have it enabled."""
    drive.faults.append(Fault("about", 403, "accessNotConfigured"))
    with pytest.raises(SourceError, match="the Google Drive API is not enabled in the project"):
        new("1Any").look()


@pytest.mark.parametrize("uri", ["gdrive://", "gdrive://a/b", "gdrive://user:secret@x", "gdrive://1?key=secret"])
def test_wrong_uri(drive: DriveServer, uri: str) -> None:
    """What is no id is refused, and not repeated."""
    with pytest.raises(ConfigError) as caught:
        open_source(uri)
    assert "secret" not in str(caught.value)


def test_endpoint_without_tls(drive: DriveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are not sent in the clear to another machine."""
    monkeypatch.setenv("TILLWATCH_GDRIVE_ENDPOINT", "http://drive.example.com")
    with pytest.raises(ConfigError, match="TILLWATCH_GDRIVE_ENDPOINT must be an https:// address"):
        open_source("gdrive://1Any")
