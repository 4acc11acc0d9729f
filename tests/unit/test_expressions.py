"""The expression language: what is let through means what SQL says, anything else is refused with its place."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tillwatch.patterns.expression import (
    Compare,
    Expr,
    ExpressionError,
    Name,
    Number,
    PercentileCont,
    PercentRank,
    Text,
    children,
    conjuncts,
    parse,
    walk,
)
from tillwatch.patterns.features import Feature, parse_feature
from tillwatch.patterns.shown import show
from tillwatch.testing.conditions import drawn_patterns
from tillwatch.testing.terms import Drawn

ONE = {"t": Decimal("1.5")}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a > 1", "a > 1"),
        ("a == 1", "a = 1"),
        ("a != 1", "a <> 1"),
        ("A.b >= .5", "A.b >= 0.5"),
        ('"a" > 1', "a > 1"),
        ("a > :t", "a > 1.5"),
        ("a > -:t", "a > -1.5"),
        ("a > +1", "a > 1"),
        ("a > - -1", "a > 1"),
        ("-a > 1", "(0 - a) > 1"),
        ("a + b * c > 1", "(a + (b * c)) > 1"),
        ("(a + b) * c > 1", "((a + b) * c) > 1"),
        ("a - b - c > 1", "((a - b) - c) > 1"),
        ("a / b / c > 1", "((a / b) / c) > 1"),
        ("a > 1 or b > 2 and c > 3", "a > 1 or b > 2 and c > 3"),
        ("(a > 1 or b > 2) and c > 3", "(a > 1 or b > 2) and c > 3"),
        ("not a > 1 and b > 2", "not (a > 1) and b > 2"),
        ("not not a > 1", "not (not (a > 1))"),
        ("a between 1 and 2 and b > 3", "a >= 1 and a <= 2 and b > 3"),
        ("a not between 1 and 2", "not (a >= 1 and a <= 2)"),
        ("a in (1, b, 2)", "a = 1 or a = b or a = 2"),
        ("a not in (1)", "not (a = 1)"),
        ("a is null", "a is null"),
        ("a is not null", "not (a is null)"),
        ("coalesce(a, b, 0) > 1", "coalesce(a, coalesce(b, 0)) > 1"),
        ("ABS(a - 1) > 1", "abs(a - 1) > 1"),
        ("true or a > 1", "true or a > 1"),
        ("percent_rank(a) over m > 0.5", "percent_rank(a) over m > 0.5"),
        ("percent_rank(a) over (m) > 0.5", "percent_rank(a) over m > 0.5"),
        ("percent_rank(a) over (partition by m) > 0.5", "percent_rank(a) over m > 0.5"),
        ("percent_rank(a) over () > 0.5", "percent_rank(a) over () > 0.5"),
        ("percentile_cont(:t - 1, a) over m > 0.5", None),
        ("percentile_cont(0.25, a) over m > b", "percentile_cont(0.25, a) over m > b"),
        ("a > 1e5 -- a comment", "a > 1E+5"),
        ("/* a comment */ a > 1;", "a > 1"),
        ("a\n  >\t1", "a > 1"),
    ],
)
def test_sql_is_understood_as_sql_does(text: str, shown: str | None) -> None:
    """Precedence, short forms and spellings give the tree that SQL means."""
    if shown is None:
        with pytest.raises(ExpressionError):
            parse(text, ONE)
    else:
        assert show(parse(text, ONE)) == shown


@pytest.mark.parametrize(
    ("text", "message", "start"),
    [
        ("", "expected one SQL expression", None),
        ("-- nothing", "expected one SQL expression", None),
        ("a > 1; b > 2", "expected one SQL expression", None),
        ("a >", "not a SQL expression near 'a >'", 2),
        ("a > 'x", "not a SQL expression", 0),
        ("(select 1) > 0", "'(SELECT 1)' is not part of the language. Allowed: ", None),
        ("a in (select 1)", "IN needs a list of values in parentheses", 0),
        ("a in ()", "IN needs a list of values in parentheses", 0),
        ("exists(select 1)", "'EXISTS(SELECT 1)' is not part of the language", None),
        ("a > foo(b)", "'FOO(b)' is not part of the language", 4),
        ("a > sum(b)", "'SUM(b)' is not part of the language", 4),
        ("case when a > 1 then 1 end = 1", "is not part of the language", 10),
        ("a like 'x'", "is not part of the language", 0),
        ("a is true", "IS goes with NULL or NOT NULL only", 0),
        ("a = null", "'NULL' is not part of the language", None),
        ("a % 2 = 0", "'a % 2' is not part of the language", 0),
        ("a::int > 1", "'CAST(a AS INT)' is not part of the language", 0),
        ("a > 1 as b", "is not part of the language", 0),
        ("a > 1_000", "is not part of the language", 0),
        ("a.b.c > 1", "'a.b.c' is not a name; write feature or key.feature", 0),
        ("a.* > 1", "'a.*' is not a name; write feature or key.feature", 0),
        ("coalesce(a) > 1", "COALESCE needs two values or more", 0),
        ("a > :u", "threshold ':u' is not declared under thresholds (:t)", 4),
        ("drop table a", "'DROP TABLE a' is not part of the language", 11),
        ("a > 1 and percent_rank(b) > 0.5", "percent_rank(x) needs OVER and the key to rank among, such as ", 10),
        ("percentile_cont(0.5, a) > 1", "percentile_cont(p, x) needs OVER and the key to rank among", 0),
        ("percent_rank() over m > 1", "percent_rank(x) takes one feature name as x", 0),
        ("percent_rank(a, b) over m > 1", "percent_rank(x) takes one feature name as x", 0),
        ("percent_rank(a + 1) over m > 1", "percent_rank(x) takes one feature name as x", 0),
        ("percent_rank(a) over (partition by m order by b) > 1", "without ORDER BY", 0),
        ("percent_rank(a) over (partition by m rows 1 preceding) > 1", "without ORDER BY", 0),
        ("percent_rank(a) ignore nulls over m > 1", "cannot be used with OVER", 0),
        ("percent_rank(a) filter (where b > 1) over m > 1", "cannot be used with OVER", 0),
        ("rank() over m > 1", "'RANK()' cannot be used with OVER; percent_rank and percentile_cont can", 0),
        ("percentile_cont(1.1, a) over m > 1", "p must be a number from 0 to 1", 0),
        ("percentile_cont(-0.1, a) over m > 1", "p must be a number from 0 to 1", 0),
        ("percentile_cont(b, a) over m > 1", "p must be a number from 0 to 1", 0),
        ("percentile_cont(0.5) within group (order by a) over m > 1", "cannot be used with OVER", 0),
    ],
)
def test_anything_else_is_refused_at_its_place(text: str, message: str, start: int | None) -> None:
    """What is not part of the language is refused, with words that say what is, and the offset where known."""
    with pytest.raises(ExpressionError) as caught:
        parse(text, ONE)
    assert message in str(caught.value)
    assert caught.value.start == start


def test_between_symmetric_is_not_taken_for_between() -> None:
    """`a BETWEEN SYMMETRIC 5 AND 1` is true for 3 in SQL: it is refused, or understood so."""
    with pytest.raises(ExpressionError):
        parse("a between symmetric 5 and 1")


@pytest.mark.parametrize("keys", ["'merchant'", "customer.merchant"])
def test_only_keys_can_be_partitioned_by(keys: str) -> None:
    """What stands after PARTITION BY is the name of a key and nothing that only looks like one."""
    with pytest.raises(ExpressionError):
        parse(f"percent_rank(a) over (partition by {keys}) > 0.5")


@pytest.mark.parametrize(
    "text",
    [
        " and ".join(["a > 1"] * 5000),
        "a in (" + ", ".join(["1"] * 5000) + ")",
        "(" * 5000 + "a > 1" + ")" * 5000,
        "a > " + "+".join(["1"] * 5000),
        "not " * 5000 + "a > 1",
        "foo(" + "+".join(["a"] * 5000) + ") > 1",
        "foo(" * 80 + "a" + ")" * 80 + " > 1",
        "-" * 3000 + "a > 1",
        "a > " + "(select " * 300 + "1" + ")" * 300,
    ],
    ids=["and", "in", "parentheses", "plus", "not", "unknown of plus", "unknown", "minus", "select"],
)
def test_a_huge_expression_is_an_expression_or_refused(text: str) -> None:
    """However long or deep the text is, no RecursionError comes out."""
    try:
        tree = parse(text)
    except ExpressionError:
        return
    assert show(tree)


WORDS = """a b.c 1 0.5 -1 'x' :t ( ) , + - * / = <> < >= and or not between in is null coalesce( abs( percent_rank(
percentile_cont( over merchant partition by ; . case when end select from where true --"""
NONSENSE = st.lists(st.sampled_from(WORDS.split()) | st.text(max_size=3), max_size=14).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(NONSENSE | st.text(max_size=30))
@example("\0")
@example("1" * 5000)
@example("a > :")
@example("{{a}}")
@example("$$a$$")
def test_any_text_gives_an_expression_or_an_error(text: str) -> None:
    """No text makes the parser fail in any other way."""
    for understand in (lambda: parse(text, ONE), lambda: parse_feature("f", text)):
        try:
            assert understand() is not None
        except ExpressionError as error:
            assert str(error)
            assert error.start is None or 0 <= error.start <= len(text)


@pytest.mark.parametrize("number", ["1e999999999999999999999", "1e9999999", "-1e9999999", "1e-9999999", "1e301"])
def test_a_number_beyond_floats_is_refused(number: str) -> None:
    """Written out, in a filter or as a threshold, a number that no float comes near is a mistake like any other."""
    with pytest.raises(ExpressionError):
        parse(f"a > {number}")
    with pytest.raises(ExpressionError):
        parse_feature("f", f"count(*) filter (where amount > {number})")
    if len(number) < 20:
        with pytest.raises(ExpressionError):
            parse("a > :t", {"t": Decimal(number)})


def bare(tree: Expr) -> object:
    """A tree without the places of its names."""
    match tree:
        case Name():
            return ("name", str(tree))
        case PercentRank():
            return ("rank", bare(tree.x), tree.over)
        case PercentileCont():
            return ("cont", tree.p, bare(tree.x), tree.over)
        case _:
            own = (getattr(tree, "op", None), getattr(tree, "value", None))
            return (type(tree).__name__, own, *map(bare, children(tree)))


@settings(max_examples=150, deadline=None)
@given(drawn_patterns())
def test_what_is_shown_means_the_same(pattern: Drawn) -> None:
    """`show` loses nothing: parsed again it is the same tree, so equal fingerprints mean equal patterns."""
    tree = parse(pattern.when.text, {name: Decimal(n) for name, n in pattern.thresholds.items()})
    assert regrouped(parse(show(tree))) == regrouped(tree)


def regrouped(tree: Expr) -> object:
    """A tree with chains of AND and of OR flat: how they are grouped has no meaning."""
    if len(parts := conjuncts(tree)) > 1:
        return ("and", *map(regrouped, parts))
    if type(tree).__name__ == "Or":
        parts = [tree]
        while any(type(p).__name__ == "Or" for p in parts):
            parts = [q for p in parts for q in (children(p) if type(p).__name__ == "Or" else (p,))]
        return ("or", *map(regrouped, parts))
    if children(tree) and not isinstance(tree, PercentRank | PercentileCont):
        return (type(tree).__name__, getattr(tree, "op", None), *map(regrouped, children(tree)))
    return bare(tree)


def test_names_know_their_places() -> None:
    """Every name and rank has the offset at which it stands in the text."""
    text = "abs(a) > 1 and percent_rank(b) over m > merchant.c"
    names = [n for n in walk(parse(text)) if isinstance(n, Name | PercentRank)]
    assert [
        text[n.start :].startswith(shown) for n, shown in zip(names, ("a)", "percent", "b)", "merchant.c"), strict=True)
    ]
    assert {n.start for n in names} == {4, 15, 28, 40}


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("count(*)", ("count", None, None)),
        (" COUNT( * ) ", ("count", None, None)),
        ("sum(amount)", ("sum", "amount", None)),
        ('avg("amount")', ("avg", "amount", None)),
        ("min(amount)", ("min", "amount", None)),
        ("max(amount)", ("max", "amount", None)),
        ("count(distinct gender)", ("distinct", "gender", None)),
        ("count(*) filter (where true)", ("count", None, "true")),
        ("count(*) filter (where amount = -1.5)", ("count", None, "amount = -1.5")),
        ("sum(amount) filter (where category = 'it''s')", ("sum", "amount", "category = 'it''s'")),
        (
            "count(*) filter (where not (merchant in ('a', 'b') or amount not between 1 and 2))",
            ("count", None, "not (merchant = 'a' or merchant = 'b' or not (amount >= 1 and amount <= 2))"),
        ),
    ],
)
def test_features_are_aggregates_with_a_filter(text: str, feature: tuple[str, str | None, str | None]) -> None:
    """An aggregate of the amount, a count or a distinct count, with or without a filter."""
    found = parse_feature("f", text)
    where = show(found.where) if found.where else None
    assert (found.name, found.text) == ("f", text.strip())
    assert (found.kind, found.column, where) == feature


@pytest.mark.parametrize(
    ("text", "message", "start"),
    [
        ("amount", "'amount' is not a feature. Write count(*), count(distinct column), sum", 0),
        ("count(customer)", "valid rows have every column: write count(*)", 0),
        ("count(1)", "'COUNT(1)' is not a feature", 0),
        (
            "count(distinct amount)",
            "count(distinct …) takes one of the columns customer, merchant, category, gender",
            15,
        ),
        ("count(distinct customer, merchant)", "is not a feature", 0),
        ("sum(amout)", "sum(…) takes one of the columns amount; found 'amout'", 4),
        ("sum(customer)", "sum(…) takes one of the columns amount; found 'customer'", 4),
        ("sum(distinct amount)", "found 'DISTINCT amount'", 13),
        ("sum(amount) + 1", "'SUM(amount) + 1' is not a feature", 0),
        ("sum(amount) over ()", "is not a feature", 0),
        ("median(amount)", "'MEDIAN(amount)' is not a feature", 0),
        ("count(*) filter (where amount > 'a')", "'amount' cannot be compared with text; columns for that are cus", 23),
        ("count(*) filter (where category = 1)", "'category' cannot be compared with a number", 23),
        ("count(*) filter (where category < 'a')", "text is compared with = or <> only, found '<'", 23),
        ("count(*) filter (where categry = 'a')", "'categry' cannot be compared with text", 23),
        ("count(*) filter (where customer = merchant)", "'customer = merchant' is not a filter", 23),
        ("count(*) filter (where amount is null)", "'amount is null' is not a filter", 23),
        ("count(*) filter (where amount + 1 > 2)", "is not a filter: compare a column with a value", 23),
        ("count(*) filter (where amount)", "'amount' is not a filter", 23),
        (
            "count(*) filter (where amount > :t)",
            "threshold ':t' is not declared under thresholds (none are declared)",
            None,
        ),
    ],
)
def test_what_is_no_feature_is_refused(text: str, message: str, start: int | None) -> None:
    """Aggregates that are not kept, columns of the wrong kind and filters on other things are refused."""
    with pytest.raises(ExpressionError) as caught:
        parse_feature("f", text)
    assert message in str(caught.value)
    assert start is None or caught.value.start == start


def test_numbers_are_exact() -> None:
    """Constants keep every digit that was written."""
    tree = parse("a > 0.10000000000000000000000000000000000001 and b = 'text'")
    assert [n.value for n in walk(tree) if isinstance(n, Number | Text)] == [
        Decimal("0.10000000000000000000000000000000000001"),
        "text",
    ]
    assert isinstance(tree.left, Compare)  # type: ignore[union-attr]


def test_a_feature_is_a_value() -> None:
    """Two features of the same text are equal."""
    text = "sum(amount) filter (where gender = 'F')"
    assert parse_feature("f", text) == parse_feature("f", text)
    assert isinstance(parse_feature("f", text), Feature)


def test_a_quantile_has_at_most_nine_digits() -> None:
    """Its place, p * (n - 1), is worked out in 64-bit integers: more digits would not fit."""
    with pytest.raises(ExpressionError, match="at most 9 fraction digits"):
        parse("x >= percentile_cont(0.1234567891, x) over merchant")
