"""For tests: a small pipeline in which all patterns fire, cease and fire again, and some rows are not valid."""

from __future__ import annotations

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
