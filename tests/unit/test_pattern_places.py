"""A mistake in a pattern's condition is told where an editor shows it, in every form that YAML has for text."""

from __future__ import annotations

import pytest

from tillwatch.errors import PatternError
from tillwatch.testing.folding import fold_of

HEAD = "id: P\naction: A\nper: [customer, merchant]\n"


def problem(text: str) -> str:
    """What is said to be wrong with a file."""
    with pytest.raises(PatternError) as caught:
        fold_of([text])
    return str(caught.value)


def place_of(when: str) -> str:
    """The line and column that are told for `transaction`, in a file whose fourth line begins with `when`."""
    return problem(HEAD + when).partition(": P: 'transaction'")[0].removeprefix("pattern-0.yaml:")


@pytest.mark.parametrize(
    ("when", "place"),
    [
        ("when: transaction > 5\n", "4:7"),
        ("when:   transaction > 5\n", "4:9"),
        ("when:\n  transaction > 5\n", "5:3"),
        ("when: 'transaction > 5'\n", "4:8"),
        ('when: "transaction > 5"\n', "4:8"),
        ("when: |\n  transaction > 5\n", "5:3"),
        ("when: |\n  transactions > 1\n  and transaction > 5\n", "6:7"),
        ("when: |\n    transactions > 1\n      and transaction > 5\n", "6:11"),
        ("when: |- # why\n  transactions > 1\n\n  and transaction > 5\n", "7:7"),
        ("when: >\n  transaction > 5\n", "5:3"),
        ("when: >-\n  transaction > 5\n  and transactions > 1\n", "5:3"),
        ("when: |\n  transactions /* été */ > 1 and transaction > 5\n", "5:34"),
    ],
)
def test_the_place_is_the_one_in_the_file(when: str, place: str) -> None:
    """Line and column are those at which an editor shows the name, however the text is written down."""
    assert place_of(when) == place


@pytest.mark.parametrize(
    "when",
    [
        "when: >\n  transactions > 1\n  and transaction > 5\n",
        "when:\n  transactions > 1\n  and transaction > 5\n",
        'when: "transactions > 1\n  and transaction > 5"\n',
        "when: 'transactions > 1\n  and transaction > 5'\n",
    ],
    ids=["folded", "plain", "double quotes", "single quotes"],
)
def test_a_place_in_a_folded_text_exists(when: str) -> None:
    """Where line and column cannot be known, no column is told that is not that of the name."""
    line, *column = place_of(when).split(":")
    assert not column or (HEAD + when).splitlines()[int(line) - 1][int(column[0]) - 1 :].startswith("transaction >")


@pytest.mark.parametrize(
    ("when", "place"),
    [
        ("when: |\n\n\n  transaction > 5\n", "7:3"),
        ("when: |2\n    transactions > 1\n    and transaction > 5\n", "6:9"),
    ],
    ids=["empty lines", "indentation given"],
)
def test_the_place_in_an_odd_block_is_the_one_in_the_file(when: str, place: str) -> None:
    """Empty lines before the text and an indentation indicator do not move the place."""
    assert place_of(when) == place
