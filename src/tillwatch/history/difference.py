"""What two ways of detecting have in common and what not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tillwatch.model import Detection

Key = tuple[tuple[str, ...], int | str]
"""The values of a detection's key, and how many detections of that key there are up to it, or its occasion."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a draft of a pattern changes. `now` and `draft` count all detections, in order of their chunks.

    `added` are the draft's alone, `removed` those in force alone; `moved` are in both, at another chunk: now, then.
    """

    pattern: str
    now: tuple[Detection, ...]
    draft: tuple[Detection, ...]
    added: tuple[Detection, ...]
    removed: tuple[Detection, ...]
    moved: tuple[tuple[Detection, Detection], ...]

    @property
    def is_none(self) -> bool:
        """Whether nothing changes."""
        return not (self.added or self.removed or self.moved)


def difference(
    pattern: str, now: Sequence[Detection], draft: Sequence[Detection], first: int, *, by_row: bool = False
) -> Difference:
    """What changes from chunk `first` on. The second detection of a key is compared with its second one, and so on;
    `by_row`, which is for those that are detected for every transaction, with that of the same transaction.
    """
    before, after = _by_key(now, by_row=by_row), _by_key(draft, by_row=by_row)
    both = [(before[key], found) for key, found in after.items() if key in before]
    return Difference(
        pattern,
        tuple(d for d in now if d.chunk >= first),
        tuple(d for d in draft if d.chunk >= first),
        tuple(d for key, d in after.items() if key not in before and d.chunk >= first),
        tuple(d for key, d in before.items() if key not in after and d.chunk >= first),
        tuple((a, b) for a, b in both if a.chunk != b.chunk and max(a.chunk, b.chunk) >= first),
    )


def _by_key(detections: Sequence[Detection], *, by_row: bool) -> Mapping[Key, Detection]:
    """In order."""
    if by_row:
        return {(tuple(d.key.values()), d.occasion): d for d in detections}
    found: dict[Key, Detection] = {}
    counts: dict[tuple[str, ...], int] = {}
    for detection in detections:
        key = tuple(detection.key.values())
        counts[key] = counts.get(key, 0) + 1
        found[key, counts[key]] = detection
    return found
