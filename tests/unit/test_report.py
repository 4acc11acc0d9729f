"""tillwatch report: its figures are those of the state, its bytes the same each time, its page stands alone."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tillwatch.cli.app import app
from tillwatch.generate import generate
from tillwatch.pipeline import Pipeline
from tillwatch.report.timing import Lag, Ledger, in_time, published, read_ledger
from tillwatch.state.base import FilePlan
from tillwatch.state.figures import ChunkFigures
from tillwatch.testing.servers.postgres import postgres_server
from tillwatch.testing.small import CONFIG, add_lives

ZONE = ZoneInfo("Asia/Kolkata")


def call(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments[:1], "-c", str(config), *arguments[1:]])


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that has worked off 24 chunks, with patterns that cease, fire again, and one in the shadow."""
    folder = tmp_path_factory.mktemp("report")
    made = generate(folder / "data", rows=6000, customers=150, merchants=30, seed=3, faults=0.02)
    config = folder / "tillwatch.yaml"
    config.write_text(CONFIG.format(source=made.transactions, importance=made.importance), "utf-8")
    add_lives(config)
    Pipeline.open(config).run(once=True)
    return config


@pytest.fixture(scope="module")
def text(config: Path) -> str:
    """The report of all of it."""
    result = call(config, "report")
    assert result.exit_code == 0, result.stderr
    return result.stdout


def main_of(text: str) -> ET.Element:
    return ET.fromstring(text[text.index("<main") : text.index("</main>") + len("</main>")])


def facts(text: str) -> dict[str, str]:
    found = main_of(text).findall(".//dl/div")
    return {str(each.findtext("dt")): str(each.findtext("dd")) for each in found}


def table(text: str, first: str) -> list[list[str]]:
    """The cells of the first table whose first heading is this."""
    for each in main_of(text).iter("table"):
        if (head := each.find("thead/tr")) is not None and "".join(head[0].itertext()) == first:
            return [["".join(cell.itertext()) for cell in row] for row in each.findall("tbody/tr")]
    raise AssertionError(f"there is no table of {first}")


def number(text: str) -> int:
    return int(text.replace(",", ""))


def status(config: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call(config, "status", "--format", "json").stdout)
    return found


def test_its_figures_are_those_of_the_state(config: Path, text: str) -> None:
    """Rows, detections by pattern, reasons, files and merchants are what status and detections say."""
    now, found = status(config), facts(text)
    assert number(found["rows in"]) == now["landed_rows"]
    assert number(found["detections"]) == sum(now["detections"].values())
    assert number(found["quarantined"].split()[0]) == sum(now["quarantined"].values())
    assert (found["chunks"], found["files"]) == ("24", "1")
    assert {row[0]: number(row[2]) for row in table(text, "pattern")} == {
        k: v for k, v in now["detections"].items() if v
    }
    assert {row[0]: number(row[1]) for row in table(text, "reason")} == now["quarantined"]
    detections = Pipeline.open(config).detections()
    top = Counter(m for m in detections["MerchantId"] if m).most_common()
    rows = table(text, "merchant")
    assert [number(row[1]) for row in rows] == [count for _, count in top[:10]]
    assert dict(top)[rows[0][0]] == top[0][1]
    holds = Counter(p for p, h in detections.select("patternId", "holds").iter_rows() if h)
    assert {row[0]: number(row[3]) for row in table(text, "pattern") if row[3] != "0"} == dict(holds)
    assert next(row[0] for row in table(text, "seq")) == f"{len(detections):,}"


def test_it_says_each_pattern_in_words_with_its_first_detection(config: Path, text: str) -> None:
    """The condition with its thresholds, and why the first key was found."""
    articles = {str(a.find("h3").text).strip(): "".join(a.itertext()) for a in main_of(text).iter("article")}  # type: ignore[union-attr]
    assert set(articles) == {"PatId1", "PatId2", "PatId3", "Often", "Costly", "Draft", "Dear", "Each"}
    assert "transactions >= 8 and avg_amount < 25" in articles["PatId2"]
    first = next(d for d in Pipeline.open(config).detections().to_dicts() if d["patternId"] == "PatId2")
    assert f"First found after chunk {first['chunk']}, for customer {first['customerName']}" in articles["PatId2"]
    assert re.search(r"transactions is \d+; avg_amount is ", articles["PatId2"])


def test_it_shows_rows_as_they_came(config: Path, text: str) -> None:
    """Of each reason some rows of the quarantine, with file and row."""
    quarantine = config.parent / "tillwatch-data" / "quarantine"
    records = [json.loads(line) for path in quarantine.iterdir() for line in path.read_text("utf-8").splitlines()]
    places = {(r["file"], f"{r['row']:,}") for r in records}
    samples = list(tables_of_samples(text))
    assert len(samples) >= len(status(config)["quarantined"])
    assert {(row[1], row[2]) for row in samples} <= places


def tables_of_samples(text: str) -> Iterator[list[str]]:
    for each in main_of(text).iter("div"):
        if each.get("class") == "samples":
            yield from (["".join(cell.itertext()) for cell in row] for row in each.findall(".//tbody/tr"))


def test_made_again_it_has_the_same_bytes(config: Path, text: str, tmp_path: Path) -> None:
    """To stdout or to a file, now or later."""
    result = call(config, "report", "-o", str(tmp_path / "r.html"))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"tillwatch: wrote {tmp_path / 'r.html'}\n")
    assert (tmp_path / "r.html").read_bytes() == text.encode()


def test_both_stores_say_the_same(config: Path, text: str, tmp_path: Path) -> None:
    """A state that was copied to PostgreSQL gives the same page but for its place."""
    with postgres_server() as server:
        place = server.new_place()
        copied = CliRunner().invoke(app, ["state", "copy", str(config.parent / "tillwatch-data" / "state.db"), place])
        assert copied.exit_code == 0, copied.stderr
        other = call(config, "report", "--set", f"state={place}").stdout
    state = re.compile(r'<th scope="row">state</th>.*')
    assert state.sub("", other) == state.sub("", text)


def test_the_page_stands_alone(text: str) -> None:
    """Well-formed, without scripts, nothing loaded from elsewhere; every picture is told, and has its numbers."""
    pictures = main_of(text).findall(".//svg")
    assert len(pictures) == 5
    assert all(re.search(r"[a-z]", picture.get("aria-label") or "") for picture in pictures)
    assert len(main_of(text).findall(".//details")) == 5
    assert not any(word in text for word in ("http", "url(", "@import", "<script", "<link"))
    assert not any("nan" in (path.get("d") or "") for path in main_of(text).iter("path"))
    assert "@page" in text and "light dark" in text


def test_a_range_of_chunks_and_the_rest_are_the_whole(config: Path, text: str) -> None:
    """Rows, detections and quarantine of two halves add up; a half has only its own chunks."""
    halves = [call(config, "report", "--to", "9").stdout, call(config, "report", "--from", "10").stdout]
    for name in ("rows in", "detections", "quarantined"):
        assert sum(number(facts(half)[name].split()[0]) for half in halves) == number(facts(text)[name].split()[0])
    assert all(number(row[5]) <= 9 for row in table(halves[0], "pattern"))
    assert all(number(row[4]) >= 10 for row in table(halves[1], "pattern"))
    one = call(config, "report", "--from", "3", "--to", "3").stdout
    assert (facts(one)["chunks"], "Chunk 3, from" in one) == ("1", True)


def test_days_are_those_of_processing(config: Path, text: str) -> None:
    """The day of the run is all of it; before and after it there is nothing, which is told."""
    day = str(status(config)["started_at"])[:10]
    assert call(config, "report", "--from", day, "--to", day).stdout == text
    later = call(config, "report", "--from", "2999-01-01")
    assert (later.exit_code, "no chunk was processed on 2999-01-01 or later" in later.stderr) == (1, True)
    earlier = call(config, "report", "--to", "1999-01-01")
    assert (earlier.exit_code, "no chunk was processed on 1999-01-01 or earlier" in earlier.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--to", "24"], 1, "chunk 24 is not landed; the last one is 23"),
        (["--from", "9", "--to", "3"], 1, "there are no chunks from 9 to 3"),
        (["--from", "soon"], 2, "'soon' is no chunk and no day; expected 120, or 2026-11-20."),
    ],
)
def test_a_range_that_is_none_is_told(arguments: list[str], code: int, said: str, config: Path) -> None:
    """Nothing is written then."""
    result = call(config, "report", *arguments)
    assert (result.exit_code, result.stdout, said in result.stderr) == (code, "", True)


def test_what_is_landed_and_not_processed_is_reported_too(tmp_path: Path) -> None:
    """Before detect has begun there are rows and files, and neither detections nor lags."""
    made = generate(tmp_path / "data", rows=600, customers=50, merchants=10, seed=1)
    config = tmp_path / "tillwatch.yaml"
    config.write_text(CONFIG.format(source=made.transactions, importance=made.importance), "utf-8")
    assert "nothing has been run" in call(config, "report").stderr
    Pipeline.open(config).ingest(once=True)
    found = facts(call(config, "report").stdout)
    assert (found["rows in"], found["detections"], found["not processed yet"]) == ("600", "0", "3 chunks")
    assert found["landing to processed"] == found["rows per second"] == "–"


def test_what_the_data_holds_is_not_markup(tmp_path: Path) -> None:
    """Names of files, keys and cells are texts in the page, whatever they hold."""
    rows = ["1,<b>&C,<i>M</i>,F,x,1", "1,C,M,F,x,<script>"]
    (tmp_path / "a&<b>.csv").write_text("\n".join(["step,customer,merchant,gender,category,amount", *rows]) + "\n")
    (tmp_path / "any.yaml").write_text("{id: Any, action: LOOK, per: [customer, merchant], when: transactions < 2}")
    config = tmp_path / "tillwatch.yaml"
    config.write_text("source: {uri: './a&<b>.csv'}\npatterns: [./any.yaml]\n", "utf-8")
    Pipeline.open(config).run(once=True)
    text = call(config, "report").stdout
    assert "&lt;b&gt;&amp;C" in text and "&lt;script&gt;" in text
    assert main_of(text).find("h1").text == "Report: a&<b>.csv"  # type: ignore[union-attr]
    assert not {"b", "script"} & {each.tag for each in main_of(text).iter()}


# Timing


def at(second: float) -> str:
    return datetime.fromtimestamp(1_000_000 + second, ZONE).isoformat(timespec="milliseconds")


def ledger(*times: tuple[float | None, float | None]) -> Ledger:
    return read_ledger(
        ChunkFigures(n, 10, 10, 0, 0, None if a is None else at(a), None if b is None else at(b))
        for n, (a, b) in enumerate(times)
    )


def test_a_lag_is_known_when_both_ends_are_and_never_below_nothing() -> None:
    """Chunks that were found landed, or are not processed yet, do not count."""
    assert ledger((0, 1.5), (None, 2), (3, None), (4, 3.9)).lags.tolist() == [1.5, 0.0]


def test_published_goes_by_detection_and_its_own_file() -> None:
    """Detections of a chunk may be in two files, and a file has those of several chunks; what waits does not count."""
    chunks = [(0, 1, 3), (1, 4, 5), (2, 6, 6)]
    files = [FilePlan("a", 1, 2, at(1)), FilePlan("b", 3, 4, at(5)), FilePlan("c", 5, 6, None)]
    assert published(ledger((0, 0), (2, 2), (3, 3)), chunks, files) == Lag(4, 1.0, 5.0, 5.0)


@pytest.mark.parametrize("seconds", [0.001, 0.7, 59.0, 3_600.0, 86_399.0, 40 * 86_400.0, 4_000 * 86_400.0])
def test_time_is_cut_into_round_spans(seconds: float) -> None:
    """At most sixty, all amounts in them, and none before the first thing that happened or after the last."""
    times = 1_000_000 + np.linspace(0, seconds, 97)
    bins = in_time(times, np.ones(97, np.int64), (float(times[0]), float(times[-1])), ZONE)
    assert sum(bins.amounts) == 97 and 1 <= len(bins.amounts) <= 60
    assert bins.amounts[0] > 0 and bins.amounts[-1] > 0
    assert bins.start <= times[0] < bins.start + bins.width
