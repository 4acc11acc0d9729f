"""Whether claims can all be so at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from tillwatch.patterns import ranges
from tillwatch.patterns.claims import All, AnyOf, Claim, Known, Never, Ordered, Other, Sized, Within
from tillwatch.patterns.expression import Arithmetic, Expr, Name, Number
from tillwatch.patterns.ranges import ANY, Range
from tillwatch.patterns.shown import show

TRIES = 1_000
"""So many sets of claims are looked at, for one pattern; beyond them everything is called possible."""


class Search:
    """Looks for a way in which claims can all be so, and gives up after `TRIES`."""

    def __init__(self) -> None:
        self.left = TRIES

    def possible(self, claims: Sequence[Claim]) -> bool:
        """Whether the claims can all be so at once, as far as can be seen."""
        return self._possible(list(claims), [])

    def _possible(self, pending: list[Claim], atoms: list[Claim]) -> bool:
        later: list[AnyOf] = []
        while pending:
            claim = pending.pop()
            if isinstance(claim, Never):
                return False
            if isinstance(claim, All):
                pending.extend(claim.parts)
            elif isinstance(claim, AnyOf):
                later.append(claim)
            else:
                atoms.append(claim)
        self.left -= 1
        if self.left < 0:
            return True
        if not consistent(atoms):
            return False
        if not later:
            return True
        first, *rest = later
        return any(self._possible([*rest, part], list(atoms)) for part in first.parts)


def consistent(claims: Sequence[Claim]) -> bool:
    """Whether claims without alternatives can all be so at once, as far as can be seen."""
    is_known = {(c.value, c.known) for c in claims if isinstance(c, Known)}
    if any((value, not known) in is_known for value, known in is_known):
        return False
    known: dict[str, Range] = {}
    for claim in claims:
        if isinstance(claim, Within):
            known[claim.value] = known.get(claim.value, ANY).meet(claim.range)
    sized = [c for c in claims if isinstance(c, Sized)]
    ordered = [c for c in claims if isinstance(c, Ordered)] + [o for s in sized for o in _through_factor(s, known)]
    _narrow(known, ordered)
    if any(r.empty for r in known.values()) or _is_circle(ordered):
        return False
    if any(_is_only(known.get(c.value, ANY), c.number) for c in claims if isinstance(c, Other)):
        return False
    return all(_fits(s, known) for s in sized)


def _is_only(range: Range, number: Fraction) -> bool:
    return range.low == range.high == number


def _fits(claim: Sized, known: Mapping[str, Range]) -> bool:
    """Whether the left can be at most the right, rounding aside."""
    low, high = ranges.of(claim.left, known).wider().low, ranges.of(claim.right, known).wider().high
    if low is None or high is None:
        return True
    return low < high or (low == high and not (claim.strict and low == 0))


def _through_factor(claim: Sized, known: Mapping[str, Range]) -> Iterator[Ordered]:
    """Of `2 * x < y` that `x < y`, when x is not negative; of `y < 0.5 * x` the same."""
    if isinstance(claim.right, Name) and (found := _factor(claim.left, known)) and found[0] >= 1:
        yield Ordered(found[1], show(claim.right), claim.strict, exact=False)
    if isinstance(claim.left, Name) and (found := _factor(claim.right, known)) and 0 <= found[0] <= 1:
        yield Ordered(show(claim.left), found[1], claim.strict, exact=False)


def _factor(tree: Expr, known: Mapping[str, Range]) -> tuple[Fraction, str] | None:
    """The constant and the name of a product of these, when what is named is not negative."""
    if not (isinstance(tree, Arithmetic) and tree.op == "*"):
        return None
    for constant, name in ((tree.left, tree.right), (tree.right, tree.left)):
        low = known.get(show(name), ANY).low
        if isinstance(constant, Number) and isinstance(name, Name) and low is not None and low >= 0:
            return Fraction(constant.value), show(name)
    return None


def _narrow(known: dict[str, Range], ordered: Sequence[Ordered]) -> None:
    """Carries bounds from one value to those that are more, or less."""
    for _ in range(len(ordered) + 1):
        before = dict(known)
        for claim in ordered:
            low, high = known.get(claim.low, ANY), known.get(claim.high, ANY)
            least, most = Range(low=low.low, above=low.above), Range(high=high.high, below=high.below)
            if claim.exact:
                least, most = _strictly(least, claim.strict), _strictly(most, claim.strict)
            else:
                least, most = least.wider(), most.wider()
            known[claim.high], known[claim.low] = high.meet(least), low.meet(most)
        if known == before or any(r.empty for r in known.values()):
            return


def _strictly(range: Range, strict: bool) -> Range:
    return Range(range.low, range.high, range.above or strict, range.below or strict)


def _is_circle(ordered: Sequence[Ordered]) -> bool:
    """Whether something would have to be less than itself.

    What is less by whole numbers may be equal once rounded, so of a circle in which something is compared rounded only
    those are less that are so when rounded.
    """
    exact = {(o.low, o.high, o.strict) for o in ordered if o.exact}
    rounded = {(o.low, o.high, o.strict and not o.exact) for o in ordered}
    return _has_circle(exact) or _has_circle(rounded)


def _has_circle(edges: set[tuple[str, str, bool]]) -> bool:
    paths: dict[tuple[str, str], bool] = {}
    for low, high, strict in edges:
        paths[low, high] = paths.get((low, high), False) or strict
    names = {name for pair in paths for name in pair}
    for middle in names:
        for low in names:
            for high in names:
                if (low, middle) in paths and (middle, high) in paths:
                    strict = paths[low, middle] or paths[middle, high]
                    paths[low, high] = paths.get((low, high), False) or strict
    return any(paths.get((name, name), False) for name in names)
