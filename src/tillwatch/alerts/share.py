"""The share of rows that were quarantined, over the last chunks."""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from tillwatch.events import Processed


class Share:
    """Rows and those quarantined of at least the last `chunks` chunks; chunks of one commit count together."""

    def __init__(self, chunks: int) -> None:
        self._wanted = chunks
        self._commits: deque[tuple[int, int, int]] = deque()
        self.chunks = self.rows = self.quarantined = 0

    def add(self, event: Processed) -> None:
        """Chunks were committed."""
        rows = event.counted + event.quarantined + event.filtered
        self._count((event.last - event.first + 1, rows, event.quarantined), 1)
        while self.chunks - self._commits[0][0] >= self._wanted:
            self._count(self._commits[0], -1)

    def _count(self, commit: tuple[int, int, int], sign: int) -> None:
        if sign > 0:
            self._commits.append(commit)
        else:
            self._commits.popleft()
        self.chunks += sign * commit[0]
        self.rows += sign * commit[1]
        self.quarantined += sign * commit[2]

    def exceeds(self, percent: Decimal) -> bool:
        """Whether the share is larger.

        >>> share = Share(2)
        >>> for bad in (10, 0, 5):
        ...     share.add(Processed(0, 0, 100 - bad, bad, {}))
        >>> share.quarantined, share.rows, share.exceeds(Decimal("2.5")), share.exceeds(Decimal("2.49"))
        (5, 200, False, True)
        """
        return 100 * self.quarantined > percent * self.rows
