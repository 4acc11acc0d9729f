"""What is compared: the patterns in force, and those that are tried, each with the setup that it would run in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tillwatch.compose import Composed, compose, setup
from tillwatch.config import PatternChoice, load
from tillwatch.detect.setup import Setup
from tillwatch.patterns.catalogue import load_patterns
from tillwatch.patterns.pattern import Pattern
from tillwatch.pipeline import Pipeline
from tillwatch.retry import Retry

TRIED = ("patterns", "features", "columns", "amounts", "lookups", "require", "time", "where")
"""Keys of the configuration that detections depend on: what `--set` says of them is tried, and is not in force."""


@dataclass(frozen=True, slots=True)
class Side:
    """A configuration's patterns, in order, and its setup."""

    composed: Composed
    setup: Setup

    @property
    def patterns(self) -> list[Pattern]:
        """The patterns."""
        return [plan.pattern for plan in self.composed.program.plans]


@dataclass(frozen=True, slots=True)
class Trial:
    """`now` is in force, `draft` is tried; `named` are the ids that were asked about, all of them when empty."""

    pipeline: Pipeline
    now: Side
    draft: Side
    named: tuple[str, ...]


def is_tried(override: str) -> bool:
    """Whether an override, KEY=VALUE, is tried; the others say where the pipeline is.

    >>> is_tried("patterns.PatId2.transactions=60"), is_tried("state=./other.db")
    (True, False)
    """
    return override.partition("=")[0].partition(".")[0] in TRIED


def trial(config: Path, overrides: Sequence[str], drafts: Sequence[str], retry: Retry) -> Trial:
    """What a call compares. `drafts` are ids of patterns, files or folders; files are taken up as if configured.

    Raises ConfigError and PatternError.
    """
    in_force = [text for text in overrides if not is_tried(text)]
    pipeline = Pipeline.open(config, in_force)
    now = Side(pipeline.composed, pipeline.read_setup(retry))
    settings = load(config, overrides)
    configured = load_patterns(settings.patterns, settings.texts)
    asked, patterns = _taken_up(drafts, configured, settings.texts)
    composed = compose(settings, patterns)
    same = composed.lookups == now.composed.lookups and settings.amounts.digits == pipeline.settings.amounts.digits
    draft = Side(composed, setup(composed, retry, now.setup.lookups if same else ()))
    return Trial(pipeline, now, draft, tuple(dict.fromkeys(asked)))


def _taken_up(
    drafts: Sequence[str], configured: Sequence[Pattern], keys: Sequence[str]
) -> tuple[list[str], list[Pattern]]:
    """The ids that the drafts have, and the configured patterns with them: a draft replaces one of the same id."""
    patterns = {pattern.id: pattern for pattern in configured}
    asked: list[str] = []
    for draft in drafts:
        if draft in patterns:
            asked.append(draft)
            continue
        for pattern in load_patterns([PatternChoice(ref=draft, where="PATTERN")], keys):
            patterns[pattern.id] = pattern
            asked.append(pattern.id)
    return asked, list(patterns.values())
