"""What must come out, by brute force: plain SQL in DuckDB over all rows so far, after every chunk.

It shares no code with the engine and keeps nothing but the rows: the engine is right when it says the same.
A pattern is one SQL query; it sees these tables and views, of valid rows only:

    counted    one row per transaction: chunk, customer, merchant, gender, category, units, segment, and whether the
               customer is unknown
    segments   one row per known customer: customer, segment
    weight     one row per row of the lookup: customer, merchant, units
    pair       one row per (customer, merchant): transactions, sum_units, sum_amount, avg_amount, min_amount,
               max_amount, importance, transactions_percent_rank, importance_percent_rank
    merchant   one row per merchant: transactions, customers, female_customers, male_customers, sum_units,
               sum_amount, avg_amount, min_amount, max_amount

`units` are ten-thousandths, exact integers; what is called an amount is the DOUBLE quotient of two of these.
The percent ranks are those among the customers of the same merchant. A pair without a weight has no
importance: it and its rank are NULL, and the pair is not among those ranked by importance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import duckdb
import polars as pl

Rows = pl.DataFrame | Sequence[Mapping[str, str | None]] | Any
"""Rows as they came, all text: a polars frame, an Arrow table, or a list of dicts."""

Key = tuple[str, str]
"""Customer and merchant; the empty string for what a pattern is not per."""

Detected = tuple[int, str, str, str, str]
"""Chunk, pattern, action, customer, merchant."""

COLUMNS = ("customer", "merchant", "gender", "category", "amount")
WEIGHT_COLUMNS = ("customer", "merchant", "weight")

_STAGE = """
CREATE TABLE incoming (customer VARCHAR, merchant VARCHAR, gender VARCHAR, category VARCHAR, number VARCHAR);
CREATE TABLE counted (
    chunk BIGINT, customer VARCHAR, merchant VARCHAR, gender VARCHAR, category VARCHAR, units BIGINT,
    segment VARCHAR, unknown BOOLEAN);
CREATE TABLE segments (customer VARCHAR, segment VARCHAR);
CREATE TABLE weight (customer VARCHAR, merchant VARCHAR, units BIGINT);

-- The characters that Unicode calls White_Space.
CREATE MACRO stripped(x) AS trim(x,
    '\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a'
    || '\u2028\u2029\u202f\u205f\u3000');
CREATE MACRO unquoted(x) AS
    CASE WHEN length(x) >= 2 AND left(x, 1) IN ('''', '"') AND right(x, 1) = left(x, 1)
         THEN substr(x, 2, length(x) - 2) ELSE x END;
CREATE MACRO clean(x) AS unquoted(stripped(coalesce(x, '')));

CREATE VIEW cleaned AS
SELECT clean(customer) AS customer, clean(merchant) AS merchant, clean(category) AS category,
       CASE WHEN lower(clean(gender)) IN ('f', 'female') THEN 'F'
            WHEN lower(clean(gender)) IN ('m', 'male') THEN 'M'
            WHEN lower(clean(gender)) IN ('e', 'enterprise') THEN 'E' ELSE 'U' END AS gender,
       regexp_extract(stripped(clean(number)), '^([+-]?)([0-9]*)\\.?([0-9]*)(?:[eE]([+-]?[0-9]+))?$',
                      ['sign', 'whole', 'fraction', 'exponent']) AS part
FROM incoming;

-- All digits, and how many of them stand before the point once the number is in ten-thousandths.
CREATE VIEW pointed AS
SELECT * EXCLUDE (part), part.sign = '-' AND regexp_matches(part.whole || part.fraction, '[1-9]') AS negative,
       part.whole || part.fraction AS digits,
       length(part.whole) + 4 + CASE WHEN part.exponent = '' THEN 0
           ELSE greatest(-1000, least(1000, try_cast(part.exponent AS BIGINT))) END AS point
FROM cleaned;

CREATE VIEW split AS
SELECT * EXCLUDE (digits, point),
       digits <> '' AS is_number,
       try_cast('0' || left(digits, greatest(point, 0)) || repeat('0', point - length(digits))
                AS HUGEINT) AS whole,
       rtrim(repeat('0', -point) || substr(digits, 1 + greatest(point, 0)), '0') AS rest
FROM pointed;

-- Half to even: what is cut off is compared with a half as text. Materialized, else filters clean once more.
CREATE VIEW parsed AS WITH done AS MATERIALIZED (
    SELECT customer, merchant, gender, category, negative,
           CASE WHEN is_number THEN whole + (rest > '5' OR (rest = '5' AND whole % 2 = 1))::INTEGER END AS units
    FROM split)
SELECT * FROM done;
"""

_FEATURES = """
CREATE TABLE importance AS
SELECT customer, merchant, sum(units) / (count(*) * 10000) AS importance
FROM weight GROUP BY customer, merchant;

CREATE VIEW pair AS
WITH totals AS (
    SELECT customer, merchant, count(*) AS transactions, sum(units) AS sum_units,
           sum(units) / 10000 AS sum_amount, sum(units) / (count(*) * 10000) AS avg_amount,
           min(units) / 10000 AS min_amount, max(units) / 10000 AS max_amount
    FROM counted GROUP BY customer, merchant)
SELECT *, percent_rank() OVER (PARTITION BY merchant ORDER BY transactions) AS transactions_percent_rank,
       CASE WHEN importance IS NOT NULL
            THEN percent_rank() OVER (PARTITION BY merchant, importance IS NULL ORDER BY importance)
            END AS importance_percent_rank
FROM totals LEFT JOIN importance USING (customer, merchant);

CREATE VIEW merchant AS
SELECT merchant, count(*) AS transactions, count(DISTINCT customer) AS customers,
       count(DISTINCT customer) FILTER (WHERE gender = 'F') AS female_customers,
       count(DISTINCT customer) FILTER (WHERE gender = 'M') AS male_customers,
       sum(units) AS sum_units, sum(units) / 10000 AS sum_amount,
       sum(units) / (count(*) * 10000) AS avg_amount, min(units) / 10000 AS min_amount,
       max(units) / 10000 AS max_amount
FROM counted GROUP BY merchant;
"""

_RANKED = """
SELECT pair.customer, pair.merchant FROM pair JOIN merchant USING (merchant)
WHERE merchant.transactions > $merchant_transactions
  AND transactions_percent_rank >= $count_rank AND importance_percent_rank <= $importance_rank
"""

# No member lies strictly between two neighbours, so being at least the value interpolated between them is
# being at least the upper one, and being at most it is being at most the lower: no interpolation, all exact.
_CUT = """
WITH ordered AS (
    SELECT merchant, list(transactions ORDER BY transactions) AS t,
           list(importance ORDER BY importance) FILTER (WHERE importance IS NOT NULL) AS w
    FROM pair GROUP BY merchant)
SELECT pair.customer, pair.merchant
FROM pair JOIN merchant USING (merchant) JOIN ordered USING (merchant)
WHERE merchant.transactions > $merchant_transactions
  AND pair.transactions >= t[1 + ceil($count_quantile::DECIMAL(9, 6) * (len(t) - 1))::BIGINT]
  AND pair.importance <= w[1 + floor($importance_quantile::DECIMAL(9, 6) * (len(w) - 1))::BIGINT]
"""

_FRUGAL = """
SELECT customer, merchant FROM pair WHERE transactions >= $transactions AND avg_amount < $avg_amount
"""

_MEN = """
SELECT '' AS customer, merchant FROM merchant
WHERE female_customers > $female_customers AND female_customers < male_customers
"""


@dataclass(frozen=True, slots=True)
class SqlPattern:
    """A pattern as a query for the keys that it holds for: the columns customer and merchant, in that order.

    Either is the empty string when the pattern is not per it. `$name` in the query is `parameters["name"]`. `emit` is
    when a key is detected, as a pattern's file says it.
    """

    id: str
    action: str
    sql: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    emit: Literal["once", "on_enter", "every_chunk"] = "once"


def pat_id1(merchant_transactions: int = 50_000, count_rank: float = 0.9, importance_rank: float = 0.1) -> SqlPattern:
    """UPGRADE by percent_rank: a frequent and unimportant customer of a busy merchant."""
    parameters = {
        "merchant_transactions": merchant_transactions,
        "count_rank": count_rank,
        "importance_rank": importance_rank,
    }
    return SqlPattern("PatId1", "UPGRADE", _RANKED, parameters)


def pat_id1_cont(
    merchant_transactions: int = 50_000, count_quantile: float = 0.9, importance_quantile: float = 0.1
) -> SqlPattern:
    """UPGRADE in its other reading: thresholds by percentile_cont, to six fraction digits."""
    parameters = {
        "merchant_transactions": merchant_transactions,
        "count_quantile": count_quantile,
        "importance_quantile": importance_quantile,
    }
    return SqlPattern("PatId1-cont", "UPGRADE", _CUT, parameters)


def pat_id2(transactions: int = 80, avg_amount: float = 23.0) -> SqlPattern:
    """CHILD: a customer that comes often to a merchant and spends little there on average."""
    return SqlPattern("PatId2", "CHILD", _FRUGAL, {"transactions": transactions, "avg_amount": avg_amount})


def pat_id3(female_customers: int = 100) -> SqlPattern:
    """DEI-NEEDED: a merchant with many female customers, and yet more male ones."""
    return SqlPattern("PatId3", "DEI-NEEDED", _MEN, {"female_customers": female_customers})


@dataclass(frozen=True, slots=True)
class OracleState:
    """Rows counted, quarantined, filtered out and marked so far, and the features of every pair and merchant, by the
    names of the columns of the views.
    """

    counted: int
    quarantined: int
    pairs: dict[Key, dict[str, Any]]
    merchants: dict[str, dict[str, Any]]
    filtered: int = 0
    marked: int = 0


class Oracle:
    """All rows so far, and every question answered from all of them.

    `importance` are the rows of the lookup, with the columns of WEIGHT_COLUMNS. Raises ValueError when one of
    them has an empty key or a weight that is no number. Of the valid rows those count that pass `where`, a condition
    in SQL over the columns of `counted`. `segments` are those of the known customers; `require` says what becomes of
    rows of others.
    """

    def __init__(
        self,
        importance: Rows | None = None,
        where: str = "true",
        segments: Mapping[str, str | None] | None = None,
        require: Literal["quarantine", "mark"] | None = None,
    ) -> None:
        self._landed = self._filtered = 0
        self._where, self._require = where, require
        self._db = duckdb.connect()
        self._db.execute(_STAGE)
        if segments:
            self._db.executemany("INSERT INTO segments VALUES (?, ?)", [[*pair] for pair in segments.items()])
        if importance is not None:
            self._load_weights(importance)
        self._db.execute(_FEATURES)

    def add(self, chunk: int, rows: Rows) -> None:
        """Takes a chunk's rows, with the columns of COLUMNS; invalid ones are counted as quarantined.

        An amount must be below 100,000,000,000.
        """
        self._landed += self._stage(rows, COLUMNS)
        self._db.execute(
            "CREATE OR REPLACE TEMP TABLE valid AS SELECT $chunk AS chunk, p.* EXCLUDE (negative), s.segment, "
            "s.customer IS NULL AS unknown FROM parsed p LEFT JOIN segments s ON s.customer = p.customer "
            "WHERE p.customer <> '' AND merchant <> '' AND category <> '' AND NOT negative "
            "AND units < 1000000000000000 AND (s.customer IS NOT NULL OR NOT $known_only)",
            {"chunk": chunk, "known_only": self._require == "quarantine"},
        )
        self._db.execute(f"INSERT INTO counted BY NAME SELECT * FROM valid WHERE {self._where}")  # noqa: S608
        self._filtered += self._one(f"SELECT count(*) FROM valid WHERE ({self._where}) IS NOT TRUE")[0]  # noqa: S608

    def state(self) -> OracleState:
        """The state after the chunks added so far."""
        (counted,) = self._one("SELECT count(*) FROM counted")
        pairs = {(row["customer"], row["merchant"]): row for row in self._dicts("SELECT * FROM pair")}
        merchants = {row["merchant"]: row for row in self._dicts("SELECT * FROM merchant")}
        (unknown,) = self._one("SELECT count(*) FROM counted WHERE unknown")
        marked, quarantined = unknown if self._require == "mark" else 0, self._landed - counted - self._filtered
        return OracleState(counted, quarantined, pairs, merchants, self._filtered, marked)

    def holds(self, pattern: SqlPattern) -> set[Key]:
        """The keys that the pattern holds for now."""
        return set(self._db.execute(pattern.sql, dict(pattern.parameters)).fetchall())

    def _load_weights(self, rows: Rows) -> None:
        staged = self._stage(rows, WEIGHT_COLUMNS)
        self._db.execute(
            "INSERT INTO weight SELECT customer, merchant, CASE WHEN negative THEN -units ELSE units END "
            "FROM parsed WHERE customer <> '' AND merchant <> '' AND units IS NOT NULL"
        )
        (loaded,) = self._one("SELECT count(*) FROM weight")
        if loaded < staged:
            raise ValueError(f"{staged - loaded} of {staged} lookup rows have an empty key or no number as weight")

    def _stage(self, rows: Rows, columns: Sequence[str]) -> int:
        frame = _frame(rows, columns)
        self._db.register("came", frame.rename({columns[-1]: "number"}))
        self._db.execute("TRUNCATE incoming")
        self._db.execute("INSERT INTO incoming BY NAME SELECT * FROM came")
        self._db.unregister("came")
        return frame.height

    def _one(self, sql: str) -> tuple[Any, ...]:
        return self._db.execute(sql).fetchall()[0]

    def _dicts(self, sql: str) -> list[dict[str, Any]]:
        result = self._db.execute(sql)
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _frame(rows: Rows, columns: Sequence[str]) -> pl.DataFrame:
    if isinstance(rows, pl.DataFrame):
        return rows.select(columns)
    if hasattr(rows, "__arrow_c_stream__"):
        return pl.DataFrame(rows).select(columns)
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String))


def detections(
    chunks: Iterable[Rows], patterns: Sequence[SqlPattern], importance: Rows | None = None
) -> list[Detected]:
    """Every detection over the chunks, numbered from 0: by chunk, then pattern as given, then customer, then
    merchant, by code point; each as often as its pattern says, once at the first chunk after which it holds.
    """
    return lives(chunks, patterns, importance)[0]


def lives(
    chunks: Iterable[Rows], patterns: Sequence[SqlPattern], importance: Rows | None = None
) -> tuple[list[Detected], list[Detected]]:
    """Every detection, and all that ceased to hold after a chunk, in the same order."""
    oracle = Oracle(importance)
    found: list[Detected] = []
    ceased: list[Detected] = []
    held: dict[str, set[Key]] = {p.id: set() for p in patterns}
    seen: dict[str, set[Key]] = {p.id: set() for p in patterns}
    for chunk, rows in enumerate(chunks):
        oracle.add(chunk, rows)
        for pattern in patterns:
            before, now = held[pattern.id], oracle.holds(pattern)
            silent = {"once": seen[pattern.id], "on_enter": before, "every_chunk": set[Key]()}[pattern.emit]
            found += [(chunk, pattern.id, pattern.action, *key) for key in sorted(now - silent)]
            ceased += [(chunk, pattern.id, pattern.action, *key) for key in sorted(before - now)]
            held[pattern.id] = now
            seen[pattern.id] |= now
    return found, ceased
