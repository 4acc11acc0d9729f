"""Derived columns worked out, for many rows at a time: texts, and exact decimals as scaled integers of 128 bits.

Every value comes with a text that says what is wrong with the row, null where nothing is. An expression is evaluated
part by part, each a column of the sheet, so that its cost follows its length.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import polars as pl

from tillwatch.engine.dictionary import cleaned
from tillwatch.patterns.derived import (
    CELL_DIGITS,
    QUOTIENT_DIGITS,
    Derived,
    Kind,
    compared_as,
    digits_of,
    natural,
)
from tillwatch.patterns.expression import (
    Absolute,
    And,
    Arithmetic,
    Call,
    Case,
    Coalesce,
    Compare,
    Expr,
    IsNull,
    Name,
    Not,
    Number,
    Or,
    Text,
    Truth,
)

LIMIT = 8e37
"""No integer on the way may reach it: 128 bits hold twice as much."""

_CELL = pl.Decimal(38, CELL_DIGITS)
_NOTHING = pl.lit(None, pl.String)
_TOO_LARGE = pl.lit("a value on the way is too large to be exact")


@dataclass(frozen=True, slots=True)
class Worked:
    """A value per row, and the problem that its row has; a number is an integer scaled by 10^digits."""

    value: pl.Expr
    problem: pl.Expr
    digits: int = 0


def work_out(cells: pl.DataFrame, derived: Derived, kind: Kind) -> pl.DataFrame:
    """The columns `value` (text; empty where it is unknown) and `problem` (null where there is none).

    `cells` has the columns of the source that it reads, as text, null where the source has none.
    """
    sheet = Sheet(cells)
    worked = sheet.value(derived.tree, kind)
    text = _as_text(worked) if kind == "number" else worked.value
    named = text.fill_null("").alias("value"), worked.problem.alias("problem")
    return sheet.frame.with_columns(named).select("value", "problem")  # a constant, too, in every row


class Sheet:
    """The cells, and a column for each part that was worked out."""

    def __init__(self, cells: pl.DataFrame) -> None:
        texts = [cleaned(pl.col(name)).alias(f"cell {name}") for name in cells.columns]
        self.frame = cells.select(texts).with_columns(pl.all().replace("", None))
        self._count = 0

    def value(self, tree: Expr, kind: Kind) -> Worked:
        """The expression as a value of this kind."""
        match tree:
            case Name(name=name):
                return self._cell(name, kind)
            case Text(value=text):
                return Worked(pl.lit(text), _NOTHING)
            case Number(value=number):
                digits = digits_of(tree)
                return Worked(pl.lit(int(Fraction(number) * 10**digits), pl.Int128), _NOTHING, digits)
            case Coalesce():
                return self._coalesce(self.value(tree.x, kind), self.value(tree.otherwise, kind))
            case Case():
                return self._case(tree, kind)
            case Call():
                return self._call(tree)
            case Absolute(x=x):
                inner = self.value(x, "number")
                return self._kept(inner.value.abs(), inner.problem, inner.digits)
            case Arithmetic():
                return self._arithmetic(tree)
            case _:
                return self._condition(tree)

    def _kept(self, value: pl.Expr, problem: pl.Expr, digits: int = 0) -> Worked:
        """The same, worked out once."""
        self._count += 1
        names = f"value {self._count}", f"problem {self._count}"
        self.frame = self.frame.with_columns(value.alias(names[0]), problem.alias(names[1]))
        return Worked(pl.col(names[0]), pl.col(names[1]), digits)

    def _cell(self, name: str, kind: Kind) -> Worked:
        text = pl.col(f"cell {name}")
        if kind == "text":
            return Worked(text, _NOTHING)
        number = text.str.strip_chars().cast(_CELL, strict=False).to_physical()
        shown = pl.concat_str(pl.lit(f"{name} is not a number: '"), text.str.head(60), pl.lit("'"))
        return self._kept(number, pl.when(text.is_not_null() & number.is_null()).then(shown), CELL_DIGITS)

    def _coalesce(self, x: Worked, otherwise: Worked) -> Worked:
        x, otherwise = self._aligned(x, otherwise)
        later = pl.when(x.value.is_null()).then(otherwise.problem)
        return self._kept(pl.coalesce(x.value, otherwise.value), pl.coalesce(x.problem, later), x.digits)

    def _case(self, tree: Case, kind: Kind) -> Worked:
        empty = Worked(pl.lit(None, pl.Int128 if kind == "number" else pl.String), _NOTHING)
        found = self.value(tree.otherwise, kind) if tree.otherwise else empty
        for condition, value in reversed(tree.branches):
            asked = self._condition(condition)
            mine, rest = self._aligned(self.value(value, kind), found)
            true = asked.value.fill_null(False)
            problem = pl.coalesce(asked.problem, pl.when(true).then(mine.problem).otherwise(rest.problem))
            found = self._kept(pl.when(true).then(mine.value).otherwise(rest.value), problem, mine.digits)
        return found

    def _call(self, tree: Call) -> Worked:
        texts = [self.value(a, "text") for a in tree.arguments if not isinstance(a, Number)]
        numbers = [int(a.value) for a in tree.arguments if isinstance(a, Number)]
        first = texts[0].value
        match tree.name:
            case "upper":
                value = first.str.to_uppercase()
            case "lower":
                value = first.str.to_lowercase()
            case "trim":
                value = first.str.strip_chars()
            case "substr":
                value = first.str.slice(numbers[0] - 1, numbers[1] if len(numbers) > 1 else None)
            case _:
                value = pl.concat_str([t.value for t in texts])
        return self._kept(value, pl.coalesce(*(t.problem for t in texts)))

    def _condition(self, tree: Expr) -> Worked:
        match tree:
            case Truth(value=truth):
                return Worked(pl.lit(truth), _NOTHING)
            case Not(x=x):
                inner = self._condition(x)
                return self._kept(~inner.value, inner.problem)
            case And() | Or():
                left, right = self._condition(tree.left), self._condition(tree.right)
                both = left.value & right.value if isinstance(tree, And) else left.value | right.value
                return self._kept(both, pl.coalesce(left.problem, right.problem))
            case IsNull(x=x):
                inner = self.value(x, natural(x))
                return self._kept(inner.value.is_null(), inner.problem)
            case Compare():
                return self._compare(tree)
        raise AssertionError(f"the parser let an expression through that is none: {tree}")

    def _compare(self, tree: Compare) -> Worked:
        kind = compared_as(tree)
        left, right = self._aligned(self.value(tree.left, kind), self.value(tree.right, kind))
        a, b = left.value, right.value
        results = {"=": a == b, "<>": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}
        return self._kept(results[tree.op], pl.coalesce(left.problem, right.problem))

    def _arithmetic(self, tree: Arithmetic) -> Worked:
        left, right = self.value(tree.left, "number"), self.value(tree.right, "number")
        if tree.op == "/":
            return self._quotient(left, right)
        if tree.op == "*":
            size = _size(left.value) * _size(right.value)
            return self._guarded(left.value * right.value, size, left, right, left.digits + right.digits)
        left, right = self._aligned(left, right)
        size = _size(left.value) + _size(right.value)
        value = left.value + right.value if tree.op == "+" else left.value - right.value
        return self._guarded(value, size, left, right, left.digits)

    def _quotient(self, left: Worked, right: Worked) -> Worked:
        """Rounded half to even; unknown when divided by 0."""
        more = QUOTIENT_DIGITS + right.digits - left.digits
        above, below = self._shifted(left, max(more, 0)), self._shifted(right, max(-more, 0))
        n, d = above.value.abs(), below.value.abs()
        whole = self._kept(n // d, pl.coalesce(above.problem, below.problem))
        rest = n - whole.value * d
        up = (2 * rest > d) | ((2 * rest == d) & (whole.value % 2 == 1))
        sign = above.value.sign() * below.value.sign()
        return self._kept((whole.value + up.cast(pl.Int128)) * sign, whole.problem, QUOTIENT_DIGITS)

    def _aligned(self, left: Worked, right: Worked) -> tuple[Worked, Worked]:
        """Both with the same number of digits."""
        digits = max(left.digits, right.digits)
        return self._shifted(left, digits - left.digits), self._shifted(right, digits - right.digits)

    def _shifted(self, x: Worked, by: int) -> Worked:
        """The same number with so many more digits."""
        if by == 0:
            return x
        return self._guarded(x.value * pl.lit(10**by, pl.Int128), _size(x.value) * 10.0**by, x, x, x.digits + by)

    def _guarded(self, value: pl.Expr, size: pl.Expr, left: Worked, right: Worked, digits: int) -> Worked:
        """The value where its size keeps it exact, else a problem."""
        small = size < LIMIT
        problem = pl.coalesce(left.problem, right.problem, pl.when(~small).then(_TOO_LARGE))
        return self._kept(pl.when(small).then(value), problem, digits)


def _size(value: pl.Expr) -> pl.Expr:
    return value.cast(pl.Float64).abs()


def _as_text(number: Worked) -> pl.Expr:
    """The number written out, exactly."""
    unit, size = pl.lit(10**number.digits, pl.Int128), number.value.abs()
    sign = pl.when(number.value < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    fraction = (size % unit).cast(pl.String).str.zfill(number.digits)
    point = [pl.lit("."), fraction] if number.digits else []
    return pl.concat_str([sign, (size // unit).cast(pl.String), *point])
