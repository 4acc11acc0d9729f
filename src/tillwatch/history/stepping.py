"""The pipeline's own step, made from a setup: the one place here that knows how rows are decoded and folded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl

from tillwatch.detect.setup import Setup
from tillwatch.engine.decode import Decoded, sources_of
from tillwatch.engine.fold import Fold, Outcome
from tillwatch.patterns.compiler import Compiler
from tillwatch.patterns.pattern import Pattern
from tillwatch.patterns.program import Program


def compiled(program: Program, patterns: Sequence[Pattern]) -> Program:
    """A program of these patterns over what another program knows. Raises PatternError."""
    return Compiler(program.features, program.lookups, program.digits, program.keys).program(patterns)


def fold_of(setup: Setup, program: Program) -> Fold:
    """An empty fold of this program, over rows as the setup reads them."""
    return replace(setup, program=program).fold(setup.decoder())


def columns_of(setup: Setup) -> list[str]:
    """The source columns that rows are decoded from."""
    return sources_of(setup.columns)


def stepped(
    fold: Fold, numbers: Sequence[int], frames: Sequence[pl.DataFrame]
) -> Iterator[tuple[int, Decoded, Outcome]]:
    """Folds some chunks, given by their numbers and frames; each with its rows and what it brought."""
    for number, decoded in zip(numbers, fold.decoder.decode(frames, numbers), strict=True):
        admitted = fold.admit(decoded)
        yield number, admitted, fold.step(number, admitted.rows, admitted.clock)
