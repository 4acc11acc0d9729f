"""tillwatch watches transaction streams and publishes every detection exactly once.

source ─► ingest ─► landing zone ─► decode ─► step ─► commit ─► publish ─► detections

The same from Python:

    from tillwatch import Pipeline
    pipeline = Pipeline.open("tillwatch.yaml")
    pipeline.run(once=True)
    print(pipeline.detections())

`Pipeline` has `run`, `ingest` and `detect`, `detections()` as a Polars DataFrame, and `settings`. Every error it
raises on purpose is a `TillwatchError` with a text fit to be shown.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from tillwatch.errors import ConfigError, PatternError, RunError, TillwatchError

if TYPE_CHECKING:
    from tillwatch.pipeline import Landed, Notice, Pipeline, Processed

__version__ = version("tillwatch")
__all__ = [
    "ConfigError",
    "Landed",
    "Notice",
    "PatternError",
    "Pipeline",
    "Processed",
    "RunError",
    "TillwatchError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Names that need the engine are imported when first used, so that the command line starts fast."""
    if name in ("Landed", "Notice", "Pipeline", "Processed"):
        from tillwatch import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'tillwatch' has no attribute '{name}'")
