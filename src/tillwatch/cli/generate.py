"""tillwatch generate."""

from __future__ import annotations

from pathlib import Path

import click

from tillwatch.cli.command import Command
from tillwatch.cli.outcome import tell
from tillwatch.cli.starter import write_config
from tillwatch.cli.words import many


@click.command(
    cls=Command,
    examples=[
        ("tillwatch generate", "a data set of BankSim's size in ./tillwatch-demo"),
        ("tillwatch generate big --rows 10000000 --towns 20", "larger, with 20 times the keys"),
        ("tillwatch generate bad --rows 50000 --faults 0.01", "one row in a hundred is not valid"),
    ],
)
@click.argument("out", metavar="[FOLDER]", type=click.Path(file_okay=False, path_type=Path), default="./tillwatch-demo")
@click.option("--rows", metavar="N", type=int, default=594_643, show_default=True, help="Transactions in all.")
@click.option(
    "--customers", metavar="N", type=int, help="Customers per town.  [default: one for every 145 rows of a town]"
)
@click.option("--merchants", metavar="N", type=int, default=50, show_default=True, help="Merchants per town.")
@click.option(
    "--towns", metavar="N", type=int, default=1, show_default=True, help="Towns; they share no customers or merchants."
)
@click.option(
    "--steps", metavar="N", type=int, default=180, show_default=True, help="Days that the transactions are spread over."
)
@click.option("--seed", metavar="N", type=int, default=1, show_default=True, help="The same seed gives the same files.")
@click.option(
    "--faults",
    metavar="SHARE",
    type=float,
    default=0.0,
    show_default=True,
    help="Share of the rows that are not valid.",
)
def generate(
    out: Path, rows: int, customers: int | None, merchants: int, towns: int, steps: int, seed: int, faults: float
) -> None:
    """Make transactions to try things with.

    Writes transactions.csv and CustomerImportance.csv of BankSim's shape into FOLDER (default ./tillwatch-demo), and
    a tillwatch.yaml beside them when there is none. Files that are there are never overwritten.
    """
    from tillwatch.generate import generate as generated

    files = generated(
        out,
        rows=rows,
        customers=customers,
        merchants=merchants,
        towns=towns,
        steps=steps,
        seed=seed,
        faults=faults,
    )
    faulty = f", {files.faulty:,} of them not valid" if files.faulty else ""
    tell(f"wrote {files.transactions} with {many(files.rows, 'row')}{faulty}")
    tell(f"wrote {files.importance}")
    config, is_new = write_config(out)
    tell(f"wrote {config}" if is_new else f"left {config} as it is")
    tell(f"next: tillwatch run --once -c {config}")
