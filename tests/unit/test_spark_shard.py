"""A shard that follows what another process folds."""

from __future__ import annotations

import tracemalloc

import polars as pl

from tillwatch.engine.decode import Decoder
from tillwatch.engine.late import Lateness
from tillwatch.patterns.catalogue import built_in_features, read_pattern
from tillwatch.patterns.compiler import Compiler
from tillwatch.spark.gather import gather
from tillwatch.spark.shard import Shard
from tillwatch.spark.shards import groups_of

TURNS = 12


def test_following_again_and_again_takes_no_more_memory() -> None:
    """A shard that is brought forward by a delta at every turn keeps room for its keys only, not ever more."""
    pattern = read_pattern("{id: Twice, action: LOOK, per: customer, when: transactions >= 2}", "twice.yaml")
    program = Compiler(built_in_features(), lookups={}, digits=4).program([pattern])
    (group,) = groups = groups_of(program, 1, Lateness(0))
    decoder = Decoder({"customer": "who", "merchant": "shop", "amount": "paid"})
    works, follows = Shard(group, []), Shard(group, [])
    tracemalloc.start()
    try:
        for turn in range(TURNS):
            rows = pl.DataFrame({"who": ["Ann", f"C{turn}"], "shop": ["S", "S"], "paid": ["1", "2"]})
            (decoded,) = decoder.decode([rows])
            ((_, data),) = gather(turn, decoded, decoder.dictionaries, groups)
            works.step(turn, data)
            follows.load(works.delta(turn), "a delta")
            follows.refresh()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert follows.snapshot() == works.snapshot()
    assert peak < 1024 * 2**TURNS
