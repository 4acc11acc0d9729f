"""Builds the wheel, installs it with its locked dependencies in an empty environment, and runs it there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        do(uv, "build", "--quiet", "--wheel", "--out-dir", there / "dist", ROOT)
        (wheel,) = (there / "dist").glob("*.whl")
        do(uv, "venv", "--quiet", "--python", sys.executable, there / "venv")
        python = there / "venv" / "bin" / "python"
        do(uv, "pip", "install", "--quiet", "--python", python, "--constraint", ROOT / "requirements.lock", wheel)
        program = there / "venv" / "bin" / "tillwatch"
        do(program, "--version", cwd=there)
        do(program, "demo", "--rows", "60000", "--dir", there / "demo", cwd=there)
        do(program, "audit", "-c", there / "demo" / "tillwatch.yaml", cwd=there)


def do(*command: str | Path, cwd: Path = ROOT) -> None:
    """Runs a command that must succeed, without this environment's own."""
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    subprocess.run([str(c) for c in command], cwd=cwd, env=environment, check=True)


if __name__ == "__main__":
    main()
