"""What detect works with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tillwatch.engine.decode import PLAIN, Decoder, Detail
from tillwatch.engine.fold import PUNCTUAL, Fold
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
    version that was or is in force.
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

    def reading_for(self, others: Sequence[Setup]) -> Detail:
        """What is decoded of rows for these setups together, which read times alike."""
        every = [self.detail, *(other.detail for other in others)]
        numbers, amounts = any(d.numbers for d in every), any(d.amounts for d in every)
        return replace(self.detail, numbers=numbers, amounts=amounts)

    def decoder(self) -> Decoder:
        """What decodes chunks."""
        return Decoder(self.columns, self.program.digits, self.negative, self.optional, self.detail, self.where)

    def fold(self, decoder: Decoder) -> Fold:
        """The program, with nothing folded yet."""
        return Fold(self.program, decoder, self.lookups, self.lateness)
