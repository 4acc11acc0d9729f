"""Files elsewhere brought to this machine: once, in parts, and gone when done with."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tillwatch.errors import SourceError, SourceUnavailable
from tillwatch.sources import base, open_source
from tillwatch.sources.base import FileChanged, RangeReader, Remote, at_once
from tillwatch.sources.spool import local_copy, spooled

CONTENT = random.Random(3).randbytes(50_000)


class Elsewhere:
    """A file that counts what is fetched of it, and fails when it has given `limit` bytes."""

    def __init__(self, content: bytes = CONTENT, limit: int = 1 << 30, error: SourceError | None = None) -> None:
        self.content = content
        self.fetched: list[tuple[int, int]] = []
        self.limit = limit
        self.error = error or SourceUnavailable("the line is down")

    @property
    def bytes(self) -> int:
        """Bytes given so far."""
        return sum(length for _, length in self.fetched)

    def file(self, revision: str = "r1", name: str = "a.csv.gz") -> Remote:
        """The file as a source would give it."""
        return Remote(f"gdrive://1 ({name})", revision, len(self.content), f"md5:{revision}", self._fetch)

    def _fetch(self, start: int, length: int) -> bytes:
        if self.bytes >= self.limit:
            raise self.error
        block = self.content[start : start + length]
        self.fetched.append((start, len(block)))
        return block


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies are kept; ranges are of 10,000 bytes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tillwatch.sources.spool.RANGE", 10_000)
    return tmp_path / "cache" / "tillwatch"


def test_whole_file(cache: Path) -> None:
    """Within the block the file is there as a whole, by its suffixes; after it nothing is left."""
    there = Elsewhere()
    with spooled(there.file()) as path:
        assert path.read_bytes() == CONTENT
        assert path.name.endswith(".csv.gz")
        assert path.parent == cache
    assert there.fetched == [(start, 10_000) for start in range(0, 50_000, 10_000)]
    assert list(cache.iterdir()) == []


def test_interrupted_copy_goes_on(cache: Path) -> None:
    """What was fetched of a revision before the line went down is not fetched again."""
    there = Elsewhere(limit=20_000)
    with pytest.raises(SourceUnavailable), spooled(there.file()):
        pass
    there.limit = 1 << 30
    with spooled(there.file()) as path:
        assert path.read_bytes() == CONTENT
    assert there.bytes == len(CONTENT)


def test_left_before_the_end(cache: Path) -> None:
    """Who stops while reading finds the whole copy when coming back; who is done with an error does not."""
    there = Elsewhere()
    with pytest.raises(KeyboardInterrupt), spooled(there.file()):
        raise KeyboardInterrupt
    with pytest.raises(SourceError), spooled(there.file()) as path:
        raise SourceError("is damaged")
    assert (there.bytes, path.exists()) == (len(CONTENT), False)


def test_another_revision_is_another_copy(cache: Path) -> None:
    """Parts of two revisions are never put together."""
    there = Elsewhere(limit=20_000)
    with pytest.raises(SourceUnavailable), spooled(there.file("r1")):
        pass
    other = Elsewhere(CONTENT[::-1])
    with spooled(other.file("r2")) as path:
        assert path.read_bytes() == CONTENT[::-1]


def test_two_at_once(cache: Path) -> None:
    """Two that need the same file do not get into each other's way."""
    there = Elsewhere()
    with spooled(there.file()) as first:
        with spooled(there.file()) as second:
            assert first != second
        assert first.read_bytes() == CONTENT


def test_changed_on_the_way(cache: Path) -> None:
    """A file that changes while it is fetched is told."""
    there = Elsewhere(limit=20_000, error=FileChanged("was changed"))
    with pytest.raises(FileChanged), spooled(there.file()):
        pass


def test_parts_that_nobody_came_back_for(cache: Path) -> None:
    """Parts older than a week are removed when the next file is fetched."""
    with pytest.raises(SourceUnavailable), spooled(Elsewhere(limit=20_000).file()):
        pass
    (left,) = cache.iterdir()
    os.utime(left, (0, 0))
    with spooled(Elsewhere().file("r2")):
        assert not left.exists()


def test_no_place_for_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be made is told with what to set."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    words = r"gdrive://1 \(a.csv.gz\) cannot be kept in .*: .* set XDG_CACHE_HOME"
    with pytest.raises(SourceError, match=words), spooled(Elsewhere().file()):
        pass


def test_local_copy_of_a_local_file(tmp_path: Path) -> None:
    """A file of this machine is not copied; a folder is no file."""
    (tmp_path / "a b.csv").write_text("a\n")
    with local_copy(open_source(f"file://{tmp_path}/a%20b.csv"), at_once) as path:
        assert path == tmp_path / "a b.csv"
    with pytest.raises(SourceError, match="is not a file, or not there"), local_copy(open_source(tmp_path), at_once):
        pass


@pytest.mark.parametrize("size", [1, 1000, 7919, 50_000])
@pytest.mark.parametrize("offset", [0, 1, 300, 40_000, 49_999, 50_000])
def test_reading_by_ranges(monkeypatch: pytest.MonkeyPatch, size: int, offset: int) -> None:
    """Whatever is asked for at a time, and after going on at an offset, the bytes are those of the file, each once."""
    monkeypatch.setattr(base, "FIRST_RANGE", 100)
    monkeypatch.setattr(base, "RANGE", 8_000)
    there = Elsewhere()
    reader = RangeReader(there.file())
    assert reader.read(10) == CONTENT[:10]
    reader.seek(offset)
    found = b"".join(iter(lambda: reader.read(size), b""))
    assert found == CONTENT[offset:]
    before = 100 if offset > 100 else 0
    assert there.bytes == before + (len(CONTENT) - offset if offset > 100 else len(CONTENT))
