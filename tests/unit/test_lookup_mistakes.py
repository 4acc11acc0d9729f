"""Mistakes about lookups of rows are told before anything runs; what they mean is part of what a state is made by."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillwatch.check import check
from tillwatch.config import load
from tillwatch.errors import ConfigError, StateConflict
from tillwatch.pipeline import Pipeline
from tillwatch.testing.looked_up import CONFIG, CUSTOMERS, write_site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A configured pipeline, and its source."""
    write_site(tmp_path)
    return tmp_path


def opened(folder: Path, *overrides: str) -> Pipeline:
    """The pipeline of a folder."""
    return Pipeline.open(folder / "tillwatch.yaml", overrides)


def test_check_says_what_rows_are_looked_up_in(site: Path) -> None:
    """What is joined, and what becomes of rows that are not there."""
    found = check(opened(site))
    assert found.problems == ()
    lines = [line.replace(f"{site}/", "") for line in found.lines]
    at = lines.index("lookup      segment: the text Segment of customers.csv, joined on id = customer, to every row")
    assert lines[at + 1] == "            a row whose customer it does not have is counted, and counted as marked"
    at = lines.index("lookup      shops: the keys of shops.csv, joined on shop = merchant")
    assert lines[at + 1] == "            a row whose merchant it does not have goes to the quarantine"


def test_check_tells_two_texts_of_a_key(site: Path) -> None:
    """With the key and the rows."""
    (site / "customers.csv").write_text(CUSTOMERS + "C0,silver\n")
    (problem,) = check(opened(site)).problems
    assert "customer 'C0' has two texts of Segment: 'gold' in row 1 and 'silver' in row 10" in problem


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("shops", {"shops": "quarantine"}),
        ("[shops, segment]", {"shops": "quarantine", "segment": "quarantine"}),
        ("{shops: mark}", {"shops": "mark"}),
        ("null", {}),
    ],
)
def test_what_is_required_is_written_in_three_ways(site: Path, written: str, meant: dict[str, str]) -> None:
    """A name, some names, or what becomes of other rows; a name alone stands for the quarantine."""
    text = CONFIG.replace("require: {segment: mark, shops: quarantine}", f"require: {written}")
    text = text if meant else text.replace("{merchant: shop}}\nreq", "{merchant: shop}, value: count(*)}\nreq")
    (site / "tillwatch.yaml").write_text(text)
    assert load(site / "tillwatch.yaml").require == meant
    Pipeline.open(site / "tillwatch.yaml").run(once=True)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "tillwatch",
            "{segment: mark",
            "{segmnt: mark",
            "require: there is no lookup 'segmnt'; did you mean 'segment'?",
        ),
        (
            "tillwatch",
            "{segment: mark",
            "{segment: drop",
            "require.segment: found 'drop', expected one of quarantine, mark",
        ),
        ("tillwatch", "{segment: mark, shops: quarantine}", "[shops, shops]", "require: 'shops' is there twice"),
        (
            "tillwatch",
            "{segment: mark, shops: quarantine}",
            "[[shops]]",
            "require: found a list, expected the name of a",
        ),
        ("tillwatch", ", shops: quarantine}", "}", "lookups.shops: "),
        (
            "tillwatch",
            "  area: {",
            "  amount: {",
            "lookups: found the key 'amount', of a text that is joined to rows: exp",
        ),
        ("tillwatch", "{gender: null}", "{gender: null, Area: kind}", "there is such a column"),
        (
            "tillwatch",
            "{merchant: shop, category: kind}",
            "{segment: shop}",
            "lookups.area.on: found segment, expected",
        ),
        (
            "segment",
            "limit is null",
            "segment is null",
            "'segment' is a text of every row: use it in filters, under per",
        ),
        ("segment", "limit is null", "shops is null", "'shops' is not a declared feature or lookup"),
        (
            "segment",
            "area is null)",
            "category is null)",
            "'category is null' is never true: every valid row has a cat",
        ),
        ("place", "segment <> 'gold'", "category is not null", "'category is null' is never true"),
        ("row", "segment is null", "category is null", "'category is null' is never true"),
        ("row", "segment is null", "segment > 'a'", "text is compared with = or <> only"),
        ("tillwatch", "segment is null", "customer is null", "where: 'customer is null' is never true"),
        ("tillwatch", "segment is null", "limit is null", "where: 'limit is null' is not a filter"),
    ],
)
def test_mistakes_are_told_with_their_place(site: Path, file: str, old: str, new: str, message: str) -> None:
    """Before anything runs, with what to do."""
    text = (site / f"{file}.yaml").read_text()
    assert old in text
    (site / f"{file}.yaml").write_text(text.replace(old, new))
    if message == "lookups.shops: ":  # it has the default value then, which its table does not have
        (problem,) = check(opened(site)).problems
        assert "lookup shops" in problem and "has no column 'Weight'" in problem
        return
    with pytest.raises(ConfigError) as caught:
        opened(site)
    assert message in str(caught.value)
    assert f"{file}.yaml:" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{segment: mark,", "{segment: quarantine,"),
        (", shops: quarantine}", ", shops: mark}"),
        ("value: Segment", "value: id"),
    ],
)
def test_another_requirement_is_another_pipeline(site: Path, old: str, new: str) -> None:
    """A state made with other texts or requirements is refused, and the difference is shown."""
    opened(site).run(once=True)
    text = (site / "tillwatch.yaml").read_text()
    (site / "tillwatch.yaml").write_text(text.replace(old, new))
    with pytest.raises(StateConflict, match=r"now .*(require (segment|shops)|the text id)"):
        opened(site).detect(once=True)
