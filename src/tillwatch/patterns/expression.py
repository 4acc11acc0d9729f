"""The expression language: SQL text, parsed by sqlglot, to a small tree of our own.

Only what the product can keep exactly and judge after every chunk gets through; anything else is refused
with the place in the text. Two dialects of one grammar use it: a pattern's `when` (over features) and a
feature's `filter (where …)` (over columns of the row).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tillwatch.patterns.mistakes import ExpressionError as ExpressionError
from tillwatch.patterns.mistakes import UnknownThreshold, meant

CompareOp = Literal["=", "<>", "<", "<=", ">", ">="]
ArithmeticOp = Literal["+", "-", "*", "/"]


@dataclass(frozen=True, slots=True)
class Number:
    """A constant, exact."""

    value: Decimal


@dataclass(frozen=True, slots=True)
class Text:
    """A string constant."""

    value: str


@dataclass(frozen=True, slots=True)
class Truth:
    """TRUE or FALSE."""

    value: bool


@dataclass(frozen=True, slots=True)
class Name:
    """A feature or a column, `qualifier.name` or `name`; `start` is its offset in the text."""

    name: str
    qualifier: str | None = None
    start: int = 0

    def __str__(self) -> str:
        return f"{self.qualifier}.{self.name}" if self.qualifier else self.name


@dataclass(frozen=True, slots=True)
class PercentRank:
    """`percent_rank(x) OVER keys`: SQL's percent_rank of this key's x among the keys of the same group."""

    x: Name
    over: tuple[str, ...]
    start: int = 0


@dataclass(frozen=True, slots=True)
class PercentileCont:
    """`percentile_cont(p, x) OVER keys`: the interpolated quantile of x within the group."""

    p: Decimal
    x: Name
    over: tuple[str, ...]
    start: int = 0


@dataclass(frozen=True, slots=True)
class Compare:
    op: CompareOp
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Arithmetic:
    op: ArithmeticOp
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class And:
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Or:
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Not:
    x: Expr


@dataclass(frozen=True, slots=True)
class IsNull:
    x: Expr


@dataclass(frozen=True, slots=True)
class Coalesce:
    x: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class Absolute:
    x: Expr


Expr = (
    Number
    | Text
    | Truth
    | Name
    | PercentRank
    | PercentileCont
    | Compare
    | Arithmetic
    | And
    | Or
    | Not
    | IsNull
    | Coalesce
    | Absolute
)

_COMPARES: dict[type[exp.Expr], CompareOp] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_ARITHMETICS: dict[type[exp.Expr], ArithmeticOp] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/"}
MAX_DEPTH = 150
_TOO_DEEP = f"the expression is nested more than {MAX_DEPTH} levels deep, or joins more parts than that: simplify it"
_FUNCTIONS = ("abs", "coalesce", "percent_rank", "percentile_cont")
_ALLOWED = (
    "Allowed: numbers, names, + - * /, = <> < <= > >=, AND OR NOT, BETWEEN, IN, IS NULL, COALESCE, ABS, "
    "percent_rank(x) OVER key, percentile_cont(p, x) OVER key"
)


def parse_sql(text: str) -> exp.Expr:
    """SQL text as sqlglot's tree. Raises ExpressionError.

    >>> parse_sql("a > ")
    Traceback (most recent call last):
    ...
    tillwatch.patterns.mistakes.ExpressionError: not a SQL expression near 'a >'
    """
    try:
        tree = sqlglot.parse(text)
    except RecursionError:
        raise ExpressionError(_TOO_DEEP) from None
    except SqlglotError as error:
        details = getattr(error, "errors", None) or [{}]
        near = f"{details[0].get('start_context') or ''}{details[0].get('highlight') or ''}".strip()
        start = len(details[0].get("start_context") or "") if text.startswith(near) else None
        raise ExpressionError(
            f"not a SQL expression near '{near[-40:]}'" if near else "not a SQL expression", start
        ) from None
    if len(tree) != 1 or tree[0] is None:
        raise ExpressionError("expected one SQL expression")
    return tree[0]


def parse(text: str, thresholds: Mapping[str, Decimal] | None = None) -> Expr:
    """The tree of `text`; `:name` stands for the threshold of that name. Raises ExpressionError.

    >>> parse("transactions >= :least", {"least": Decimal(80)})
    Compare(op='>=', left=Name(name='transactions', qualifier=None, start=0), right=Number(value=Decimal('80')))
    """
    try:
        return convert(parse_sql(text), dict(thresholds or {}))
    except UnknownThreshold as error:
        found = re.search(rf":{re.escape(error.name)}(?!\w)", text)
        raise ExpressionError(str(error), found and found.start()) from None


def convert(node: exp.Expr, thresholds: dict[str, Decimal], depth: int = 0) -> Expr:
    """Our tree of sqlglot's. Raises ExpressionError."""
    if depth > MAX_DEPTH:
        raise ExpressionError(_TOO_DEEP)

    def sub(child: exp.Expr) -> Expr:
        return convert(child, thresholds, depth + 1)

    kind = type(node)
    if kind in _COMPARES:
        return Compare(_COMPARES[kind], sub(node.this), sub(node.expression))
    if kind in _ARITHMETICS:
        return Arithmetic(_ARITHMETICS[kind], sub(node.this), sub(node.expression))
    rule = _RULES.get(kind)
    if rule is None:
        raise ExpressionError(f"'{node.sql()}' is not part of the language{_instead(node)}. {_ALLOWED}", place(node))
    return rule(node, sub, thresholds)


Sub = Callable[[exp.Expr], Expr]
Rule = Callable[[exp.Expr, Sub, dict[str, Decimal]], Expr]


def place(node: exp.Expr) -> int | None:
    """Offset of the first token below `node` that knows its place."""
    starts = [n.meta["start"] for n in node.find_all(exp.Identifier, exp.Func) if "start" in n.meta]
    return min(starts) if starts else None


def _instead(node: exp.Expr) -> str:
    """What may have been meant by a function that is none of ours."""
    if isinstance(node, exp.AggFunc):
        return ": declare it under features and write its name here"
    return meant(node.name, _FUNCTIONS) if isinstance(node, exp.Anonymous) else ""


def _literal(node: exp.Expr, _: Sub, __: dict[str, Decimal]) -> Expr:
    return Text(node.this) if node.is_string else _number(node.this)


def _number(value: str | Decimal) -> Number:
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ExpressionError(f"'{str(value)[:40]}' is not a number that can be kept") from None
    if number and abs(number.adjusted()) > 300:
        raise ExpressionError(f"the number {str(value)[:40]} is too large or too small to be compared with")
    return Number(number)


def _name(node: exp.Expr, _: Sub, __: dict[str, Decimal]) -> Expr:
    if not isinstance(node.this, exp.Identifier) or node.args.get("db"):
        raise ExpressionError(f"'{node.sql()}' is not a name; write feature or key.feature", place(node))
    return Name(node.name, node.args["table"].name if node.args.get("table") else None, place(node) or 0)


def _threshold(node: exp.Expr, _: Sub, thresholds: dict[str, Decimal]) -> Expr:
    name = node.name
    if name not in thresholds:
        raise UnknownThreshold(name, thresholds)
    return _number(thresholds[name])


def _negative(node: exp.Expr, sub: Sub, _: dict[str, Decimal]) -> Expr:
    inner = sub(node.this)
    return Number(-inner.value) if isinstance(inner, Number) else Arithmetic("-", Number(Decimal(0)), inner)


def _between(node: exp.Expr, sub: Sub, _: dict[str, Decimal]) -> Expr:
    if node.args.get("symmetric"):
        raise ExpressionError("BETWEEN SYMMETRIC is not part of the language; write the lower bound first", place(node))
    x = sub(node.this)
    return And(Compare(">=", x, sub(node.args["low"])), Compare("<=", x, sub(node.args["high"])))


def _in(node: exp.Expr, sub: Sub, _: dict[str, Decimal]) -> Expr:
    if not node.expressions:
        raise ExpressionError("IN needs a list of values in parentheses", place(node))
    if len(node.expressions) > MAX_DEPTH:
        raise ExpressionError(_TOO_DEEP, place(node))
    x = sub(node.this)
    choices: list[Expr] = [Compare("=", x, sub(choice)) for choice in node.expressions]
    tree = choices[0]
    for choice in choices[1:]:
        tree = Or(tree, choice)
    return tree


def _is(node: exp.Expr, sub: Sub, _: dict[str, Decimal]) -> Expr:
    if not isinstance(node.expression, exp.Null):
        raise ExpressionError("IS goes with NULL or NOT NULL only", place(node))
    return IsNull(sub(node.this))


def _coalesce(node: exp.Expr, sub: Sub, _: dict[str, Decimal]) -> Expr:
    tree = sub(node.expressions[-1]) if node.expressions else None
    if tree is None:
        raise ExpressionError("COALESCE needs two values or more", place(node))
    for part in [*reversed(node.expressions[:-1]), node.this]:
        tree = Coalesce(sub(part), tree)
    return tree


def _window(node: exp.Expr, sub: Sub, thresholds: dict[str, Decimal]) -> Expr:
    over = _over(node)
    inner = node.this
    start = place(inner) or 0
    if isinstance(inner, exp.PercentRank):
        x = _ranked(inner.expressions, inner, sub)
        return PercentRank(x, over, start)
    if isinstance(inner, exp.PercentileCont):
        p = sub(inner.this)
        if not isinstance(p, Number) or not 0 <= p.value <= 1:
            raise ExpressionError("percentile_cont(p, x): p must be a number from 0 to 1", start)
        if p.value != round(p.value, 9):
            raise ExpressionError("percentile_cont(p, x): p must have at most 9 fraction digits", start)
        return PercentileCont(p.value, _ranked([inner.expression], inner, sub), over, start)
    raise ExpressionError(f"'{inner.sql()}' cannot be used with OVER; percent_rank and percentile_cont can", start)


def _ranked(arguments: list[exp.Expr], node: exp.Expr, sub: Sub) -> Name:
    x = sub(arguments[0]) if len(arguments) == 1 and arguments[0] is not None else None
    if not isinstance(x, Name):
        what = "percent_rank(x)" if isinstance(node, exp.PercentRank) else "percentile_cont(p, x)"
        raise ExpressionError(f"{what} takes one feature name as x", place(node))
    return x


def _over(node: exp.Expr) -> tuple[str, ...]:
    if node.args.get("order") or node.args.get("spec"):
        raise ExpressionError("write percent_rank(x) OVER key, without ORDER BY", place(node))
    alias = node.args.get("alias")
    if alias is not None:
        return (alias.name,)
    parts = node.args.get("partition_by") or ()
    for part in parts:
        if not isinstance(part, exp.Column) or part.args.get("table"):
            raise ExpressionError(f"OVER takes keys, such as merchant; found {part.sql()}", place(part))
    return tuple(part.name for part in parts)


def _bare_rank(node: exp.Expr, _: Sub, __: dict[str, Decimal]) -> Expr:
    name = "percent_rank(x)" if isinstance(node, exp.PercentRank) else "percentile_cont(p, x)"
    raise ExpressionError(f"{name} needs OVER and the key to rank among, such as {name} OVER merchant", place(node))


_RULES: dict[type[exp.Expr], Rule] = {
    exp.Literal: _literal,
    exp.Column: _name,
    exp.Placeholder: _threshold,
    exp.Boolean: lambda node, _, __: Truth(bool(node.this)),
    exp.Paren: lambda node, sub, _: sub(node.this),
    exp.And: lambda node, sub, _: And(sub(node.this), sub(node.expression)),
    exp.Or: lambda node, sub, _: Or(sub(node.this), sub(node.expression)),
    exp.Not: lambda node, sub, _: Not(sub(node.this)),
    exp.Neg: _negative,
    exp.Between: _between,
    exp.In: _in,
    exp.Is: _is,
    exp.Coalesce: _coalesce,
    exp.Abs: lambda node, sub, _: Absolute(sub(node.this)),
    exp.Window: _window,
    exp.PercentRank: _bare_rank,
    exp.PercentileCont: _bare_rank,
}


def children(tree: Expr) -> tuple[Expr, ...]:
    """The direct parts of a node."""
    match tree:
        case Compare() | Arithmetic() | And() | Or():
            return (tree.left, tree.right)
        case Not() | IsNull() | Absolute():
            return (tree.x,)
        case Coalesce():
            return (tree.x, tree.otherwise)
        case PercentRank() | PercentileCont():
            return (tree.x,)
        case _:
            return ()


def walk(tree: Expr) -> Iterator[Expr]:
    """The node and everything below it, in the order of the text."""
    yield tree
    for child in children(tree):
        yield from walk(child)


def conjuncts(tree: Expr) -> list[Expr]:
    """The parts that AND joins at the top."""
    if isinstance(tree, And):
        return conjuncts(tree.left) + conjuncts(tree.right)
    return [tree]
