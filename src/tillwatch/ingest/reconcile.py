"""The start of a run: the landing zone is the truth, the ledger is brought up to it."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from tillwatch.errors import LogError
from tillwatch.landing import Landing
from tillwatch.model import ChunkInfo, Position
from tillwatch.state.base import FileRecord, FileStatus, Ledger

_BATCH = 100


def reconcile(landing: Landing, ledger: Ledger) -> tuple[int, Position]:
    """The next chunk number, and where the file that is still being read, if any, goes on.

    Afterwards the ledger has every landed chunk, and of the files with landed rows at most one, that of the
    last chunk, is `reading`. Raises LogError when the landing zone lacks chunks that the ledger has.
    """
    known = ledger.landed()
    if known and not landing.has(known - 1):
        landing.check_layout()
        raise LogError(
            f"chunk {known - 1} is not in the landing zone, but the ledger says that it was landed. "
            "Bring the landing zone back from a copy, or start with a new state."
        )
    end = landing.next_number(known)
    files = {record.file.number: record for record in ledger.files()}
    # The last chunk once more: a run may have ended between noting it and noting what became of its file.
    numbers = iter(range(max(known - 1, 0), end))
    last = None
    while batch := [landing.info(number) for number in islice(numbers, _BATCH)]:
        _note(ledger, batch, files)
        last = batch[-1]
    if last is None:
        return 0, Position()
    _close_others(ledger, files, last)
    return end, last.position


def _note(ledger: Ledger, chunks: list[ChunkInfo], files: dict[int, FileRecord]) -> None:
    """The chunks, and how far each of their files has come; what became of a file already stays so."""
    ledger.record_landed(chunks)
    for info in {info.file.number: info for info in chunks}.values():
        record = files.get(info.file.number) or FileRecord(info.file, "reading")
        if record.status == "reading":
            status: FileStatus = "done" if info.file_digest else "reading"
            record = FileRecord(info.file, status, info.position.row, info.file_digest)
            ledger.record_file(record)
            files[info.file.number] = record


def _close_others(ledger: Ledger, files: dict[int, FileRecord], last: ChunkInfo) -> None:
    """Files that others followed had ended early; only a ledger that is gone knew why."""
    for record in files.values():
        if record.status == "reading" and record.rows and record.file.number != last.file.number:
            problem = f"ended early or was changed after row {record.rows}: the rows behind it are not landed"
            ledger.record_file(replace(record, status="broken", problem=problem))
