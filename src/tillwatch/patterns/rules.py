"""Patterns as they were written: all that is needed to read them again later, when their files have changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tillwatch.config import PatternChoice
from tillwatch.model import STANDARD_KEYS
from tillwatch.patterns.catalogue import patterns_in, sources
from tillwatch.patterns.pattern import Pattern


@dataclass(frozen=True, slots=True)
class Written:
    """A pattern's file: its name, its text, and what the configuration says beside it."""

    file: str
    text: str
    choice: PatternChoice


@dataclass(frozen=True, slots=True)
class Rules:
    """The patterns of a configuration, the features that it declares, and the ids that are in the shadow."""

    written: tuple[Written, ...]
    features: Mapping[str, str]
    shadow: tuple[str, ...] = ()

    def patterns(self, keys: Sequence[str] = STANDARD_KEYS, where: str = "shadow") -> list[Pattern]:
        """The patterns in order; `keys` are the text columns there can be, `where` is the place of `shadow`.

        Raises PatternError with every mistake and its place.
        """
        return patterns_in([(w.file, w.text, w.choice) for w in self.written], keys, self.shadow, where)


def read_rules(choices: Sequence[PatternChoice], features: Mapping[str, str], shadow: Sequence[str] = ()) -> Rules:
    """Reads the files. Raises PatternError."""
    return Rules(tuple(Written(*source) for source in sources(choices)), features, tuple(shadow))


def to_text(rules: Rules) -> str:
    """The rules as they are kept.

    >>> rules = read_rules([PatternChoice(ref="PatId2", thresholds={"transactions": 20})], {"spent": "sum(amount)"})
    >>> [p.thresholds["transactions"] for p in from_text(to_text(rules)).patterns()]
    [Decimal('20')]
    """
    patterns = [
        {"file": w.file, "text": w.text, "thresholds": {k: str(v) for k, v in w.choice.thresholds.items()}}
        for w in rules.written
    ]
    said = {"patterns": patterns, "features": dict(rules.features), "shadow": list(rules.shadow)}
    return json.dumps(said, ensure_ascii=False)


def from_text(text: str) -> Rules:
    """The rules that were kept."""
    said = json.loads(text)
    written = []
    for each in said["patterns"]:
        thresholds = {name: Decimal(value) for name, value in each["thresholds"].items()}
        written.append(Written(each["file"], each["text"], PatternChoice(ref=each["file"], thresholds=thresholds)))
    return Rules(tuple(written), said["features"], tuple(said["shadow"]))
