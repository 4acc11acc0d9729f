"""The dashboard as people see it: in a real browser, wide and narrow, light and dark, while a run goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tillwatch.dashboard.server import served
from tillwatch.pipeline import Pipeline
from tillwatch.testing.banksim import bank_files
from tillwatch.testing.browser import Scheme, chromium, looked, pictures

VIEWS = {"now": "/", "detections": "/detections?pattern=PatId3", "detection": "/detections/{seq}"}
CONFIG = """\
source: {{uri: "{transactions}", rows: 10000, every: 0}}
lookups: {{importance: "{importance}"}}
"""
TOKEN = "a-token-that-is-long-enough"


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
    """The configuration of a pipeline that has worked off BankSim, or data like it."""
    folder = tmp_path_factory.mktemp("bank")
    transactions, importance = bank_files(folder / "data")
    config = folder / "tillwatch.yaml"
    config.write_text(CONFIG.format(transactions=transactions, importance=importance), "utf-8")
    Pipeline.open(config).run(once=True)
    return config


@pytest.fixture(scope="module")
def url(bank: Path) -> Iterator[str]:
    """Its dashboard."""
    with served(Pipeline.look(bank), port=0) as at:
        yield at.url.rstrip("/")


@pytest.fixture(scope="module")
def seq(bank: Path) -> int:
    """A detection with two ranks."""
    with Pipeline.look(bank).opened(readonly=True) as state:
        return max(s.seq for s in state.detections() if s.detection.pattern == "PatId1")


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (400, "dark"), (1280, "dark"), (3840, "light")])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_fit_to_be_looked_at(
    browser: Browser, url: str, seq: int, shots: Path, view: str, width: int, scheme: Scheme
) -> None:
    """It is no wider than the window, says no error, draws its charts, and bars nobody."""
    height = {400: 800, 1280: 800, 3840: 2160}[width]
    with looked(browser, url + VIEWS[view].format(seq=seq), width, height, scheme) as found:
        expect(found.page.locator("h1")).to_be_visible()
        for chart in found.page.locator("figure.chart").all():
            expect(chart.locator("canvas")).to_be_visible()
        found.picture(shots, f"{view}-{width}-{scheme}")
        assert found.spills() <= 0
        assert found.barriers() == []
        assert found.wrong == []


def test_a_page_follows_a_run(browser: Browser, bank: Path, tmp_path: Path, shots: Path) -> None:
    """Numbers, lag, who is at work and the list of detections change while another process runs, without a reload."""
    config = tmp_path / "tillwatch.yaml"
    text = bank.read_text("utf-8")
    config.write_text(text.replace("rows: 10000, every: 0", "rows: 5000, every: 0.2"), "utf-8")
    assert config.read_text("utf-8") != text
    with (
        served(Pipeline.look(config), port=0, every=0.2) as at,
        looked(browser, at.url) as now,
        looked(browser, f"{at.url}detections", 400) as listed,
    ):
        expect(now.page.locator("main")).to_contain_text("nothing has been run")
        expect(listed.page.locator("#list")).to_have_text("0 detections")
        for each in (now, listed):
            expect(each.page.locator("#live-text")).to_have_text("live")
            each.page.evaluate("window.here = true")
        run = subprocess.Popen([sys.executable, "-m", "tillwatch", "run", "-c", str(config)], stderr=subprocess.PIPE)
        try:
            expect(now.page.locator("main")).to_contain_text("Ingest and detect are at work")
            landed = now.page.locator(".tile").first
            expect(landed).to_contain_text("000 rows landed")
            before = landed.inner_text()
            expect(landed).not_to_have_text(before)
            expect(listed.page.locator("#list")).not_to_have_text("0 detections")
            expect(now.page.locator("#flow canvas")).to_be_visible()
            expect(listed.page.locator("#by-time canvas")).to_be_visible()
            now.picture(shots, "now-running")
        finally:
            run.terminate()
            run.communicate(timeout=60)
        expect(now.page.locator("main")).to_contain_text("Nothing is at work")
        assert now.page.evaluate("window.here") and listed.page.evaluate("window.here")
        assert now.wrong == listed.wrong == []


def test_detections_are_filtered_and_paged_by_keyboard(browser: Browser, url: str) -> None:
    """A search by Enter, a choice, older pages; the address says it all, so that it can be passed on."""
    with looked(browser, f"{url}/detections") as found:
        page = found.page
        customer = page.locator("table.records tbody tr").first.locator(".key").first.inner_text().split()[-1]
        page.get_by_label("Search in keys").fill(customer.lower())
        page.keyboard.press("Enter")
        page.wait_for_url("**text=*")
        rows = page.locator("table.records tbody tr")
        assert 0 < rows.count() < 100
        assert all(customer in text for text in rows.all_inner_texts())
        page.get_by_role("link", name="Clear").click()
        page.get_by_role("link", name="Older").click()
        page.wait_for_url("**before=*")
        older = rows.first.inner_text()
        page.get_by_role("link", name="Newest").click()
        assert rows.first.inner_text() != older
        page.get_by_label("Pattern", exact=True).select_option("PatId2")
        page.get_by_role("button", name="Filter").press("Enter")
        page.wait_for_url("**pattern=PatId2*")
        assert all("PatId2" in text for text in rows.all_inner_texts())
        page.reload()
        assert page.get_by_label("Pattern", exact=True).input_value() == "PatId2"
        assert found.wrong == []


def test_an_export_is_what_is_shown(browser: Browser, url: str) -> None:
    """The file that a person gets has the detections of the filter."""
    with looked(browser, f"{url}/detections?pattern=PatId3") as found:
        with found.page.expect_download() as download:
            found.page.get_by_role("link", name="JSON").click()
        records = json.loads(download.value.path().read_text("utf-8"))
        assert found.page.locator("#list").inner_text().startswith(f"{len(records):,} detection")
        assert {record["patternId"] for record in records} == {"PatId3"}


def test_a_detection_opens_with_its_history(browser: Browser, url: str, seq: int, shots: Path) -> None:
    """From the list to the page of one, and there to the chart that is worked out when it is asked for."""
    with looked(browser, f"{url}/detections?pattern=PatId1") as found:
        found.page.get_by_role("link", name=f"{seq:,}", exact=True).click()
        expect(found.page.locator("h1")).to_contain_text(f"Detection {seq:,}")
        assert found.page.locator(".pictures figure canvas").count() == 2
        found.page.get_by_role("button", name="Work it out").click()
        expect(found.page.locator("#course-chart canvas")).to_be_visible()
        expect(found.page.locator("#history")).to_contain_text("transactions in")
        found.picture(shots, "detection-history")
        assert found.barriers() == [] and found.wrong == []


def test_a_theme_that_was_chosen_stays(browser: Browser, url: str) -> None:
    """The button goes through auto, light and dark, whatever the machine prefers, and the charts follow."""
    with looked(browser, url, scheme="light") as found:
        paper = "getComputedStyle(document.body).backgroundColor"
        light = found.page.evaluate(paper)
        button = found.page.get_by_role("button", name="Theme")
        button.press("Enter")
        expect(button).to_have_text("Theme: light")
        button.press("Enter")
        expect(button).to_have_text("Theme: dark")
        dark = found.page.evaluate(paper)
        found.page.goto(f"{url}/detections")
        assert found.page.evaluate(paper) == dark != light
        assert found.page.locator("canvas").count() == 1 and found.wrong == []


def test_the_keyboard_gets_to_the_content_first(browser: Browser, url: str) -> None:
    """The first stop is the link past the navigation; what has the focus can be seen."""
    with looked(browser, url) as found:
        found.page.keyboard.press("Tab")
        skip = found.page.get_by_role("link", name="Skip to the content")
        expect(skip).to_be_focused()
        expect(skip).to_be_in_viewport()
        found.page.keyboard.press("Enter")
        expect(found.page.locator("main")).to_be_focused()


def test_pages_are_whole_without_script(browser: Browser, url: str, seq: int) -> None:
    """Numbers, lists and clauses are in the page itself."""
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(url)
        expect(page.locator("main")).to_contain_text("rows processed")
        page.goto(f"{url}/detections/{seq}")
        expect(page.locator("main")).to_contain_text("percent_rank(importance)")
        page.get_by_role("link", name="Work it out").click()
        expect(page.locator("main")).to_contain_text("transactions in")
    finally:
        context.close()


def test_the_token_is_asked_for_once(browser: Browser, bank: Path, shots: Path) -> None:
    """A wrong one is told, the right one opens the page, and no address has it."""
    with served(Pipeline.look(bank), port=0, token=TOKEN) as at, looked(browser, f"{at.url}detections") as found:
        asked: list[str] = []
        found.page.on("request", lambda request: asked.append(request.url))
        found.picture(shots, "token")
        assert found.barriers() == []
        found.page.get_by_label("token").fill("not the token at all")
        found.page.keyboard.press("Enter")
        expect(found.page.get_by_text("This is not the token.")).to_be_visible()
        found.page.get_by_label("token").fill(TOKEN)
        found.page.keyboard.press("Enter")
        expect(found.page.locator("h1")).to_have_text("Detections")
        expect(found.page.locator("#live-text")).to_have_text("live")
        assert not [address for address in asked if TOKEN in address]


def test_a_page_left_open_does_not_grow(browser: Browser, url: str) -> None:
    """After 300 updates of all numbers and the chart it has as many nodes, and the scripts no more to remember."""
    with looked(browser, url) as found:
        expect(found.page.locator("#live-text")).to_have_text("live")
        measure = found.page.context.new_cdp_session(found.page)
        measure.send("Performance.enable")

        def size() -> dict[str, float]:
            measure.send("HeapProfiler.collectGarbage")
            metrics = measure.send("Performance.getMetrics")["metrics"]
            return {m["name"]: m["value"] for m in metrics}

        renew = """async (times) => {
          const page = document.querySelector("script[type=module]").src;
          const { drawAll } = await import(page.replace(/page[.]js.*/, "chart.js"));
          const part = document.querySelector("[data-live]");
          for (let n = 0; n < times; n++) {
            await (await fetch(part.dataset.src)).text();
            const text = part.querySelector("figure script");
            const spec = JSON.parse(text.textContent);
            spec.series[0].values[0] = n;
            text.textContent = JSON.stringify(spec);
            drawAll(part);
          }
        }"""
        found.page.evaluate(renew, 30)
        before = size()
        found.page.evaluate(renew, 300)
        after = size()
        assert after["Nodes"] <= before["Nodes"] + 20
        assert after["JSHeapUsedSize"] <= before["JSHeapUsedSize"] * 1.25 + 500_000


def test_a_missing_browser_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.delenv("TILLWATCH_CHROMIUM", raising=False)
    monkeypatch.setitem(os.environ, "PATH", "")
    with pytest.raises(RuntimeError, match="chromium"), chromium():
        pass
