"""Where X and Y stand, read from the state and the landing zone; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tillwatch.config import Settings, masked
from tillwatch.detect.loop import REFUSED, REFUSED_LOOKUP
from tillwatch.patterns.history import plan_lines
from tillwatch.pipeline import Pipeline
from tillwatch.state.activity import Activity
from tillwatch.state.base import State
from tillwatch.state.meaning import base_of


@dataclass(frozen=True, slots=True)
class OutputStatus:
    """A further output: what it is, where, and how many of the planned files it does not have yet."""

    format: str
    place: str
    undelivered: int


@dataclass(frozen=True, slots=True)
class LookupStatus:
    """The version of a lookup in force: its number, since which chunk, when that was taken, how many keys it has."""

    version: int
    since: int
    at: str
    keys: int


@dataclass(frozen=True, slots=True)
class Status:
    """A pipeline at one moment. Counts are of the whole pipeline, not of this run.

    `landed_rows` are those that ingest has noted; `marked` are counted rows that a lookup does not have, by its name;
    `unplanned` are detections that are in no file yet; `shadow` are those of patterns in the shadow; `files` are source
    files by status; `problems` what is wrong with source files. `places` are where things are, by their name in the
    configuration: without `detections` where no files are published, then none waits either. The patterns in force are
    so since chunk `rules_from`, taken at `rules_at`; `edited` says that others are configured, which wait for the next
    chunk, or `refused_edit` why they are refused. `lookups` are in force by name; `refused_lookup` says why a new
    version is not. `activities` are the last runs of ingest and detect, as they have noted them.
    """

    source: str
    places: Mapping[str, str]
    layout: str
    landed_chunks: int
    landed_rows: int
    processed_chunks: int
    counted: int
    quarantined: Mapping[str, int]
    filtered: int
    marked: Mapping[str, int]
    detections: Mapping[str, int]
    shadow: Mapping[str, int]
    files_published: int
    files_waiting: int
    unplanned: int
    outputs: Mapping[str, OutputStatus]
    ingest_at_work: bool
    detect_at_work: bool
    started_at: str | None
    files: Mapping[str, int]
    problems: tuple[str, ...]
    rules_from: int
    rules_at: str | None
    edited: bool
    refused_edit: str
    lookups: Mapping[str, LookupStatus]
    refused_lookup: str
    activities: tuple[Activity, ...]

    @property
    def lag(self) -> int:
        """Chunks that are landed and not processed."""
        return self.landed_chunks - self.processed_chunks


def status(pipeline: Pipeline) -> Status:
    """Where the pipeline stands. Raises StateError when it has never run."""
    with pipeline.opened(readonly=True) as state:
        totals, cursor, plans, files = state.totals(), state.cursor(), state.files_planned(), state.files()
        found, in_shadow = state.by_pattern(), state.by_pattern(shadow=True)
        patterns = [plan.pattern for plan in pipeline.composed.program.plans]
        published = sum(p.published_at is not None for p in plans)
        settings = pipeline.settings
        return Status(
            masked(settings.source.uri),
            _places(settings, clears=pipeline.composed.clears),
            settings.landing.layout,
            pipeline.landing.next_number(cursor.chunk),
            totals.rows,
            cursor.chunk,
            totals.counted,
            state.quarantined(),
            totals.filtered,
            state.marked(),
            {**{p.id: 0 for p in patterns if not p.shadow}, **found},
            {**{p.id: 0 for p in patterns if p.shadow}, **in_shadow},
            published,
            0 if settings.detections.format == "none" else len(plans) - published,
            state.unplanned(),
            {
                name: OutputStatus(settings.outputs[name].format, output.place, len(state.undelivered(name)))
                for name, output in pipeline.outputs().items()
            },
            state.at_work("ingest"),
            state.at_work("detect"),
            state.started_at(),
            dict(Counter(f.status for f in files)),
            tuple(f"{f.file.name}: {f.problem}" for f in files if f.problem),
            *_rules(pipeline, state),
            {v.name: LookupStatus(v.number, v.first, v.at, v.rows) for v in state.lookup_versions()},
            state.get_meta(REFUSED_LOOKUP) or "",
            tuple(state.activities()),
        )


def _rules(pipeline: Pipeline, state: State) -> tuple[int, str | None, bool, str]:
    """Since when the patterns are in force, whether those configured are others, and what was refused.

    Lookups are not read for it: their lines are those of the state.
    """
    in_force = next(reversed(state.rule_sets()), None)
    if in_force is None:
        return 0, None, False, ""
    program = pipeline.composed.program
    configured = [line for plan in program.plans for line in plan_lines(plan, program)]
    known = in_force.meaning.splitlines()
    edited = configured != [line for line in known if line not in base_of(in_force.meaning)]
    return in_force.first, in_force.at, edited, state.get_meta(REFUSED) or pipeline.broken


def _places(settings: Settings, *, clears: bool) -> dict[str, str]:
    places = {"landing": settings.landing.uri, "quarantine": settings.quarantine, "state": settings.state}
    if settings.detections.format != "none":
        places["detections"] = settings.detections.uri
    if clears:
        places["cleared"] = settings.detections.cleared
    if settings.reports is not None:
        places["reports"] = settings.reports
    return {name: masked(place) for name, place in places.items()}
