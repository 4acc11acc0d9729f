"""Whatever stands in a pattern file or a configuration: it is understood, or refused with a clear error.

Nothing that is written there reaches files, Python or the shell: Python's own audit events are watched while it is read
and run. TILLWATCH_EXAMPLES sets how many texts are tried.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tillwatch.config import load
from tillwatch.config.reference import FULL
from tillwatch.errors import ConfigError, PatternError
from tillwatch.patterns.catalogue import built_in, read_pattern
from tillwatch.patterns.expression import ExpressionError, parse
from tillwatch.patterns.features import parse_feature
from tillwatch.testing.folding import fold_of, pattern_text, step

EXAMPLES = int(os.environ.get("TILLWATCH_EXAMPLES", "100"))
FORBIDDEN = ("open", "exec", "compile", "import", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pickle.")
ROWS = [("A", "M", "a", "F", "5"), ("B", "M", "b", "M", "1"), ("A", "N", "a", "F", "0")]

_watched: list[list[str]] = []


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event.startswith(FORBIDDEN):
        _watched[-1].append(f"{event} {arguments[:1]!r}")


sys.addaudithook(_listen)


@contextmanager
def nothing_is_reached(*allowed: str) -> Iterator[None]:
    """Fails when something in it opens, runs or imports anything."""
    _watched.append([])
    try:
        yield
    finally:
        reached = _watched.pop()
    assert [event for event in reached if not any(text in event for text in allowed)] == []


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """What is imported when first used, is."""
    assert difflib.get_close_matches("a", ["a"]) and "a".encode("utf-8-sig")
    for when in ("transactions > 1", "cuont(*) > 1 and >", "percent_rank(importance) over merchant > 0.5"):
        understood(when)
    run("transactions > 1 and percentile_cont(0.5, transactions) over merchant > 0.5")


def understood(text: str) -> bool:
    """Whether the text is an expression; raises nothing but ExpressionError."""
    try:
        return parse(text, {}) is not None
    except ExpressionError as error:
        assert str(error)
        assert error.start is None or 0 <= error.start <= len(text)
        return False


def run(when: str) -> None:
    """Compiles a condition and judges it on some rows, if it is one."""
    try:
        fold = fold_of([pattern_text(["customer", "merchant"], when)])
    except ConfigError as error:
        assert str(error).startswith("pattern-0.yaml")
        return
    step(fold, 0, ROWS)


def test_the_watch_sees_what_is_reached(tmp_path: Path) -> None:
    """Opening a file, running Python and running the shell are seen."""
    for reach in (
        lambda: (tmp_path / "x").write_text("x"),
        lambda: eval("1 + 1"),
        lambda: os.system("true"),
    ):
        with pytest.raises(AssertionError), nothing_is_reached():
            reach()


ATTACKS = [
    "__import__('os').system('id')",
    "eval('1') > 0",
    "open('/etc/passwd') > 1",
    "read_csv('/etc/passwd') > 1",
    "read_text('/etc/passwd') is null",
    "transactions > (select count(*) from '/etc/passwd')",
    "copy (select 1) to program 'id'",
    "attach 'x.db' as x",
    "load_extension('x') > 0",
    "xp_cmdshell('id') = 1",
    "transactions > 1; drop table transactions",
    "transactions.__class__.__mro__ > 1",
    "{{ ''.__class__ }} > 1",
    "${HOME} > 1",
    "$(id) > 1",
    "`id` > 1",
    "@@version > 1",
    "lambda x: x",
    "transactions -> 'x' > 1",
    "cast(transactions as blob) > 1",
    "transactions[0] > 1",
    "f'{1}' > 1",
    "pragma database_list",
    "call x()",
    "set x = 1",
    "exec sp_x",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_expressions_reach_nothing(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would reach files, Python or the shell elsewhere is no expression here, as condition and as feature."""
    monkeypatch.chdir(tmp_path)
    with nothing_is_reached("features.yaml"):
        assert not understood(text)
        run(text)
        with pytest.raises(ExpressionError):
            parse_feature("f", text)
        with pytest.raises(ExpressionError):
            parse_feature("f", f"count(*) filter (where {text})")
    assert not any(tmp_path.iterdir())


WORDS = "transactions merchant.total_amount importance customers nothing 1 0 -2.5 1e30 'x' \"y\" :t ( ) + - * / % = <>"
WORDS += " < >= and or not between in is null coalesce( abs( percent_rank( percentile_cont(0.5, over merchant partition"
WORDS += " by , case when then end like cast( as select from where ; -- /* */ {{ }} ${HOME} [ ] { } . \\ @ $1 ? ||"
WORDS += " -> :: array[ interval date '2026-01-01' exists( any( all( lateral with recursive union group order eval("
EXPRESSIONS = st.lists(st.sampled_from(WORDS.split(" ")) | st.text(max_size=4), max_size=16).map(" ".join)


@settings(max_examples=EXAMPLES, deadline=None)
@given(EXPRESSIONS | st.lists(st.sampled_from(ATTACKS) | EXPRESSIONS, max_size=3).map(" and ".join))
def test_any_expression_is_understood_or_refused(text: str) -> None:
    """As condition, which is then run, and as feature; nothing is reached."""
    with nothing_is_reached("features.yaml"):
        understood(text)
        run(text)
        for feature in (text, f"count(*) filter (where {text})"):
            try:
                parse_feature("f", feature)
            except ExpressionError as error:
                assert str(error)


@st.composite
def broken(draw: st.DrawFn, texts: tuple[str, ...]) -> str:
    """A file with some pieces removed, doubled, moved or replaced by others."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(st.sampled_from(PIECES) | st.text(max_size=5) | st.just(text[start:stop] * 2))
        text = text[:start] + piece + text[stop:]
    return text


PIECES = [
    "",
    "\n",
    ":",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "'",
    '"',
    "|\n",
    ">\n",
    "&a ",
    "*a",
    "!x ",
    "#",
    "---\n",
    "...",
]
PIECES += ["!!python/object:os.system ", "\t", "  ", "\0", "\ufeff", "null", "true", "1e400", "${HOME}", "<<: *a", "? "]
PIECES += ["\ud800"]
PIECES += [
    "...",
    "examples:\n",
    "rows: ",
    "times: 1000000000",
    "expect: [",
    "when: '1 >'",
    "\r\n",
    "%YAML 1.2\n",
    "\ud800",
]


@settings(max_examples=EXAMPLES, deadline=None)
@given(broken(tuple(built_in().values())) | st.text(max_size=60))
@example("id: !!python/object/apply:os.system [id]")
@example("a: &a [*a, *a]")
@example("examples: [{name: n, expect: none, rows: 'a,b\n\n  \"'}]")
@example("examples: [{name: n, expect: none, rows: [{amount: 1, times: 99999999999999999999}]}]")
def test_any_pattern_file_is_understood_or_refused(text: str) -> None:
    """Every line of the error begins with the place; nothing is reached."""
    with nothing_is_reached():
        try:
            pattern = read_pattern(text, "p.yaml")
        except ConfigError as error:
            assert all(line.startswith("p.yaml") for line in str(error).splitlines())
        else:
            assert pattern.id and pattern.per and pattern.when


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(broken((FULL,)) | st.text(max_size=60))
def test_any_configuration_is_understood_or_refused(tmp_path: Path, text: str) -> None:
    """The error names the file; nothing but the file is opened."""
    file = tmp_path / "tillwatch.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with nothing_is_reached("tillwatch.yaml", "zoneinfo", "tzdata"):
        try:
            assert load(file, (), {}).patterns
        except ConfigError as error:
            assert str(error).startswith(str(file))
            assert not isinstance(error, PatternError)


def test_a_choice_of_nothing_but_nonsense_is_told() -> None:
    """A pattern file that is one long line of brackets, or of aliases, ends with a place."""
    for text in ("[" * 100_000, "a: " + "{b: " * 5_000, json.dumps([[]] * 20_000)):
        with pytest.raises(ConfigError, match=r"^p\.yaml"):
            read_pattern(text, "p.yaml")
