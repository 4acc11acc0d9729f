"""Vectors follow SQL: three-valued logic, exact integers and decimals, floats where SQL has them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillwatch.engine import values
from tillwatch.engine.filters import compare_scaled
from tillwatch.engine.values import Vector

DIGITS = 4
TRUTHS = (True, False, None)
OPERATORS: dict[str, Callable[[object, object], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,  # type: ignore[dict-item]
    "<=": operator.le,  # type: ignore[dict-item]
    ">": operator.gt,  # type: ignore[dict-item]
    ">=": operator.ge,  # type: ignore[dict-item]
}


def vector(kind: values.ValueKind, *items: object, filler: object = 1) -> Vector:
    """A vector of values, None for unknown ones; `filler` is what is stored in the place of these."""
    dtype = {"bool": np.bool_, "float": np.float64}.get(kind, np.int64)
    null = np.array([x is None for x in items])
    return Vector(kind, np.array([filler if x is None else x for x in items], dtype), null if null.any() else None)


def plain(v: Vector) -> list[object]:
    """The values, None for unknown ones."""
    null = np.zeros(len(v.data), np.bool_) if v.null is None else v.null
    return [None if unknown else x for x, unknown in zip(v.data.tolist(), null.tolist(), strict=True)]


@pytest.mark.parametrize("fillers", list(product([True, False], repeat=2)))
def test_logic_has_three_values(fillers: tuple[bool, bool]) -> None:
    """AND, OR and NOT are SQL's, whatever is stored where nothing is known."""
    pairs = list(product(TRUTHS, repeat=2))
    left, right = (vector("bool", *(p[i] for p in pairs), filler=fillers[i]) for i in (0, 1))
    both = [False if False in p else None if None in p else True for p in pairs]
    either = [True if True in p else None if None in p else False for p in pairs]
    assert plain(values.conjunction(left, right)) == both
    assert plain(values.disjunction(left, right)) == either
    assert plain(values.negate(left)) == [None if a is None else not a for a, _ in pairs]
    assert values.conjunction(left, right).true().tolist() == [x is True for x in both]
    assert values.disjunction(left, right).true().tolist() == [x is True for x in either]


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("kinds", list(product(["int", "decimal", "float"], repeat=2)))
def test_comparisons_are_of_values_whatever_their_kinds(op: str, kinds: tuple[values.ValueKind, ...]) -> None:
    """1.0 is 1 in every kind; what is unknown on either side is unknown."""
    pairs = list(product([-2, 0, 1, 2, None], repeat=2))
    units = {"int": 1, "decimal": 10**DIGITS, "float": 1}
    left, right = (
        vector(kind, *(None if p[i] is None else p[i] * units[kind] for p in pairs)) for i, kind in enumerate(kinds)
    )
    expected = [None if None in p else OPERATORS[op](p[0], p[1]) for p in pairs]
    assert plain(values.compare(op, left, right, DIGITS)) == expected


def test_coalesce_takes_the_first_that_is_known() -> None:
    """And is unknown only where both are, with the values in one kind."""
    x, y = vector("int", 5, None, 7, None), vector("decimal", 10_000, 20_000, None, None)
    assert values.coalesce(x, y, DIGITS).kind == "decimal"
    assert plain(values.coalesce(x, y, DIGITS)) == [50_000, 20_000, 70_000, None]
    assert plain(values.coalesce(vector("int", 5), y, DIGITS)) == [5]
    assert plain(values.coalesce(vector("float", None, 0.5), vector("decimal", 5_000, 1), DIGITS)) == [0.5, 0.5]


@pytest.mark.parametrize(
    ("op", "left", "right", "kind", "value"),
    [
        ("+", ("int", 2), ("int", 3), "int", 5),
        ("+", ("int", 2), ("decimal", 3), "decimal", 20_003),
        ("-", ("decimal", 1_000), ("decimal", 3_000), "decimal", -2_000),
        ("-", ("float", 0.5), ("decimal", 2_500), "float", 0.25),
        ("*", ("int", 2), ("int", 3), "int", 6),
        ("*", ("int", 2), ("decimal", 15_000), "float", 3.0),
        ("/", ("int", 7), ("int", 2), "float", 3.5),
        ("/", ("decimal", 10_000), ("int", 4), "float", 0.25),
        ("/", ("int", 1), ("int", 0), "float", None),
        ("/", ("int", 0), ("decimal", 0), "float", None),
        ("/", ("float", 1.0), ("float", 0.0), "float", None),
    ],
)
def test_arithmetic_is_exact_where_it_can_be(
    op: str, left: tuple[values.ValueKind, int], right: tuple[values.ValueKind, int], kind: str, value: object
) -> None:
    """Sums, differences and products of integers are exact, quotients are floats, division by zero is unknown."""
    for nulls in product([False, True], repeat=2):
        a, b = (vector(k, x, None) if n else vector(k, x, x) for (k, x), n in zip((left, right), nulls, strict=True))
        found = values.arithmetic(op, a, b, DIGITS)
        assert found.kind == kind
        assert plain(found) == [value, None if any(nulls) else value]


def test_decimals_are_compared_digit_by_digit() -> None:
    """Sums of decimals that floats cannot tell apart are told apart."""
    big = 10**17
    assert plain(values.compare("<", vector("decimal", big), vector("decimal", big + 1), DIGITS)) == [True]
    assert plain(values.compare("=", vector("decimal", 3_000), values.constant(Decimal("0.3"), DIGITS), DIGITS)) == [
        True
    ]
    total = values.arithmetic("+", vector("decimal", 1_000), vector("decimal", 2_000), DIGITS)
    assert plain(values.compare("=", total, values.constant(Decimal("0.3"), DIGITS), DIGITS)) == [True]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("80", "int", 80),
        ("-0", "int", 0),
        ("1E+3", "int", 1000),
        ("22.50", "decimal", 225_000),
        ("0.0001", "decimal", 1),
        ("0.00005", "float", 0.00005),
        (str(2**53 - 1), "int", 2**53 - 1),
        (str(2**53), "float", 2.0**53),
        ("1e300", "float", 1e300),
    ],
)
def test_constants_take_the_most_exact_kind(text: str, kind: str, value: float) -> None:
    """Integers and decimals are exact as far as the digits and 2^53 go."""
    found = values.constant(Decimal(text), DIGITS)
    assert (found.kind, found.data.tolist()) == (kind, [value])


@pytest.mark.parametrize("limit", ["1000000000000000", "9007199254740991"])
def test_a_decimal_is_below_a_huge_integer(limit: str) -> None:
    """However large an integer constant is, a small amount is below it."""
    assert plain(values.compare("<", vector("decimal", 50_000), values.constant(Decimal(limit), DIGITS), DIGITS)) == [
        True
    ]


def test_a_product_does_not_wrap_around() -> None:
    """A product of counts that leaves 64 bits is still a large positive number."""
    product = values.arithmetic("*", vector("int", 1_500), values.constant(Decimal(2**53 - 1), DIGITS), DIGITS)
    assert plain(values.compare(">", product, values.constant(Decimal(0), DIGITS), DIGITS)) == [True]


@pytest.mark.parametrize("text", ["1e300", "-1e300", "1e-300"])
def test_the_largest_constants_are_compared(text: str) -> None:
    """Up to the limits of the language a constant is above, or below, every amount, in conditions and in filters."""
    number, amounts = Decimal(text), vector("decimal", -1, 0, 1)
    expected = [Fraction(x, 10**DIGITS) < Fraction(number) for x in (-1, 0, 1)]
    assert plain(values.compare("<", amounts, values.constant(number, DIGITS), DIGITS)) == expected
    assert compare_scaled(amounts.data, "<", number, DIGITS).tolist() == expected


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([*OPERATORS]),
    st.decimals(-200, 200, places=6) | st.sampled_from([Decimal("1e20"), Decimal("-1e20"), Decimal("1e-20")]),
)
def test_filters_compare_amounts_exactly(op: str, number: Decimal) -> None:
    """Also with constants that have more digits than amounts are kept with, or are out of their range."""
    near = int(number * 10**DIGITS) if abs(number) < 1000 else 0
    scaled = [near + step for step in (-10_000, -2, -1, 0, 1, 2, 10_000)]
    expected = [OPERATORS[op](Fraction(x, 10**DIGITS), Fraction(number)) for x in scaled]
    assert compare_scaled(np.array(scaled), op, number, DIGITS).tolist() == expected
