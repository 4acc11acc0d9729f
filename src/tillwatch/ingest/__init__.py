"""Mechanism X, ingest: discovers source files, cuts them into chunks and lands these in order."""

from tillwatch.ingest.discover import look
from tillwatch.ingest.ingest import ingest
from tillwatch.ingest.settings import (
    ChunkLanded,
    Event,
    FileFinished,
    FileStarted,
    IngestResult,
    IngestSettings,
)
from tillwatch.sources.base import FileIgnored, Found, Look

__all__ = [
    "ChunkLanded",
    "Event",
    "FileFinished",
    "FileIgnored",
    "FileStarted",
    "Found",
    "IngestResult",
    "IngestSettings",
    "Look",
    "ingest",
    "look",
]
