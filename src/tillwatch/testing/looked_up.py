"""For tests: a pipeline whose rows are looked up in tables that lack some of them."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl

CONFIG = """\
source: {uri: ./in.csv, rows: 9, every: 0}
columns: {gender: null}
lookups:
  segment: {uri: ./customers.csv, on: {customer: id}, value: Segment}
  area: {uri: ./shops.csv, on: {merchant: shop, category: kind}, value: '"the area"'}
  limit: {uri: ./limits.csv, on: {segment: name}, value: max(limit)}
  shops: {uri: ./shops.csv, on: {merchant: shop}}
require: {segment: mark, shops: quarantine}
where: category <> 'test' and (segment is null or not segment = 'staff')
landing: ./landing
quarantine: ./quarantine
detections: ./out
state: ./state.db
patterns: [./segment.yaml, ./place.yaml, ./row.yaml]
"""
SEGMENT = """\
id: Segment
action: LOOK
per: segment
features: {areas: count(distinct area), unknown: count(*) filter (where area is null)}
when: areas >= 2 and unknown >= 1 and (limit is null or total_amount > limit)
emit: on_enter
"""
PLACE = """\
id: Place
action: SEE
per: [customer, area]
where: segment <> 'gold'
when: percent_rank(transactions) over area >= 0.5 and transactions >= 2
emit: every_chunk
"""
ROW = """\
id: Row
action: CALL
per: merchant
judge: transaction
features: {kinds: "count(distinct segment) filter (where not (segment <> 'gold'))"}
when: segment is null and kinds >= 1 or segment <> 'gold' and area = 'north' and transactions >= 5
"""
CUSTOMERS = """\
id,Segment
'C0', gold
C0,gold
C1,"'silver'"
C2,
C3,staff
C4,silver
C4,
C5,gold
,gold
"""
SHOPS = "shop,kind,the area\nM0,food,north\nM0,fun,south\nM1,food,'north'\nM1,fun,\nM2,fun,\n"
LIMITS = "name,limit\ngold,12.5\ngold,20\n"
FILES = {
    "tillwatch.yaml": CONFIG,
    "segment.yaml": SEGMENT,
    "place.yaml": PLACE,
    "row.yaml": ROW,
    "customers.csv": CUSTOMERS,
    "shops.csv": SHOPS,
    "limits.csv": LIMITS,
}
ROWS = 130


def rows() -> list[dict[str, str]]:
    """Rows of customers and shops, some of which no lookup has."""
    chance, found = random.Random(7), []
    for n in range(ROWS):
        customer = f" 'C{chance.randrange(8)}' " if n != 40 else ""
        shop = "M9" if chance.random() < 0.1 else f"M{chance.randrange(3)}"
        kind = chance.choice(["food", "fun", "fun", "test"])
        amount = "n/a" if n in (50, 51) else f"{chance.randrange(1, 9)}.5"
        found.append({"customer": customer, "merchant": shop, "category": kind, "amount": amount})
    found[50]["merchant"] = "M9"
    return found


def write_site(folder: Path) -> None:
    """The configuration, its patterns and tables, and the source."""
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")
    pl.DataFrame(rows()).write_csv(folder / "in.csv")
