"""What detect works with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tillwatch.engine.decode import PLAIN, Decoder, Detail
from tillwatch.engine.fold import PUNCTUAL, Fold
from tillwatch.engine.late import Lateness
from tillwatch.engine.lookup import LookupData
from tillwatch.patterns.program import Program


@dataclass(frozen=True, slots=True)
class Setup:
    """What detect works with.

    `meaning` is all that detections depend on beside the rows, `fingerprint` its hash, `rules` the patterns as they
    were written. `columns` maps logical names to column names, `optional` ones may be missing from the source; times
    are in seconds.
    """

    program: Program
    fingerprint: str
    meaning: str
    rules: str
    columns: Mapping[str, str]
    lookups: Sequence[LookupData] = ()
    optional: frozenset[str] = frozenset()
    negative: bool = False
    rows_per_file: int = 50
    linger: float = 1.0
    detail: Detail = PLAIN
    lateness: Lateness = PUNCTUAL

    def decoder(self) -> Decoder:
        """What decodes chunks."""
        return Decoder(self.columns, self.program.digits, self.negative, self.optional, self.detail)

    def fold(self, decoder: Decoder) -> Fold:
        """The program, with nothing folded yet."""
        return Fold(self.program, decoder, self.lookups, self.lateness)
