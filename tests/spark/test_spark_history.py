"""Looking back at what Spark has done gives what looking back at the embedded engine's work gives."""

from __future__ import annotations

import pytest

from tillwatch.history.backtest import backtest
from tillwatch.history.drafts import trial
from tillwatch.history.explain import explain
from tillwatch.history.why_not import why_not
from tillwatch.lookups import patience
from tillwatch.testing.crash import Site

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("spark")]


def test_answers_do_not_depend_on_the_engine(site: Site, done: Site) -> None:
    """Of the state, of the log, of detections and of drafts."""
    site.pipeline.detect(once=True)
    with done.pipeline.opened(readonly=True) as state:
        stored = list(state.detections())
    for each in stored[::40]:
        d = each.detection
        mine, other = (why_not(s.pipeline, d.pattern, d.key, None, patience()) for s in (site, done))
        assert mine == other
        mine_explained, other_explained = (explain(s.pipeline, each.seq, 3, patience()) for s in (site, done))
        assert mine_explained.condition == other_explained.condition
        assert mine_explained.newest == other_explained.newest
    found = backtest(trial(site.config, (), (), patience()), (), 0, None, patience())
    assert [d for each in found.differences for d in each.now] == sorted(
        (s.detection for s in stored), key=lambda d: d.pattern
    )
