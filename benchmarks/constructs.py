"""What each construct of the pattern language costs: decode and step alone, no landing zone, no state.

`./run python -m benchmarks.constructs` folds BankSim, or generated data of its size, once for each construct, each in a
process of its own; then a stream of as many rows over a million customers, with windows that hold all of it.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.child import module, run
from benchmarks.data import CHUNK_ROWS, standard
from benchmarks.plan import workplace
from benchmarks.report import MB, in_rounds, table

ROUNDS = 5
KEYS = 1_000_000

DEFAULTS = "the three defaults"
OWN: dict[str, dict[str, Any]] = {
    "count": {"features": {"f": "count(*)"}},
    "stddev": {"features": {"f": "stddev(amount)"}},
    "count within 7 steps": {"features": {"f": "count(*) within 7 steps"}},
    "avg within 7 steps": {"features": {"f": "avg(amount) within 7 steps"}},
    "min within 7 steps": {"features": {"f": "min(amount) within 7 steps"}},
    "count distinct within 7 steps": {"features": {"f": "count(distinct merchant) within 7 steps"}},
    "avg within 10 transactions": {"features": {"f": "avg(amount) within 10 transactions"}},
    "each transaction: avg before it": {"judge": "transaction", "features": {"f": "avg(amount)"}},
    "each transaction: count within 7 steps": {"judge": "transaction", "features": {"f": "count(*) within 7 steps"}},
    "each transaction: min within 7 steps": {"judge": "transaction", "features": {"f": "min(amount) within 7 steps"}},
    "each transaction: count distinct within 7 steps": {
        "judge": "transaction",
        "features": {"f": "count(distinct merchant) within 7 steps"},
    },
    "each transaction: avg within 10 transactions": {
        "judge": "transaction",
        "features": {"f": "avg(amount) within 10 transactions"},
    },
}
"""Patterns per customer that never fire: `f < -1`."""

CATALOGUE = ("FREQUENCY", "OUTLIER", "DUPLICATE")
HUGE = ("count", "count within 7 steps", "each transaction: count within 7 steps", "avg within 10 transactions")


def folded(name: str, transactions: str, keys: int) -> dict[str, float]:
    """Processor time per chunk, in ms, and wall time for the whole; `keys` customers are made when it is not 0."""
    from tillwatch.config import PatternChoice
    from tillwatch.engine.decode import Decoder, Detail
    from tillwatch.engine.fold import Fold
    from tillwatch.engine.times import TimeRule
    from tillwatch.patterns.catalogue import built_in_features, load_patterns, read_pattern
    from tillwatch.patterns.compiler import Compiler
    from tillwatch.patterns.program import LookupSpec

    importance = LookupSpec("importance", ("customer", "merchant"), "float")
    if name in OWN:
        pattern = {"id": "P", "action": "A", "per": ["customer"], "when": "f < -1", **OWN[name]}
        patterns = [read_pattern(json.dumps(pattern), name)]
    else:
        ids = ("PatId1", "PatId2", "PatId3") if name == DEFAULTS else (name,)
        patterns = load_patterns([PatternChoice(ref=i) for i in ids])
    program = Compiler(built_in_features(), {"importance": importance}, 4).program(patterns)
    columns = {c: c for c in ("customer", "merchant", "gender", "category", "amount")}
    columns |= {"time": "step"} if program.windows else {}
    amounts = any("amount" in t.grain for t in program.tables)
    rows = any(p.judge == "transaction" for p in patterns)
    decoder = Decoder(columns, detail=Detail(TimeRule("number") if program.windows else None, rows, amounts))
    fold = Fold(program, decoder)
    decoding, folding, found, began = [], [], 0, time.perf_counter()
    for number, frame in enumerate(chunks(transactions, keys)):
        start = time.process_time()
        (decoded,) = decoder.decode([frame])
        middle = time.process_time()
        found += len(fold.step(number, decoded.rows).detections)
        decoding.append(middle - start)
        folding.append(time.process_time() - middle)
    return {
        "decode": statistics.median(decoding) * 1000,
        "fold": statistics.mean(folding) * 1000,
        "worst": max(folding) * 1000,
        "seconds": time.perf_counter() - began,
        "found": found,
    }


def chunks(transactions: str, keys: int) -> Iterator[Any]:
    """The rows of the file in chunks, or as many of many customers, a step a chunk."""
    import numpy as np
    import polars as pl

    if not keys:
        rows = pl.read_csv(transactions, infer_schema=False)
        yield from (rows[at : at + CHUNK_ROWS] for at in range(0, rows.height, CHUNK_ROWS))
        return
    draw = np.random.default_rng(1)
    for number in range(2 * keys // CHUNK_ROWS):
        who = pl.Series("customer", draw.integers(0, keys, CHUNK_ROWS)).cast(pl.String)
        shop = pl.Series("merchant", draw.integers(0, 1000, CHUNK_ROWS)).cast(pl.String)
        paid = pl.Series("amount", draw.integers(1, 10_000, CHUNK_ROWS)).cast(pl.String)
        step = pl.lit(str(number * 7 / (2 * keys / CHUNK_ROWS)))
        yield pl.DataFrame([who, shop, paid]).with_columns(gender=pl.lit("F"), category=pl.lit("c"), step=step)


def measured(names: tuple[str, ...], rounds: int, transactions: Path, keys: int) -> str:
    """A table with a row per construct."""
    rows = []
    for name in names:
        done = [run(*module("constructs"), "--fold", name, transactions, str(keys)) for _ in range(rounds)]
        figures = [json.loads(d.out.splitlines()[-1]) for d in done]

        def middle(key: str, figures: list[dict[str, float]] = figures) -> float:
            return statistics.median(f[key] for f in figures)

        shown = [f"{middle('decode'):.2f}", f"{middle('fold'):.2f}", f"{middle('worst'):.1f}"]
        rows.append([name, *shown, f"{middle('found'):.0f}", f"{statistics.median(d.peak for d in done) / MB:,.0f}"])
    head = ["construct", "decode, ms a chunk", "step, ms a chunk", "the dearest step, ms", "detections", "peak MB"]
    return table(head, rows)


def main() -> None:
    if sys.argv[1:2] == ["--fold"]:
        name, transactions, keys = sys.argv[2:]
        print(json.dumps(folded(name, transactions, int(keys))))
        return
    quick = "--quick" in sys.argv
    rounds = 1 if quick else ROUNDS
    with workplace() as folder:
        print(f"# What constructs cost\n\n{machine.described(folder)}\n", flush=True)
        data = standard(folder, quick=quick)
        names = (DEFAULTS, *OWN, *CATALOGUE)
        print(f"{data.name}, {in_rounds(rounds)}; processor time of one process, chunks of {CHUNK_ROWS:,} rows.\n")
        print(measured(names, rounds, data.transactions, 0), flush=True)
        keys = KEYS // 50 if quick else KEYS
        print(f"\n{2 * keys:,} rows of {keys:,} customers, all of them in the window of 7 steps at the end.\n")
        print(measured(HUGE, 1, data.transactions, keys), flush=True)


if __name__ == "__main__":
    main()
