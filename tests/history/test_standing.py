"""The running values of a state, read into tables again, and who is nearest to being detected by them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tillwatch.errors import StateError, StateMissing
from tillwatch.history.near import Misses
from tillwatch.history.standing import Standing, standing
from tillwatch.history.why_not import why_not
from tillwatch.pipeline import Pipeline
from tillwatch.retry import Retry


def read(pipeline: Pipeline) -> Standing:
    with pipeline.opened(readonly=True) as state, state.snapshot():
        return standing(state, pipeline.settings)


def test_the_tables_are_those_of_the_run(pipeline: Pipeline, retry: Retry) -> None:
    """Each pattern holds for as many keys as the state says, and what a near miss lacks is what `why-not` says."""
    found = read(pipeline)
    assert found.chunks == 24 and found.keys > 1000
    with pipeline.opened(readonly=True) as state:
        detections = list(state.detections())
        for plan in found.plans:
            mine = [s for s in detections if s.detection.pattern == plan.pattern.id]
            last_of = partial(state.last_of, plan.pattern.id)
            misses = Misses(found.fold, plan, 23, negative=False)
            nearest = misses.nearest(20, last_of)
            assert misses.holding == sum(s.holds for s in mine)
            assert len(nearest) == min(20, misses.keys - len(mine))
            for miss in nearest[:3]:
                answer = why_not(pipeline, plan.pattern.id, miss.key, None, retry)
                assert answer.detected is None and answer.condition == miss.condition


def test_a_lookup_is_as_the_state_keeps_it(config: Path, tmp_path: Path) -> None:
    """It is not read again: a pair has its value, or none, also when the lookup is gone."""
    pipeline = Pipeline.open(config, [f"lookups.importance.uri={tmp_path / 'gone.csv'}"])
    table = read(pipeline).fold.tables["customer", "merchant"]
    known = Pipeline.open(config).setup.lookups[0].frame
    values = dict(zip(known.select("customer", "merchant").iter_rows(), known["value"].to_list(), strict=True))
    joined = table.lookups["importance"]
    keys = read(pipeline).fold.keys(("customer", "merchant"), np.arange(table.size))
    for slot, key in enumerate(keys):
        wanted = values.get(tuple(key.values()))
        assert (joined.value[slot].item() if joined.known[slot] else None) == wanted


def test_what_cannot_be_read_is_told(pipeline: Pipeline, tmp_path: Path) -> None:
    """A state that has saved nothing yet, and one that is too large."""
    with pipeline.opened(readonly=True) as state, pytest.raises(StateError, match="in the state, and no more than 10 "):
        standing(state, pipeline.settings, most=10)
    new = Pipeline(pipeline.settings.model_copy(update={"state": str(tmp_path / "state.db")}))
    with new.opened() as state, pytest.raises(StateMissing, match="has not saved"):
        standing(state, new.settings)
