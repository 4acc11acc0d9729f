"""A derived column gives what plain Python makes of the same row, exactly; and no text of one reaches anything else.

TILLWATCH_EXAMPLES sets how many expressions are tried.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tillwatch.engine.decode import Decoder
from tillwatch.engine.derived import work_out
from tillwatch.patterns.derived import Derived, parse_derived
from tillwatch.patterns.expression import ExpressionError
from tillwatch.testing.derivations import COLUMNS, Cells, Derivation, Refused, cell, cells, numbers, texts

EXAMPLES = int(os.environ.get("TILLWATCH_EXAMPLES", "150"))
relaxed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
rows = st.lists(cells, min_size=1, max_size=8)


def frame(rows: list[Cells]) -> pl.DataFrame:
    """Rows as they would have been landed."""
    return pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String))


def expected(drawn: Derivation, row: Cells) -> object:
    """What Python says of a row, or the code of its reject."""
    try:
        value = drawn.means(row)
    except Refused:
        return "not_computed"
    return "empty" if value is None or value == "" else value


@relaxed
@given(numbers(), rows)
def test_a_derived_amount_is_exact(drawn: Derivation, data: list[Cells]) -> None:
    """Amounts are the exact number, rounded once, half to even; rows that have none say why."""
    try:
        column = parse_derived(drawn.text, "number")
    except ExpressionError as error:
        assert "fraction digits" in str(error)
        return
    (decoded,) = Decoder({"amount": column}, 4, negative=True).decode([frame(data)])
    refused = {r.row: r.code for r in decoded.rejects}
    amounts = iter(decoded.rows.amount.tolist())
    found = [refused.get(n) or next(amounts) for n in range(len(data))]
    wanted = []
    for value in (expected(drawn, row) for row in data):
        wanted.append(round(value * 10_000) if isinstance(value, Fraction) else f"amount_{value}")
    assert found == ["amount_out_of_range" if isinstance(w, int) and abs(w) >= 10**15 else w for w in wanted]


@relaxed
@given(texts(), rows)
def test_a_derived_text_is_what_python_makes_of_the_row(drawn: Derivation, data: list[Cells]) -> None:
    """Texts are cleaned like any other; an unknown or empty one makes the row invalid."""
    columns = {"region": parse_derived(drawn.text, "text"), "amount": parse_derived("1", "number")}
    decoder = Decoder(columns)
    (decoded,) = decoder.decode([frame(data)])
    refused = {r.row: r.code for r in decoded.rejects}
    kept = iter(decoder.dictionaries["region"].texts(decoded.rows.codes["region"]))
    found = [refused.get(n) or next(kept) for n in range(len(data))]
    values = [expected(drawn, row) for row in data]
    cleaned = [v if v in ("empty", "not_computed") else cell({"x": str(v)}, "x") or "empty" for v in values]
    assert found == [f"region_{c}" if c in ("empty", "not_computed") else c for c in cleaned]


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_how_rows_are_cut_changes_nothing(cut: int) -> None:
    """A batch of frames gives what each gives on its own, also when some lack a column."""
    column = parse_derived("coalesce(price, 1) * quantity", "number")
    data = frame([dict.fromkeys(COLUMNS, v) for v in ("1.5", "x", "2", "", "3")])
    frames = [data[:cut], data[cut:].drop("price"), data]
    together = Decoder({"amount": column}).decode(frames)
    alone = [Decoder({"amount": column}).decode([f])[0] for f in frames]
    assert [d.rejects for d in together] == [d.rejects for d in alone]
    assert [d.rows.amount.tolist() for d in together] == [d.rows.amount.tolist() for d in alone]


@pytest.mark.parametrize(
    "text",
    ["9e14 * price * price", "price * price * price", "price + price", "price / 1e-9", "abs(price) - -price"],
)
def test_what_cannot_be_kept_exactly_is_refused(text: str) -> None:
    """A row with numbers beyond all bounds has a problem of its own; the others are worked out."""
    data = pl.DataFrame({"price": ["9" * 29, "2"]})
    huge, small = work_out(data, parse_derived(text, "number"), "number").rows()
    assert "too large" in huge[1]
    assert small[1] is None and small[0]


# Nothing else is reached

PIECES = [
    *("price", "zone", "'a'", "1", "(", ")", ",", "||", "+", "*", "/", "=", "case when", "then", "end", "coalesce("),
    *("read_csv('/etc/passwd')", "__import__('os')", "system('id')", "${HOME}", "`id`", "copy", "attach 'x'", "; "),
    *(
        "select",
        "from",
        "exec(",
        "eval(",
        "getenv('HOME')",
        "price.__class__",
        "upper(",
        "substr(",
        "@x",
        "{{",
        "::int",
    ),
]
expressions = st.one_of(st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join), st.text(max_size=40))
FORBIDDEN = ("open", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "exec", "compile", "pty.", "urllib.")
reached: list[str] = []
watching = False


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if watching and event.startswith(FORBIDDEN):
        reached.append(f"{event} {arguments!r:.200}")


@contextmanager
def watched() -> Iterator[None]:
    """Notes whatever the interpreter is asked to open, run or connect to meanwhile."""
    global watching
    reached.clear()
    watching = True
    try:
        yield
    finally:
        watching = False


@pytest.fixture(scope="module", autouse=True)
def hooked() -> None:
    """A hook for good: it does nothing when nothing is watched."""
    sys.addaudithook(_hook)
    for kind in ("number", "text"):  # what is imported at the first use is imported now
        for text in ("price * 2", "upper(zone)", "(", "select 1", "read_csv('x')"):
            understood(text, kind)
    with watched(), Path(__file__).open():
        pass
    assert reached  # the hook sees what it is for


def understood(text: str, kind: str) -> Derived | None:
    """The derived column, worked out for some rows; None when the text is none."""
    try:
        column = parse_derived(text, kind)  # type: ignore[arg-type]
    except ExpressionError as error:
        assert str(error)
        return None
    data = pl.DataFrame({name: ["1", "a", ""] for name in column.names or ("price",)})
    assert work_out(data, column, kind).height == 3  # type: ignore[arg-type]
    return column


@settings(max_examples=4 * EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(expressions, st.sampled_from(["number", "text"]))
@example("(" * 200 + "1" + ")" * 200, "number")
@example("+".join(["price"] * 140), "number")
@example("not " * 400 + "1", "number")
@example("1e999999999", "number")
@example("'" + "x" * 10_000, "text")
def test_no_text_reaches_files_python_or_the_shell(text: str, kind: str) -> None:
    """Any text is a derived column or a clear error; neither reading nor working it out opens or runs anything."""
    with watched():
        understood(text, kind)
    assert reached == []
