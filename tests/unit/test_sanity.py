"""Conditions that can never hold, and clauses without effect: what is found, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tillwatch.cli.app import app
from tillwatch.config import PatternChoice
from tillwatch.patterns.catalogue import built_in, built_in_features, load_patterns, read_pattern
from tillwatch.patterns.compiler import Compiler
from tillwatch.patterns.program import LookupSpec
from tillwatch.patterns.sanity import Finding, findings
from tillwatch.testing.folding import pattern_text

LOOKUPS = {
    "importance": LookupSpec("importance", ("customer", "merchant"), "float"),
    "limit": LookupSpec("limit", ("customer",), "decimal"),
}
OWN = {
    "tiny": "count(*) filter (where amount < 5)",
    "tiny_women": "count(*) filter (where amount < 5 and gender = 'F')",
    "spent": "sum(amount) filter (where gender = 'F')",
}
RANK = "percent_rank(importance) over merchant"


def found(when: str, *, negative: bool = False, thresholds: dict[str, str] | None = None) -> list[Finding]:
    """What is odd about a condition on pairs."""
    pattern = read_pattern(pattern_text(["customer", "merchant"], when, OWN, thresholds), "p.yaml")
    program = Compiler(built_in_features(), LOOKUPS, 4).program([pattern])
    return findings(program.plans[0], program, negative=negative)


NEVER = [
    ("transactions < 5 and transactions > 10", "'transactions < 5' and 'transactions > 10' can never hold together"),
    ("transactions < 0", "'transactions < 0' can never hold: transactions is a count and never negative"),
    ("transactions > 5 and transactions < 6", "'transactions > 5' and 'transactions < 6' can never hold together"),
    ("transactions = 2.5", "'transactions = 2.5' can never hold"),
    ("total_amount > 1.00005 and total_amount < 1.0001", "can never hold together"),
    ("total_amount < 0", "'total_amount < 0' can never hold: amounts are not negative, nor is total_amount"),
    (f"{RANK} > 1", f"'{RANK} > 1' can never hold: {RANK} is from 0 to 1"),
    (f"{RANK} < 0", "is from 0 to 1"),
    (
        "merchant.female_customers > merchant.customers",
        "can never hold: merchant.female_customers is never more than merchant.customers",
    ),
    ("transactions > merchant.transactions", "transactions is never more than merchant.transactions"),
    ("tiny_women > tiny", "tiny_women is never more than tiny"),
    ("customers > 1", "customers counts one customer at most, being per customer, merchant"),
    ("min_amount > max_amount", "min_amount is never more than max_amount"),
    ("tiny > 2 * transactions", "tiny is never more than transactions"),
    ("transactions + tiny < 0", "can never hold"),
    ("transactions is null", "transactions is a count and always known"),
    ("importance is null and importance > 5", "can never hold together"),
    ("importance is null and importance * 2 > 5", "can never hold together"),
    ("importance > 5 and not importance > 3", "can never hold together"),
    ("transactions between 10 and 5", "can never hold together"),
    ("not (transactions >= 0 or importance > 5)", "can never hold"),
    ("transactions > tiny and tiny > limit and limit > transactions", "can never hold together"),
    ("transactions > 50 and merchant.transactions < 50", "can never hold together"),
    ("transactions <> 1 and transactions > 0 and transactions < 2", "can never hold together"),
    ("(transactions < 5 or transactions > 10) and transactions = 7", "can never hold together"),
    ("false", "'false' can never hold"),
    ("1 > 2", "'1 > 2' can never hold"),
    ("percentile_cont(0.5, transactions) over merchant < 0", "transactions is never negative"),
]


@pytest.mark.parametrize(("when", "words"), NEVER)
def test_conditions_that_can_never_hold_are_found(when: str, words: str) -> None:
    """Each with the clauses that exclude each other, and the reasons."""
    (finding,) = found(when)
    assert finding.wrong and finding.never
    assert words in finding.text


@pytest.mark.parametrize(
    "when",
    [
        "transactions > 5 and transactions < 7",
        "total_amount > 1 and total_amount < 1.0002",
        "avg_amount > 5 and avg_amount < 5.0000001",
        "avg_amount < min_amount",  # an average is rounded
        f"{RANK} >= 1",
        "transactions < 5 or transactions > 10",
        "merchant.customers > customers",
        "merchant.tiny > transactions",
        "total_amount < spent + 1",
        "2 * tiny > transactions",
        "importance is null and transactions > 5",
        "coalesce(importance, 5) > 3 and importance is null",
        "limit < 0",
        "importance <> 3",
        "not (transactions > 5 and importance > 3)",
        "transactions / tiny > 3",
    ],
)
def test_conditions_that_may_hold_are_left_alone(when: str) -> None:
    """What may be true for some rows is not odd."""
    assert found(when) == []


def test_amounts_below_zero_change_what_is_possible() -> None:
    """Where negative amounts are valid, sums and extremes may be negative, and a part more than the whole."""
    for when in ("total_amount < 0", "spent > total_amount", "max_amount > total_amount"):
        assert found(when) and not found(when, negative=True)


def test_a_threshold_can_make_it_impossible() -> None:
    """The clause is shown with its number, at its place."""
    when = "transactions >= :least\nand percent_rank(transactions) over merchant >= :rank"
    assert found(when, thresholds={"least": "3", "rank": "0.9"}) == []
    (finding,) = found(when, thresholds={"least": "3", "rank": "90"})
    assert "'percent_rank(transactions) over merchant >= 90' can never hold: percent_rank" in finding.text


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("transactions >= 0 and importance > 1", "'transactions >= 0' always holds: transactions is a count"),
        ("transactions > 5 and transactions > 10", "'transactions > 5' says nothing beside 'transactions > 10'"),
        ("transactions > 10 and merchant.transactions > 3", "'merchant.transactions > 3' says nothing beside"),
        ("importance > 5 and importance is not null", "says nothing beside 'importance > 5'"),
        ("percent_rank(transactions) over merchant <= 1", "always holds"),
        ("importance > 5 and (transactions < 0 or tiny > 3)", "'transactions < 0' can never hold: transactions is a"),
        ("importance > 5 and (importance < 3 or tiny > 3)", "'importance < 3' can never hold beside 'importance > 5'"),
        ("2 > 1 and tiny > 3", "'2 > 1' always holds"),
    ],
)
def test_clauses_without_effect_are_found(when: str, words: str) -> None:
    """What is always true, implied by another clause, or never true in an OR, does no harm but is odd."""
    (finding,) = found(when)
    assert not finding.wrong
    assert words in finding.text


def test_what_may_be_unknown_is_not_always_true() -> None:
    """A rank from 0 to 1 of an importance that is not there is unknown: the clause has an effect."""
    assert found(f"{RANK} <= 1") == []


def test_the_catalogue_is_not_odd() -> None:
    """Nothing is odd about the built-in patterns."""
    patterns = load_patterns([PatternChoice(ref=name) for name in sorted(built_in())])
    program = Compiler(built_in_features(), LOOKUPS, 4).program(patterns)
    assert [f for plan in program.plans for f in findings(plan, program, negative=False)] == []


def test_many_alternatives_end() -> None:
    """A condition with very many ways to be true is called possible, soon."""
    alternatives = " and ".join(f"(transactions <> {n} or importance <> {n})" for n in range(60))
    assert found(alternatives) == []


def test_check_tells_all_of_all_files_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistakes of every kind in several files come at once, file by file and line by line, each with its column."""
    monkeypatch.chdir(tmp_path)
    head = "action: A\nper: [customer, merchant]\n"
    Path("t.csv").write_text("customer,merchant,amount\nA,B,1\n", "utf-8")
    Path("tillwatch.yaml").write_text("source: ./t.csv\npatterns: [./a.yaml, ./b.yaml, ./c.yaml, PatId2]\n", "utf-8")
    Path("a.yaml").write_text(f"id: A\n{head}when: transaction > 1 and mercant.transactions > 1\n", "utf-8")
    Path("b.yaml").write_text(f"id: B\n{head}when: transactions < 0\n", "utf-8")
    Path("c.yaml").write_text(f"id: C\nwhy: []\n{head}thresholds: {{a: x}}\nwhen: 1 >\n", "utf-8")
    result = CliRunner().invoke(app, ["check"])
    assert (result.exit_code, result.stdout) == (2, "")
    places = [line.removeprefix("tillwatch: ").removeprefix(f"{tmp_path}/") for line in result.stderr.splitlines()]
    assert [place.split(": ")[0] for place in places] == [
        "a.yaml:4:7", "a.yaml:4:27", "b.yaml:4:7", "c.yaml:2:6", "c.yaml:5:17", "c.yaml:6:9",
    ]  # fmt: skip


def test_check_warns_and_is_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clause without effect is a warning; a condition that can never hold is a mistake."""
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("customer,merchant,amount\nA,B,1\n", "utf-8")
    Path("tillwatch.yaml").write_text("source: ./t.csv\npatterns: [./p.yaml]\n", "utf-8")
    text = pattern_text(["customer"], "transactions >= 0 and avg_amount > 1")
    Path("p.yaml").write_text(text, "utf-8")
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 0 and result.stdout.endswith("check: ok\n")
    assert result.stderr.startswith(f"tillwatch: warning: {tmp_path}/p.yaml:")
    assert ":8: P: 'transactions >= 0' always holds" in result.stderr
    Path("p.yaml").write_text(text.replace(">= 0", "< 0"), "utf-8")
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 2 and "check: ok" not in result.stdout
    assert "'transactions < 0' can never hold" in result.stderr
