"""Places with files of transactions: one small port (`base`) and one module per kind of place."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from tillwatch.errors import ConfigError
from tillwatch.sources.base import Source
from tillwatch.sources.gdrive import DriveSource, file_id
from tillwatch.sources.local import LocalSource
from tillwatch.sources.objects import ObjectSource
from tillwatch.stores.cloud import SCHEMES

__all__ = ["Source", "open_source"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_KNOWN = f"expected a path, gdrive://ID, {', '.join(f'{scheme}://…' for scheme in SCHEMES)}"


def open_source(place: Path | str) -> Source:
    """The source at a path or URI. Nothing is asked of the place yet; close the source in the end.

    Raises ConfigError when the URI is wrong, or a package that the place needs is not installed.

    >>> open_source("ftp://user:secret@host/in")
    Traceback (most recent call last):
    tillwatch.errors.ConfigError: ftp:// is no source that tillwatch knows; expected a path, gdrive://ID, s3://…, \
az://…, abfss://…, gs://…
    """
    if isinstance(place, str) and place.lower().startswith("dbfs:/"):
        raise ConfigError("dbfs:/ is no source: write /Volumes/…, the path at which Databricks mounts a volume")
    scheme = _SCHEME.match(place) if isinstance(place, str) else None
    if scheme is None or not isinstance(place, str):
        return LocalSource(Path(place))
    match scheme[1].lower():
        case "file":
            return LocalSource(_file_path(place))
        case "gdrive":
            return DriveSource(file_id(place))
        case cloud if cloud in SCHEMES:
            return ObjectSource(place)
    # Only the scheme is named: the rest of the URI may hold a secret.
    raise ConfigError(f"{scheme[1]}:// is no source that tillwatch knows; {_KNOWN}")


def _file_path(uri: str) -> Path:
    for start in ("file:///", "file://localhost/"):
        if uri.lower().startswith(start):
            return Path("/" + unquote(uri[len(start) :]))
    raise ConfigError("a file URI names an absolute path on this machine, such as file:///data/in; this one does not")
