"""Where X and Y stand, read from the state and the landing zone; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tillwatch.config import masked
from tillwatch.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Status:
    """A pipeline at one moment. Counts are of the whole pipeline, not of this run.

    `landed_rows` are those that ingest has noted; `unplanned` are detections that are in no file yet;
    `files` are source files by status; `problems` what is wrong with source files.
    """

    source: str
    landed_chunks: int
    landed_rows: int
    processed_chunks: int
    counted: int
    quarantined: Mapping[str, int]
    detections: Mapping[str, int]
    files_published: int
    files_waiting: int
    unplanned: int
    ingest_at_work: bool
    detect_at_work: bool
    started_at: str | None
    files: Mapping[str, int]
    problems: tuple[str, ...]

    @property
    def lag(self) -> int:
        """Chunks that are landed and not processed."""
        return self.landed_chunks - self.processed_chunks


def status(pipeline: Pipeline) -> Status:
    """Where the pipeline stands. Raises StateError when it has never run."""
    with pipeline.opened(readonly=True) as state:
        totals, cursor, plans, files = state.totals(), state.cursor(), state.files_planned(), state.files()
        found = state.by_pattern()
        published = sum(p.published_at is not None for p in plans)
        return Status(
            masked(pipeline.settings.source.uri),
            pipeline.landing.next_number(cursor.chunk),
            totals.rows,
            cursor.chunk,
            totals.counted,
            state.quarantined(),
            {p.pattern.id: found.get(p.pattern.id, 0) for p in pipeline.composed.program.plans},
            published,
            len(plans) - published,
            state.unplanned(),
            state.at_work("ingest"),
            state.at_work("detect"),
            state.started_at(),
            dict(Counter(f.status for f in files)),
            tuple(f"{f.file.name}: {f.problem}" for f in files if f.problem),
        )
