"""The incremental engine says after every chunk what a batch query over all rows so far says."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillwatch.config import PatternChoice
from tillwatch.engine.decode import Decoder
from tillwatch.engine.fold import Fold
from tillwatch.engine.joined import Require, RowLookups
from tillwatch.engine.lookup import LookupData
from tillwatch.model import STANDARD_KEYS
from tillwatch.patterns.catalogue import built_in_features, load_patterns
from tillwatch.patterns.compiler import Compiler
from tillwatch.patterns.features import parse_filter
from tillwatch.patterns.program import LookupSpec, Program
from tillwatch.testing import oracle

COLUMNS = {c: c for c in ("customer", "merchant", "gender", "category", "amount")}
SEGMENT = LookupSpec("segment", ("customer",), "text")
IMPORTANCE = LookupSpec("importance", ("customer", "merchant"), "float")

customers = st.sampled_from([f"C{i}" for i in range(9)])
merchants = st.sampled_from(["M0", "M0", "M0", "M1", "M2"])
genders = st.sampled_from(["F", "M", "'F'", "female", " m ", "E", "x", ""])
amounts = st.one_of(
    st.sampled_from(["0", "1.00005", "1.00015", "22.5", "'23'", "23.0000", "100"]),
    st.decimals("0", "60", places=2).map(str),
    st.sampled_from(["", "abc", "nan", "-1", "1e400", "-inf", "1e3"]),
)
rows = st.fixed_dictionaries(
    {
        "customer": st.one_of(customers, customers.map(lambda c: f" '{c}' "), st.just("")),
        "merchant": merchants,
        "gender": genders,
        "category": st.just("es_food"),
        "amount": amounts,
    }
)
weights = st.dictionaries(
    st.tuples(customers, st.sampled_from(["M0", "M1", "M2"])),
    st.lists(st.sampled_from(["1", "2.5", "2.50005", "3", "7.25"]), min_size=1, max_size=3),
    max_size=25,
)
wheres = st.sampled_from(
    [
        (None, "true"),
        (None, "true"),
        ("gender <> 'M'", "gender <> 'M'"),
        ("merchant = 'M0' or amount < 22.50005", "merchant = 'M0' OR units < 225000.5"),
        ("not (customer in ('C1', 'C2') and amount >= 1)", "NOT (customer IN ('C1', 'C2') AND units >= 10000)"),
        ("segment <> 'gold'", "segment <> 'gold'"),
        ("segment is null or not (segment <> 'gold')", "segment IS NULL OR NOT (segment <> 'gold')"),
    ]
)
segments = st.dictionaries(customers, st.sampled_from(["gold", "new", None]), min_size=3)
requires: st.SearchStrategy[Require | None] = st.sampled_from([None, "quarantine", "mark"])
share = st.sampled_from(["0", "0.1", "0.25", "0.5", "0.75", "0.9", "1"])


@st.composite
def streams(draw: st.DrawFn) -> list[list[dict[str, str]]]:
    """Rows of a stream cut into chunks."""
    data = draw(st.lists(rows, min_size=1, max_size=120))
    size = draw(st.sampled_from([1, 2, 3, 7, 20, 1000]))
    return [data[i : i + size] for i in range(0, len(data), size)]


@st.composite
def thresholds(draw: st.DrawFn) -> dict[str, dict[str, Decimal]]:
    """Thresholds for the patterns of the catalogue, small enough to be reached."""
    gate, top, low = Decimal(draw(st.integers(0, 30))), Decimal(draw(share)), Decimal(draw(share))
    average = draw(st.sampled_from(["5", "22.5", "23", "40"]))
    return {
        "PatId1": {"merchant_transactions": gate, "transactions_rank": top, "importance_rank": low},
        "PatId1-cont": {"merchant_transactions": gate, "transactions_quantile": top, "importance_quantile": low},
        "PatId2": {"transactions": Decimal(draw(st.integers(1, 6))), "avg_amount": Decimal(average)},
        "PatId3": {"female_customers": Decimal(draw(st.integers(0, 3)))},
    }


def program(chosen: dict[str, dict[str, Decimal]]) -> Program:
    """The catalogue's patterns with these thresholds."""
    patterns = load_patterns([PatternChoice(ref=name, thresholds=values) for name, values in chosen.items()])
    return Compiler(built_in_features(), {"importance": IMPORTANCE}, 4).program(patterns)


def sql_patterns(chosen: dict[str, dict[str, Decimal]]) -> list[oracle.SqlPattern]:
    """The same as SQL."""
    makers = {
        "PatId1": oracle.pat_id1,
        "PatId1-cont": oracle.pat_id1_cont,
        "PatId2": oracle.pat_id2,
        "PatId3": oracle.pat_id3,
    }
    return [makers[name](*(float(v) for v in values.values())) for name, values in chosen.items()]


def lookup(weights: dict[tuple[str, str], list[str]]) -> LookupData:
    """The average weight per pair, as a quotient of exact integers."""
    rows = [
        {"customer": c, "merchant": m, "value": sum(round(Decimal(w) * 10_000) for w in ws) / (len(ws) * 10_000)}
        for (c, m), ws in weights.items()
    ]
    schema = {"customer": pl.String, "merchant": pl.String, "value": pl.Float64}
    return LookupData(IMPORTANCE, pl.DataFrame(rows, schema=schema), "")


def customers_known(known: dict[str, str | None]) -> LookupData:
    """The known customers, some without a segment."""
    data = {"customer": [*known], "value": [*known.values()]}
    return LookupData(SEGMENT, pl.DataFrame(data, schema=dict.fromkeys(data, pl.String)), "")


def frame(chunk: list[dict[str, str]]) -> pl.DataFrame:
    """A chunk as it would have been landed."""
    return pl.DataFrame(chunk, schema=dict.fromkeys(COLUMNS, pl.String))


def assert_tables_equal(fold: Fold, expected: oracle.OracleState) -> None:
    """Counts and sums per pair and merchant are those of the batch query."""
    for grain, wanted in ((("customer", "merchant"), expected.pairs), (("merchant",), expected.merchants)):
        table = fold.tables[grain]
        keys = fold.keys(grain, table.slots_of({k: v[: table.size] for k, v in table.keys.items()}, table.size))
        counts = table.transactions[: table.size].tolist()
        found = {tuple(k.values()) if len(grain) > 1 else k["merchant"]: n for k, n in zip(keys, counts, strict=True)}
        assert found == {k: v["transactions"] for k, v in wanted.items()}
    pairs = fold.tables["customer", "merchant"]
    sums = pairs.columns["sum_amount"][: pairs.size].tolist()
    names = fold.keys(
        ("customer", "merchant"), pairs.slots_of({k: v[: pairs.size] for k, v in pairs.keys.items()}, pairs.size)
    )
    assert {tuple(k.values()): s for k, s in zip(names, sums, strict=True)} == {
        k: v["sum_units"] for k, v in expected.pairs.items()
    }


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(streams(), thresholds(), weights, wheres, segments, requires)
def test_detections_and_state_equal_the_batch_query_after_every_prefix(
    chunks: list[list[dict[str, str]]],
    chosen: dict[str, dict[str, Decimal]],
    weights: dict[tuple[str, str], list[str]],
    where: tuple[str | None, str],
    known: dict[str, str | None],
    require: Require | None,
) -> None:
    """What holds, what is detected, counted and marked are those of SQL over all rows so far, chunk by chunk."""
    kept = parse_filter(where[0], [*STANDARD_KEYS, "segment"]) if where[0] else None
    rows_in = RowLookups.of([customers_known(known)], {"segment": require} if require else {})
    decoder = Decoder(COLUMNS, where=kept, lookups=rows_in)
    fold = Fold(program(chosen), decoder, [lookup(weights)])
    weight_rows = [{"customer": c, "merchant": m, "weight": w} for (c, m), ws in weights.items() for w in ws]
    batch = oracle.Oracle(weight_rows, where[1], known, require)
    patterns, seen = sql_patterns(chosen), set()
    counted = rejected = filtered = marked = 0
    for number, chunk in enumerate(chunks):
        (decoded,) = decoder.decode([frame(chunk)])
        outcome = fold.step(number, decoded.rows)
        batch.add(number, chunk)
        expected = []
        for pattern in patterns:
            holding = batch.holds(pattern)
            judge = next(j for j in fold.judges if j.plan.pattern.id == pattern.id)
            keys = fold.keys(judge.plan.per, judge.holding.nonzero()[0])
            assert {(k.get("customer", ""), k.get("merchant", "")) for k in keys} == holding
            new = sorted(k for k in holding if (pattern.id, k) not in seen)
            seen |= {(pattern.id, k) for k in new}
            expected += [(number, pattern.id, pattern.action, *k) for k in new]
        assert [(d.chunk, d.pattern, d.action, d.customer, d.merchant) for d in outcome.detections] == expected
        state = batch.state()
        counted += len(decoded.rows)
        rejected += len(decoded.rejects)
        filtered += decoded.filtered
        marked += decoded.marked.get("segment", 0)
        assert (counted, rejected, filtered) == (state.counted, state.quarantined, state.filtered)
        assert marked == state.marked
        assert_tables_equal(fold, state)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(streams(), thresholds(), weights, st.integers(1, 3))
def test_partitions_folded_apart_give_what_the_whole_gives(
    chunks: list[list[dict[str, str]]],
    chosen: dict[str, dict[str, Decimal]],
    weights: dict[tuple[str, str], list[str]],
    buckets: int,
) -> None:
    """The same step on any division of the merchants finds the same detections with the same evidence."""
    whole_decoder = Decoder(COLUMNS)
    whole = Fold(program(chosen), whole_decoder, [lookup(weights)])
    assert all("merchant" in plan.partition for plan in whole.program.plans)
    parts = [Decoder(COLUMNS) for _ in range(buckets)]
    folds = [Fold(program(chosen), d, [lookup(weights)]) for d in parts]
    for number, chunk in enumerate(chunks):
        (decoded,) = whole_decoder.decode([frame(chunk)])
        together = whole.step(number, decoded.rows).detections
        apart = []
        for bucket, (decoder, fold) in enumerate(zip(parts, folds, strict=True)):
            mine = [row for row in chunk if sum(row["merchant"].encode()) % buckets == bucket]
            (rows,) = decoder.decode([frame(mine)])
            apart += fold.step(number, rows.rows).detections
        order = {name: i for i, name in enumerate(chosen)}
        assert sorted(apart, key=lambda d: (order[d.pattern], d.customer, d.merchant)) == list(together)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(streams())
def test_decoding_many_chunks_at_once_changes_nothing(chunks: list[list[dict[str, str]]]) -> None:
    """A batch of chunks decodes to what each decodes to on its own."""
    together = Decoder(COLUMNS).decode([frame(c) for c in chunks])
    alone = Decoder(COLUMNS)
    for batch, chunk in zip(together, chunks, strict=True):
        (single,) = alone.decode([frame(chunk)])
        assert batch.rejects == single.rejects
        assert batch.rows.amount.tolist() == single.rows.amount.tolist()
        assert {c: v.tolist() for c, v in batch.rows.codes.items()} == {
            c: v.tolist() for c, v in single.rows.codes.items()
        }
