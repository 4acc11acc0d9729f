"""Mechanism X, ingest: discovers source files, cuts them into chunks and lands these in order."""

from tillwatch.ingest.discover import Found, Look, look
from tillwatch.ingest.ingest import ingest
from tillwatch.ingest.settings import (
    ChunkLanded,
    Event,
    FileFinished,
    FileIgnored,
    FileStarted,
    IngestResult,
    IngestSettings,
)

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
