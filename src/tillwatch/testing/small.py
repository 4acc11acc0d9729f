"""For tests: a small pipeline in which all patterns fire, cease and fire again, and some rows are not valid."""

from __future__ import annotations

from pathlib import Path

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


def add_lives(config: Path) -> None:
    """Adds these patterns to a configuration that ends with its patterns."""
    folder = config.parent / "patterns"
    folder.mkdir()
    for name, text in LIVES.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    with config.open("a", encoding="utf-8") as file:
        file.write("  ./patterns/: {}\n")
