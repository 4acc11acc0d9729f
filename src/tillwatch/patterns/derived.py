"""Derived columns: worked out for each row from columns of the source, as SQL says.

>>> parse_derived("price * quantity", "number").names
('price', 'quantity')
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from sqlglot import exp

from tillwatch.patterns.expression import (
    CONDITIONS,
    Absolute,
    And,
    Arithmetic,
    Call,
    Case,
    Coalesce,
    Compare,
    Expr,
    ExpressionError,
    IsNull,
    Language,
    Name,
    Not,
    Number,
    Or,
    Rule,
    Sub,
    Text,
    Truth,
    children,
    convert,
    parse_sql,
    place,
    walk,
)
from tillwatch.patterns.shown import show

Kind = Literal["text", "number", "bool"]

CELL_DIGITS = 9
"""Fraction digits with which a number of the source is taken; more are rounded, half to even."""

QUOTIENT_DIGITS = 12
"""Fraction digits of a quotient, which is rounded half to even. Sums, differences and products are exact."""

MAX_DIGITS = 27
"""Fraction digits that a value may have on the way: three numbers of the source can be multiplied."""

_LONGEST = 10_000


@dataclass(frozen=True, slots=True)
class Derived:
    """A column that the source does not have: its SQL text, and what that means."""

    text: str
    tree: Expr

    def __str__(self) -> str:
        return self.text

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the source that it reads."""
        return tuple(dict.fromkeys(n.name for n in walk(self.tree) if isinstance(n, Name)))


def parse_derived(text: str, kind: Kind) -> Derived:
    """The derived column that `text` says, which must give a value of this kind. Raises ExpressionError."""
    tree = convert(parse_sql(text), {}, language=_ROWS)
    _check(tree, kind)
    return Derived(" ".join(text.split()), tree)


def compared_as(tree: Compare) -> Kind:
    """As what the two sides are compared: numbers when one of them is a number, or the order is asked for."""
    kinds = {kind for side in (tree.left, tree.right) if (kind := _natural(side))}
    if len(kinds) > 1:
        raise ExpressionError(f"'{show(tree)}' compares a text with a number", _start(tree))
    if not kinds:
        return "text" if tree.op in ("=", "<>") else "number"
    if kinds == {"text"} and tree.op not in ("=", "<>"):
        raise ExpressionError(f"text is compared with = or <> only, found '{tree.op}'", _start(tree))
    return kinds.pop()


def digits_of(tree: Expr) -> int:
    """The fraction digits that a number has, whatever is in the row. Raises ExpressionError when they are too many."""
    match tree:
        case Number(value=value):
            digits = max(0, -int(value.as_tuple().exponent))
        case Name():
            digits = CELL_DIGITS
        case Arithmetic(op="/"):
            digits = QUOTIENT_DIGITS
        case Arithmetic(op="*"):
            digits = digits_of(tree.left) + digits_of(tree.right)
        case Case():
            digits = max(map(digits_of, case_values(tree)))
        case _:
            digits = max((digits_of(part) for part in children(tree)), default=0)
    if digits > MAX_DIGITS:
        raise ExpressionError(
            f"'{show(tree)}' would have {digits} fraction digits, more than {MAX_DIGITS}: multiply at most three "
            "columns of the source with each other",
            _start(tree),
        )
    return digits


def case_values(tree: Case) -> list[Expr]:
    """What a CASE may give."""
    return [*(value for _, value in tree.branches), *([tree.otherwise] if tree.otherwise else [])]


def _check(tree: Expr, kind: Kind) -> None:
    """Raises ExpressionError unless the expression gives a value of this kind."""
    match tree:
        case Name(qualifier=None) if kind != "bool":
            return
        case Number() | Arithmetic() | Absolute() if kind == "number":
            if isinstance(tree, Number) and (abs(tree.value) >= 10**15 or len(tree.value.as_tuple().digits) > 30):
                raise ExpressionError(f"the number {tree.value} has too many digits to be worked with exactly")
            for part in children(tree):
                _check(part, "number")
            digits_of(tree)
        case Text() | Call() if kind == "text":
            for part in tree.arguments[:1] if isinstance(tree, Call) and tree.name == "substr" else children(tree):
                _check(part, "text")
        case Coalesce() if kind != "bool":
            _check(tree.x, kind)
            _check(tree.otherwise, kind)
        case Case() if kind != "bool":
            for condition, _ in tree.branches:
                _check(condition, "bool")
            for value in case_values(tree):
                _check(value, kind)
        case Truth() | And() | Or() | Not() if kind == "bool":
            for part in children(tree):
                _check(part, "bool")
        case Compare() if kind == "bool":
            for side in (tree.left, tree.right):
                _check(side, compared_as(tree))
        case IsNull() if kind == "bool":
            _check(tree.x, _natural(tree.x) or "text")
        case _:
            words = {"text": "a text", "number": "a number", "bool": "a condition"}
            raise ExpressionError(f"'{show(tree)}' is not {words[kind]}", _start(tree))


def _natural(tree: Expr) -> Kind | None:
    """The kind that an expression has by itself; a column of the source has none."""
    match tree:
        case Number() | Arithmetic() | Absolute():
            return "number"
        case Text() | Call():
            return "text"
        case Coalesce():
            return _natural(tree.x) or _natural(tree.otherwise)
        case Case():
            return next((kind for value in case_values(tree) if (kind := _natural(value))), None)
        case Name():
            return None
        case _:
            return "bool"


def natural(tree: Expr) -> Kind:
    """The kind of an expression that may have either, such as what is asked to be null: text unless it is a number."""
    return _natural(tree) or "text"


def _start(tree: Expr) -> int | None:
    return next((n.start for n in walk(tree) if isinstance(n, Name)), None)


def _text_function(name: str) -> Rule:
    def rule(node: exp.Expr, sub: Sub, _: dict[str, Decimal]) -> Expr:
        if any(value for key, value in node.args.items() if key not in ("this", "safe", "coalesce")):
            raise ExpressionError(f"'{node.sql()}': write {name}(x)", place(node))
        return Call(name, (sub(node.this),))

    return rule


def _concat(node: exp.Expr, sub: Sub, _: dict[str, Decimal]) -> Expr:
    return Call("concat", (sub(node.this), sub(node.expression)))


def _substr(node: exp.Expr, sub: Sub, _: dict[str, Decimal]) -> Expr:
    numbers = [sub(n) for n in (node.args.get("start"), node.args.get("length")) if n is not None]
    whole = [isinstance(n, Number) and n.value == int(n.value) and 0 <= n.value <= _LONGEST for n in numbers]
    if not numbers or not all(whole) or numbers[0] == Number(Decimal(0)):
        raise ExpressionError("write substr(x, start) or substr(x, start, length), start from 1", place(node))
    return Call("substr", (sub(node.this), *numbers))


def _case(node: exp.Expr, sub: Sub, _: dict[str, Decimal]) -> Expr:
    branches = []
    for branch in node.args["ifs"]:
        condition = sub(branch.this)
        asked = Compare("=", sub(node.this), condition) if node.this else condition
        branches.append((asked, sub(branch.args["true"])))
    otherwise = node.args.get("default")
    return Case(tuple(branches), sub(otherwise) if otherwise else None)


_ROWS = Language(
    {
        **{kind: rule for kind, rule in CONDITIONS.rules.items() if kind is not exp.Window},
        exp.Upper: _text_function("upper"),
        exp.Lower: _text_function("lower"),
        exp.Trim: _text_function("trim"),
        exp.Substring: _substr,
        exp.DPipe: _concat,
        exp.Case: _case,
    },
    "Allowed: columns of the source, numbers, texts, + - * /, ||, = <> < <= > >=, AND OR NOT, BETWEEN, IN, IS NULL, "
    "CASE WHEN, COALESCE, ABS, UPPER, LOWER, TRIM, SUBSTR",
)
