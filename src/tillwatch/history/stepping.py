"""The pipeline's own step, made from a setup: the one place here that knows how rows are decoded and folded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from tillwatch.detect.loop import Setup
from tillwatch.engine.condition import Condition
from tillwatch.engine.decode import Decoded, Decoder
from tillwatch.engine.fold import Fold, Outcome
from tillwatch.engine.judge import Judge
from tillwatch.engine.row_judge import RowJudge
from tillwatch.errors import ConfigError
from tillwatch.patterns.pattern import Pattern
from tillwatch.patterns.program import Compiler, Program


def compiled(program: Program, patterns: Sequence[Pattern]) -> Program:
    """A program of these patterns over what another program knows. Raises PatternError."""
    return Compiler(program.features, program.lookups, program.digits).program(patterns)


def fold_of(setup: Setup, program: Program) -> Fold:
    """An empty fold of this program, over rows as the setup reads them."""
    decoder = Decoder(setup.columns, program.digits, setup.negative, setup.optional, setup.detail)
    return Fold(program, decoder, setup.lookups, setup.lateness)


def columns_of(setup: Setup) -> list[str]:
    """The source columns that rows are decoded from."""
    return list(setup.columns.values())


def stepped(
    fold: Fold, numbers: Sequence[int], frames: Sequence[pl.DataFrame]
) -> Iterator[tuple[int, Decoded, Outcome]]:
    """Folds some chunks, given by their numbers and frames; each with its rows and what it brought."""
    for number, all_rows in zip(numbers, fold.decoder.decode(frames), strict=True):
        decoded = fold.admit(all_rows)
        yield number, decoded, fold.step(number, decoded.rows)


def condition_of(judge: Judge | RowJudge) -> Condition:
    """The condition of a pattern judged after every chunk. Raises ConfigError for one judged on transactions."""
    if isinstance(judge, RowJudge):
        raise ConfigError(
            f"{judge.plan.pattern.id} is judged on transactions, with the values before each: its condition cannot be "
            "looked at later; a detection's evidence has the values, see 'tillwatch detections --format jsonl'"
        )
    return judge.condition
