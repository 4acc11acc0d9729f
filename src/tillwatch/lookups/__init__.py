"""Lookups: reference tables from files and databases, read and aggregated per key."""

from __future__ import annotations

from tillwatch.lookups.configured import lookup_sources
from tillwatch.lookups.reading import patience, read_lookup
from tillwatch.lookups.source import LookupSource, lookup_source

__all__ = ["LookupSource", "lookup_source", "lookup_sources", "patience", "read_lookup"]
