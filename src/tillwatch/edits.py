"""Patterns that are edited between runs or while one is at work: what is in force, what waits, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tillwatch.clock import Clock
from tillwatch.compose import Composed, compose, setup
from tillwatch.config import Settings
from tillwatch.detect.setup import Setup
from tillwatch.errors import ConfigError, StateConflict
from tillwatch.events import EditRefused, EditTaken, Notice
from tillwatch.patterns.history import following, joined
from tillwatch.patterns.program import Program
from tillwatch.patterns.rules import from_text
from tillwatch.state.base import State
from tillwatch.state.meaning import contents_of

LOOK_SECONDS = 1.0
"""How often pattern files are looked at. An edit is read once they have been still from one look to the next."""

Files = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class History:
    """The patterns that a state was made by: `setups` came into force at `chunks`."""

    setups: tuple[Setup, ...]
    chunks: tuple[int, ...]

    @property
    def setup(self) -> Setup:
        """What is in force."""
        return self.setups[-1]

    def at(self, chunk: int) -> Setup:
        """What was in force at a chunk."""
        return self.setups[max(n for n, first in enumerate(self.chunks) if first <= chunk)]

    @property
    def program(self) -> Program:
        """All of it as one program."""
        return joined([setup.program for setup in self.setups], self.chunks)

    @property
    def whole(self) -> Setup:
        """All of it as one: what any of the programs needs of a row is decoded."""
        return replace(self.setup, program=self.program, detail=self.setup.reading_for(self.setups))


def history_of(state: State, settings: Settings, configured: Setup) -> History:
    """What the state was made by; before the first start it is what is configured.

    Raises StateConflict when the state was made by a configuration that differs in more than its patterns, or when
    a lookup has changed whose content was never kept.
    """
    records = state.rule_sets()
    if not records:
        state.claim_allowed(configured.fingerprint, configured.meaning)
        return History((configured,), (0,))
    state.base_allowed(configured.meaning)
    _check_contents(contents_of(records[0].meaning), configured)
    found: list[Setup] = []
    for record in records:
        made = configured
        if record.hash != configured.fingerprint:
            made = setup(compose(settings, rules=from_text(record.rules)), known=configured.lookups)
        if found:
            made = replace(made, program=following(found[-1].program, made.program, record.first))
        found.append(replace(made, optional=found[0].optional if found else made.optional))
    return History(tuple(found), tuple(r.first for r in records))


def _check_contents(known: Mapping[str, str], configured: Setup) -> None:
    """Before versions of lookups were recorded, the state was made by the one content that its meaning says."""
    first = {lookup.spec.name: lookup.digest for lookup in reversed(configured.lookups)}
    for name, digest in known.items():
        if first.get(name, digest) != digest:
            raise StateConflict(
                f"the lookup {name} has changed since the state was made, by an earlier version that did not keep its "
                "values. Put it back for one run, which keeps them, or choose new places for state and detections."
            )


class Edits:
    """Looks after the files that the patterns are in, for a run that goes on.

    `load` gives the configuration as it is now, `files` what it is written in beside pattern files. What is told a
    person goes to `report`.
    """

    def __init__(
        self,
        load: Callable[[], Settings],
        files: tuple[Path, ...],
        composed: Composed,
        configured: Setup,
        in_force: Setup,
        clock: Clock,
        report: Callable[[Notice], None],
    ) -> None:
        self._load, self._config = load, files
        self._composed, self._configured, self._in_force = composed, configured, in_force
        self._clock, self._report = clock, report
        self._settings = composed.settings
        self._wanted: Setup | None = None
        self.refused = ""
        self._consider(composed, configured)
        self._seen = self._files()
        self._read: Files = ()  # whatever was edited since the configuration was read is found by the first looks
        self._looked_at = clock.monotonic()

    def look(self) -> Setup | None:
        """The edit that waits to be taken, if there is one. Files are looked at once a second, however often asked."""
        if self._clock.monotonic() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = self._clock.monotonic()
            seen, self._seen = self._seen, self._files()
            if seen == self._seen != self._read:
                self._read = self._seen
                self._take_up()
        return self._wanted

    def taken(self, setup: Setup, chunk: int) -> None:
        """The edit is in force from a chunk on."""
        before, now = self._in_force.meaning.splitlines(), setup.meaning.splitlines()
        lines = [f"  was  {line}" for line in before if line not in now]
        lines += [f"  now  {line}" for line in now if line not in before]
        text = "\n".join([f"the patterns have changed, from chunk {chunk} on:", *lines])
        self._report(EditTaken(text, chunk))
        self._in_force, self._wanted, self.refused = setup, None, ""

    def refuse(self, why: str) -> None:
        """The edit cannot be taken. It is told once."""
        self._wanted = None
        if why != self.refused:
            self._report(EditRefused(f"the patterns stay as they are, an edit was refused: {why}"))
        self.refused = why

    def _take_up(self) -> None:
        """Reads what was edited."""
        try:
            self._settings = settings = self._load()
            composed = compose(settings)
        except ConfigError as error:
            self.refuse(str(error))
            return
        if _apart_from_patterns(settings) != _apart_from_patterns(self._composed.settings):
            text = "the configuration has changed in more than its patterns: that is taken by the next start"
            self._report(Notice(text))
            composed = compose(self._composed.settings, rules=composed.rules)
        self._consider(composed, setup(composed, known=self._configured.lookups))

    def _consider(self, composed: Composed, wanted: Setup) -> None:
        if wanted.fingerprint == self._in_force.fingerprint:
            self._wanted, self.refused = None, ""
        elif wanted.detail.times != self._in_force.detail.times:
            self.refuse(
                "the patterns need the time of rows, which was not read until now, or do not need it any more: which "
                "rows are valid would change. Begin a new state."
            )
        elif missing := sorted(self._in_force.optional & composed.program.columns):
            self.refuse(
                f"a pattern needs the column {', '.join(missing)}, which rows could be without until now. Name it "
                "under columns and begin a new state."
            )
        else:
            self.refused, self._wanted = "", replace(wanted, optional=self._in_force.optional)

    def _files(self) -> Files:
        """The files with their times and sizes."""
        found = []
        for path in (*self._config, *_pattern_files(self._settings)):
            try:
                told = path.stat()
                found.append((str(path), told.st_mtime_ns, told.st_size))
            except OSError:
                found.append((str(path), 0, 0))
        return tuple(found)


def _pattern_files(settings: Settings) -> Iterator[Path]:
    for choice in settings.patterns:
        if (path := choice.path) is not None:
            yield path
            if path.is_dir():
                yield from sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml"))


def _apart_from_patterns(settings: Settings) -> Mapping[str, object]:
    """Also the order of columns of one's own and of what is required, which mappings are equal without."""
    order = {"keys": settings.texts, "required": tuple(settings.require)}
    return {**settings.model_dump(exclude={"patterns", "features", "shadow"}), **order}
