"""What ingest finds in a source: the files that it can read, in the order in which it takes them."""

from __future__ import annotations

from tillwatch.errors import SourceError
from tillwatch.ingest.formats import KNOWN, format_of
from tillwatch.ingest.settings import Format
from tillwatch.sources.base import FileIgnored, Look, Source


def look(source: Source, format: Format) -> Look:
    """The source as it is now, ordered by modification time, then name.

    Hidden files and folders (`.` or `_` first) and files that are still being copied (`.tmp`, `.part`,
    `.crdownload`) do not count. Raises SourceError when the source is not there or cannot be listed.
    """
    seen = source.look()
    reason = f"is of no known format ({KNOWN}): rename it, or set source.format"
    unknown = [FileIgnored(f.name, reason, False) for f in seen.files if format_of(f.name, format) is None]
    if seen.lone and unknown:
        raise SourceError(f"the source {source.uri} {reason}")
    aside = {ignored.name for ignored in unknown}
    files = [found for found in seen.files if found.name not in aside]
    return Look(sorted(files, key=lambda found: (found.modified, found.name)), [*seen.ignored, *unknown], seen.lone)
