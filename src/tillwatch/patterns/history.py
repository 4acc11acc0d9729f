"""Patterns that changed while a pipeline was at work: which plan is in force at which chunk, all in one program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tillwatch.patterns.compiler import Compiler
from tillwatch.patterns.program import Plan, Program
from tillwatch.patterns.shown import show


def plan_lines(plan: Plan, program: Program) -> list[str]:
    """All that the detections of a plan depend on beside rows and lookups, a line each."""
    p = plan.pattern
    judged = "" if p.judge == "chunk" else f" on each {p.judge}"
    lines = [f"pattern {p.id} {p.action} per {', '.join(plan.per)}{judged}: {show(plan.tree)}"]
    lines += [f"pattern {p.id} where {show(p.where)}"] if p.where else []
    lines += [f"pattern {p.id} {p.life}"] if p.life else []
    named = {use.label.rpartition(".")[2] for use in plan.uses.values() if use.lookup is None and not use.column}
    features = {**program.features, **p.features}
    return lines + [f"pattern {p.id} feature {name}: {' '.join(features[name].text.split())}" for name in sorted(named)]


def same_life(one: Plan, other: Plan) -> bool:
    """Whether detections of one plan are those of the other: the same id and keys, judged and published alike."""
    a, b = one.pattern, other.pattern
    return (a.id, a.shadow, a.judge, one.per) == (b.id, b.shadow, b.judge, other.per)


def following(before: Program, after: Program, chunk: int) -> Program:
    """The program `after`, in force from a chunk on; plans that are as they were `before` go on, others begin there."""
    known = {(plan.place, *plan_lines(plan, before)): plan.first for plan in before.plans}
    firsts = [known.get((plan.place, *plan_lines(plan, after)), chunk) for plan in after.plans]
    return replace(
        after, plans=tuple(replace(plan, first=first) for plan, first in zip(after.plans, firsts, strict=True))
    )


def joined(programs: Sequence[Program], chunks: Sequence[int]) -> Program:
    """All that was ever in force as one program: each plan from its first chunk to the one at which it ended.

    `chunks` are those at which the programs came into force; each program but the first is `following` the one before
    it. The tables hold what any of the plans needs, under the names that they have in the last program.
    """
    if len(programs) == 1:
        return programs[0]
    last = programs[-1]
    compiler = Compiler(last.features, last.lookups, last.digits, last.keys)
    plans: list[Plan] = []
    for number in reversed(range(len(programs))):
        program = programs[number]
        compiler.features = program.features
        made = compiler.plans([plan.pattern for plan in program.plans])
        for plan, known in zip(made, program.plans, strict=True):
            goes_on = number + 1 < len(programs) and any(_goes_on(known, n) for n in programs[number + 1].plans)
            if not goes_on:
                until = chunks[number + 1] if number + 1 < len(programs) else None
                plans.append(replace(plan, first=known.first, until=until))
    compiler.features = last.features
    return compiler.of([replace(plan, partition=_common_keys(plan, plans)) for plan in plans])


def _goes_on(plan: Plan, later: Plan) -> bool:
    return (plan.place, plan.pattern.id, plan.first) == (later.place, later.pattern.id, later.first)


def _common_keys(plan: Plan, plans: Sequence[Plan]) -> tuple[str, ...]:
    """What the state of a pattern can be split by when it is handed on from one plan to the next."""
    related = [other for other in plans if same_life(plan, other)]
    return tuple(key for key in plan.partition if all(key in other.partition for other in related))
