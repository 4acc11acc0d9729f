"""For tests: a small pipeline in which all patterns fire, cease and fire again, and some rows are not valid."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

CONFIG = """\
source: {{uri: {source}, rows: 250}}
lookups: {{importance: {importance}}}
detections: {{uri: ./tillwatch-data/detections, rows: 12, linger: 0.05}}
patterns:
  PatId1: {{merchant_transactions: 60, transactions_rank: 0.8, importance_rank: 0.2}}
  PatId2: {{transactions: 8, avg_amount: 25}}
  PatId3: {{female_customers: 3}}
"""
"""Of 6,000 generated rows it lands 24 chunks. To be formatted with `source` and `importance`."""

LIVES = {
    "Often": """\
id: Often
action: CALL
per: [customer, merchant]
when: transactions >= 6 and avg_amount between 20 and 30
emit: on_enter
cleared: true
""",
    "Costly": """\
id: Costly
action: LOOK
per: merchant
when: transactions >= 20 and avg_amount > 60
emit: every_chunk
cleared: true
""",
    "Draft": """\
id: Draft
action: NONE
per: customer
when: transactions >= 12 and percent_rank(avg_amount) over () >= 0.8
mode: shadow
""",
    "Dear": """\
id: Dear
action: ASK
per: customer
judge: transaction
when: transactions >= 4 and amount > 2 * avg_amount
emit: on_enter
cleared: true
""",
    "Each": """\
id: Each
action: SEE
per: merchant
judge: transaction
when: transactions >= 20 and amount > 3 * avg_amount
emit: every_transaction
""",
}
"""Pattern files: one detects again and tells when it ceases, one after every chunk, one publishes nothing; of those
judged on transactions, one detects again, and one every time."""


LOOKUPS = """
  segment: {{uri: ./customers.csv, on: {{customer: id}}, value: segment}}
  shops: {{uri: ./shops.csv, on: {{merchant: id}}}}
  importance: {importance}
require: {{segment: mark, shops: quarantine}}
where: segment is null or segment <> 'staff'
"""

SEGMENTS = {
    "Segment": """\
id: Segment
action: CALL
per: [segment, merchant]
features: {gold: count(*) filter (where not (segment <> 'gold')), kinds: count(distinct segment)}
when: merchant.kinds >= 2 and percent_rank(transactions) over segment >= 0.7 and gold * 2 <= merchant.gold
emit: on_enter
cleared: true
""",
    "Unknown": """\
id: Unknown
action: LOOK
per: customer
judge: transaction
when: segment is null and transactions >= 4 or segment <> 'gold' and transactions >= 9
""",
}
"""Pattern files over the texts of LOOKUPS: one with ranks of those without, one that is judged on transactions."""


def add_lookups(config: Path) -> None:
    """Adds lookups of customers and shops to a configuration that ends with its patterns, and patterns over them.

    They lack some customers, some texts, and some shops.
    """
    text = config.read_text("utf-8")
    (importance,) = re.findall(r"^lookups: {importance: (.*)}$", text, re.MULTILINE)
    known = pl.read_csv(importance, infer_schema=False).select(pl.all().str.strip_chars("'\""))
    customers, shops = (known[column].unique().sort().to_list() for column in ("Source", "Target"))
    kinds = ["gold", "new", "", "staff", "gold"]
    lines = [f"{name},{kinds[n % 5]}" for n, name in enumerate(customers) if n % 6]
    (config.parent / "customers.csv").write_text("\n".join(["id,segment", *lines, ""]), "utf-8")
    (config.parent / "shops.csv").write_text("\n".join(["id", *(s for n, s in enumerate(shops) if n % 7), ""]), "utf-8")
    folder = config.parent / "segments"
    folder.mkdir()
    for name, pattern in SEGMENTS.items():
        (folder / f"{name}.yaml").write_text(pattern, "utf-8")
    written = LOOKUPS.format(importance=importance).rstrip("\n")
    text = text.replace(f"lookups: {{importance: {importance}}}", f"lookups:{written}")
    config.write_text(text.replace("patterns:\n", "patterns:\n  ./segments/: {}\n"), "utf-8")


def add_lives(config: Path) -> None:
    """Adds these patterns to a configuration that ends with its patterns."""
    folder = config.parent / "patterns"
    folder.mkdir()
    for name, text in LIVES.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    with config.open("a", encoding="utf-8") as file:
        file.write("  ./patterns/: {}\n")


def change_lookups(config: Path) -> None:
    """Another lookup of customers: most texts are others, and other customers are lacking."""
    known = [line.partition(",") for line in (config.parent / "customers.csv").read_text("utf-8").splitlines()[1:]]
    kinds = ["new", "gold", "staff", "", "gold"]
    lines = [f"{name},{kinds[n % 5]}" for n, (name, _, _) in enumerate(known) if n % 5]
    (config.parent / "customers.csv").write_text("\n".join(["id,segment", *lines, ""]), "utf-8")
