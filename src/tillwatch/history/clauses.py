"""A condition for one key, clause by clause: what is true, and on which values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from tillwatch.engine.condition import Condition
from tillwatch.engine.evaluate import evaluate
from tillwatch.engine.evidence import evidence, plain
from tillwatch.engine.values import Vector
from tillwatch.patterns.expression import (
    And,
    Compare,
    Expr,
    Name,
    Not,
    Or,
    PercentileCont,
    PercentRank,
    Text,
    children,
    walk,
)
from tillwatch.patterns.kinds import ValueKind, text_compared
from tillwatch.patterns.program import Plan
from tillwatch.patterns.shown import show

Kind = Literal["all", "any", "not", "clause"]


@dataclass(frozen=True, slots=True)
class Need:
    """What would make a clause what it is not: `what` has to change by `by`, up or, below zero, down.

    `by` is None where it is no matter of more or less. `possible` is False when no further transaction can bring it.
    """

    text: str
    what: str | None = None
    by: float | None = None
    possible: bool = True


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of a condition. `truth` is None when it is unknown.

    `all`, `any` and `not` have parts. A clause has its `sides`, a comparison its two, each with its value; and the
    `facts` that these are made of, in the form of evidence: `features`, `ranks`, `quantiles`. `tree` is what it means;
    `need`, where it was asked for, is what the clause lacks.
    """

    kind: Kind
    text: str
    truth: bool | None
    tree: Expr
    parts: tuple[Clause, ...] = ()
    sides: tuple[tuple[str, Any], ...] = ()
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    need: Need | None = None

    def leaves(self) -> list[Clause]:
        """The clauses that join no others, in the order of the text."""
        return [leaf for part in self.parts for leaf in part.leaves()] if self.parts else [self]


class View:
    """A condition as it is for one subject. `facts` are the values that it is made of, in the form of evidence."""

    facts: Mapping[str, Any]
    digits: int

    def vector(self, tree: Expr) -> Vector:
        """The value of an expression, one long."""
        raise NotImplementedError

    def value(self, tree: Expr) -> Any:
        """The value of an expression as evidence has it; None when it is unknown."""
        if isinstance(tree, Text):
            return tree.value
        if isinstance(tree, Name) and str(tree) in self.facts.get("columns", {}):
            return self.facts["columns"][str(tree)]
        return plain(self.vector(tree), self.digits)[0]

    def clause(self, tree: Expr) -> Clause:
        """The expression, which is a condition, with all its parts."""
        truth = self.value(tree)
        match tree:
            case And():
                return Clause("all", show(tree), truth, tree, self._parts(tree))
            case Or():
                return Clause("any", show(tree), truth, tree, self._parts(tree))
            case Not(x=x):
                return Clause("not", show(tree), truth, tree, (self.clause(x),))
            case _:
                sides = tuple((show(side), self.value(side)) for side in _sides(tree))
                return Clause("clause", show(tree), truth, tree, (), sides, self._facts(tree))

    def _parts(self, tree: And | Or) -> tuple[Clause, ...]:
        return tuple(self.clause(part) for part in joined(tree))

    def _facts(self, tree: Expr) -> dict[str, dict[str, Any]]:
        """Of the evidence, what the expression reads."""
        found: dict[str, dict[str, Any]] = {}
        for node in walk(tree):
            match node:
                case Name():
                    name = str(node)
                    part = "columns" if name in self.facts.get("columns", {}) else "features"
                case PercentRank():
                    part, name = "ranks", show(node)
                case PercentileCont():
                    part, name = "quantiles", show(node)
                case _:
                    continue
            found.setdefault(part, {})[name] = self.facts[part][name]
        return found


class KeyView(View):
    """A condition as it is for one key now, after `chunk`. `slot` is the key's."""

    def __init__(self, condition: Condition, slot: int, chunk: int) -> None:
        self.condition = condition
        self.digits = condition.digits
        self.slots = np.array([slot], np.int64)
        self.facts = evidence(condition, self.slots, chunk)[0]

    def vector(self, tree: Expr) -> Vector:
        return one(self.condition.evaluate(tree, self.slots, self.condition.plan.per))


class EvidenceView(View):
    """A condition as the evidence of a detection says it was; for a transaction, with the values before it."""

    def __init__(self, plan: Plan, facts: Mapping[str, Any], digits: int) -> None:
        self.plan, self.facts, self.digits = plan, facts, digits

    def vector(self, tree: Expr) -> Vector:
        return one(evaluate(tree, self._leaf, 1, self.digits))

    def _leaf(self, node: Expr) -> Vector | None:
        if isinstance(node, Name):
            use = self.plan.uses[str(node)]
            return known(use.kind, self.facts["columns" if use.column else "features"][str(node)], self.digits)
        if isinstance(node, Compare) and (found := text_compared(node, self.plan.uses)):
            column, text = found
            value = self.facts["columns"][str(column)]
            return Vector("bool", np.array([(value == text.value) == (node.op == "=")]), np.array([value is None]))
        if isinstance(node, PercentRank | PercentileCont):
            part = "ranks" if isinstance(node, PercentRank) else "quantiles"
            return known("float", self.facts[part][show(node)]["value"], self.digits)
        return None


def one(vector: Vector) -> Vector:
    """A vector that is one long, also of a constant."""
    return Vector(vector.kind, np.atleast_1d(vector.data), None if vector.null is None else np.atleast_1d(vector.null))


def known(kind: ValueKind, value: Any, digits: int) -> Vector:
    """A value as evidence has it, as it was; None is unknown.

    >>> known("decimal", 4.55, 2), known("int", None, 2).null
    (Vector(kind='decimal', data=array([455]), null=None), array([ True]))
    """
    if value is None:
        return Vector(kind, np.zeros(1, np.float64 if kind == "float" else np.int64), np.ones(1, np.bool_))
    if kind == "text":
        return Vector(kind, np.zeros(1, np.int64))
    return Vector(kind, np.array([round(value * 10**digits) if kind == "decimal" else value]))


def joined(tree: And | Or) -> list[Expr]:
    """The parts that one kind of joining joins, however deep it is nested."""
    parts: list[Expr] = []
    for side in (tree.left, tree.right):
        parts += joined(side) if isinstance(side, And | Or) and type(side) is type(tree) else [side]
    return parts


def _sides(tree: Expr) -> tuple[Expr, ...]:
    """What is looked at: both sides of a comparison, what may be null; a constant has none."""
    return (tree.left, tree.right) if isinstance(tree, Compare) else children(tree)


def as_json(clause: Clause) -> dict[str, Any]:
    """Ready for JSON."""
    said: dict[str, Any] = {"kind": clause.kind, "clause": clause.text, "true": clause.truth}
    if clause.parts:
        return said | {"parts": [as_json(part) for part in clause.parts]}
    said |= {"sides": [{"text": text, "value": value} for text, value in clause.sides], **clause.facts}
    return said if clause.need is None else said | {"need": asdict(clause.need)}
