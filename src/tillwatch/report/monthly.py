"""How many detections there were, by month, pattern and merchant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tillwatch.state.base import StoredDetection

Group = tuple[str, str, str, str]
"""Month (such as 2026-11), pattern, action, merchant; the merchant is empty when the pattern is not per merchant."""


def monthly(detections: Iterable[StoredDetection]) -> list[tuple[Group, int]]:
    """Detections by group, in the groups' order. The month is that of detectionTime, in the configured time zone."""
    counts: Counter[Group] = Counter()
    for stored in detections:
        d = stored.detection
        counts[(stored.at[:7], d.pattern, d.action, d.merchant)] += 1
    return sorted(counts.items())
