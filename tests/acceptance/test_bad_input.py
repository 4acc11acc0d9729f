"""Bad input: a clear message or a quarantined row, never a traceback, and nothing is lost around it.

The one pattern of these pipelines detects every pair that was counted: its evidence shows with which amount.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tillwatch import Notice, PatternError, Pipeline, RunError
from tillwatch.audit import audit
from tillwatch.check import check
from tillwatch.status import status

HEADER = "step,customer,merchant,gender,category,amount\n"
GOOD = HEADER + "1,Good,M,F,x,7.25\n"
SEEN = """\
id: Seen
action: SEEN
title: Every pair that is counted
why: What was counted, and with which amount, is seen in the evidence.
per: [customer, merchant]
when: transactions > 0 and total_amount > -1000000000000 {and_also}
"""

Files = Mapping[str, bytes | str]


@dataclass(frozen=True)
class Result:
    """What a run came to. `counted` maps customers to their total amount, `set_aside` is the quarantine."""

    error: str
    notices: list[str]
    landed: int
    counted: dict[str, float]
    set_aside: list[dict[str, Any]]
    reasons: Mapping[str, int]

    def rows_set_aside(self) -> list[tuple[int, str, str]]:
        """Row number, reason and text of each malformed row."""
        return [(r["row"], r["reason"], r["text"]) for r in self.set_aside]


def prepare(folder: Path, files: Files, config: str = "", and_also: str = "", source: str = "rows: 100") -> Path:
    """A pipeline on these files; its configuration."""
    for name, content in files.items():
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "seen.yaml").write_text(SEEN.format(and_also=and_also), "utf-8")
    path = folder / "tillwatch.yaml"
    path.write_text(f"source: {{uri: ./in, {source}}}\npatterns: [./seen.yaml]\n{config}", "utf-8")
    # The state is made before: two mechanisms that make it at the same time can fail, see the test of that.
    with Pipeline.open(path).opened():
        return path


def work(config: Path, engine: str = "engine=embedded") -> Result:
    """Works off what is there, and proves that every landed row is counted or in the quarantine."""
    pipeline = Pipeline.open(config, [engine])
    notices: list[str] = []
    error = ""
    try:
        pipeline.run(once=True, observer=lambda e: notices.append(e.text) if isinstance(e, Notice) else None)
    except RunError as failure:
        error = str(failure)
    set_aside = proved(pipeline)
    evidence = [json.loads(text)["features"] for text in pipeline.detections()["evidence"]]
    counted = dict(zip(pipeline.detections()["customerName"], (e["total_amount"] for e in evidence), strict=True))
    now = status(pipeline)
    assert sum(e["transactions"] for e in evidence) == now.counted
    return Result(error, notices, now.landed_rows, counted, set_aside, now.quarantined)


def proved(pipeline: Pipeline) -> list[dict[str, Any]]:
    """The quarantine, once it is proved that every landed row is counted or in it."""
    assert [problem for found in audit(pipeline) for problem in found.problems] == []
    files = sorted(Path(pipeline.settings.quarantine).glob("*.jsonl"))
    set_aside = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    now = status(pipeline)
    assert Counter(r["code"] for r in set_aside) == Counter(now.quarantined)
    assert now.landed_rows == now.counted + len(set_aside)
    return set_aside


def run(
    folder: Path,
    files: Files,
    config: str = "",
    and_also: str = "",
    source: str = "rows: 100",
    engine: str = "engine=embedded",
) -> Result:
    """Prepares and works."""
    return work(prepare(folder, files, config, and_also, source), engine)


def csv(*rows: str) -> str:
    """A file with these rows."""
    return HEADER + "".join(f"{row}\n" for row in rows)


def jsonl(*rows: Mapping[str, Any] | str) -> str:
    """A file with these objects or lines."""
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)


def row(customer: str, **values: Any) -> dict[str, Any]:
    """A good transaction."""
    return {"customer": customer, "merchant": "M", "gender": "F", "category": "x", "amount": 1.5} | values


def parquet(**columns: Any) -> bytes:
    """A file with two rows; a column that is None is left out."""
    values: dict[str, Any] = {
        "customer": ["C", "D"],
        "merchant": ["M", "M"],
        "gender": ["F", "M"],
        "category": ["x", "x"],
        "amount": [1.5, 2.5],
    }
    target = io.BytesIO()
    frame = {name: values for name, values in (values | columns).items() if values is not None}
    pl.DataFrame(frame).write_parquet(target)
    return target.getvalue()


def twice() -> bytes:
    """A Parquet file in which a column is twice."""
    names = pa.array(["C"])
    target = io.BytesIO()
    columns = [names, names, pa.array([1]), names]
    pq.write_table(pa.Table.from_arrays(columns, ["customer", "merchant", "amount", "customer"]), target)
    return target.getvalue()


def spoilt(data: bytes, at: int) -> bytes:
    """The data with a byte turned over."""
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


# ------------------------------------------------------------------------------------------------ refused files

JUNK = bytes(range(128, 256)) * 8

REFUSED: Mapping[str, tuple[str, bytes | str, str]] = {
    "empty": ("a.csv", "", "is empty: it has not even a header"),
    "blank lines only": ("a.csv", "\r\n\n\n", "is empty: it has not even a header"),
    "missing column": (
        "a.csv",
        "customer,merchant,gender\nC,M,F\n",
        "has no column 'amount' (columns.amount). Columns found: customer, merchant, gender",
    ),
    "column in capitals": ("a.csv", HEADER.upper(), "did you mean 'AMOUNT'?"),
    "no header": ("a.csv", "1,C,M,F,x,7.5\n1,D,M,F,x,8.5\n", "has no column 'customer' (columns.customer)"),
    "semicolons": ("a.csv", HEADER.replace(",", ";"), "looks like ';' is the delimiter: set source.delimiter"),
    "tabs": ("a.csv", HEADER.replace(",", "\t"), "looks like a tab is the delimiter: set source.delimiter"),
    "commas in a .tsv": ("a.tsv", HEADER, "looks like ',' is the delimiter: set source.delimiter"),
    "column twice": ("a.csv", HEADER.replace("gender", "customer"), "'customer' twice, in columns 2 and 4"),
    "column twice but for quotes": ("a.csv", HEADER.replace("step", "'amount'"), "'amount' twice, in columns 1 and 6"),
    "column without a name": ("a.csv", HEADER.replace("step", " "), "column 1 has no name"),
    "column of ours": ("a.csv", HEADER.replace("step", "_problem"), "tillwatch keeps for itself: rename it"),
    "quote that stays open": ("a.csv", '"' + GOOD, "quoted name that is not closed properly"),
    "NULs": ("a.csv", b"\0\1\2\3" * 99, "is not a CSV text file: its first line has NUL bytes"),
    "binary": ("a.csv", JUNK, "is not a CSV text file in UTF-8: byte 1 of its header"),
    "UTF-16": ("a.csv", GOOD.encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
    "Latin-1 header": ("a.csv", HEADER.replace("step", "zeitschlüssel").encode("latin-1"), "Save it as UTF-8"),
    "lines that end in CR": ("a.csv", GOOD.replace("\n", "\r"), "its lines must end in LF or CRLF"),
    "no gzip": ("a.csv.gz", HEADER, "is not a gzip file, although its name ends in .gz"),
    "corrupt gzip": ("a.csv.gz", spoilt(gzip.compress(GOOD.encode()), -6), "the compressed data are corrupt"),
    "cut zstd": ("a.csv.zst", zstandard.compress(HEADER.encode())[:-5], "the compressed data end early"),
    "no zstd": ("a.jsonl.zst", "{}\n", "is not a zstd file, although its name ends in .zst"),
    "gzip cut in its header": ("a.csv.gz", gzip.compress(GOOD.encode())[:7], "end early: the file was cut off"),
    "empty gzip": ("a.csv.gz", gzip.compress(b""), "is empty: it has not even a header"),
    "JSON array": ("a.json", "[{}]", "is a JSON array, expected JSON Lines"),
    "UTF-16 JSON Lines": ("a.jsonl", '{"a": 1}\n'.encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
    "empty Parquet": ("a.parquet", "", "is not a whole Parquet file"),
    "cut Parquet": ("a.parquet", parquet()[:-9], "is not a whole Parquet file"),
    "CSV called Parquet": ("a.parquet", HEADER, "is not a whole Parquet file"),
    "packed Parquet": ("a.parquet.gz", gzip.compress(parquet()), "is Parquet within .gz: unpack it"),
    "Parquet without a column": ("a.parquet", parquet(amount=None), "has no column 'amount' (columns.amount)"),
    "Parquet with a column twice": ("a.parquet", twice(), "column with name 'customer' has more than one occurrence"),
    "Parquet with a column of ours": ("a.parquet", parquet(_malformed=["a", "b"]), "tillwatch keeps for itself"),
}


@pytest.mark.parametrize(("name", "content", "words"), REFUSED.values(), ids=REFUSED)
def test_a_file_of_the_wrong_shape_is_refused(name: str, content: bytes | str, words: str, tmp_path: Path) -> None:
    """The message names the file and says what to do, before a run and at its end; the file beside it is counted."""
    config = prepare(tmp_path, {name: content, "good.csv": GOOD})
    [problem] = check(Pipeline.open(config)).problems
    assert f"{name} " in problem and words in problem
    done = work(config)
    assert done.error.startswith(f"{name} ") and words in done.error
    assert done.notices == [done.error]
    assert (done.counted, done.set_aside) == ({"Good": 7.25}, [])
    assert work(config) == done
    assert status(Pipeline.open(config)).problems == (done.error.replace(name, f"{name}:", 1),)


NO_ROWS: Mapping[str, tuple[str, bytes | str]] = {
    "CSV": ("a.csv", HEADER),
    "CSV without a line end": ("a.csv", HEADER.strip()),
    "CSV in gzip": ("a.csv.gz", gzip.compress(HEADER.encode())),
    "JSON Lines": ("a.jsonl", ""),
    "JSON Lines of blank lines": ("a.jsonl", " \n\r\n\n"),
    "Parquet": ("a.parquet", parquet(customer=[], merchant=[], gender=[], category=[], amount=[])),
}


@pytest.mark.parametrize(("name", "content"), NO_ROWS.values(), ids=NO_ROWS)
def test_a_file_without_rows_is_done(name: str, content: bytes | str, tmp_path: Path) -> None:
    """A header and nothing else is a whole file: it is said, and the run has not failed."""
    done = run(tmp_path, {name: content, "good.csv": GOOD})
    assert (done.error, done.notices, done.counted) == ("", [f"{name} has no rows"], {"Good": 7.25})


# ------------------------------------------------------------------------------------- files that end too early

MANY = csv(*(f"{n},C{n},M,F,x,{n * 7919 % 10007}.{n % 97:02}" for n in range(1, 301)))
MANY_JSON = jsonl(*(row(f"C{n}", amount=n * 7919 % 10007 + n % 97 / 100) for n in range(1, 301)))


def members(text: str, pack: Callable[[bytes], bytes] = gzip.compress, size: int = 1000) -> bytes:
    """The text in several gzip members or zstd frames."""
    return b"".join(pack(text[at : at + size].encode()) for at in range(0, len(text), size))


DAMAGED: Mapping[str, tuple[str, bytes, str]] = {
    "cut gzip": ("a.csv.gz", gzip.compress(MANY.encode())[:-900], "the compressed data end early"),
    "cut gzip trailer": ("a.csv.gz", gzip.compress(MANY.encode())[:-3], "the compressed data end early"),
    "cut in the last member": ("a.csv.gz", members(MANY)[:-300], "the compressed data end early"),
    "wrong checksum": ("a.csv.gz", members(MANY) + spoilt(gzip.compress(b"x"), -6), "the compressed data are corrupt"),
    "cut zstd": ("a.csv.zst", members(MANY, zstandard.compress)[:-50], "the compressed data end early"),
    "corrupt zstd": ("a.csv.zst", spoilt(members(MANY, zstandard.compress), -90), "the compressed data are corrupt"),
    "cut gzip of JSON": ("a.jsonl.gz", gzip.compress(MANY_JSON.encode())[:-900], "the compressed data end early"),
    "junk behind gzip": ("a.csv.gz", gzip.compress(MANY.encode()) + b"junk", "the compressed data are corrupt"),
}


@pytest.mark.parametrize(("name", "content", "words"), DAMAGED.values(), ids=DAMAGED)
def test_what_is_before_the_damage_is_kept(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    """Rows before the end are counted, the one that was cut is quarantined, and the message says how far it came."""
    done = run(tmp_path, {name: content, "good.csv": GOOD})
    assert done.error == f"{name} {words}{done.error.partition(words)[2]}"
    before = done.landed - 1  # the good file's row
    assert done.error.endswith(f", after row {before}")
    source = (MANY_JSON if "json" in name else MANY.removeprefix(HEADER)).splitlines()
    whole = len(done.counted) - 1
    assert done.counted.keys() == {"Good", *(f"C{n}" for n in range(1, whole + 1))}
    assert before == whole + len(done.set_aside) <= 300
    for number, reason, text in done.rows_set_aside():
        assert (number, reason) == (whole + 1, "malformed: file ends here inside a row")
        assert text and source[whole].startswith(text)


def test_rows_before_damaged_parquet_pages_are_kept(tmp_path: Path) -> None:
    """Chunks of the row groups before the damage are counted; the message says behind which row it is."""
    target = io.BytesIO()
    names = [f"C{n}" for n in range(60)]
    frame = pl.DataFrame({"customer": names, "merchant": ["M"] * 60, "amount": [1.5] * 60})
    frame.write_parquet(target, row_group_size=20, compression="uncompressed", statistics=False)
    content = target.getvalue()
    at = content.index(b"C40", content.index(b"C59") - 200)
    done = run(tmp_path, {"a.parquet": content[: at - 40] + b"\xff" * 60 + content[at + 20 :]}, source="rows: 10")
    assert "a.parquet its pages are damaged" in done.error and done.error.endswith(", after row 40")
    assert done.counted == dict.fromkeys(names[:40], 1.5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "head"), [("a.csv.gz", GOOD), ("a.jsonl.gz", jsonl(row("Good", amount=7.25)))])
def test_a_line_beyond_all_limits_ends_the_file(name: str, head: str, tmp_path: Path) -> None:
    """A line of 65 MiB is no row, and nothing behind it: what is before it is counted, and the message says where."""
    content = gzip.compress(head.encode() + b"a" * (65 << 20) + b"\n" + head.encode(), 1)
    done = run(tmp_path, {name: content})
    assert done.error == f"{name} a row is longer than 64 MiB, after row 1"
    assert (done.counted, done.landed) == ({"Good": 7.25}, 1)


# ---------------------------------------------------------------------------------------------------------- CSV

MALFORMED: Mapping[str, tuple[bytes, str, str]] = {
    "too few fields": (b"1,C,M", "3 fields where the header has 6", "1,C,M"),
    "too many fields": (b"1,C,M,F,x,1,2", "7 fields where the header has 6", "1,C,M,F,x,1,2"),
    "one field": (b"C", "1 field where the header has 6", "C"),
    "spaces": (b"   ", "1 field where the header has 6", "   "),
    "other delimiter": (b"1;C;M;F;x;1", "1 field where the header has 6", "1;C;M;F;x;1"),
    "Latin-1": ("1,José,M,F,x,1".encode("latin-1"), "not UTF-8 text at byte 6 of the row", "1,Jos\\xe9,M,F,x,1"),
    "overlong UTF-8": (b"1,C\xc0\xaf,M,F,x,1", "not UTF-8 text at byte 4 of the row", "1,C\\xc0\\xaf,M,F,x,1"),
    "surrogate": (b"1,\xed\xa0\x80,M,F,x,1", "not UTF-8 text at byte 3 of the row", "1,\\xed\\xa0\\x80,M,F,x,1"),
    "NUL": (b"1,C\0,M,F,x,1", "NUL at byte 4 of the row", "1,C\\x00,M,F,x,1"),
    "backslash and NUL": (b"1,C:\\d\0,M,F,x,1", "NUL at byte 7 of the row", "1,C:\\\\d\\x00,M,F,x,1"),
    "open quote": (b'1,"C,M,F,x,1', "quoted field is not closed properly", '1,"C,M,F,x,1'),
    "text behind a quote": (b'1,"C"D,M,F,x,1', "quoted field is not closed properly", '1,"C"D,M,F,x,1'),
    "binary": (b"\xff\xfe\x00\x01", "not UTF-8 text at byte 1 of the row", "\\xff\\xfe\\x00\x01"),
    "header again, cut": (b"step,customer", "2 fields where the header has 6", "step,customer"),
}


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(("line", "reason", "text"), MALFORMED.values(), ids=MALFORMED)
def test_a_row_that_cannot_be_cut_is_quarantined(
    line: bytes, reason: str, text: str, ends: bytes, tmp_path: Path
) -> None:
    """With file, row, reason and the text as it came, reversibly; the rows around it are counted."""
    lines = [HEADER.strip().encode(), b"1,Before,M,F,x,1", line, b"1,After,M,F,x,2", b""]
    done = run(tmp_path, {"sub/a.csv": ends.join(lines)})
    assert (done.error, done.counted) == ("", {"Before": 1.0, "After": 2.0})
    expected = {"chunk": 0, "file": "sub/a.csv", "row": 2, "code": "malformed", "reason": f"malformed: {reason}"}
    assert done.set_aside == [{**expected, "text": text}]


def test_a_file_of_malformed_rows_only(tmp_path: Path) -> None:
    """All rows of a chunk can be malformed."""
    done = run(tmp_path, {"a.csv": csv("1,C", "2"), "good.csv": GOOD})
    assert (done.counted, done.landed, done.reasons) == ({"Good": 7.25}, 3, {"malformed": 2})


@pytest.mark.parametrize("size", [10 << 20, 17 << 20], ids=["10 MB", "17 MB"])
def test_a_very_long_line(size: int, tmp_path: Path) -> None:
    """A row with a field of many megabytes is a row; one that cannot be cut is quarantined with all its text."""
    long = "a" * size
    done = run(tmp_path, {"a.csv": csv("1,Before,M,F,x,1", f"{long},C,M,F,x,2", long, "1,After,M,F,x,3")})
    assert done.counted == {"Before": 1.0, "C": 2.0, "After": 3.0}
    assert done.rows_set_aside() == [(3, "malformed: 1 field where the header has 6", long)]


WELL_FORMED: Mapping[str, tuple[bytes | str, dict[str, float]]] = {
    "BOM": ("\ufeff" + GOOD, {"Good": 7.25}),
    "CRLF": (GOOD.replace("\n", "\r\n"), {"Good": 7.25}),
    "no last line end": (GOOD.strip(), {"Good": 7.25}),
    "blank lines": ("\n\r\n" + GOOD.replace("\n", "\n\n\r\n"), {"Good": 7.25}),
    "quoted line end": (csv('1,"C\nD",M,F,x,1', '1,"E\r\n",M,F,x,2', "1,F,M,F,x,3"), {"C\nD": 1, "E": 2, "F": 3}),
    "quoted delimiter": (csv('1,"C,D",M,F,"x,y",1'), {"C,D": 1}),
    "doubled quotes": (csv('1,"C""D""",M,F,x,1'), {'C"D"': 1}),
    "quoted header": ("\"customer\",'merchant', amount \nC,M,1\n", {"C": 1}),
    "quote within a field": (csv('1,C"D,M,F,x,1'), {'C"D': 1}),
    "columns in another order": ("amount,more,merchant,customer\n1.5,?,M,C\n", {"C": 1.5}),
    "column with a line end in its name": ('"a\nb",customer,merchant,amount\n0,C,M,1\n', {"C": 1}),
    "names in many scripts": (csv("1,José,M,F,x,1", "1,Łukasz 王小明 😀,M,F,x,2"), {"José": 1, "Łukasz 王小明 😀": 2}),
    "control characters": (csv("1,C\x01\x1b[31m,M,F,x,1"), {"C\x01\x1b[31m": 1}),
}


@pytest.mark.parametrize("landing", ["parquet", "csv"])
@pytest.mark.parametrize(("content", "counted"), WELL_FORMED.values(), ids=WELL_FORMED)
def test_unusual_text_is_counted(content: bytes | str, counted: dict[str, float], landing: str, tmp_path: Path) -> None:
    """What CSV allows is read as it is meant, whichever format it is landed in."""
    done = run(tmp_path, {"a.csv": content}, f"landing: {{uri: ./landing, format: {landing}}}\n")
    assert (done.error, done.set_aside, done.counted) == ("", [], counted)


# ------------------------------------------------------------------------------------------- amounts, keys, gender

AMOUNTS = {
    "1e3": 1000.0,
    "1E+2": 100.0,
    "+5": 5.0,
    " '7.5' ": 7.5,
    "' 7.5 '": 7.5,
    "\u00a05": 5.0,
    ".5": 0.5,
    "5.": 5.0,
    "-0": 0.0,
    "-0.00": 0.0,
    "1e-400": 0.0,
    "4.55005": 4.55,
    "4.55015": 4.5502,
    "0.00005": 0.0,
    "00000000000000000000000000000012": 12.0,
    "1." + "0" * 50 + "1": 1.0,
    "99999999999.9999": 99999999999.9999,
    "99999999999.99994": 99999999999.9999,
}
NO_AMOUNTS = {
    "": "amount_empty",
    " ": "amount_empty",
    "''": "amount_empty",
    "' '": "amount_empty",
    "NaN": "amount_not_a_number",
    "inf": "amount_not_a_number",
    "-Infinity": "amount_not_a_number",
    "0x10": "amount_not_a_number",
    "1_000": "amount_not_a_number",
    "1 000": "amount_not_a_number",
    "1.2.3": "amount_not_a_number",
    "$5": "amount_not_a_number",
    "１２": "amount_not_a_number",
    "٣": "amount_not_a_number",
    "5\u200b": "amount_not_a_number",
    "--5": "amount_not_a_number",
    "-": "amount_not_a_number",
    ".": "amount_not_a_number",
    "e5": "amount_not_a_number",
    "1e2.5": "amount_not_a_number",
    "None": "amount_not_a_number",
    "true": "amount_not_a_number",
    "-1": "amount_negative",
    "-0.00001": "amount_negative",
    "-1e-400": "amount_negative",
    "1e400": "amount_out_of_range",
    "1e11": "amount_out_of_range",
    "100000000000": "amount_out_of_range",
    "9" * 5000: "amount_out_of_range",
}


def test_amounts_that_count(engine: str, tmp_path: Path) -> None:
    """Finite decimal numbers in any spelling, rounded half to even to four digits."""
    done = run(tmp_path, {"a.csv": csv(*(f"1,C{n},M,F,x,{text}" for n, text in enumerate(AMOUNTS)))}, engine=engine)
    assert done.counted == {f"C{n}": value for n, value in enumerate(AMOUNTS.values())}
    assert done.set_aside == []


def test_amounts_that_do_not_count(engine: str, tmp_path: Path) -> None:
    """Each is quarantined with its code and its text as it came; the row after each is counted."""
    rows = [line for text in NO_AMOUNTS for line in (f"1,X,M,F,x,{text}", "1,Good,M,F,x,2")]
    done = run(tmp_path, {"a.csv": csv(*rows)}, engine=engine)
    found = [(r["row"], r["row_data"]["amount"], r["code"]) for r in done.set_aside]
    assert found == [(2 * n + 1, text, code) for n, (text, code) in enumerate(NO_AMOUNTS.items())]
    assert done.counted == {"Good": 2.0 * len(NO_AMOUNTS)}


@pytest.mark.parametrize(
    ("amounts", "counted"),
    [
        ("{digits: 0}", {"A": 2.0, "B": 4.0, "C": 99999999999.0}),
        ("{digits: 6}", {"A": 2.5, "B": 3.5}),
        ("{negative: true}", {"A": 2.5, "B": 3.5, "C": 99999999999.0, "N": -0.5, "Z": 0.0}),
    ],
)
def test_amounts_as_configured(amounts: str, counted: dict[str, float], engine: str, tmp_path: Path) -> None:
    """Fraction digits set the rounding and the largest amount; negative amounts count when they are allowed."""
    texts = {"A": "2.5", "B": "3.5", "C": "99999999999", "N": "-0.5", "Z": "-0.00001"}
    rows = csv(*(f"1,{c},M,F,x,{text}" for c, text in texts.items()))
    done = run(tmp_path, {"a.csv": rows}, f"amounts: {amounts}\n", engine=engine)
    assert done.counted == counted


@pytest.mark.parametrize("text", ["1e99999999999999999999", "-1e-99999999999999999999", "0e99999999999999999999"])
def test_an_exponent_beyond_all_limits(text: str, tmp_path: Path) -> None:
    """It is an amount like others: its row is counted or quarantined, and the run goes on."""
    done = run(tmp_path, {"a.csv": csv(f"1,C,M,F,x,{text}", "1,Good,M,F,x,2")})
    assert done.counted["Good"] == 2.0


def test_an_amount_that_is_rounded_out_of_range(tmp_path: Path) -> None:
    """What is said of a row is true: this amount is below the limit, but not any more when it is rounded."""
    done = run(tmp_path, {"a.csv": csv("1,C,M,F,x,99999999999.99995")})
    assert "rounded to 4 digits is not below 100000000000" in done.set_aside[0]["reason"]


def test_sums_that_would_leave_64_bits_end_the_run(engine: str, tmp_path: Path) -> None:
    """Sums are exact or the run stops and says so, on every try; nothing of the chunk is kept."""
    rows = [f"{n},C,M,F,x,99999999999.9999" for n in range(5000)]
    config = prepare(tmp_path, {"a.csv": csv(*rows)}, source="rows: 5000")
    for _ in range(2):
        with pytest.raises(RunError, match="the amounts are too large to be summed exactly"):
            Pipeline.open(config, [engine]).run(once=True)
    now = status(Pipeline.open(config))
    assert (now.landed_rows, now.counted, now.processed_chunks) == (5000, 0, 0)


def test_empty_keys(engine: str, tmp_path: Path) -> None:
    """A key that is empty once it is cleaned quarantines its row; which key is said, with its column."""
    empty = ["", "  ", "''", '""', "\u00a0", " '' "]
    rows = [f"1,{key},M,F,x,1" for key in empty] + [f"1,C,{key},F,x,1" for key in empty]
    rows += [f"1,C,M,F,{key},1" for key in empty]
    done = run(tmp_path, {"a.csv": csv(*rows, "1,Good,M,,x,1")}, engine=engine)
    keys = [(name, key) for name in ("customer", "merchant", "category") for key in empty]
    found = [(r["code"], r["reason"], r["row_data"][r["code"].removesuffix("_empty")]) for r in done.set_aside]
    assert found == [(f"{name}_empty", f"{name} ({name}) is empty", key.replace('""', "")) for name, key in keys]
    assert done.counted == {"Good": 1.0}


def test_keys_are_cleaned_once(engine: str, tmp_path: Path) -> None:
    """White space, then one layer of matching quotes: spellings of one key are one key, others are others."""
    same = ["C", " C ", "'C'", " 'C'\t", '"""C"""', "\u3000C"]
    other = ["''C''", "'C", "c", "C.", "' C'"]
    done = run(tmp_path, {"a.csv": csv(*(f"1,{key},M,F,x,1" for key in (*same, *other)))}, engine=engine)
    assert done.counted == {"C": 6.0} | dict.fromkeys(["'C'", "'C", "c", "C.", " C"], 1.0)


def test_gender_spellings(engine: str, tmp_path: Path) -> None:
    """F, female, M, male, E and enterprise in any case and quotes; all else is unknown, and no row invalid for it."""
    spellings = {
        "F": ["F", "f", "female", "FEMALE", "'F'", " Female ", '"""f"""'],
        "M": ["M", "m", "male", "MALE", "'male'"],
        "E": ["E", "e", "enterprise", "Enterprise"],
        "U": ["", "U", "x", "woman", "F.", "''F''", "?", "ｆ"],
    }
    rows = [f"1,{g}{n},M{g},{text},x,1" for g, texts in spellings.items() for n, text in enumerate(texts)]
    features = [f"{g}_customers: count(distinct customer) filter (where gender = '{g}')" for g in "EU"]
    config = prepare(tmp_path, {"a.csv": csv(*rows)}, f"features: {{{', '.join(features)}}}\n")
    names = {"F": "female_customers", "M": "male_customers", "E": "E_customers", "U": "U_customers"}
    config.with_name("seen.yaml").write_text(
        "{id: Genders, action: SEEN, title: All merchants, why: To see genders., per: [merchant],"
        f" when: {' and '.join(f'{name} >= 0' for name in names.values())}}}\n",
        "utf-8",
    )
    pipeline = Pipeline.open(config, [engine])
    pipeline.run(once=True)
    found = {d["MerchantId"]: json.loads(d["evidence"])["features"] for d in pipeline.detections().to_dicts()}
    nobody = dict.fromkeys(names.values(), 0)
    assert found == {f"M{g}": nobody | {names[g]: len(texts)} for g, texts in spellings.items()}
    assert status(pipeline).counted == len(rows)


# --------------------------------------------------------------------------------------------------- JSON Lines

MALFORMED_JSON: Mapping[str, tuple[bytes | str, str]] = {
    "array": ("[1]", "not a JSON object"),
    "text": ('"x"', "not a JSON object"),
    "number": ("7", "not a JSON object"),
    "null": ("null", "not a JSON object"),
    "cut": ('{"customer": "C', "not JSON: "),
    "trailing comma": ('{"amount": 1,}', "not JSON: "),
    "single quotes": ("{'amount': 1}", "not JSON: "),
    "two objects": ("{} {}", "not JSON: Extra data at character 4 of the row"),
    "CSV": ("1,C,M,F,x,1", "not JSON: Extra data at character 2 of the row"),
    "key twice": ('{"customer":"C","merchant":"M","merchant":"N"}', "key 'merchant' twice in one object"),
    "key twice, deep": ('{"customer":{"a":1,"a":2}}', "key 'a' twice in one object"),
    "key of ours": ('{"_source_row":1,"customer":"C"}', "key '_source_row' is a name that tillwatch keeps for itself"),
    "deep": ("[" * 5000 + "]" * 5000, "JSON nested too deeply"),
    "Latin-1": ('{"customer":"José"}'.encode("latin-1"), "not UTF-8 text at byte 17 of the row"),
    "control character": ('{"customer":"C\x01"}', "not JSON: "),
    "NUL": ('{"customer":"C\0"}', "not JSON: "),
    "escaped NUL": ('{"customer":"C\\u0000"}', "NUL in a text"),
    "half a surrogate pair": ('{"customer":"C\\ud800"}', "half a surrogate pair in a text"),
}


@pytest.mark.parametrize(("line", "reason"), MALFORMED_JSON.values(), ids=MALFORMED_JSON)
def test_a_line_that_is_no_object_is_quarantined(line: bytes | str, reason: str, tmp_path: Path) -> None:
    """With file, row, reason and its text; the rows around it are counted."""
    raw = line.encode() if isinstance(line, str) else line
    content = jsonl(row("Before")).encode() + raw + b"\n" + jsonl(row("After")).encode()
    done = run(tmp_path, {"a.jsonl": content})
    assert (done.error, done.counted) == ("", {"Before": 1.5, "After": 1.5})
    [(number, said, text)] = done.rows_set_aside()
    assert number == 2 and said.startswith(f"malformed: {reason}")
    assert text.encode("ascii", "backslashreplace").decode("unicode_escape").encode("latin-1") == raw


JSON_ROWS: Mapping[str, tuple[dict[str, Any] | str, str | float]] = {
    "number as text": (row("C", amount="'7.5'"), 7.5),
    "exponent": ('{"customer":"C","merchant":"M","category":"x","amount":1.5E2}', 150.0),
    "many digits": ('{"customer":"C","merchant":"M","category":"x","amount":0.10000000000000000000001}', 0.1),
    "more keys": (row("C", more={"deep": [1, None]}, step=None), 1.5),
    "empty name": (row("C") | {"": 1, " ": 2, 'a"b,c\n': 3}, 1.5),
    "no gender": ({k: v for k, v in row("C").items() if k != "gender"}, 1.5),
    "no category": ({k: v for k, v in row("C").items() if k != "category"}, 1.5),
    "empty category": (row("C", category=" "), "category_empty"),
    "no amount": ({k: v for k, v in row("C").items() if k != "amount"}, "amount_empty"),
    "no customer": ({k: v for k, v in row("C").items() if k != "customer"}, "customer_empty"),
    "null": (row("C", merchant=None), "merchant_empty"),
    "NaN": (row("C", amount=float("nan")), "amount_not_a_number"),
    "Infinity": (row("C", amount=float("inf")), "amount_not_a_number"),
    "1e400": ('{"customer":"C","merchant":"M","category":"x","amount":1e400}', "amount_out_of_range"),
    "5,000 digits": (f'{{"customer":"C","merchant":"M","category":"x","amount":{"9" * 5000}}}', "amount_out_of_range"),
    "true": (row("C", amount=True), "amount_not_a_number"),
    "nested amount": (row("C", amount={"value": 1}), "amount_not_a_number"),
    "list": (row("C", amount=[1]), "amount_not_a_number"),
    "empty object": ("{}", "customer_empty"),
}


@pytest.mark.parametrize("landing", ["parquet", "csv"])
@pytest.mark.parametrize(("line", "what"), JSON_ROWS.values(), ids=JSON_ROWS)
def test_an_object_is_counted_or_quarantined(
    line: dict[str, Any] | str, what: str | float, landing: str, tmp_path: Path
) -> None:
    """By its keys alone, in either format of the landing zone; numbers keep the text that they are written with."""
    content = jsonl(row("Before"), line, row("After"))
    done = run(tmp_path, {"a.jsonl": content}, f"landing: {{uri: ./landing, format: {landing}}}\n")
    good = {"Before": 1.5, "After": 1.5}
    assert (done.error, done.counted) == ("", good | {"C": what} if isinstance(what, float) else good)
    assert [(r["row"], r["code"]) for r in done.set_aside] == ([] if isinstance(what, float) else [(2, what)])


@pytest.mark.parametrize("landing", ["parquet", "csv"])
def test_a_chunk_without_one_whole_object(landing: str, tmp_path: Path) -> None:
    """When no line of a chunk is an object, all of them are quarantined like others."""
    config = f"landing: {{uri: ./landing, format: {landing}}}\n"
    done = run(tmp_path, {"a.jsonl": "step,customer\n1,C\n", "good.csv": GOOD}, config)
    assert (done.counted, done.reasons) == ({"Good": 7.25}, {"malformed": 2})


def test_a_row_is_valid_whatever_its_neighbours_are(tmp_path: Path) -> None:
    """Whether a row without the default column category is valid does not depend on where chunks are cut."""
    lines = [{k: v for k, v in row("Without").items() if k != "category"}, row("With")]
    counted = [run(tmp_path / size, {"a.jsonl": jsonl(*lines)}, source=f"rows: {size}").counted for size in "12"]
    assert counted[0] == counted[1]


def test_a_named_column_that_no_object_has(tmp_path: Path) -> None:
    """A column named in the configuration must be in the source: a wrong name is told, not taken for no gender."""
    done = run(tmp_path, {"a.jsonl": jsonl(row("C"), row("D"))}, "columns: {gender: sex}\n")
    assert "sex" in done.error + "".join(done.notices)


# ------------------------------------------------------------------------------------------------------ Parquet

PARQUET: Mapping[str, tuple[dict[str, Any], dict[str, float], list[str]]] = {
    "float": ({"amount": [0.1 + 0.2, float("nan")]}, {"C": 0.3}, ["amount_not_a_number"]),
    "infinite": ({"amount": [1e20, float("-inf")]}, {}, ["amount_out_of_range", "amount_not_a_number"]),
    "small and large": ({"amount": [1e-7, 1e10]}, {"C": 0.0, "D": 1e10}, []),
    "float32": ({"amount": pl.Series([0.1, 2.5], dtype=pl.Float32)}, {"C": 0.1, "D": 2.5}, []),
    "decimal": ({"amount": [Decimal("1.00005"), Decimal("-1")]}, {"C": 1.0}, ["amount_negative"]),
    "whole": ({"amount": [5, None]}, {"C": 5.0}, ["amount_empty"]),
    "unsigned": ({"amount": pl.Series([5, 255], dtype=pl.UInt8)}, {"C": 5.0, "D": 255.0}, []),
    "text": ({"amount": ["' 1.5 '", "x"]}, {"C": 1.5}, ["amount_not_a_number"]),
    "boolean": ({"amount": [True, False]}, {}, ["amount_not_a_number"] * 2),
    "nothing": ({"amount": pl.Series([None, None], dtype=pl.Null)}, {}, ["amount_empty"] * 2),
    "categorical": ({"customer": pl.Series(["C", ""], dtype=pl.Categorical)}, {"C": 1.5}, ["customer_empty"]),
    "enum": ({"customer": pl.Series(["C", "D"], dtype=pl.Enum(["C", "D"]))}, {"C": 1.5, "D": 2.5}, []),
    "key of numbers": ({"customer": [1, None]}, {"1": 1.5}, ["customer_empty"]),
    "key of bytes": ({"customer": [b"C", b"'D'"]}, {"C": 1.5, "D": 2.5}, []),
    "no gender": ({"gender": [None, None]}, {"C": 1.5, "D": 2.5}, []),
    "no category at all": ({"category": None, "gender": None}, {"C": 1.5, "D": 2.5}, []),
    "nested columns beside": (
        {"more": [{"a": [1]}, {"a": None}], "raw": [b"\xff", None], "amount": [1.0, -1.0], "day": [timedelta(1), None]},
        {"C": 1.0},
        ["amount_negative"],
    ),
}


@pytest.mark.parametrize(("columns", "counted", "codes"), PARQUET.values(), ids=PARQUET)
def test_parquet_columns_of_any_type(
    columns: dict[str, Any], counted: dict[str, float], codes: list[str], tmp_path: Path
) -> None:
    """Amounts and keys of other types than text are taken by their text; what is no number or empty is quarantined."""
    done = run(tmp_path, {"a.parquet": parquet(**columns)})
    assert (done.error, done.counted, [r["code"] for r in done.set_aside]) == ("", counted, codes)


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([["a"], ["b"]]),
        pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2)),
        pl.Series([b"C", b"\xff"]),
        pl.Series([timedelta(1), timedelta(2)]),
    ],
    ids=["list", "array", "bytes that are no text", "duration"],
)
@pytest.mark.parametrize("name", ["customer", "amount"])
def test_parquet_columns_that_have_no_text(name: str, column: pl.Series, tmp_path: Path) -> None:
    """A file whose key or amount is a list, bytes or a duration is refused, or its rows are quarantined."""
    done = run(tmp_path, {"a.parquet": parquet(**{name: column}), "good.csv": GOOD})
    assert done.counted["Good"] == 7.25


@pytest.mark.parametrize(
    "column",
    [pl.Series([{"v": 1}, {"v": 2}]), pl.Series([datetime(2026, 1, 2, 3, tzinfo=UTC), None])],
    ids=["structure", "time"],
)
def test_keys_have_one_text_in_both_landing_formats(column: pl.Series, tmp_path: Path) -> None:
    """What is detected is the same whether chunks are landed as Parquet or as CSV."""
    formats = {f: f"landing: {{uri: ./landing, format: {f}}}\n" for f in ("parquet", "csv")}
    found = [run(tmp_path / f, {"a.parquet": parquet(customer=column)}, text) for f, text in formats.items()]
    assert found[0].counted == found[1].counted


def test_a_file_that_cannot_be_landed_as_csv(tmp_path: Path) -> None:
    """A column of bytes that are no text is no reason to leave the files behind it unread for ever."""
    source: Files = {"a.parquet": parquet(raw=[b"\xff", b""]), "good.csv": GOOD}
    config = prepare(tmp_path, source, "landing: {uri: ./landing, format: csv}\n")
    os.utime(tmp_path / "in" / "a.parquet", (0, 0))
    done = work(config)
    assert "a.parquet" in done.error and done.counted["Good"] == 7.25


def test_a_file_that_can_be_landed_as_csv_in_part(tmp_path: Path) -> None:
    """The rows before those that CSV cannot hold are landed, the file is told, and the numbers go on without a gap."""
    many = {"customer": list("CDEF"), "merchant": ["M"] * 4, "gender": ["F"] * 4, "category": ["x"] * 4}
    bad = parquet(**many, amount=[1.5, 2.5, 4.5, 8.5], raw=[b"", b"text", b"\xff", b""])
    source: Files = {"a.parquet": bad, "good.csv": GOOD}
    config = prepare(tmp_path, source, "landing: {uri: ./landing, format: csv}\n", source="rows: 1")
    os.utime(tmp_path / "in" / "a.parquet", (0, 0))
    done = work(config)
    assert "a.parquet cannot be landed" in done.error and "after row 2" in done.error
    assert done.counted["C"] == 1.5 and done.counted["D"] == 2.5 and done.counted["Good"] == 7.25
    assert "E" not in done.counted and "F" not in done.counted


# -------------------------------------------------------------------------------------------------- compression

PACKED: Mapping[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstandard.compress,
}


@pytest.mark.parametrize("pack", PACKED)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "A.CSV", "a.jsonl", "a.ndjson", "a.json"])
def test_each_format_packed(name: str, pack: str, tmp_path: Path) -> None:
    """gzip and zstd of each format hold what the file holds, malformed rows included, in one member or several."""
    text = jsonl(row("C"), row("D"), "x") if "json" in name else f"{GOOD}1,C,M,F,x,2\nshort\n"
    text = text.replace(",", "\t") if "tsv" in name else text
    plain = run(tmp_path / "plain", {name: text})
    packed = run(tmp_path / "packed", {f"{name}.{pack}": PACKED[pack](text.encode())})
    parts = run(tmp_path / "parts", {f"{name}.{pack}": members(text, PACKED[pack], 9)})
    assert packed.counted == parts.counted == plain.counted and len(plain.counted) == 2
    assert packed.rows_set_aside() == parts.rows_set_aside() == plain.rows_set_aside() != []


def test_gzip_padded_with_zeros(tmp_path: Path) -> None:
    """Zeros behind and between members, as tapes and block devices leave them, are no damage."""
    first, second = (gzip.compress(text.encode()) for text in (GOOD, "1,C,M,F,x,1\n"))
    done = run(tmp_path, {"a.csv.gz": first + b"\0" * 512 + second + b"\0" * 512})
    assert (done.error, done.counted) == ("", {"Good": 7.25, "C": 1.0})


# ------------------------------------------------------------------------------------------------------ columns


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_columns_by_other_names(name: str, tmp_path: Path) -> None:
    """Mapped columns are taken from where the configuration says, also when the default names stand beside them."""
    mapping = "columns: {customer: Kunde, merchant: 'Händler Nr.', amount: customer}\n"
    values = {"Kunde": "K", "Händler Nr.": "H", "customer": "7.5", "merchant": "no", "amount": "no", "category": "x"}
    frame = pl.DataFrame({column: [value] for column, value in values.items()})
    target = io.BytesIO()
    if name == "a.csv":
        frame.write_csv(target)
    elif name == "a.jsonl":
        frame.write_ndjson(target)
    else:
        frame.write_parquet(target)
    done = run(tmp_path, {name: target.getvalue()}, mapping)
    assert (done.error, done.counted, done.set_aside) == ("", {"K": 7.5}, [])


def test_a_column_of_another_name_is_empty(tmp_path: Path) -> None:
    """The reason of a quarantined row names the key and the column that it is mapped to."""
    done = run(tmp_path, {"a.csv": "Kunde,merchant,amount\n,M,1\nC,M,x\n"}, "columns: {customer: Kunde}\n")
    assert [r["reason"] for r in done.set_aside] == [
        "customer (Kunde) is empty",
        "amount (amount) is not a finite decimal number: 'x'",
    ]


NEEDED = {"category": "count(distinct category)", "gender": "count(distinct customer) filter (where gender = 'F')"}


@pytest.mark.parametrize("column", NEEDED)
def test_a_default_column_that_no_pattern_needs(column: str, tmp_path: Path) -> None:
    """A source may lack it; with null it is not looked at where the source has it."""
    lacks = HEADER.replace(column, "other") + "1,C,M,x,x,1\n"
    assert run(tmp_path / "lacks", {"a.csv": lacks}).counted == {"C": 1.0}
    empty = HEADER + ("1,C,M,F,,1\n" if column == "category" else "1,C,M,,x,1\n")
    assert run(tmp_path / "null", {"a.csv": empty}, f"columns: {{{column}: null}}\n").counted == {"C": 1.0}
    codes = {"category": {"category_empty": 1}, "gender": {}}
    assert run(tmp_path / "empty", {"a.csv": empty}).reasons == codes[column]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
@pytest.mark.parametrize("column", NEEDED)
def test_a_default_column_that_a_pattern_needs(column: str, name: str, tmp_path: Path) -> None:
    """A file without it is refused, and to map it to null is a mistake in the configuration, told with its place."""
    feature = f'features: {{needed: "{NEEDED[column]}"}}\n'
    content = parquet(**{column: None}) if name == "a.parquet" else "customer,merchant,amount\nC,M,1\n"
    done = run(tmp_path, {name: content}, feature, "and merchant.needed >= 0")
    assert f"{name} has no column '{column}' (columns.{column})" in done.error
    with pytest.raises(PatternError, match=rf"seen.yaml:\d+:\d+: .* needs the column {column}, which is not mapped"):
        run(tmp_path / "null", {name: content}, f"{feature}columns: {{{column}: null}}\n", "and merchant.needed >= 0")


def test_a_named_column_that_a_file_lacks(tmp_path: Path) -> None:
    """A column named in the configuration must be in every file, needed or not, also one of the default name."""
    done = run(tmp_path, {"a.csv": "customer,merchant,amount\nC,M,1\n"}, "columns: {time: step}\n")
    assert done.error.startswith("a.csv has no column 'step' (columns.time)")


# ------------------------------------------------------------------------------------------------------ lookups

WEIGHTS = "Source,Target,Weight\n"
BAD_LOOKUPS: Mapping[str, tuple[str, bytes | str, str]] = {
    "empty": ("w.csv", "", "is empty"),
    "missing column": ("w.csv", "Source,Target,weight\n", "has no column 'Weight'; it has Source, Target, weight"),
    "semicolons": ("w.csv", WEIGHTS.replace(",", ";"), "has no column 'Source', 'Target', 'Weight'"),
    "no number": ("w.csv", WEIGHTS + "C,M,1\nD,M,x\n", "row 2: Weight is 'x', expected a decimal number below"),
    "NaN": ("w.csv", WEIGHTS + "C,M,NaN\n", "row 1: Weight is 'NaN'"),
    "1e400": ("w.csv", WEIGHTS + "C,M,1e400\n", "row 1: Weight is '1e400'"),
    "beyond all limits": ("w.csv", WEIGHTS + "C,M,1e99999999999999999999\n", "row 1: Weight is '1e9999"),
    "Latin-1": ("w.csv", (WEIGHTS + "José,M,1\n").encode("latin-1"), "invalid utf-8 sequence"),
    "open quote": ("w.csv", WEIGHTS + '"C,M,1\nD,M,1\n', "row 1: malformed: quoted field is not closed"),
    "binary": ("w.csv", JUNK, "is not a CSV text file"),
    "JSON Lines, cut": ("w.jsonl", '{"Source":"C","Target":"M","Weight":1}\n{', "row 2: malformed: not JSON"),
    "no Parquet": ("w.parquet", "junk", "cannot read"),
}
LOOKUP = "lookups: {importance: ./"


@pytest.mark.parametrize(("name", "content", "words"), BAD_LOOKUPS.values(), ids=BAD_LOOKUPS)
def test_a_lookup_of_the_wrong_shape_ends_the_run(name: str, content: bytes | str, words: str, tmp_path: Path) -> None:
    """The message names the lookup, the file and the row. Nothing is counted without it; with it, all is."""
    config = prepare(tmp_path, {"good.csv": GOOD}, f"{LOOKUP}{name}}}\n", "and importance > 0")
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    pipeline = Pipeline.open(config)
    with pytest.raises(RunError, match=r"^lookup importance: ") as failed:
        pipeline.run(once=True)
    assert str(tmp_path / name) in str(failed.value) and words in str(failed.value)
    assert status(pipeline).counted == 0
    (tmp_path / name).write_text(WEIGHTS + "Good,M,1\n" if name.endswith("csv") else "", "utf-8")
    if name.endswith("csv"):
        assert work(config).counted == {"Good": 7.25}


@pytest.mark.parametrize(
    "content",
    [
        "Source,Target,Weight,typeTrans,fraud\nGood,M,1,5,food,0\n",
        "Source,Target,Weight,Weight\nGood,M,1,2\n",
        "Source,Target,Weight,typeTrans,fraud\nGood,M\n",
    ],
    ids=["too many fields", "column twice", "too few fields"],
)
def test_a_lookup_that_does_not_fit_its_header(content: str, tmp_path: Path) -> None:
    """A decimal comma, which makes a field too many, a row cut off, a column twice: a message, and no guess."""
    config = prepare(tmp_path, {"good.csv": GOOD}, f"{LOOKUP}w.csv}}\n", "and importance > 0")
    (tmp_path / "w.csv").write_text(content, "utf-8")
    with pytest.raises(RunError):
        Pipeline.open(config).run(once=True)


def test_a_lookup_in_gzip_that_was_cut_off(tmp_path: Path) -> None:
    """The message says what is wrong with it."""
    content = gzip.compress((WEIGHTS + "Good,M,1\n" * 999).encode())[:-20]
    config = prepare(tmp_path, {"good.csv": GOOD}, f"{LOOKUP}w.csv.gz}}\n", "and importance > 0")
    (tmp_path / "w.csv.gz").write_bytes(content)
    with pytest.raises(RunError, match=r"w\.csv\.gz row \d+: malformed: file ends here inside a row"):
        Pipeline.open(config).run(once=True)


# ------------------------------------------------------------------------------------------------- the program


def call(*arguments: str | Path, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """The real program, which must end within so many seconds."""
    command = [sys.executable, "-m", "tillwatch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


def test_the_program_with_everything_wrong_at_once(tmp_path: Path) -> None:
    """Exit code 1, a line for each bad file at the end, no traceback; all good rows are counted, and audit is ok."""
    bad = {f"{n:02}{name[1:]}": content for n, (name, content, _) in enumerate((*REFUSED.values(), *DAMAGED.values()))}
    rows = {"rows.csv": csv(*(f"1,C,M,F,x,{text}" for text in NO_AMOUNTS)), "good.csv": GOOD}
    config = prepare(tmp_path, bad | rows)
    done = call("run", "--once", "-c", config)
    assert (done.returncode, done.stdout) == (1, "")
    said = done.stderr.splitlines()
    named = {line.removeprefix("tillwatch: ").partition(" ")[0] for line in said[-len(bad) :]}
    assert named == bad.keys()
    assert "Traceback" not in done.stderr
    set_aside = proved(Pipeline.open(config))
    assert [r["row_data"]["amount"] for r in set_aside if r["file"] == "rows.csv"] == list(NO_AMOUNTS)
    assert "Good" in Pipeline.open(config).detections()["customerName"]
    landed = status(Pipeline.open(config)).landed_rows
    summary = said[-len(bad) - 1]
    assert f" {landed:,} rows; processed " in summary and f" {len(set_aside):,} quarantined; " in summary
    assert call("audit", "-c", config).stdout.endswith("audit: ok\n")


def test_the_program_with_bad_rows_only(tmp_path: Path) -> None:
    """Rows that are not valid are no failure: exit code 0, and how many they are is said."""
    config = prepare(tmp_path, {"a.csv": csv("1,C,M,F,x,1", "1,C,M", "1,,M,F,x,1"), "empty.csv": HEADER})
    done = call("run", "--once", "-c", config)
    assert (done.returncode, done.stdout) == (0, "")
    notice, summary = done.stderr.splitlines()
    assert notice == "tillwatch: empty.csv has no rows"
    assert re.match(r"tillwatch: landed 1 chunk, 3 rows; processed 1; 1 detection \(Seen 1\); 2 quarantined; ", summary)


def test_the_program_with_a_bad_lookup(tmp_path: Path) -> None:
    """check finds it and ends with 2; run ends with 1 and the same words, at once and also when it would go on."""
    config = prepare(tmp_path, {"good.csv": GOOD}, f"{LOOKUP}w.csv}}\n", "and importance > 0")
    (tmp_path / "w.csv").write_text(WEIGHTS + "Good,M,much\n", "utf-8")
    words = f"lookup importance: {tmp_path}/w.csv row 1: Weight is 'much', expected a decimal number below 100000000000"
    for code, arguments in ((2, ["check"]), (1, ["run", "--once"]), (1, ["run"]), (1, ["detect"])):
        done = call(*arguments, "-c", config)
        assert (done.returncode, done.stderr.splitlines()[-1]) == (code, f"tillwatch: {words}")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", csv("1,C,M,F,x,1e99999999999999999999")),
        ("a.jsonl", "no object\n"),
        ("a.parquet", parquet(customer=[["a"], ["b"]])),
    ],
    ids=["exponent", "no object", "list"],
)
def test_no_row_makes_a_traceback(name: str, content: bytes | str, tmp_path: Path) -> None:
    """What is in a file never looks like a defect of the program."""
    done = call("run", "--once", "-c", prepare(tmp_path, {name: content}))
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_first_line_with_very_many_fields(tmp_path: Path) -> None:
    """A file that is one long line is refused like another file without the columns, in seconds."""
    config = prepare(tmp_path, {"a.csv": ",".join(map(str, range(300_000))), "good.csv": GOOD})
    done = call("run", "--once", "-c", config, seconds=10)
    assert done.returncode == 1 and "a.csv has no column 'customer'" in done.stderr


# --------------------------------------------------------------------------------------------------- the state


def test_two_mechanisms_make_the_state_at_the_same_time(tmp_path: Path) -> None:
    """When another process is just making the state file, a run waits for it, as it says that it does."""
    config = prepare(tmp_path, {"good.csv": GOOD}, "state: ./new.db\n")
    (tmp_path / "new.db").unlink()
    other = sqlite3.connect(tmp_path / "new.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.close)
    release.start()
    try:
        Pipeline.open(config).ingest(once=True)
    finally:
        release.join()
