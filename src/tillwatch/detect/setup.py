"""What detect works with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tillwatch.engine.decode import PLAIN, Decoder, Detail
from tillwatch.engine.fold import PUNCTUAL, Fold
from tillwatch.engine.joined import Require, RowLookups
from tillwatch.engine.late import Lateness
from tillwatch.engine.lookup import Lookup
from tillwatch.patterns.derived import Derived
from tillwatch.patterns.expression import Expr
from tillwatch.patterns.program import Program


@dataclass(frozen=True, slots=True)
class Setup:
    """What detect works with.

    `meaning` is all that detections depend on beside the rows, `fingerprint` its hash, `rules` the patterns as they
    were written. `columns` maps logical names to column names, or to what is worked out from columns; `optional` ones
    may be missing from the source; only rows that pass `where` are counted; times are in seconds. `lookups` has every
    version that was or is in force; keys of rows are required to be in those named by `require`.
    """

    program: Program
    fingerprint: str
    meaning: str
    rules: str
    columns: Mapping[str, str | Derived]
    lookups: Sequence[Lookup] = ()
    optional: frozenset[str] = frozenset()
    negative: bool = False
    rows_per_file: int = 50
    linger: float = 1.0
    detail: Detail = PLAIN
    lateness: Lateness = PUNCTUAL
    where: Expr | None = None
    require: Mapping[str, Require] = field(default_factory=dict)

    @property
    def row_lookups(self) -> RowLookups:
        """The lookups that rows are looked up in."""
        return RowLookups.of(self.lookups, self.require)

    def reading_for(self, others: Sequence[Setup]) -> Detail:
        """What is decoded of rows for these setups together, which read times alike."""
        every = [self.detail, *(other.detail for other in others)]
        numbers, amounts = any(d.numbers for d in every), any(d.amounts for d in every)
        return replace(self.detail, numbers=numbers, amounts=amounts)

    def decoder(self) -> Decoder:
        """What decodes chunks."""
        digits, optional, lookups = self.program.digits, self.optional, self.row_lookups
        return Decoder(self.columns, digits, self.negative, optional, self.detail, self.where, lookups)

    def fold(self, decoder: Decoder) -> Fold:
        """The program, with nothing folded yet."""
        return Fold(self.program, decoder, self.lookups, self.lateness)
