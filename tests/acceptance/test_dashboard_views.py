"""The views Merchants, Quality and Back-tests as people see them: in a real browser, while a run goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, expect

from tillwatch.cli.app import app
from tillwatch.dashboard.server import served
from tillwatch.generate import generate
from tillwatch.pipeline import Pipeline
from tillwatch.testing.banksim import bank_files
from tillwatch.testing.browser import Scheme, chromium, looked, pictures
from tillwatch.testing.small import CONFIG as SMALL

BANK = """\
source: {{uri: "{transactions}", rows: 10000, every: 0}}
lookups: {{importance: "{importance}"}}
"""
TRIED = (
    ("--set", "patterns.PatId2.transactions=60", "--sweep", "PatId2.transactions=40:120:20"),
    ("--set", "patterns.PatId1.transactions_rank=0.85", "--sweep", "PatId2.transactions=60:100:10"),
)
SIZES: list[tuple[int, Scheme]] = [(400, "light"), (400, "dark"), (1280, "light"), (1280, "dark"), (3840, "light")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pictures."""
    return pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that has worked off BankSim, or data like it, with two back-tests."""
    folder = tmp_path_factory.mktemp("bank")
    transactions, importance = bank_files(folder / "data")
    config = folder / "tillwatch.yaml"
    config.write_text(BANK.format(transactions=transactions, importance=importance), "utf-8")
    Pipeline.open(config).run(once=True)
    for arguments in TRIED:
        assert CliRunner().invoke(app, ["backtest", "-c", str(config), *arguments]).exit_code == 0
    return config


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline some of whose rows were not valid, and some filtered out; it writes reports."""
    folder = tmp_path_factory.mktemp("faulty")
    files = generate(folder / "data", rows=6000, customers=500, merchants=30, seed=3, faults=0.02)
    config = folder / "tillwatch.yaml"
    text = SMALL.format(source=files.transactions, importance=files.importance)
    config.write_text(f"{text}where: category <> 'food'\nreports: ./reports\n", "utf-8")
    Pipeline.open(config, ["source.every=0"]).run(once=True)
    return config


@pytest.fixture(scope="module")
def urls(bank: Path, faulty: Path) -> Iterator[dict[str, str]]:
    """The addresses of all views."""
    with Pipeline.look(bank).opened(readonly=True) as state:
        merchants = state.feature_rows("merchant", ["merchant", "transactions"], {}, 1000)
    one = max(merchants, key=lambda row: row[1])[0]
    results = [path.name for path in sorted((bank.parent / "tillwatch-data/backtests").iterdir())]
    with served(Pipeline.look(bank), port=0) as at, served(Pipeline.look(faulty), port=0) as wrong:
        yield {
            "merchants": f"{at.url}merchants",
            "near": f"{at.url}merchants/near?pattern=PatId1&only=1",
            "merchant": f"{at.url}merchants/one?merchant={one}",
            "quality": f"{wrong.url}quality",
            "backtests": f"{at.url}backtests",
            "compare": f"{at.url}backtests/compare?{'&'.join(f'r={name}' for name in results)}",
        }


@pytest.mark.parametrize(("width", "scheme"), SIZES)
@pytest.mark.parametrize("view", ["merchants", "near", "merchant", "quality", "backtests", "compare"])
def test_a_view_is_fit_to_be_looked_at(
    browser: Browser, urls: dict[str, str], shots: Path, view: str, width: int, scheme: Scheme
) -> None:
    """It is no wider than the window, says no error, draws its charts, and bars nobody."""
    with looked(browser, urls[view], width, {400: 800, 1280: 800, 3840: 2160}[width], scheme) as found:
        expect(found.page.locator("main section, main form").first).to_be_visible()
        for chart in found.page.locator("figure.chart").all():
            expect(chart.locator("canvas")).to_be_visible()
        found.picture(shots, f"{view}-{width}-{scheme}", whole=width < 3840)
        assert found.spills() <= 0
        assert found.barriers() == []
        assert found.wrong == []


def test_near_misses_follow_a_run(browser: Browser, faulty: Path, tmp_path: Path, shots: Path) -> None:
    """Merchants, near misses and quality change while another process runs, without a reload."""
    config = tmp_path / "tillwatch.yaml"
    config.write_text(faulty.read_text("utf-8").replace("rows: 250", "rows: 250, every: 0.3"), "utf-8")
    with (
        served(Pipeline.look(config), port=0, every=0.2) as at,
        looked(browser, f"{at.url}merchants") as near,
        looked(browser, f"{at.url}quality", 400) as quality,
    ):
        expect(near.page.locator("main")).to_contain_text("Nothing to show yet")
        expect(quality.page.locator("main")).to_contain_text("No row has been processed yet")
        for each in (near, quality):
            expect(each.page.locator("#live-text")).to_have_text("live")
            each.page.evaluate("window.here = true")
        run = subprocess.Popen([sys.executable, "-m", "tillwatch", "run", "-c", str(config)], stderr=subprocess.PIPE)
        try:
            lead = near.page.locator("p.lead")
            expect(lead).to_contain_text("As of")
            expect(near.page.locator("#near-1")).to_contain_text("Near PatId1")
            before = lead.inner_text()
            expect(lead).not_to_have_text(before)
            expect(quality.page.locator("#wrong canvas")).to_be_visible()
            quality.picture(shots, "quality-running")
        finally:
            run.terminate()
            run.communicate(timeout=60)
        assert near.page.evaluate("window.here") and quality.page.evaluate("window.here")
        assert near.wrong == quality.wrong == []


def test_a_merchant_is_found_and_opens(browser: Browser, urls: dict[str, str], shots: Path) -> None:
    """By a search with the keyboard, then to its page, and from there to a detection."""
    with looked(browser, urls["merchants"]) as found:
        page = found.page
        name = page.locator("table.groups tbody th a").nth(1).inner_text()
        page.get_by_label("Search").fill(name[1:].lower())
        page.keyboard.press("Enter")
        page.wait_for_url("**text=*")
        page.locator("table.groups tbody th a").first.click()
        expect(page.locator("h1")).to_have_text(f"Merchant {name}")
        expect(page.locator("#chart1 canvas")).to_be_visible()
        page.locator("#found").locator("xpath=../..").locator("tbody a").first.click()
        expect(page.locator("h1")).to_contain_text("Detection ")
        assert found.wrong == []


def test_all_but_one_clause(browser: Browser, urls: dict[str, str]) -> None:
    """From the first page to the whole list of a pattern, and to those that lack a single clause."""
    with looked(browser, urls["merchants"]) as found:
        page = found.page
        page.locator("section", has_text="Near PatId2").get_by_role("link", name="All of the nearest").click()
        rows = page.locator(".near > li")
        assert rows.count() == 50
        page.get_by_role("link", name="All but one clause").click()
        assert rows.count() and all("one of 2 clauses missing" in text for text in rows.all_inner_texts())
        assert found.wrong == []


def test_rows_as_they_came_are_chosen_by_reason(browser: Browser, urls: dict[str, str], shots: Path) -> None:
    """One reason's samples; the cell that is wrong is marked; the report is worked out when it is asked for."""
    with looked(browser, urls["quality"]) as found:
        page = found.page
        page.locator("tr", has_text="amount_negative").get_by_role("link").click()
        samples = page.locator("article.sample")
        assert samples.count() and all("is negative" in text for text in samples.all_inner_texts())
        assert page.locator(".cells .wrong dt").first.inner_text().startswith("amount")
        page.get_by_role("button", name="Work it out").click()
        expect(page.locator("#measured")).to_contain_text("24 chunks")
        expect(page.locator("#measured")).to_contain_text("Written reports")
        found.picture(shots, "quality-report")
        assert found.barriers() == [] and found.wrong == []


def test_back_tests_are_chosen_and_compared(browser: Browser, urls: dict[str, str], bank: Path) -> None:
    """By ticking them; a new one is there when the list is loaded again."""
    with looked(browser, urls["backtests"]) as found:
        page = found.page
        boxes = page.get_by_role("checkbox")
        assert boxes.count() == 2
        for box in boxes.all():
            box.check()
        page.get_by_role("button", name="Compare the chosen").press("Enter")
        expect(page.locator("h1")).to_contain_text("2 back-tests beside each other")
        expect(page.locator("#curve-1 canvas")).to_be_visible()
        for by in ("day", "time", "chunk"):
            page.get_by_role("link", name=f"by {by}").click()
            expect(page.locator("#growth-1 canvas")).to_be_visible()
        kept = bank.parent / "tillwatch-data/backtests"
        first = min(kept.iterdir())
        later = kept / "20990101T000000000000Z-00000000.json"
        try:
            shutil.copy(first, later)
            page.goto(urls["backtests"])
            assert boxes.count() == 3
        finally:
            later.unlink()
        assert found.wrong == []


def test_views_are_whole_without_script(browser: Browser, urls: dict[str, str]) -> None:
    """Numbers, near misses, samples and comparisons are in the pages themselves."""
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        wanted = {
            "merchants": "Near PatId2",
            "merchant": "Detections here",
            "quality": "is negative",
            "compare": "moved",
        }
        for view, text in wanted.items():
            page.goto(urls[view])
            expect(page.locator("main")).to_contain_text(text)
        page.goto(urls["quality"])
        page.get_by_role("link", name="Work it out").click()
        expect(page.locator("main")).to_contain_text("24 chunks")
    finally:
        context.close()
