"""Quality reports are what a plain count over the source gives, by run and by day, and the same each time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tillwatch import Pipeline
from tillwatch.cli.app import app
from tillwatch.compose import reporter
from tillwatch.engine.decode import Decoder
from tillwatch.errors import ObjectConflict, StoreError
from tillwatch.model import Chunk, ChunkInfo, Position, SourceFile
from tillwatch.report.page import page
from tillwatch.report.quality import Quality, measure, total
from tillwatch.report.reports import Reporter
from tillwatch.stores.base import Store
from tillwatch.testing.stores import Fault, FaultyStore, MemoryStore

HEADER = "step,customer,age,gender,zipcodeOri,merchant,zipMerchant,category,amount,fraud"
ROWS = [
    "9,'C1','4','M','28007','M1','28007','es_food',4.55,0",
    "10,'C2','',,'28007','M1','28007','es_food',39.68,0",
    "'8',,'4','F','28007','M1','28007',' ',26.89,0",
    "11,'C3','4','F','28007','M2','28007','es_food',many,0",
    "12,'C3',4",
    "2,'C4','4','F','28007','M2','28007','es_food',1,0",
    "3,'C4','4','F','28007','M2','28007','es_food',1,0",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that has processed seven rows in three chunks."""
    folder = tmp_path_factory.mktemp("quality")
    (folder / "in.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    (folder / "tillwatch.yaml").write_text("source: {uri: ./in.csv, rows: 3}\nlookups: {importance: ./w.csv}\n")
    (folder / "w.csv").write_text("Source,Target,Weight\nC1,M1,1\n")
    Pipeline.open(folder / "tillwatch.yaml").run(once=True)
    return folder


@pytest.fixture
def made(folder: Path) -> Iterator[Reporter]:
    """The reports of that pipeline, its chunks processed on the 20th, the 20th and the 21st."""
    pipeline = Pipeline.open(folder / "tillwatch.yaml")
    with pipeline.opened(readonly=True) as state:

        class Dated:
            def processed(self) -> dict[int, str]:
                return {n: f"2026-11-2{n // 2}T13:00:00.000+05:30" for n in state.processed()}

        yield replace(reporter(pipeline.composed, pipeline.landing, state), state=Dated())  # type: ignore[arg-type]


def test_the_whole_is_what_a_count_by_hand_gives(made: Reporter) -> None:
    """Rows, reasons, first and last time, and empty values by column, over all chunks."""
    whole = made.whole()
    assert (whole.first, whole.last, whole.total.chunks) == (0, 2, 3)
    assert (whole.total.rows, whole.total.counted, whole.total.set_aside) == (7, 4, 3)
    assert list(whole.total.quarantined.values()) == [1, 1, 1]
    assert (whole.total.first_time, whole.total.last_time) == ("2", "11")
    empty = {name: count for name, count in whole.total.columns.items() if count[1]}
    assert empty == dict.fromkeys(("age", "category", "customer", "gender"), (6, 1))
    assert sorted(whole.total.columns) == sorted(HEADER.split(","))


def test_days_add_up_to_the_whole(made: Reporter) -> None:
    """Each chunk is in one day; a report of a day is that day of the whole."""
    whole = made.whole()
    assert {day: (q.chunks, q.rows) for day, q in whole.days.items()} == {"2026-11-20": (2, 6), "2026-11-21": (1, 1)}
    assert total(whole.days.values()) == whole.total
    day = made.whole("2026-11-20")
    assert (day.day, day.first, day.last, day.total) == ("2026-11-20", 0, 1, whole.days["2026-11-20"])
    none = made.whole("2020-01-01")
    assert (none.first, none.total, none.days) == (None, Quality(), {})


def test_json_says_all_of_it(made: Reporter) -> None:
    """The JSON has the numbers and rates of the whole and of each day."""
    said = json.loads(made.whole("2026-11-21").as_json())
    assert (said["day"], said["first_chunk"], said["last_chunk"]) == ("2026-11-21", 2, 2)
    assert list(said["days"]) == ["2026-11-21"]
    whole = json.loads(made.whole().as_json())
    assert whole["total"]["columns"]["gender"] == {"rows": 6, "nulls": 1, "null_rate": 0.166667}
    assert whole["total"]["rows"] == 7


# Adding up


QUALITIES = st.builds(
    Quality,
    chunks=st.integers(0, 3),
    rows=st.integers(0, 9),
    counted=st.integers(0, 9),
    quarantined=st.dictionaries(st.sampled_from("abc"), st.integers(1, 5)),
    first_time=st.none() | st.sampled_from(["9", "10", "2026-01-01", "x", "NaN"]),
    last_time=st.none() | st.sampled_from(["9", "10", "2026-01-01", "x", "-1"]),
    columns=st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(0, 9), st.integers(0, 9))),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(QUALITIES, max_size=6), st.integers(0, 6))
def test_the_order_of_adding_does_not_matter(parts: list[Quality], cut: int) -> None:
    """Parts added up in any grouping or order give the same."""
    parts = [total([part]) for part in parts]
    assert total([total(parts[:cut]), total(parts[cut:])]) == total(reversed(parts)) == total(parts)


def chunk(**columns: list[object]) -> Chunk:
    """A chunk of these columns."""
    frame = pl.DataFrame(columns, strict=False)
    info = ChunkInfo(0, frame.height, SourceFile(0, "a", 1, 1), 1, Position())
    return Chunk(info, frame.with_columns(_source_file=pl.lit("a"), _source_row=pl.lit(1)))


@pytest.mark.parametrize(
    ("times", "first", "last"),
    [
        ([10, 9, None, 100], "9", "100"),
        ([" 10", "'9'", "", None, "9.5"], "9", "10"),
        (["2026-11-20T10:00", "2025-01-01"], "2025-01-01", "2026-11-20T10:00"),
        (["b", "7", "a"], "7", "b"),
        (["", None], None, None),
        ([1700000000000000001, 1700000000000000000], "1700000000000000000", "1700000000000000001"),
    ],
)
def test_times_go_by_value_when_they_are_numbers(times: list[object], first: str | None, last: str | None) -> None:
    """First and last are as they were written, cleaned; texts come after numbers, by code point."""
    n = len(times)
    made = chunk(t=times, customer=["C"] * n, merchant=["M"] * n, amount=["1"] * n)
    decoder = Decoder({"customer": "customer", "merchant": "merchant", "amount": "amount"})
    (decoded,) = decoder.decode([made.frame])
    found = measure(made, decoded, "t")
    assert (found.first_time, found.last_time) == (first, last)
    assert measure(made, decoded, "nope").first_time is None
    assert measure(made, decoded, None).first_time is None


# Objects at the end of a run


def test_a_run_writes_itself_and_its_days(made: Reporter) -> None:
    """Once for the run, once for each day; a second time nothing changes."""
    store = MemoryStore()
    names = made.write(store, 1)
    stems = ["run/000000000001-000000000002", "day/2026-11-20/000000000001", "day/2026-11-21/000000000002"]
    assert names == [f"{stem}.{ending}" for stem in stems for ending in ("html", "json")]
    assert sorted(store.objects) == sorted(names)
    kept = dict(store.objects)
    made.write(store, 1)
    assert store.objects == kept
    assert json.loads(kept[f"{stems[0]}.json"])["total"]["rows"] == 4
    assert json.loads(kept[f"{stems[1]}.json"])["total"]["rows"] == 6
    assert made.write(store, 3) == []


@pytest.mark.parametrize("nth", range(1, 7))
@pytest.mark.parametrize("when", ["before", "after"])
def test_days_of_a_run_that_was_killed_are_made_good(nth: int, when: str, made: Reporter) -> None:
    """Wherever the writing ended, the next run, which processed nothing, puts the reports of days that are missing."""
    inner, whole = MemoryStore(), MemoryStore()
    made.write(whole, 0)
    with pytest.raises(StoreError, match="fault on purpose"):
        made.write(FaultyStore(inner, Fault("put", nth=nth, when=when)), 0)  # type: ignore[arg-type]
    made.write(inner, 3)
    expected = {name: data for name, data in whole.objects.items() if name.startswith("day/")}
    assert {name: data for name, data in inner.objects.items() if name.startswith("day/")} == expected


def test_a_report_is_not_written_over(made: Reporter) -> None:
    """An object with other content is told."""
    store: Store = MemoryStore()
    store.put("run/000000000000-000000000002.html", b"mine")
    with pytest.raises(ObjectConflict, match=r"run/000000000000-000000000002.html exists already"):
        made.write(store, 0)


# The page


class Tags(HTMLParser):
    """The tags of a page, that they are closed in order, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not {"src", "href", "onclick", "srcset"} & {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_the_page_stands_alone(made: Reporter) -> None:
    """Well-formed HTML without scripts, and nothing in it is loaded from elsewhere."""
    text = made.whole().as_html()
    tags = Tags(text)
    assert tags.open == []
    assert not {"script", "link", "img", "iframe"} & tags.seen
    assert not any(word in text for word in ("http", "url(", "@import"))
    assert "light dark" in text and "@media print" in text
    at = tags.texts.index("rows in")
    facts = [text for text in tags.texts[at:] if text][:8]
    assert facts[1::2] == ["7", "4", "3 (42.86 %)", "2 to 11"]


def test_what_rows_hold_is_not_markup() -> None:
    """Names of columns, reasons and times from data are texts in the page, whatever they hold."""
    odd = "<script>alert('$title')</script>&"
    text = page("T", "about", Quality(1, 1, 0, {odd: 1}, odd, odd, {odd: (1, 1)}), {odd: Quality()})
    assert "script" not in Tags(text).seen
    assert text.count("&lt;script&gt;") == 5
    assert "None." in page("T", "about", Quality(), {})


# Commands


def called(folder: Path, *arguments: str) -> str:
    """What a command prints."""
    result = CliRunner().invoke(app, [*arguments, "-c", str(folder / "tillwatch.yaml")])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_prints_a_report(folder: Path) -> None:
    """JSON, or a page; a day without chunks is empty; what is no day is refused."""
    assert json.loads(called(folder, "quality"))["total"]["rows"] == 7
    assert called(folder, "quality", "--format", "html").startswith("<!doctype html>")
    assert json.loads(called(folder, "quality", "--day", "2020-02-29"))["total"]["rows"] == 0
    wrong = CliRunner().invoke(app, ["quality", "--day", "yesterday", "-c", str(folder / "tillwatch.yaml")])
    assert (wrong.exit_code, "'yesterday' is no day; expected one such as 2026-11-20." in wrong.stderr) == (2, True)


def test_detections_by_month(tmp_path: Path) -> None:
    """Counts by month, pattern and merchant, as CSV and as JSON Lines, equal to those of the detections."""
    rows = [f"1,C{n},,{'FM'[n % 3 > 0]},,M{n % 2},,x,1,0" for n in range(60)]
    (tmp_path / "in.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (tmp_path / "w.csv").write_text("Source,Target,Weight\nC1,M1,1\n")
    config = "source: ./in.csv\nlookups: {importance: ./w.csv}\npatterns: [{PatId3: {female_customers: 2}}]\n"
    (tmp_path / "tillwatch.yaml").write_text(config)
    Pipeline.open(tmp_path / "tillwatch.yaml").run(once=True)
    month = json.loads(called(tmp_path, "detections", "--format", "jsonl").splitlines()[0])["detectionTime"][:7]
    header, *lines = called(tmp_path, "detections", "--monthly").splitlines()
    assert header == "month,patternId,ActionType,MerchantId,detections"
    assert lines == [f"{month},PatId3,DEI-NEEDED,M0,1", f"{month},PatId3,DEI-NEEDED,M1,1"]
    (first, *_) = map(json.loads, called(tmp_path, "detections", "--monthly", "--format", "jsonl").splitlines())
    assert (first["MerchantId"], first["detections"]) == ("M0", 1)
