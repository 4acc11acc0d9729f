"""Detection files: rendered from what was committed, put if absent, marked as published."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tillwatch.errors import PublishError
from tillwatch.state.base import FilePlan, State, StoredCleared, StoredDetection, Stream
from tillwatch.stores.base import Store, put_same

COLUMNS = ("YStartTime", "detectionTime", "patternId", "ActionType", "customerName", "MerchantId")
CLEARED = ("clearedTime", "patternId", "ActionType", "customerName", "MerchantId", "seq")
"""The columns of files that say which detections ceased to hold; `seq` is the detection's."""

MARKED_AT_ONCE = 32
"""Files that are marked as published in one transaction."""


def render(started_at: str, detections: Iterable[StoredDetection]) -> bytes:
    """The file's bytes: a function of what is in the state, so that a repeated try writes the same."""
    lines = [",".join(COLUMNS)]
    for stored in detections:
        d = stored.detection
        lines.append(",".join(map(cell, (started_at, stored.at, d.pattern, d.action, d.customer, d.merchant))))
    return ("\n".join(lines) + "\n").encode()


def render_cleared(cleared: Iterable[StoredCleared]) -> bytes:
    """The bytes of a file that says which detections ceased to hold."""
    lines = [",".join(CLEARED)]
    for c in cleared:
        who = (c.key.get("customer", ""), c.key.get("merchant", ""))
        lines.append(",".join(map(cell, (c.at, c.pattern, c.action, *who, str(c.seq)))))
    return ("\n".join(lines) + "\n").encode()


def bytes_of(state: State, plan: FilePlan, stream: Stream) -> bytes:
    """The bytes of a planned file."""
    if stream == "cleared":
        return render_cleared(state.cleared(plan.first, plan.last))
    return render(state.started_at() or "", state.detections(plan.first, plan.last))


def cell(text: str) -> str:
    """A CSV value, in quotes where RFC 4180 wants them; the csv module before Python 3.13 forgets a lone CR.

    >>> print(cell("a"), cell("a,b"), cell('5" pipe'))
    a "a,b" "5"" pipe"
    """
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def publish(state: State, store: Store, now: Callable[[], str], stream: Stream = "detections") -> list[FilePlan]:
    """Writes every planned file that is not marked as published; returns them.

    Files are marked some at once, after they were written. Repeating it after a crash at any point is safe: a file
    that is there with the same bytes is done. Raises PublishError when a file of that name is there with other bytes.
    """
    waiting = state.unpublished(stream)
    for first in range(0, len(waiting), MARKED_AT_ONCE):
        done: list[FilePlan] = []
        try:
            for plan in waiting[first : first + MARKED_AT_ONCE]:
                put_planned(store, plan.name, plan, bytes_of(state, plan, stream))
                done.append(plan)
        finally:
            if done:
                state.mark_published(done, now(), stream)
    return waiting


def put_planned(store: Store, name: str, plan: FilePlan, data: bytes) -> None:
    """Puts what a plan's detections give, or finds it there. Raises PublishError when it is there with other bytes."""
    if store.has(name) and store.get(name) != data:
        raise PublishError(
            f"{store.uri}/{name} is there already with other content, so detections {plan.first} to {plan.last} "
            "were not published. Was the state removed while its detections stayed? Move that folder's files away, "
            "or set a new place for them."
        )
    put_same(store, name, data)
