"""Conditions that can never hold, and clauses that say nothing.

Sound, not complete: what is called impossible is never true, whatever rows come; much that is impossible is not found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tillwatch.patterns.claims import Claim, Claims
from tillwatch.patterns.contradiction import Search
from tillwatch.patterns.expression import Expr, Name, Or, PercentileCont, PercentRank, conjuncts, walk
from tillwatch.patterns.facts import Fact, facts_of
from tillwatch.patterns.program import Plan, Program
from tillwatch.patterns.shown import show


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd about a condition, with its place. `wrong`: the pattern can never fire.

    `part` is the part that is odd: the last clause of those that exclude each other, one without effect, or one that
    can never hold (`never`).
    """

    text: str
    part: Expr
    never: bool
    wrong: bool


@dataclass(frozen=True, slots=True)
class _Clause:
    tree: Expr
    claim: Claim


def findings(plan: Plan, program: Program, *, negative: bool) -> list[Finding]:
    """What is odd about a pattern's condition. `negative`: amounts may be below zero."""
    return list(_Look(plan, program, negative=negative).found())


class _Look:
    def __init__(self, plan: Plan, program: Program, *, negative: bool) -> None:
        self.pattern = plan.pattern
        self.search = Search()
        self.claims = Claims(plan.uses, program.digits)
        self.facts = facts_of(plan, program.features, negative=negative)
        self.clauses = [_Clause(tree, self.claims.of(tree, True)) for tree in conjuncts(plan.tree)]

    def found(self) -> Iterator[Finding]:
        """All findings, in the order of the text."""
        if not self._possible(self.clauses):
            clauses, reasons = self._core(self.clauses)
            together = "can never hold together" if len(clauses) > 1 else "can never hold"
            yield self._finding(clauses[-1].tree, f"{_listed(clauses)} {together}", reasons, never=True, wrong=True)
            return
        for clause in self.clauses:
            others = [other for other in self.clauses if other is not clause]
            yield from self._without_effect(clause, others)
            yield from self._dead(clause, others)

    def _without_effect(self, clause: _Clause, others: list[_Clause]) -> Iterator[Finding]:
        """A clause that is true wherever the others are."""
        untrue = _Clause(clause.tree, self.claims.of(clause.tree, False, or_unknown=True))
        if not self._possible([untrue, *others]):
            core, reasons = self._core([untrue, *others])
            given = [other for other in core if other is not untrue]
            what = f"says nothing beside {_listed(given)}" if given else "always holds"
            yield self._finding(clause.tree, f"'{show(clause.tree)}' {what}", reasons, never=False)

    def _dead(self, clause: _Clause, others: list[_Clause]) -> Iterator[Finding]:
        """Parts that OR joins and that can never be true."""
        for part in _disjuncts(clause.tree) if isinstance(clause.tree, Or) else ():
            one = _Clause(part, self.claims.of(part, True))
            if not self._possible([one, *others]):
                core, reasons = self._core([one, *others])
                given = [other for other in core if other is not one]
                beside = f" beside {_listed(given)}" if given else ""
                yield self._finding(part, f"'{show(part)}' can never hold{beside}", reasons, never=True)

    def _finding(self, part: Expr, text: str, reasons: Sequence[Fact], *, never: bool, wrong: bool = False) -> Finding:
        start = next((n.start for n in walk(part) if isinstance(n, Name | PercentRank | PercentileCont)), None)
        place = self.pattern.spot.of(self.pattern.when, start)
        return Finding(f"{place}: {self.pattern.id}: {text}{_because(reasons)}", part, never, wrong)

    def _possible(self, clauses: Sequence[_Clause], facts: Sequence[Fact] | None = None) -> bool:
        return self.search.possible(
            [c.claim for c in clauses] + [f.claim for f in (self.facts if facts is None else facts)]
        )

    def _core(self, clauses: Sequence[_Clause]) -> tuple[list[_Clause], list[Fact]]:
        """As few of the clauses, and then of the facts, as still contradict each other."""
        clauses, facts = list(clauses), list(self.facts)
        for clause in list(clauses):
            rest = [c for c in clauses if c is not clause]
            clauses = clauses if self._possible(rest, facts) else rest
        for fact in reversed(self.facts):  # the simplest, which come first, are kept
            fewer = [f for f in facts if f is not fact]
            facts = facts if self._possible(clauses, fewer) else fewer
        return clauses, facts


def _disjuncts(tree: Expr) -> list[Expr]:
    return _disjuncts(tree.left) + _disjuncts(tree.right) if isinstance(tree, Or) else [tree]


def _listed(clauses: Sequence[_Clause]) -> str:
    return " and ".join(f"'{show(clause.tree)}'" for clause in clauses)


def _because(facts: Sequence[Fact]) -> str:
    return f": {', and '.join(fact.words for fact in facts)}" if facts else ""
