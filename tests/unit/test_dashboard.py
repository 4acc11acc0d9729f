"""The dashboard as programs see it: who may look, what is on its pages, what it asks of the state."""

from __future__ import annotations

import csv
import gc
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from importlib import resources
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from tillwatch.cli.app import app
from tillwatch.dashboard.now import values_of as now_values
from tillwatch.dashboard.server import served
from tillwatch.dashboard.site import Site
from tillwatch.dashboard.watch import Watch
from tillwatch.errors import ConfigError, RunError
from tillwatch.generate import generate
from tillwatch.pipeline import Pipeline
from tillwatch.state import open_state
from tillwatch.testing.commits import MEANING, SHAPE, STARTED, commit
from tillwatch.testing.small import CONFIG, add_lives

TOKEN = "a-token-that-is-long-enough"
Client = Callable[..., httpx.Client]


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a small pipeline that has worked off its source."""
    folder = tmp_path_factory.mktemp("ran")
    files = generate(folder / "data", rows=3000, customers=250, merchants=15, seed=3, faults=0.01)
    config = folder / "tillwatch.yaml"
    config.write_text(CONFIG.format(source=files.transactions, importance=files.importance), "utf-8")
    add_lives(config)
    Pipeline.open(config, ["source.every=0"]).run(once=True)
    return config


@pytest.fixture(scope="module")
def url(ran: Path) -> Iterator[str]:
    """Its dashboard."""
    with served(Pipeline.look(ran), port=0) as at:
        yield at.url


@pytest.fixture
def web(url: str) -> Iterator[httpx.Client]:
    """A client of it."""
    with httpx.Client(base_url=url) as client:
        yield client


def test_every_answer_is_guarded(web: httpx.Client) -> None:
    """Pages, parts, assets and refusals have a strict policy, may be framed by nobody, and are for this origin only."""
    script = next(line for line in web.get("/").text.split('"') if line.startswith("/assets/page.js"))
    for path, status in (("/", 200), ("/parts/now", 200), (script, 200), ("/nowhere", 404), ("/assets/x.css", 404)):
        answer = web.get(path)
        assert answer.status_code == status
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert web.get("/").headers["cache-control"] == "no-store"
    assert "immutable" in web.get(script).headers["cache-control"]


@pytest.mark.parametrize(
    "path", ["/assets/../app.py", "/assets/%2e%2e/app.py", "/assets//etc/passwd", "/assets/vendor"]
)
def test_only_assets_are_served_as_assets(url: str, path: str) -> None:
    """No other file of the machine or of the package."""
    host, port = httpx.URL(url).host, httpx.URL(url).port or 0
    with socket.create_connection((host, port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            assert answer.readline().split()[1] == b"404"


def test_nothing_can_be_written(web: httpx.Client) -> None:
    """Other methods than GET and HEAD are refused everywhere."""
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert [web.request(method, path).status_code for path in ("/", "/detections", "/live")] == [405] * 3
    assert web.head("/").status_code == web.head("/live").status_code == 200


def test_it_answers_to_its_own_names_only(web: httpx.Client) -> None:
    """A name that somebody has made to point here is refused; addresses cannot be made so."""
    for host, status in (("evil.example", 421), ("localhost.evil.example:80", 421), ("", 421), ("localhost:1", 200)):
        assert web.get("/", headers={"host": host}).status_code == status
    assert web.get("/", headers={"host": "[::1]:8780"}).status_code == 200


def test_elsewhere_it_needs_a_token_or_a_proxy(ran: Path) -> None:
    """Who listens on another address must say who may look; a short token is refused."""
    pipeline = Pipeline.look(ran)
    for host in ("0.0.0.0", "::", "192.0.2.1", "tillwatch.example"):
        with pytest.raises(ConfigError, match="--token-file"):
            served(pipeline, host, 0).__enter__()
    with pytest.raises(ConfigError, match="at least 16"):
        served(pipeline, port=0, token="short").__enter__()


def test_with_a_token_one_looks_who_knows_it(ran: Path) -> None:
    """A page asks for it; given once in a header it comes back as a cookie that does not tell it."""
    with served(Pipeline.look(ran), port=0, token=TOKEN) as at, httpx.Client(base_url=at.url) as web:
        first = web.get("/")
        assert first.status_code == 401 and "<form" in first.text and "detections" not in first.text.lower()
        for path in ("/parts/now", "/detections.csv", "/live", f"/?token={TOKEN}"):
            assert web.get(path).status_code == 401
        wrong = {"authorization": f"Bearer {TOKEN[:-1]}x"}
        assert web.get("/session", headers=wrong).status_code == 401 and not web.cookies
        assert web.get("/", headers={"cookie": "tillwatch=x"}).status_code == 401
        answer = web.get("/session", headers={"authorization": f"Bearer {TOKEN}"})
        said = answer.headers["set-cookie"]
        assert answer.status_code == 204 and "HttpOnly" in said and "SameSite=lax" in said and TOKEN not in said
        assert web.get("/").status_code == web.get("/detections").status_code == 200
        assert httpx.get(at.url, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_behind_a_proxy_its_header_is_asked_for(ran: Path) -> None:
    """What comes without it is refused; the proxy's name is one of those it answers to."""
    pipeline = Pipeline.look(ran, ["dashboard.header=X-Forwarded-User", "dashboard.hosts=[till.example]"])
    with served(pipeline, port=0) as at, httpx.Client(base_url=at.url, headers={"host": "till.example"}) as web:
        assert web.get("/").status_code == 403
        assert web.get("/", headers={"x-forwarded-user": ""}).status_code == 403
        assert web.get("/", headers={"x-forwarded-user": "ann"}).status_code == 200


def test_a_taken_port_is_told(url: str, ran: Path) -> None:
    """With the address, and what to do."""
    with pytest.raises(RunError, match=r"127\.0\.0\.1.*--port"):
        served(Pipeline.look(ran), port=httpx.URL(url).port).__enter__()


def test_now_says_what_the_state_says(web: httpx.Client, ran: Path) -> None:
    """Rows, chunks, detections by pattern and quarantine are those of `status`."""
    from tillwatch.status import status

    found, text = status(Pipeline.look(ran)), web.get("/").text
    assert f"{found.landed_rows:,} rows landed" in text and f"{found.landed_rows:,} rows processed" in text
    assert f"{sum(found.quarantined.values()):,} rows" in text
    assert all(f"<td>{count:,}</td>" in text for count in found.detections.values())


def test_pages_of_detections_are_all_of_them_newest_first(web: httpx.Client, ran: Path) -> None:
    """Following 'Older' from the first page, each is seen once; the exports hold the same."""
    with Pipeline.look(ran).opened(readonly=True) as state:
        seqs = [stored.seq for stored in state.detections()][::-1]
    assert len(seqs) > 100
    path, seen = "/detections", list[int]()
    while path:
        text = web.get(path).text
        seen += [int(part.split('"')[0]) for part in text.split('href="/detections/')[1:] if part[0].isdigit()]
        path = next((p.split('"')[0] for p in text.split('href="')[1:] if "before=" in p.split('"')[0]), "")
    assert seen == seqs
    rows = list(csv.DictReader(io.StringIO(web.get("/detections.csv").text)))
    records = json.loads(web.get("/detections.json").text)
    assert [int(row["seq"]) for row in rows] == [record["seq"] for record in records] == seqs
    assert records[0]["evidence"] and json.loads(rows[0]["key"]) == records[0]["key"]


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_exports_are_filtered_as_the_page_is(web: httpx.Client, kind: str) -> None:
    """By pattern and merchant together; nothing found is a whole file too."""
    all_of_it = json.loads(web.get("/detections.json").text)
    first = next(r for r in all_of_it if r["patternId"] == "PatId2")
    query = {"pattern": "PatId2", "merchant": first["MerchantId"]}
    wanted = [r["seq"] for r in all_of_it if r["patternId"] == "PatId2" and r["MerchantId"] == first["MerchantId"]]
    answer = web.get(f"/detections.{kind}", params=query)
    found = json.loads(answer.text) if kind == "json" else list(csv.DictReader(io.StringIO(answer.text)))
    assert [int(r["seq"]) for r in found] == wanted
    assert "attachment" in answer.headers["content-disposition"]
    empty = web.get(f"/detections.{kind}", params={"customer": "nobody"}).text
    assert empty == "[]\n" if kind == "json" else empty.count("\n") == 1


def test_what_is_no_question_is_told(web: httpx.Client) -> None:
    """A wrong time or page is 400, a detection that is not there 404, an unknown name is left out."""
    for query, status in (("since=yesterday", 400), ("before=x", 400), ("before=٣", 400), ("colour=red", 200)):
        assert web.get(f"/detections?{query}").status_code == status
    for seq in ("0", "999999", str(2**70), "x"):
        assert web.get(f"/detections/{seq}").status_code == 404


def test_texts_of_others_are_escaped(web: httpx.Client) -> None:
    """What is asked for comes back as text, also within the address of an export."""
    text = web.get("/detections", params={"text": "\"><script>alert(1)</script>'\0"}).text
    assert "<script>alert" not in text and "&lt;script&gt;" in text


def test_a_detection_says_why(web: httpx.Client, ran: Path) -> None:
    """Every clause with its values and cut-offs, and where its key stands among others."""
    with Pipeline.look(ran).opened(readonly=True) as state:
        first = {s.detection.pattern: s for s in reversed(list(state.detections()))}
    for pattern, stored in first.items():
        text = web.get(f"/detections/{stored.seq}").text
        assert f"Detection {stored.seq}" in text and pattern in text
        assert all(value in text for value in stored.detection.key.values())
        assert text.count(">true<") >= 1 and ">false<" not in text
    text = web.get(f"/detections/{first['PatId1'].seq}").text
    ranks = first["PatId1"].detection.evidence["ranks"]
    assert all(name in text for name in ranks) and len(ranks) == 2
    assert "standing-1" in text and "standing-2" in text and "this one" in text


def test_its_history_is_counted_in_the_landing_zone(web: httpx.Client, ran: Path) -> None:
    """As many transactions as `explain` finds up to the chunk of the detection, and those since."""
    from tillwatch.history.explain import explain
    from tillwatch.retry import Retry

    pipeline = Pipeline.look(ran)
    with pipeline.opened(readonly=True) as state:
        last = max(s.seq for s in state.detections() if s.detection.pattern == "PatId2")
    found = explain(pipeline, last, 0, Retry(pipeline.clock, threading.Event(), lambda _: None, 5.0))
    text = web.get(f"/detections/{last}/history").text
    spec = json.loads(text.split('<script type="application/json">')[1].split("</script>")[0])
    until = [
        y for x, y in zip(spec["x"], spec["series"][0]["values"], strict=True) if x <= found.stored.detection.chunk
    ]
    assert until[-1] == found.rows


def test_a_landing_zone_out_of_reach_is_told(ran: Path, tmp_path: Path) -> None:
    """The page is there without it, and says what is wrong where the history would be."""
    folder = tmp_path / "copy"
    shutil.copytree(ran.parent, folder)
    shutil.rmtree(folder / "tillwatch-data" / "landing")
    with served(Pipeline.look(folder / "tillwatch.yaml"), port=0) as at, httpx.Client(base_url=at.url) as web:
        assert web.get("/detections/1").status_code == 200
        answer = web.get("/detections/1/history")
        assert answer.status_code == 200 and "cannot be worked out" in answer.text


def test_what_ships_is_what_is_recorded() -> None:
    """The vendored library is the recorded version, file by file, with its licence."""
    vendor = resources.files("tillwatch.dashboard") / "assets" / "vendor"
    (record,) = json.loads((vendor / "vendor.json").read_text("utf-8")).values()
    there = {entry.name for entry in vendor.iterdir()} - {"vendor.json"}
    assert there == set(record["files"]) and "uPlot.LICENSE" in there
    for name, digest in record["files"].items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest
    assert record["version"] in (vendor / "uPlot.iife.min.js").read_text("utf-8")[:200]


def parts(lines: Iterator[str]) -> dict[str, int]:
    """The next event of a stream."""
    return next(json.loads(line[6:]) for line in lines if line.startswith("data: "))


def test_news_come_as_they_happen(ran: Path, tmp_path: Path) -> None:
    """A state that is not there yet is told; when a run makes it, the stream says so and the page shows it."""
    config = tmp_path / "tillwatch.yaml"
    config.write_text(ran.read_text("utf-8").replace("  ./patterns/: {}\n", ""), "utf-8")
    with served(Pipeline.look(config), port=0, every=0.02) as at, httpx.Client(base_url=at.url) as web:
        assert "nothing has been run" in web.get("/").text
        assert "0 detections" in web.get("/detections").text and web.get("/detections/1").status_code == 503
        with web.stream("GET", "/live") as stream:
            lines = stream.iter_lines()
            before = parts(lines)
            Pipeline.open(config, ["source.every=0"]).run(once=True)
            while parts(lines)["processed"] < 12:
                pass
        assert before["processed"] == 0
        assert "3,000 rows processed" in web.get("/parts/now").text


def test_it_ends_at_once_while_pages_are_open(ran: Path) -> None:
    """An open stream does not hold the server up, and ends with it."""
    opened: AbstractContextManager[object] = served(Pipeline.look(ran), port=0)
    at = opened.__enter__()
    with httpx.Client(base_url=at.url) as web, web.stream("GET", "/live") as stream:  # type: ignore[attr-defined]
        lines = stream.iter_lines()
        parts(lines)
        opened.__exit__(None, None, None)
        assert not [line for line in lines if line.startswith("data")]
    with pytest.raises(httpx.ConnectError):
        httpx.get(at.url)  # type: ignore[attr-defined]


def test_a_watch_left_on_does_not_grow(tmp_path: Path) -> None:
    """After the first hours of a run, thousands of chunks more leave it as large as it was."""
    place = tmp_path / "state.db"
    config = tmp_path / "tillwatch.yaml"
    config.write_text(f"source: ./none.csv\nlookups: {{importance: ./none.csv}}\nstate: {place}\n", "utf-8")
    site = Site(Pipeline.open(config), watch := Watch(Pipeline.open(config), every=0, share=0))
    sizes, heard = list[int](), threading.Event()
    with closing(open_state(str(place))) as state:
        state.start("f", MEANING, STARTED, [SHAPE])
        watch.start()
        leave = watch.hear(heard.set)
        tracemalloc.start()
        for number in range(0, 3000, 10):
            heard.clear()
            state.commit(commit(number, [1] * 10), 50)
            assert heard.wait(20)
            version = watch.seen.version
            site.kept.get(("now", version), lambda: site.text("now_part.html", **now_values(watch.seen)))
            if number % 1000 == 990:
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        leave()
        watch.stop()
    assert sizes[-1] < sizes[0] + 1_000_000


def test_ten_thousand_detections_are_a_hundred_to_a_page(tmp_path: Path) -> None:
    """The page is no larger for it, also far back and where a filter finds few; the chart has so many bars at most."""
    place, config = tmp_path / "state.db", tmp_path / "tillwatch.yaml"
    config.write_text(f"source: ./none.csv\nlookups: {{importance: ./none.csv}}\nstate: {place}\n", "utf-8")
    with closing(open_state(str(place))) as state:
        state.start("f", MEANING, STARTED, [SHAPE])
        state.commit(commit(0, [100] * 100), 50)
    with served(Pipeline.look(config), port=0) as at, httpx.Client(base_url=at.url) as web:
        for query, rows in (("", 100), ("?before=5000", 100), ("?before=31", 30), ("?text=99.7", 11)):
            text = web.get(f"/detections{query}").text
            assert text.count('<tr class="link">') == rows
            assert len(text) < 150_000
            spec = json.loads(text.split('<script type="application/json">')[1].split("</script>")[0])
            assert 0 < len(spec["x"]) <= 151
        assert "10,000 detections" in web.get("/detections").text


@pytest.mark.parametrize("command", [["dashboard"], ["run", "--dashboard", "--set", "source.every=0"]])
def test_the_commands_say_where_and_end_cleanly(ran: Path, tmp_path: Path, command: list[str]) -> None:
    """The address is told, the page is there with a token from the environment, SIGTERM ends it with exit code 0."""
    shutil.copytree(ran.parent, tmp_path / "copy")
    call = [sys.executable, "-m", "tillwatch", *command, "-c", str(tmp_path / "copy" / ran.name), "--port", "0"]
    environment = {**os.environ, "TILLWATCH_DASHBOARD_TOKEN": TOKEN}
    with subprocess.Popen(call, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        assert httpx.get(url).status_code == 401
        assert "rows landed" in httpx.get(url, headers={"authorization": f"Bearer {TOKEN}"}).text
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert TOKEN not in said


def test_an_address_without_the_dashboard_is_a_wrong_call(ran: Path) -> None:
    """Exit code 2, and nothing is run."""
    done = CliRunner().invoke(app, ["run", "--once", "-c", str(ran), "--port", "1"])
    assert done.exit_code == 2 and "--dashboard only" in done.output
