"""Detection files: rendered from what was committed, put if absent, marked as published."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable

from tillwatch.errors import PublishError
from tillwatch.state.base import FilePlan, State, StoredDetection
from tillwatch.stores.base import Store, put_same

COLUMNS = ("YStartTime", "detectionTime", "patternId", "ActionType", "customerName", "MerchantId")


def render(started_at: str, detections: Iterable[StoredDetection]) -> bytes:
    """The file's bytes: a function of what is in the state, so that a repeated try writes the same."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for stored in detections:
        d = stored.detection
        writer.writerow((started_at, stored.at, d.pattern, d.action, d.customer, d.merchant))
    return text.getvalue().encode()


def publish(state: State, store: Store, now: Callable[[], str]) -> list[FilePlan]:
    """Writes every planned file that is not marked as published; returns them.

    Repeating it after a crash at any point is safe: a file that is there with the same bytes is done. Raises
    PublishError when a file of that name is there with other bytes.
    """
    done = []
    for plan in state.unpublished():
        data = render(state.started_at() or "", state.detections(plan.first, plan.last))
        _put(store, plan, data)
        state.mark_published(plan, now())
        done.append(plan)
    return done


def _put(store: Store, plan: FilePlan, data: bytes) -> None:
    if store.has(plan.name) and store.get(plan.name) != data:
        raise PublishError(
            f"{store.uri}/{plan.name} is there already with other content, so detections {plan.first} to {plan.last} "
            "were not published. Was the state removed while its detections stayed? Move that folder's files away, "
            "or set detections to a new place."
        )
    put_same(store, plan.name, data)
