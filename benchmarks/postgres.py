"""State in PostgreSQL beside SQLite: the whole job, and one commit of touched rows beside other ways to write them.

`./run python -m benchmarks.postgres` prints Markdown; `--quick` is small generated data. The server is one of our own,
on this machine, with fsync on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from benchmarks import machine
from benchmarks.child import TILLWATCH, run
from benchmarks.data import configured, standard
from benchmarks.plan import workplace
from benchmarks.report import alternate, in_rounds, spread, table
from tillwatch.state import open_state
from tillwatch.state.base import TableRows
from tillwatch.testing.commits import MEANING, SHAPE, STARTED
from tillwatch.testing.servers.postgres import postgres_server

ROWS, TOUCHED = 100_000, 5_000
ROUNDS = 7
SQLITE, POSTGRES = "SQLite", "PostgreSQL"
COPY, MANY, EACH, ALONE = (
    "COPY and one upsert, as shipped",
    "executemany of upserts",
    "an upsert a row, one transaction",
    "an upsert a row, a transaction each",
)

UPSERT = """
INSERT INTO customer_merchant (id, customer, merchant, transactions, sum_amount, importance)
VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET
customer = excluded.customer, merchant = excluded.merchant, transactions = excluded.transactions,
sum_amount = excluded.sum_amount, importance = excluded.importance
"""


def whole(folder: Path, place: Callable[[], str], rounds: int, *, quick: bool) -> str:
    """`run --once`, each time into an empty state, in turn."""
    data = standard(folder, quick=quick)
    seconds: dict[str, list[float]] = {SQLITE: [], POSTGRES: []}

    def contest(name: str, number: int) -> None:
        settings = {} if name == SQLITE else {"state": place()}
        config = configured(folder / f"{name}-{number}", data, **settings)
        done = run(*TILLWATCH, "run", "--once", "-c", config)
        if number:  # the first round warms up
            seconds[name].append(done.seconds)

    alternate(rounds + 1, (SQLITE, POSTGRES), contest)
    ratio = spread(p / s for s, p in zip(seconds[SQLITE], seconds[POSTGRES], strict=True))
    shown = [[name, spread(values).shown()] for name, values in seconds.items()]
    return (
        f"`run --once` of {data.name}, {data.rows:,} rows, {in_rounds(rounds)}.\n\n"
        + table(["state", "seconds, median (least–greatest)"], shown)
        + f"\n\nWith PostgreSQL it takes **{ratio.shown()}** times as long; the target is at most 2."
    )


def upserts(place: Callable[[], str], rounds: int, *, quick: bool) -> str:
    """Touched rows into a table that has many, four ways."""
    rows, touched = (ROWS // 10, TOUCHED // 10) if quick else (ROWS, TOUCHED)
    uri = place()
    state = open_state(uri)
    state.start("fingerprint", MEANING, STARTED, [SHAPE])
    state.save_tables([_rows(0, rows)], 0)
    plain, _, schema = uri.partition("?schema=")
    tool = psycopg.connect(plain, autocommit=True, options=f"-c search_path={schema}")

    def each(found: TableRows) -> None:
        for row in zip(*found.columns.values(), strict=True):
            tool.execute(UPSERT, row)

    def one_transaction(found: TableRows, write: Callable[[TableRows], object]) -> None:
        with tool.transaction():
            write(found)

    def many(found: TableRows) -> None:
        tool.cursor().executemany(UPSERT, list(zip(*found.columns.values(), strict=True)))

    ways: dict[str, Callable[[TableRows], object]] = {
        COPY: lambda found: state.save_tables([found], 0),
        MANY: lambda found: one_transaction(found, many),
        EACH: lambda found: one_transaction(found, each),
        ALONE: each,
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}

    def contest(name: str, number: int) -> None:
        found = _rows((number * touched) % (rows - touched), touched)
        began = time.perf_counter()
        ways[name](found)
        if number:
            taken[name].append((time.perf_counter() - began) * 1000)

    alternate(rounds + 1, tuple(ways), contest)
    tool.close()
    state.close()
    shown = [[name, spread(values).shown("{:.0f}")] for name, values in taken.items()]
    head = ["way", "ms, median (least–greatest)"]
    return f"{touched:,} rows into a table of {rows:,}, {in_rounds(rounds)}.\n\n{table(head, shown)}"


def _rows(first: int, count: int) -> TableRows:
    ids = list(range(first, first + count))
    columns = {
        "id": ids,
        "customer": [f"C{n % 5000}" for n in ids],
        "merchant": [f"M{n // 5000}" for n in ids],
        "transactions": [n % 97 for n in ids],
        "sum_amount": [n * 10_007 for n in ids],
        "importance": [n / 7 for n in ids],
    }
    return TableRows(SHAPE.name, columns)


def main() -> None:
    quick = "--quick" in sys.argv
    rounds = 1 if quick else ROUNDS
    with workplace() as folder, postgres_server() as server:
        server.restart(fsync="on", shared_buffers="128MB")
        print(f"# State in PostgreSQL\n\n{machine.described(folder)}\n", flush=True)
        others = machine.Others()
        print(f"## The whole job\n\n{whole(folder, server.new_place, rounds, quick=quick)}\n", flush=True)
        print(f"## Touched rows\n\n{upserts(server.new_place, rounds, quick=quick)}\n")
        print(f"Other programs used {others.share():.0%} of the processors meanwhile.")


if __name__ == "__main__":
    main()
