"""An expression as text."""

from __future__ import annotations

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
    PercentileCont,
    PercentRank,
    Text,
    Truth,
)


def show(tree: Expr) -> str:
    """The expression as text, thresholds filled in.

    >>> from tillwatch.patterns.expression import parse
    >>> show(parse("NOT (a > 1 OR b.c IN (1, 2)) AND percent_rank(x) OVER m >= 0.9"))
    'not (a > 1 or b.c = 1 or b.c = 2) and percent_rank(x) over m >= 0.9'
    """
    match tree:
        case Number():
            return str(tree.value)
        case Text():
            return "'" + tree.value.replace("'", "''") + "'"
        case Truth():
            return "true" if tree.value else "false"
        case Name():
            return str(tree)
        case PercentRank():
            return f"percent_rank({tree.x}) over {_keys(tree.over)}"
        case PercentileCont():
            return f"percentile_cont({tree.p}, {tree.x}) over {_keys(tree.over)}"
        case Compare() | Arithmetic():
            return f"{_wrap(tree.left)} {tree.op} {_wrap(tree.right)}"
        case And():
            return " and ".join(f"({show(p)})" if isinstance(p, Or) else show(p) for p in (tree.left, tree.right))
        case Or():
            return f"{show(tree.left)} or {show(tree.right)}"
        case Not():
            return f"not {_wrap(tree.x)}"
        case IsNull():
            return f"{_wrap(tree.x)} is null"
        case Coalesce():
            return f"coalesce({show(tree.x)}, {show(tree.otherwise)})"
        case Absolute():
            return f"abs({show(tree.x)})"
        case Call(name="concat"):
            return " || ".join(_wrap(a) for a in tree.arguments)
        case Call():
            return f"{tree.name}({', '.join(map(show, tree.arguments))})"
        case Case():
            whens = "".join(f" when {show(a)} then {show(b)}" for a, b in tree.branches)
            return f"case{whens}{f' else {show(tree.otherwise)}' if tree.otherwise else ''} end"


def _wrap(tree: Expr) -> str:
    return f"({show(tree)})" if isinstance(tree, Compare | Arithmetic | And | Or | Not | IsNull) else show(tree)


def _keys(over: tuple[str, ...]) -> str:
    if len(over) == 1:
        return over[0]
    return f"(partition by {', '.join(over)})" if over else "()"
