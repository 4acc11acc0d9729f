"""Why a pattern does not hold for a key: every clause as it is, and what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tillwatch.detect.recovery import recover
from tillwatch.detect.setup import Setup
from tillwatch.engine.amounts import AmountDictionary
from tillwatch.engine.dictionary import clean, clean_gender
from tillwatch.engine.fold import Fold
from tillwatch.engine.row_judge import RowJudge
from tillwatch.errors import ConfigError, LogError, StateMissing
from tillwatch.history.clauses import Clause, KeyView, as_json
from tillwatch.history.needs import Needs
from tillwatch.history.next_row import NextRowView
from tillwatch.history.reading import check_whole
from tillwatch.history.refold import Progress, Refold, alone, plan_of, slot_of
from tillwatch.history.stepping import fold_of
from tillwatch.patterns.pattern import Pattern
from tillwatch.patterns.program import Plan, Program
from tillwatch.pipeline import Pipeline
from tillwatch.retry import Retry


@dataclass(frozen=True, slots=True)
class Detected:
    """That a key was detected, at a chunk. `seq` is None when it was found by folding up to an earlier chunk."""

    chunk: int
    seq: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """How a pattern stands for a key after `chunk`; one that is judged on transactions, for the next one of the key.

    `condition` is None when no valid row of the key has come; `unseen` then says which of its parts have not come
    either. The parts of the condition that keep it from being true have a `need`.
    """

    pattern: Pattern
    key: Mapping[str, str]
    chunk: int
    condition: Clause | None
    detected: Detected | None
    unseen: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the condition is true."""
        return self.condition is not None and self.condition.truth is True

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "patternId": self.pattern.id,
            "ActionType": self.pattern.action,
            "title": self.pattern.title,
            "key": dict(self.key),
            "after_chunk": self.chunk,
            "seen": self.condition is not None,
            "unseen": list(self.unseen),
            "holds": self.holds,
            "detected": self.detected and {"chunk": self.detected.chunk, "seq": self.detected.seq},
            "condition": self.condition and as_json(self.condition),
        }


def why_not(
    pipeline: Pipeline,
    pattern: str,
    given: Mapping[str, str],
    at: int | None,
    retry: Retry,
    on_progress: Progress = lambda done, total: None,
) -> Answer:
    """How the pattern stands for the key `given`, now or after chunk `at`. Nothing is written.

    Now is what the state says; an earlier chunk is folded up to, from the landing zone. Raises ConfigError when the
    pattern is not configured or the key is not one of its, LogError when the log does not have the chunks, StateError
    when there is no state.
    """
    plan = plan_of(pipeline.composed.program, pattern)
    key = key_of(plan, given, pipeline.composed.program)
    setup = pipeline.read_setup(retry)
    if at is None:
        return _now(pipeline, setup, plan, key, retry)
    return _then(pipeline, alone(setup, pattern), key, at, retry, on_progress)


def key_of(plan: Plan, given: Mapping[str, str], program: Program) -> dict[str, str]:
    """The key of a pattern from its parts as they were typed. Raises ConfigError when one is missing or too many."""
    per, name = plan.per, plan.pattern.id
    if wrong := [k for k in given if k not in per]:
        raise ConfigError(f"{name} is per {', '.join(per)}; '{wrong[0]}' is not one of its keys")
    if missing := [k for k in per if k not in given]:
        raise ConfigError(f"{name} is per {', '.join(per)}; say which {' and which '.join(missing)}")
    key = {k: _cleaned(k, given[k], program.digits) for k in per}
    if empty := [k for k, text in key.items() if not text and k not in program.lookups]:
        raise ConfigError(f"{empty[0]} is empty: rows without it are not valid")
    return key


def _cleaned(name: str, text: str, digits: int) -> str:
    """A part of a key as rows have it."""
    if name != "amount":
        return clean_gender(text) if name == "gender" else clean(text)
    try:
        amounts = AmountDictionary(digits)
        return amounts.texts(np.array([amounts.code(clean(text))]))[0]
    except ArithmeticError:
        raise ConfigError(f"amount: found '{text}', expected a decimal number") from None


def _now(pipeline: Pipeline, setup: Setup, plan: Plan, key: Mapping[str, str], retry: Retry) -> Answer:
    """From the tables of the state, and the chunks since they were saved."""
    fold = fold_of(setup, setup.program)
    with pipeline.opened(readonly=True) as state, state.snapshot():
        state.claim_allowed(setup.fingerprint, setup.meaning)
        cursor = state.cursor()
        if not cursor.chunk:
            raise StateMissing("detect has not processed a chunk yet: run 'tillwatch run' first")
        recover(fold, fold.decoder, pipeline.landing, state, cursor, retry)
        stored = [(s.detection, s.seq) for s in state.detections()]
    mine = [Detected(d.chunk, seq) for d, seq in stored if d.pattern == plan.pattern.id and d.key == key]
    detected = mine[0] if mine else None
    answer = _answer(fold, plan, key, cursor.chunk - 1, detected, negative=setup.negative)
    return answer if answer.condition is not None else replace(answer, unseen=_unseen(fold, plan, key))


def _unseen(fold: Fold, plan: Plan, key: Mapping[str, str]) -> tuple[str, ...]:
    """The parts of the key that no row has had that the pattern sees."""
    table = fold.tables[plan.per]
    seen = table.columns[plan.present][: table.size] > 0
    codes = {name: fold.decoder.dictionaries[name].code(text) for name, text in key.items()}
    return tuple(name for name, code in codes.items() if code not in table.keys[name][: table.size][seen])


def _then(
    pipeline: Pipeline, setup: Setup, key: Mapping[str, str], at: int, retry: Retry, on_progress: Progress
) -> Answer:
    """From the chunks up to `at`."""
    landing = pipeline.landing
    retry(lambda: check_whole(landing))
    if not retry(lambda: landing.has(at)):
        raise LogError(f"chunk {at} is not landed; the last one is {retry(landing.next_number) - 1}")
    again = Refold(setup, key)
    again.read(landing, at, retry, on_progress)
    detected = Detected(again.detections[0].chunk, None) if again.detections else None
    return _answer(again.fold, again.plan, key, at, detected, negative=setup.negative)


def _answer(
    fold: Fold, plan: Plan, key: Mapping[str, str], chunk: int, detected: Detected | None, *, negative: bool
) -> Answer:
    slot = slot_of(fold, plan, key)
    if slot is None:
        return Answer(plan.pattern, key, chunk, None, detected)
    judge = next(j for j in fold.judges if j.plan.pattern.id == plan.pattern.id)
    if isinstance(judge, RowJudge):
        view: KeyView | NextRowView = NextRowView(fold, judge, key, chunk)
    else:
        view = KeyView(judge.condition, slot, chunk)
    condition = Needs(view, judge.plan, fold.tables, negative).of(view.clause(judge.plan.tree))
    return Answer(plan.pattern, key, chunk, condition, detected)
