"""Lookups: reference tables from files and databases, read and aggregated per key; their versions, kept and new."""

from __future__ import annotations

from tillwatch.lookups.configured import lookup_sources
from tillwatch.lookups.reading import patience, read_lookup
from tillwatch.lookups.refresh import Refresh
from tillwatch.lookups.source import LookupSource, lookup_source
from tillwatch.lookups.versions import kept

__all__ = ["LookupSource", "Refresh", "kept", "lookup_source", "lookup_sources", "patience", "read_lookup"]
