"""Builds the wheel, installs it with its locked dependencies in an empty environment, and runs it there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PAGES = """
import re, sys, urllib.request
from tillwatch import Pipeline
from tillwatch.dashboard.server import served

with served(Pipeline.look(sys.argv[1]), port=0) as at:
    page = urllib.request.urlopen(at.url).read().decode()
    for asset in re.findall('/(assets/[^"]*)', page):
        assert urllib.request.urlopen(at.url + asset).read(), asset
"""
"""All that its first page names is in the wheel."""


def main() -> None:
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        do(uv, "build", "--quiet", "--wheel", "--out-dir", there / "dist", ROOT)
        (wheel,) = (there / "dist").glob("*.whl")
        do(uv, "venv", "--quiet", "--python", sys.executable, there / "venv")
        python = there / "venv" / "bin" / "python"
        what = (f"{wheel}[dashboard]", "--constraint", ROOT / "requirements.lock")
        do(uv, "pip", "install", "--quiet", "--python", python, *what)
        program = there / "venv" / "bin" / "tillwatch"
        do(program, "--version", cwd=there)
        do(program, "demo", "--rows", "60000", "--dir", there / "demo", cwd=there)
        do(program, "audit", "-c", there / "demo" / "tillwatch.yaml", cwd=there)
        do(python, "-c", PAGES, there / "demo" / "tillwatch.yaml", cwd=there)


def do(*command: str | Path, cwd: Path = ROOT) -> None:
    """Runs a command that must succeed, without this environment's own."""
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    subprocess.run([str(c) for c in command], cwd=cwd, env=environment, check=True)


if __name__ == "__main__":
    main()
