"""The views Merchants, Quality and Back-tests as programs see them: what is on their pages, and what is told."""

from __future__ import annotations

import html
import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from tillwatch.cli.app import app
from tillwatch.dashboard import nearness
from tillwatch.dashboard.nearness import Nearness
from tillwatch.dashboard.server import served
from tillwatch.dashboard.watch import Watch
from tillwatch.generate import generate
from tillwatch.pipeline import Pipeline
from tillwatch.state import open_state
from tillwatch.testing.small import CONFIG, add_lives

PASSWORD = "swordfish-42"
HOSTILE = "</script><script>alert(1)</script>"
NAMED = "step,customer,gender,merchant,category,amount\n"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a small pipeline that has worked off its source; some rows are filtered out."""
    folder = tmp_path_factory.mktemp("ran")
    files = generate(folder / "data", rows=6000, customers=500, merchants=30, seed=3, faults=0.01)
    config = folder / "tillwatch.yaml"
    config.write_text(CONFIG.format(source=files.transactions, importance=files.importance), "utf-8")
    add_lives(config)
    with config.open("a") as file:
        file.write("where: category <> 'food'\nreports: ./reports\n")
    Pipeline.open(config, ["source.every=0"]).run(once=True)
    for more in ([], ["--set", "patterns.PatId2.transactions=5", "--sweep", "PatId2.transactions=4:12:2"]):
        done = CliRunner().invoke(app, ["backtest", "-c", str(config), *more])
        assert done.exit_code == 0, done.output
    return config


@pytest.fixture(scope="module")
def web(ran: Path) -> Iterator[httpx.Client]:
    """A client of its dashboard, once the near misses are worked out."""
    with served(Pipeline.look(ran), port=0) as at, httpx.Client(base_url=at.url, timeout=60) as client:
        while "being read" in client.get("/merchants").text:
            threading.Event().wait(0.05)
        yield client


def words(text: str) -> str:
    """What a page says, without its markup."""
    return " ".join(html.unescape(re.sub(r"<script.*?</script>|<[^>]*>", " ", text, flags=re.DOTALL)).split())


def specs(text: str) -> list[dict[str, object]]:
    """The charts of a page."""
    return [json.loads(found) for found in re.findall(r'<script type="application/json">(.*?)</script>', text)]


def test_merchants_have_their_gates(web: httpx.Client, ran: Path) -> None:
    """Those with the most transactions first, with what the state says of them, and how far it is to each gate."""
    page = words(web.get("/merchants").text)
    with closing(open_state(str(ran.parent / "tillwatch-data/state.db"), readonly=True)) as state:
        rows = state.feature_rows(
            "merchant", ["merchant", "transactions", "female_customers", "male_customers"], {}, 99
        )
    rows = sorted(rows, key=lambda row: -row[1])
    assert f"{len(rows)} merchants" in page
    places = [page.index(f" {row[0]} {row[1]:,} ") for row in rows[:10]]
    assert places == sorted(places)
    closed = next(row for row in rows[:10] if row[1] <= 60) if any(row[1] <= 60 for row in rows[:10]) else None
    assert closed is None or f"{closed[1]} of 60" in page
    assert f"{rows[0][2]} of 3" in page and f"{rows[0][2]} to be < {rows[0][3]}" in page
    assert rows[-1][0] not in page.partition("Near PatId1")[0]
    assert rows[-1][0] in words(web.get("/merchants", params={"all": "1"}).text).partition("Near PatId1")[0]
    found = words(web.get("/merchants", params={"text": rows[-1][0][1:6].lower()}).text).partition("Near PatId1")[0]
    assert rows[-1][0] in found and rows[0][0] not in found


def test_other_keys_can_be_looked_at(web: httpx.Client) -> None:
    """Every grain that a pattern looks at; any other is not there."""
    page = web.get("/merchants").text
    assert "by=customer" in page
    assert " 1 of 500 customers" not in words(page)
    assert "customers" in words(web.get("/merchants", params={"by": "customer"}).text)
    assert web.get("/merchants", params={"by": "nobody"}).status_code == 404
    assert web.get("/merchants", params={"by": ""}).status_code == 200


def test_near_misses_say_what_they_lack(web: httpx.Client, ran: Path) -> None:
    """Of every pattern that is judged after chunks; what is lacking is what `why-not` says, and nobody was detected."""
    page = web.get("/merchants/near", params={"pattern": "PatId2"}).text
    said = words(page)
    keys = re.findall(r"customer (C\S+) merchant (M\S+)", said)
    assert len(keys) == 50
    state = Pipeline.open(ran).detections()
    found = state.filter(patternId="PatId2").select("customerName", "MerchantId").rows()
    assert not set(keys) & set(found)
    customer, merchant = keys[0]
    asked = ["why-not", "-c", str(ran), "PatId2", "--customer", customer, "--merchant", merchant]
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == 0, told.output
    first = said[said.index(f"customer {customer}") :]
    lack = re.search(r" lacks (.*?) (?:customer C|true:|not true:)", first)
    assert lack is not None and f"needs {lack[1]}" in " ".join(told.stdout.split())
    only = words(web.get("/merchants/near", params={"pattern": "PatId2", "only": "1"}).text)
    assert only.count("one of 2 clauses missing") == len(re.findall(r"customer C\S+ merchant M\S+", only)) == 50
    assert web.get("/merchants/near", params={"pattern": "Nobody"}).status_code == 404


def test_a_merchant_opens(web: httpx.Client, ran: Path) -> None:
    """With its gates, how its customers are spread, its detections, and who is near there."""
    with closing(open_state(str(ran.parent / "tillwatch-data/state.db"), readonly=True)) as state:
        rows = state.feature_rows("merchant", ["merchant", "transactions"], {}, 99)
        merchant, transactions = max(rows, key=lambda row: row[1])
        customers = len(state.feature_rows("customer_merchant", ["customer"], {"merchant": merchant}, 10_000))
    page = web.get("/merchants/one", params={"merchant": merchant}).text
    said = words(page)
    assert (
        f"Merchant {merchant}" in said and f"Transactions {transactions:,}" in said and f"Customers {customers}" in said
    )
    assert "PatId1 merchant.transactions > 60" in said
    assert "Detections here" in said and f"merchant {merchant}" in said
    scatter, *bars = specs(page)
    assert [series["name"] for series in scatter["series"]][:2] == ["does not hold", "PatId1 holds"]  # type: ignore[index,union-attr]
    assert sum(bars[0]["series"][0]["values"]) == customers  # type: ignore[index]
    assert web.get("/merchants/one", params={"merchant": "M0"}).status_code == 404
    assert web.get("/merchants/one").status_code == 404
    assert web.get("/merchants/one", params={"nobody": "x", "merchant": merchant}).status_code == 404


def test_quality_counts_what_the_ledger_says(web: httpx.Client, ran: Path) -> None:
    """Rows by what became of them, reasons, a bar for every chunk, sample rows with the wrong cells marked."""
    with closing(open_state(str(ran.parent / "tillwatch-data/state.db"), readonly=True)) as state:
        totals, reasons = state.totals(), state.quarantined()
    page = web.get("/quality").text
    said = words(page)
    assert totals.filtered and totals.quarantined
    assert f"Filtered out {totals.filtered:,}" in said and f"Quarantined {totals.quarantined:,}" in said
    for reason, rows in reasons.items():
        assert f"{reason} {rows:,}" in said
    (spec,) = specs(page)
    assert spec["x"] == [*range(24)]
    assert sum(sum(series["values"]) for series in spec["series"]) == totals.quarantined  # type: ignore[attr-defined]
    assert page.count('<div class="wrong">') >= 5
    only = web.get("/quality", params={"reason": "amount_negative"}).text
    assert "is negative" in only and "malformed:" not in words(only).partition("Rows as they came")[2]


def test_the_quality_report_is_worked_out(web: httpx.Client) -> None:
    """Of the newest chunks, with those that runs have written."""
    said = words(web.get("/quality/report").text)
    assert "24 chunks, 0 to 23: 6,000 rows" in said
    assert re.search(r"customer [\d,]+ \d+ 0\.\d+ %", said)
    assert "Written reports" in said and "2026" in said.partition("Written reports")[2]


def test_back_tests_are_listed_and_compared(web: httpx.Client) -> None:
    """The newest first, with what was tried; some beside each other with all that changes, and the sweep's curve."""
    page = web.get("/backtests").text
    names = re.findall(r'name="r" value="([^"]+)"', page)
    assert len(names) == 2 and names == sorted(names, reverse=True)
    assert "--set patterns.PatId2.transactions=5" in words(page)
    both = web.get("/backtests/compare", params=[("r", name) for name in names])
    said = words(both.text)
    assert "2 back-tests beside each other" in said and "sweep PatId2.transactions=4:12:2" in said
    assert re.search(r"PatId2 \d+ \d+ [1-9]\d* \d+ \d+ \d+ 0 0 0", said)
    *growths, curve = specs(both.text)
    assert curve["x"] == [4, 6, 8, 10, 12] and curve["marks"][0]["name"] == "in force 8"  # type: ignore[index]
    assert [series["name"] for series in growths[0]["series"]] == ["in force", "A", "B"]  # type: ignore[index,union-attr]
    for by in ("day", "time"):
        other = web.get("/backtests/compare", params=[("r", names[0]), ("by", by)])
        assert other.status_code == 200 and specs(other.text)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 404),
        ("r=x.json", 404),
        ("r=../state.db", 404),
        ("r=%2Fetc%2Fpasswd", 404),
        ("r=a&r=b&r=c&r=d&r=e&r=f&r=g", 400),
    ],
)
def test_nothing_else_is_read_as_a_back_test(web: httpx.Client, query: str, status: int) -> None:
    """Neither other files nor too many."""
    assert web.get(f"/backtests/compare?{query}").status_code == status


def test_a_file_that_is_no_result_stops_nobody(ran: Path, tmp_path: Path) -> None:
    """The list says so beside the others; opened, it is told."""
    folder = tmp_path / "backtests"
    shutil.copytree(ran.parent / "tillwatch-data/backtests", folder)
    (folder / "broken.json").write_text(HOSTILE)
    with served(Pipeline.look(ran, [f"backtests={folder}"]), port=0) as at, httpx.Client(base_url=at.url) as web:
        page = web.get("/backtests").text
        assert "is not the result of a back-test" in page and page.count('name="r"') == 2
        assert web.get("/backtests/compare?r=broken.json").status_code == 503
    with served(Pipeline.look(ran, ["backtests=null"]), port=0) as at:
        assert "None are kept" in httpx.get(f"{at.url}backtests").text


def test_what_rows_bring_is_shown_as_text(tmp_path: Path) -> None:
    """Keys, cells, and texts of patterns that look like markup are not any."""
    rows = [f"0,{HOSTILE},F,M{HOSTILE},c,1"] * 3 + [f"0,C1,F,M{HOSTILE},c,{HOSTILE}", HOSTILE]
    (tmp_path / "in.csv").write_text(NAMED + "\n".join(rows) + "\n")
    pattern = f"id: Hostile\naction: LOOK\ntitle: '{HOSTILE}'\nper: [customer, merchant]\n"
    when = "merchant.transactions > 5 and transactions > 9"
    (tmp_path / "hostile.yaml").write_text(f"{pattern}when: {when}\n")
    config = tmp_path / "tillwatch.yaml"
    config.write_text("source: ./in.csv\npatterns: [./hostile.yaml]\n")
    Pipeline.open(config).run(once=True)
    with served(Pipeline.look(config), port=0) as at, httpx.Client(base_url=at.url, timeout=60) as web:
        one = {"merchant": f"M{HOSTILE}"}
        pages = [
            web.get("/merchants").text,
            web.get("/merchants", params={"text": HOSTILE}).text,
            web.get("/merchants/near?pattern=Hostile").text,
            web.get("/merchants/one", params=one).text,
            web.get("/merchants/near", params={"pattern": HOSTILE}).text,
            web.get("/quality").text,
            web.get("/quality", params={"reason": HOSTILE}).text,
        ]
    assert all("alert(1)" in page and HOSTILE not in page and "<script>alert" not in page for page in pages)


VIEWS = ("/merchants", "/merchants/near?pattern=PatId2", "/quality", "/quality/report", "/backtests")


def test_before_anything_ran_the_views_are_there(tmp_path: Path) -> None:
    """They say that there is nothing yet."""
    config = tmp_path / "tillwatch.yaml"
    (tmp_path / "in.csv").write_text(NAMED)
    config.write_text("source: ./in.csv\npatterns: [PatId2]\n")
    with served(Pipeline.look(config), port=0) as at, httpx.Client(base_url=at.url, timeout=60) as web:
        for path in VIEWS:
            answer = web.get(path)
            assert answer.status_code == 200 and "Traceback" not in answer.text, path


def test_a_state_that_cannot_be_reached_is_told_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every view says so, or that it cannot be shown now."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    config = tmp_path / "tillwatch.yaml"
    (tmp_path / "in.csv").write_text(NAMED)
    config.write_text("source: ./in.csv\npatterns: [PatId2]\nstate: postgresql://till@127.0.0.1:1/x\n")
    with served(Pipeline.look(config), port=0) as at, httpx.Client(base_url=at.url, timeout=60) as web:
        for path in VIEWS:
            answer = web.get(path)
            assert answer.status_code in (200, 503) and PASSWORD not in answer.text, path
        assert "127.0.0.1" in web.get("/merchants").text


def test_near_misses_are_worked_out_once_for_all(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask at the same time; again only when the state has changed, and not at once then."""
    read: list[int] = []
    real = nearness.standing
    monkeypatch.setattr(nearness, "standing", lambda *given: (read.append(1), real(*given))[1])
    pipeline = Pipeline.look(ran)
    watch = Watch(pipeline)
    watch.start()
    near = Nearness(pipeline, watch)
    heard = threading.Event()
    watch.hear(heard.set)
    try:
        threads = [threading.Thread(target=near.ask, args=(60.0,)) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert heard.wait(60) and len(read) == 1
        worked = near.ask()
        assert worked is not None and worked.patterns is not None and worked.chunks == 24
        assert near.ask() is worked and len(read) == 1
    finally:
        near.stop()
        watch.stop()
