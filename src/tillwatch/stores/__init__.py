"""Bytes elsewhere: one small port (`base`) and one module per place."""

from __future__ import annotations

import re
from urllib.parse import unquote

from tillwatch.errors import ConfigError
from tillwatch.stores.base import Store, put_same
from tillwatch.stores.local import LocalStore

__all__ = ["LocalStore", "Store", "open_store", "put_same"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_PLANNED = ("s3", "az", "abfss", "gs", "gdrive")
_SUPPORTED = "Use a local path or file:///path."


def open_store(uri: str) -> Store:
    """The store at `uri`: a path, or `file:///absolute/path`. The first `put` makes the folder.

    Raises ConfigError when this version has no store for such a place, StoreError when a file is there.

    >>> open_store("s3://bucket/prefix")
    Traceback (most recent call last):
    tillwatch.errors.ConfigError: s3:// is not supported yet by this version. Use a local path or file:///path.
    """
    if not uri:
        raise ConfigError(f"the place of a store is empty. {_SUPPORTED}")
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return LocalStore(uri)
    return LocalStore(_file_path(uri, scheme[1].lower()))


def _file_path(uri: str, scheme: str) -> str:
    # Only the scheme is named in these errors: the rest of the URI may hold a secret.
    if scheme in _PLANNED:
        raise ConfigError(f"{scheme}:// is not supported yet by this version. {_SUPPORTED}")
    if scheme != "file":
        raise ConfigError(f"{scheme}:// is no place that tillwatch knows. {_SUPPORTED}")
    for start in ("file:///", "file://localhost/"):
        if uri.lower().startswith(start):
            return "/" + unquote(uri[len(start) :])
    raise ConfigError(f"a file URI names an absolute path on this machine; this one does not. {_SUPPORTED}")
