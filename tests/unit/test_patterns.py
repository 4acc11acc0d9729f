"""Pattern files: what they may say, and every mistake told with its place, before anything runs."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillwatch.config import PatternChoice
from tillwatch.detect.snapshot import shapes
from tillwatch.errors import ConfigError, PatternError
from tillwatch.patterns.catalogue import built_in, built_in_features, declared_features, load_patterns, read_pattern
from tillwatch.patterns.compiler import Compiler
from tillwatch.patterns.program import LookupSpec, Program
from tillwatch.patterns.shown import show
from tillwatch.testing.folding import fold_of, pattern_text, step

HEAD = "id: P\naction: A\nper: [customer, merchant]\n"
LOOKUPS = {"importance": LookupSpec("importance", ("customer", "merchant"), "float")}
DECLARED = (
    "declared are avg_amount, customers, female_customers, importance, male_customers, max_amount, merchants, "
    "min_amount, stddev_amount, total_amount, transactions"
)


def program(*texts: str) -> Program:
    """Patterns read and compiled, with the lookup `importance`."""
    patterns = [read_pattern(text, f"p{number or ''}.yaml") for number, text in enumerate(texts)]
    return Compiler(built_in_features(), LOOKUPS, 4).program(patterns)


def problem(*texts: str) -> str:
    """What is said to be wrong with the files p.yaml, p1.yaml …"""
    with pytest.raises(PatternError) as caught:
        program(*texts)
    return str(caught.value)


# The shape of the file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "p.yaml: a pattern is a mapping with id, action, per, when; found nothing"),
        ("- a\n", "p.yaml: a pattern is a mapping with id, action, per, when; found a list"),
        ("action: A\n", "p.yaml:1:1: the pattern lacks id, per, when"),
        (
            HEAD + "when: transactions > 1\nwhne: x\ntitel: x\n",
            "p.yaml:5:1: unknown field 'whne'; did you mean 'when'?\n"
            "p.yaml:6:1: unknown field 'titel'; did you mean 'title'?",
        ),
        ("id: [P]\naction: A\nper: merchant\nwhen: x\n", "p.yaml:1:5: id: found a list, expected text"),
        ("id: ' '\naction: A\nper: merchant\nwhen: x\n", "p.yaml:1:5: id: found ' ', expected text"),
        (HEAD + "when: ''\n", "p.yaml:4:7: when: found '', expected text"),
        (HEAD + "when:\n", "p.yaml:4:6: when: found nothing, expected text"),
        (HEAD + "when: [a > 1]\n", "p.yaml:4:7: when: found a list, expected text"),
        (HEAD + "thresholds: [1]\nwhen: x\n", "p.yaml:4:13: thresholds: found a list, expected names with numbers"),
        (HEAD + "thresholds: {a: many}\nwhen: x\n", "p.yaml:4:17: thresholds.a: found 'many', expected a number"),
        (HEAD + "thresholds: {a: true}\nwhen: x\n", "p.yaml:4:17: thresholds.a: found true, expected a number"),
        (HEAD + "thresholds: {a: '1'}\nwhen: x\n", "p.yaml:4:17: thresholds.a: found '1', expected a number"),
        (HEAD + "thresholds: {a: .nan}\nwhen: x\n", "p.yaml:4:17: thresholds.a: found '.nan', expected a number"),
        (HEAD + "features: [f]\nwhen: x\n", "p.yaml:4:11: features: found a list, expected names with SQL aggregates"),
        (HEAD + "features: {f: 5}\nwhen: x\n", "p.yaml:4:15: features.f: found 5, expected a SQL aggregate"),
        (HEAD + "features: {f: }\nwhen: x\n", "p.yaml:4:14: features.f: found nothing, expected a SQL aggregate"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(text: str, message: str) -> None:
    """Missing and unknown fields, and values of the wrong kind, are told by line and column."""
    assert problem(text) == message


@pytest.mark.parametrize("per", ["[]", "[shop]", "[merchant, merchant]", "{merchant: 1}", "step", "5", "[[merchant]]"])
def test_per_takes_different_keys(per: str) -> None:
    """`per` is one or more different keys; anything else is told with what was found."""
    expected = "expected one or more different keys of customer, merchant, category, gender, amount"
    found = problem(f"id: P\naction: A\nper: {per}\nwhen: transactions > 1\n")
    assert found.startswith("p.yaml:3:6: per: found ") and found.endswith(expected)


def test_one_key_needs_no_list() -> None:
    """`per: merchant` is `per: [merchant]`; the order of keys does not matter."""
    assert read_pattern("id: P\naction: A\nper: merchant\nwhen: transactions > 1\n", "p.yaml").per == ("merchant",)
    (plan,) = program("id: P\naction: A\nper: [gender, merchant, customer]\nwhen: transactions > 1\n").plans
    assert plan.per == ("customer", "merchant", "gender")


def test_what_is_not_yaml_is_a_mistake_of_the_configuration() -> None:
    """A file that is not YAML is told as such, with its place."""
    with pytest.raises(ConfigError, match=r"^p\.yaml:2:4: not valid YAML: "):
        read_pattern("id: P\n  x: 1\n", "p.yaml")


# The condition

UNKNOWN = f"is not a declared feature or lookup; {DECLARED}"
NEAR = f"is not a declared feature or lookup; did you mean 'transactions'? {DECLARED}"
NO_KEY = "is not a key of this pattern (per: customer, merchant)"
A_VALUE, A_CONDITION = "is a condition where a value is expected", "is a value where a condition is expected"
TEXT = "can be used in a feature's filter, not in 'when'"
OTHER = "is not part of the language. Allowed: numbers, names, "
FEWER = "rank among fewer keys than the pattern has (per: customer, merchant)"
PAIRS = "ranks a value per customer, merchant;"


@pytest.mark.parametrize(
    ("when", "column", "message"),
    [
        ("transaction > 5", 7, f"'transaction' {NEAR}"),
        ("Transactions > 5", 7, f"'Transactions' {NEAR}"),
        ("qqq > 5", 7, f"'qqq' {UNKNOWN}"),
        ("transactions > 1 and merchant.transaction > 5", 28, f"'merchant.transaction' {NEAR}"),
        ("percent_rank(transaction) over merchant > 0.5", 20, f"'transaction' {NEAR}"),
        ("shop.transactions > 5", 7, f"'shop.transactions': 'shop' {NO_KEY}"),
        ("category.transactions > 5", 7, f"'category.transactions': 'category' {NO_KEY}"),
        ("customer.importance > 5", 7, "the lookup is written 'importance', without 'customer.'"),
        ("transactions > :least", 22, "threshold ':least' is not declared under thresholds (none are declared)"),
        ("transactions", 0, "'when' must be a condition, found the value 'transactions'"),
        ("5", 0, "'when' must be a condition, found the value '5'"),
        ("transactions > 1 and 5", 0, f"'5' {A_CONDITION}"),
        ("transactions and true", 7, f"'transactions' {A_CONDITION}"),
        ("not transactions", 11, f"'transactions' {A_CONDITION}"),
        ("(transactions > 1) + 1 > 2", 8, f"'transactions > 1' {A_VALUE}"),
        ("1 < transactions < 5", 11, f"'1 < transactions' {A_VALUE}"),
        ("transactions > 1 = true", 7, f"'transactions > 1' {A_VALUE}"),
        ("coalesce(transactions > 1, true)", 16, f"'transactions > 1' {A_VALUE}"),
        ("(transactions > 1) is null", 8, f"'transactions > 1' {A_VALUE}"),
        ("transactions > 'many'", 0, f"text such as 'many' {TEXT}"),
        ("transactions between 1 and '2'", 0, f"text such as '2' {TEXT}"),
        ("transactions in ('a')", 0, f"text such as 'a' {TEXT}"),
        ("sqrt(transactions) > 1", 7, f"'SQRT(transactions)' {OTHER}"),
        ("transactions > (select 1)", 0, f"'(SELECT 1)' {OTHER}"),
        ("transactions >", 20, "not a SQL expression near 'transactions >'"),
        ("percent_rank(transactions) over category > 0.5", 7, f"percent_rank … over category: {FEWER}"),
        (
            "percent_rank(transactions) over (partition by customer, merchant) > 0.5",
            7,
            f"percent_rank … over customer, merchant: {FEWER}",
        ),
        (
            "percent_rank(merchant.transactions) over merchant > 0.5",
            7,
            f"percent_rank {PAIRS} 'merchant.transactions' is not",
        ),
        (
            "percentile_cont(0.5, customer.avg_amount) over () > 1",
            7,
            f"percentile_cont {PAIRS} 'customer.avg_amount' is not",
        ),
    ],
)
def test_a_wrong_condition_is_told_with_its_place(when: str, column: int, message: str) -> None:
    """Unknown names, kinds that do not fit and what is not in the language are told by line and, if known, column."""
    found = problem(HEAD + f"when: {when}\n")
    expected = f"p.yaml:4{f':{column}' if column else ''}: P: {message}"
    assert found.startswith(expected) if message.endswith(" ") else found == expected


def test_a_lookup_needs_its_keys() -> None:
    """A lookup per customer and merchant cannot be used in a pattern per merchant."""
    assert problem("id: P\naction: A\nper: merchant\nwhen: importance > 1\n") == (
        "p.yaml:4:7: P: the lookup 'importance' is known per customer, merchant, the pattern is per merchant"
    )


def test_all_wrong_conditions_are_told_at_once() -> None:
    """Of several patterns with mistakes each is told, a line each."""
    found = problem(HEAD + "when: a > 1\n", HEAD + "when: transactions > 1\n", HEAD + "when: b > 1\n").splitlines()
    assert [line.split(" is not")[0] for line in found] == ["p.yaml:4:7: P: 'a'", "p2.yaml:4:7: P: 'b'"]


TEXT_COLUMNS = "cannot be compared with text; columns for that are customer, merchant, category, gender"
NEAR_CATEGORY = TEXT_COLUMNS.replace("; ", "; did you mean 'category'? ")
SUM_OF = "sum(…) takes one of the columns amount; found"


@pytest.mark.parametrize(
    ("features", "place", "message"),
    [
        (
            "features: {f: sum(amout)}",
            "4:19",
            "sum(…) takes one of the columns amount; found 'amout'; did you mean 'amount'?",
        ),
        (
            "features:\n  f: |\n    count(*)\n    filter (where categry = 'a')",
            "7:19",
            f"'categry' {NEAR_CATEGORY}",
        ),
        (
            "features:\n  g: count(*)\n  f: \"count(*) filter (where amount = 'a')\"",
            "6:30",
            f"'amount' {TEXT_COLUMNS}",
        ),
    ],
)
def test_a_wrong_feature_is_told_with_its_place(features: str, place: str, message: str) -> None:
    """Mistakes in a pattern's own features are told by line and column."""
    assert problem(f"{HEAD}{features}\nwhen: f > 1\n") == f"p.yaml:{place}: features.f: {message}"


def test_a_wrong_feature_of_the_configuration_is_told() -> None:
    """A feature declared in the configuration is told with the place that the caller gives."""
    with pytest.raises(PatternError, match=r"^t\.yaml:3:1: features\.f: 'MEDIAN\(amount\)' is not a feature"):
        declared_features({"f": "median(amount)"}, "t.yaml:3:1")


# Thresholds, files, folders


def choice(ref: str | Path, **thresholds: str) -> PatternChoice:
    """An entry of `patterns` in the configuration."""
    numbers = {name: Decimal(value) for name, value in thresholds.items()}
    places = {name: f"t.yaml:9:{n}" for n, name in enumerate(thresholds, 1)}
    return PatternChoice(ref=str(ref), thresholds=numbers, where="t.yaml:8:5", places=places)


def refusal(*choices: PatternChoice) -> str:
    """What is said to be wrong with the choices."""
    with pytest.raises(PatternError) as caught:
        load_patterns(choices)
    return str(caught.value)


def test_thresholds_of_the_choice_go_over_those_of_the_file() -> None:
    """A threshold set by the configuration replaces the file's, the others stay."""
    (pattern,) = load_patterns([choice("PatId2", avg_amount="22.5")])
    assert pattern.thresholds == {"transactions": 80, "avg_amount": Decimal("22.5")}
    assert show(pattern.tree) == "transactions >= 80 and avg_amount < 22.5"


def test_an_unknown_threshold_is_told() -> None:
    """A threshold that the pattern does not have is told at its own place, with what is near."""
    assert refusal(choice("PatId2", avg_amunt="1")) == (
        "t.yaml:9:1: PatId2 has no threshold 'avg_amunt'; did you mean 'avg_amount'?"
    )


def test_an_unknown_id_is_told() -> None:
    """An id that is not in the catalogue is told, with what is near and how a file is named."""
    assert refusal(choice("PatId22")) == (
        "t.yaml:8:5: 'PatId22' is not a pattern of the catalogue; did you mean 'PatId2'? "
        "A file of yours has a path: ./PatId22.yaml"
    )


def test_a_folder_is_all_its_patterns_in_order(tmp_path: Path) -> None:
    """A folder stands for its .yaml and .yml files by name; other files and folders in it are left alone."""
    for name, id in (("b.yaml", "B"), ("a.yml", "A"), ("c.txt", "C")):
        (tmp_path / name).write_text(pattern_text(["merchant"], "transactions > 1", id=id), "utf-8")
    (tmp_path / "d.yaml").mkdir()
    assert [p.id for p in load_patterns([choice(tmp_path), choice("PatId3")])] == ["A", "B", "PatId3"]
    assert refusal(choice(tmp_path, least="1")) == (
        f"t.yaml:8:5: thresholds can be set for one pattern, '{tmp_path}' has 2"
    )


def test_a_folder_without_patterns_is_told(tmp_path: Path) -> None:
    """A folder without a .yaml file is a mistake."""
    assert refusal(choice(f"{tmp_path}/")) == f"t.yaml:8:5: the folder '{tmp_path}/' has no .yaml file"


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A file that is not there is told with the place of the choice."""
    assert refusal(choice(tmp_path / "x.yaml")) == (
        f"t.yaml:8:5: cannot read the pattern file {tmp_path}/x.yaml: No such file or directory"
    )


def test_a_file_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are told, and not guessed at."""
    (tmp_path / "x.yaml").write_bytes(b"id: \xff\n")
    assert refusal(choice(tmp_path / "x.yaml")) == f"{tmp_path}/x.yaml: not UTF-8 text"


def test_two_patterns_with_one_id_are_told(tmp_path: Path) -> None:
    """An id is taken once, also by the catalogue."""
    file = tmp_path / "x.yaml"
    file.write_text(pattern_text(["merchant"], "transactions > 1", id="PatId3"), "utf-8")
    assert refusal(choice("PatId3"), choice(file)) == f"{file}: pattern id 'PatId3' is taken already by PatId3.yaml"
    assert "is taken already by" in refusal(choice("PatId3"), choice("PatId3"))


def test_all_wrong_files_are_told_at_once(tmp_path: Path) -> None:
    """Of several files with mistakes each is told, a line each."""
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("id: P\n", "utf-8")
    expected = [f"{tmp_path}/{name}:1:1: the pattern lacks action, per, when" for name in ("a.yaml", "b.yaml")]
    assert refusal(choice(tmp_path)).splitlines() == expected


# Names


def test_a_feature_of_its_own_goes_over_a_built_in_one() -> None:
    """A pattern's own feature is meant in it, whatever else has the name; other patterns do not see it."""
    own = pattern_text(["merchant"], "transactions > 1", {"transactions": "count(*) filter (where gender = 'F')"})
    first, second = program(own, pattern_text(["merchant"], "transactions > 1", id="Q")).plans
    assert first.uses["transactions"].parts != second.uses["transactions"].parts == ("transactions",)


def test_a_feature_cannot_have_the_name_of_a_lookup() -> None:
    """A pattern's own feature with the name of a lookup is refused: which is meant could not be told."""
    problem(pattern_text(["customer", "merchant"], "importance > 100", {"importance": "sum(amount)"}))


@pytest.mark.parametrize("name", ["big-spend", "big spend", "1st", "größe"])
def test_a_feature_has_a_name_that_can_be_kept(name: str) -> None:
    """A pattern's own feature is named as those of the configuration are, or the pattern is refused."""
    text = pattern_text(["merchant"], f'"{name}" > 1', {name: "sum(amount)"})
    try:
        compiled = program(text)
    except PatternError:
        return
    assert shapes(compiled)


# Anything at all

WORDS = """transactions merchant.total_amount importance customers avg_amount nothing 1 0 -2.5 1e30 1e9999999 :t ( ) + -
* / = <> < >= and or not between in is null coalesce( abs( percent_rank( percentile_cont(0.5, over merchant ,"""


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS.split()), max_size=12).map(" ".join) | st.text(max_size=40))
def test_any_condition_gives_a_program_or_an_error(when: str) -> None:
    """Whatever text `when` is, a program comes out or an error that names the file."""
    escaped = json.dumps(when)
    text = f"{HEAD}thresholds: {{t: 3}}\nwhen: {escaped}\n"
    try:
        assert program(text).plans[0].pattern.when == when.strip()
    except ConfigError as error:
        assert str(error).startswith("p.yaml")


VALUES = """transactions total_amount avg_amount merchant.total_amount nothing customer.nothing -transactions
abs(nothing) coalesce(nothing,avg_amount) percent_rank(transactions)over() percent_rank(nothing)over(merchant)
percentile_cont(0.5,nothing)over(customer) percentile_cont(1,avg_amount)over() transactions/0 0"""
NUMBERS = "0 1 -1 0.00005 :t 1e-100 1e100 -1e100 9007199254740991 9007199254740993 -99999999999999999999 1e15"
operands = st.sampled_from(VALUES.split()) | st.sampled_from(NUMBERS.split())


@settings(max_examples=300, deadline=None)
@given(st.tuples(operands, st.sampled_from("+-*/"), operands), st.sampled_from(["<", ">=", "=", "<>"]), operands)
def test_what_compiles_can_be_run(sides: tuple[str, str, str], op: str, other: str) -> None:
    """Whatever numbers stand beside whatever values, it is judged without an error or a warning."""
    when = f"({' '.join(sides)}) {op} {other} or {other} {op} {sides[0]}"
    own = {"nothing": "max(amount) filter (where amount > 99)"}
    fold = fold_of([pattern_text(["customer", "merchant"], when, own, {"t": "3"})])
    for number in range(2):
        step(fold, number, [("A", "M", "a", "F", "5"), ("B", "M", "a", "F", "-1"), ("A", "N", "a", "F", "0")])


def test_the_catalogue_compiles() -> None:
    """Every pattern of the catalogue is in order, says why it is there, and can be split by customer or merchant."""
    patterns = load_patterns([choice(ref) for ref in sorted(built_in())])
    compiled = Compiler(built_in_features(), LOOKUPS, 4).program(patterns)
    assert all(p.title and p.why and p.action for p in patterns)
    assert all({"customer", "merchant"} & {*plan.partition} for plan in compiled.plans)
    assert compiled.columns >= {"customer", "merchant", "gender", "amount"}
