"""Examples in pattern files: how they are written, and what `tillwatch test` says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tillwatch.cli.app import app
from tillwatch.config import Settings, load
from tillwatch.errors import PatternError
from tillwatch.patterns.catalogue import built_in, read_pattern
from tillwatch.patterns.examples import Example
from tillwatch.trials.run import run

HEAD = """\
id: Twice
action: LOOK
per: [customer, merchant]
thresholds: {least: 2}
when: transactions >= :least and avg_amount < 10
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A pipeline that has a lookup; none of its files is there."""
    (tmp_path / "tillwatch.yaml").write_text("source: ./t.csv\nlookups: {importance: ./i.csv}\n", "utf-8")
    return load(tmp_path / "tillwatch.yaml")


def examples(text: str, head: str = HEAD) -> tuple[Example, ...]:
    return read_pattern(f"{head}examples:\n{text}", "p.yaml").examples


def differences(settings: Settings, text: str, head: str = HEAD) -> list[str]:
    """What differs in the only example."""
    pattern = read_pattern(f"{head}examples:\n{text}", "p.yaml")
    (example,) = pattern.examples
    return [difference.text for difference in run(settings, pattern, example).differences]


def problem(text: str, head: str = HEAD) -> list[str]:
    with pytest.raises(PatternError) as caught:
        examples(text, head)
    return str(caught.value).splitlines()


# How they are written


def test_rows_are_a_block_of_csv_or_a_list_of_mappings() -> None:
    """Both forms say the same: cells without the space around them, as text; empty lines do not count."""
    block = "- {name: n, expect: none, rows: 'customer, amount, times\n\n    Ann, 007, 2\n\n    \"B, b\", , '}"
    listed = "- {name: n, expect: none, rows: [{customer: Ann, amount: 007, times: 2}, {customer: 'B, b', amount: }]}"
    rows = [[(row.cells, row.times, row.chunk) for row in examples(text)[0].rows] for text in (block, listed)]
    assert (
        rows[0]
        == rows[1]
        == [
            ({"customer": "Ann", "amount": "007"}, 2, 0),
            ({"customer": "B, b", "amount": ""}, 1, 0),
        ]
    )


def test_a_repeated_row_is_numbered() -> None:
    """With `times`, # in a value is the number of the repetition; without it, it is a #."""
    (example,) = examples("- {name: n, expect: none, rows: [{customer: 'C#', times: 3}, {customer: 'D#'}]}")
    assert [r["customer"] for row in example.rows for r in row.repeated()] == ["C1", "C2", "C3", "D#"]


@pytest.mark.parametrize(
    ("expect", "keys"),
    [
        ("none", []),
        ("[]", []),
        ("{customer: Ann}", [{"customer": "Ann"}]),
        ("[{customer: Ann, chunk: 1}, {merchant: '5', row: 2}]", [{"customer": "Ann"}, {"merchant": "5"}]),
    ],
)
def test_what_is_expected_is_none_a_key_or_a_list(expect: str, keys: list[dict[str, str]]) -> None:
    """A key may be said in part."""
    (example,) = examples(f"- {{name: n, rows: [{{customer: A}}], expect: {expect}}}")
    assert [expected.key for expected in example.expect] == keys


def test_the_key_of_one_column_is_its_value() -> None:
    """In a pattern per merchant, `expect: [Toys, 5]` are two merchants."""
    head = HEAD.replace("[customer, merchant]", "merchant")
    (example,) = examples("- {name: n, rows: [{customer: A}], expect: [Toys, 5]}", head)
    assert [dict(expected.key) for expected in example.expect] == [{"merchant": "Toys"}, {"merchant": "5"}]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("  a: b", ["p.yaml:7:3: examples: found a mapping, expected a list of examples"]),
        ("- a", ["p.yaml:7:3: examples: found 'a', expected a mapping with name, rows, expect"]),
        ("- name: n", ["p.yaml:7:3: examples: an example lacks rows, expect"]),
        (
            "- {name: [n], row: 1, rows: {}, expect: }",
            [
                "p.yaml:7:10: examples: name: found a list, expected a text",
                "p.yaml:7:15: examples: unknown field 'row'; did you mean 'rows'?",
                "p.yaml:7:29: examples: rows: found an empty mapping, expected a list of rows, each a mapping of "
                "columns to values, or a block of CSV with a header",
                "p.yaml:7:40: examples: expect: found nothing, expected none, a key such as {customer: Ann}, or a "
                "list of keys",
            ],
        ),
        (
            "- {name: n, with: {lest: 1}, rows: [{amount: 1}], expect: none}",
            ["p.yaml:7:20: examples: with: the pattern has no threshold 'lest'; did you mean 'least'?"],
        ),
        (
            "- {name: n, with: {least: x}, rows: [{amount: 1}], expect: none}",
            ["p.yaml:7:27: examples: with.least: found 'x', expected a number"],
        ),
        (
            "- name: n\n  expect: none\n  rows: |\n    customer, times\n    Ann\n    Bob, many\n    Cid, 0\n",
            [
                "p.yaml:11:5: examples: rows: found 1 values, expected 2 as in the header",
                "p.yaml:12:5: examples: times: found 'many', expected a whole number from 1 to 200000",
                "p.yaml:13:5: examples: times: found '0', expected a whole number from 1 to 200000",
            ],
        ),
        (
            "- {name: n, expect: none, rows: 'customer, customer\n\n    a, b'}",
            ["p.yaml:7:33: examples: rows: found the header 'customer, customer', expected different names"],
        ),
        (
            "- {name: n, expect: none, rows: [{amount: 1, chunk: 1}, {amount: 1}]}",
            [
                "p.yaml:7:33: examples: rows: the chunks go back; expected the rows of chunk 0 first, then those of "
                "chunk 1 …"
            ],
        ),
        (
            "- {name: n, expect: none, rows: [{amount: 1, times: 150000}, {amount: 1, times: 150000}]}",
            ["p.yaml:7:33: examples: rows: found 300000 rows, expected at most 200000; lower a threshold under with"],
        ),
        (
            "- {name: n, expect: {custmer: A}, rows: [{amount: [1]}]}",
            [
                "p.yaml:7:22: examples: expect: 'custmer' is not a key of the pattern; did you mean 'customer'?",
                "p.yaml:7:51: examples: rows: amount: found a list, expected a value",
            ],
        ),
        (
            "- {name: n, expect: none, rows: [{amount: 1}]}\n- {name: n, expect: none, rows: [{amount: 1}]}",
            ["p.yaml:8:3: examples: there are two examples 'n'"],
        ),
    ],
)
def test_wrong_examples_are_told_with_their_place(text: str, messages: list[str]) -> None:
    """Every mistake is told by line and column, in a block of CSV by its line."""
    assert problem(text) == messages


def test_examples_do_not_change_what_the_pattern_is() -> None:
    """A file with broken examples is refused with its other mistakes, all at once and in order."""
    head = HEAD.replace("least: 2", "least: x").replace("customer, merchant", "custmer")
    assert [line.split(": ")[0] for line in problem("- a", head)] == ["p.yaml:3:6", "p.yaml:4:21", "p.yaml:7:3"]


# What becomes of them


def test_what_is_as_expected_has_no_differences(settings: Settings) -> None:
    """Columns that are not given hold their own name, an amount 1; a part of the key is enough."""
    assert differences(settings, "- {name: n, rows: [{customer: A, times: 2}], expect: {customer: A}}") == []
    assert differences(settings, "- {name: n, rows: [{customer: A}], expect: none}") == []
    text = "- {name: n, with: {least: 1}, rows: [{amount: 1}], expect: {customer: customer}}"
    assert differences(settings, text) == []


def test_what_differs_is_told(settings: Settings) -> None:
    """A key that was expected and not found, one that has no row, and one that was found and not expected."""
    text = "- {name: n, rows: [{customer: A}, {customer: B, times: 2}], expect: [{customer: A}, {customer: Z}]}"
    assert differences(settings, text) == [
        "not expected, and detected: customer B, merchant merchant, chunk 0",
        "expected, and not detected: customer A",
        "expected, and not detected: customer Z; there is no such key",
    ]


def test_clauses_show_why(settings: Settings) -> None:
    """Each clause is true, false or unknown for the key, with the values in it."""
    head = HEAD.replace("avg_amount < 10", "importance > 1 and percent_rank(transactions) over merchant >= 0")
    pattern = read_pattern(
        head + "examples: [{name: n, rows: [{customer: A, amount: 5}], expect: {customer: A}}]", "p.yaml"
    )
    (difference,) = run(settings, pattern, pattern.examples[0]).differences
    assert difference.clause is not None
    assert [(c.text, c.truth, dict(c.facts["features"])) for c in difference.clause.leaves()] == [
        ("transactions >= 2", False, {"transactions": 1}),
        ("importance > 1", None, {"importance": None}),
        ("percent_rank(transactions) over merchant >= 0", True, {"transactions": 1}),
    ]


def test_chunks_are_judged_one_after_the_other(settings: Settings) -> None:
    """A condition that is true between two chunks fires, and the chunk can be expected."""
    head = HEAD.replace(">= :least", "= :least")
    rows = "[{customer: A, times: 2}, {customer: A, chunk: 3}]"
    assert differences(settings, f"- {{name: n, rows: {rows}, expect: {{customer: A, chunk: 0}}}}", head) == []
    assert differences(settings, f"- {{name: n, rows: {rows.replace(', chunk: 3', '')}, expect: none}}", head) == []
    assert differences(settings, f"- {{name: n, rows: {rows}, expect: {{chunk: 3}}}}", head) == [
        "not expected, and detected: customer A, merchant merchant, chunk 0",
        "expected, and not detected: chunk 3",
    ]


def test_lookups_have_the_values_of_the_rows(settings: Settings) -> None:
    """A column with the name of a lookup gives the value of the row's key; where it is empty it says nothing."""
    head = HEAD.replace("avg_amount < 10", "importance < 0.5")
    rows = "[{customer: A, importance: 0.1}, {customer: A, importance: }, {customer: B, times: 2}]"
    assert differences(settings, f"- {{name: n, rows: {rows}, expect: {{customer: A}}}}", head) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("[{importance: 1}, {importance: 2}]", "two values of importance for customer, merchant: 1 and 2"),
        ("[{importance: many}]", "the value of importance is 'many', expected a number"),
        ("[{importance: nan}]", "the value of importance is 'nan', expected a number"),
        ("[{amount: x}]", "row 1 of chunk 0 is not valid: amount (amount) is not a finite decimal number: 'x'"),
        ("[{customer: }]", "row 1 of chunk 0 is not valid: customer (customer) is empty"),
    ],
)
def test_rows_that_cannot_be_are_told(settings: Settings, rows: str, message: str) -> None:
    """Rows that are not valid and lookups that are none are a difference from what was meant."""
    assert differences(settings, f"- {{name: n, rows: {rows}, expect: none}}") == [message]


# The command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline with a pattern file whose second example fails."""
    monkeypatch.chdir(tmp_path)
    config = "source: ./t.csv\nlookups: {importance: ./i.csv}\npatterns: [PatId2: {transactions: 500}, ./twice.yaml]\n"
    (tmp_path / "tillwatch.yaml").write_text(config, "utf-8")
    right = "- {name: two, rows: [{customer: A, times: 2}], expect: {customer: A}}\n"
    wrong = "- {name: one, rows: [{customer: A}], expect: {customer: A}}\n"
    (tmp_path / "twice.yaml").write_text(f"{HEAD}examples:\n{right}{wrong}", "utf-8")
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["test", *arguments])


def test_the_command_tells_every_example(folder: Path) -> None:
    """A line each, why one fails, and exit code 1; thresholds of the configuration do not count."""
    result = call()
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "ok   PatId2: 80 purchases of 20",
        "ok   PatId2: an average of 23 is not below 23",
        "ok   Twice: two",
        "FAIL Twice: one",
        f"     {folder}/twice.yaml:8:3: expected, and not detected: customer A",
        "       false    transactions >= 2",
        "                  transactions is 1",
        "       true     avg_amount < 10",
        "                  avg_amount is 1",
        "test: 1 of 4 examples failed",
    ]


def test_the_command_takes_ids_files_and_folders(folder: Path) -> None:
    """Patterns are named by id, configured or built in, or by path; what is neither is told with what is near."""
    assert call("PatId3", "PatId2").stdout.splitlines()[-1] == "test: ok, 4 examples"
    assert [call(name).exit_code for name in ("Twice", "twice.yaml", "./twice.yaml", "PatId2")] == [1, 1, 1, 0]
    result = call("Twic")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "tillwatch: 'Twic' is neither a pattern's id nor a file; did you mean 'Twice'?\n"


def test_the_command_prints_json(folder: Path) -> None:
    """The same as one object."""
    found = json.loads(call("--format", "json").stdout)
    assert (found["ok"], found["failed"], found["without"]) == (False, 1, [])
    assert [(e["pattern"], e["example"], e["ok"]) for e in found["examples"]][2:] == [
        ("Twice", "two", True),
        ("Twice", "one", False),
    ]
    (difference,) = found["examples"][3]["differences"]
    first = difference["condition"]["parts"][0]
    assert (first["clause"], first["true"], first["features"]) == ("transactions >= 2", False, {"transactions": 1})


def test_what_cannot_be_tried_is_exit_code_2(folder: Path) -> None:
    """Unknown columns of examples, and conditions that cannot be compiled, are told with file and line, all at once."""
    text = f"{HEAD}examples:\n- name: n\n  expect: none\n  rows: |\n    custmer\n    A\n"
    (folder / "twice.yaml").write_text(text, "utf-8")
    (folder / "other.yaml").write_text(HEAD.replace("transactions", "transaction"), "utf-8")
    result = call("./twice.yaml", "./other.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    told = [line.removeprefix("tillwatch: ").split("; ")[0] for line in result.stderr.splitlines()]
    assert told == [
        "twice.yaml:11:5: Twice: 'custmer' is neither a mapped column nor a lookup",
        "other.yaml:5:7: Twice: 'transaction' is not a declared feature or lookup",
    ]


def test_every_built_in_pattern_shows_what_it_is_for(settings: Settings) -> None:
    """Each has a reason, a runbook, an example that hits and one that does not, and does what they say."""
    for name, text in built_in().items():
        pattern = read_pattern(text, name)
        assert pattern.why and pattern.runbook
        assert {bool(example.expect) for example in pattern.examples} == {True, False}
        assert [e.name for e in pattern.examples if not run(settings, pattern, e).ok] == []
