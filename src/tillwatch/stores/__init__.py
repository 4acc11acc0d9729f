"""Bytes elsewhere: one small port (`base`) and one module per place."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

from tillwatch.errors import ConfigError
from tillwatch.stores.base import Store, put_same
from tillwatch.stores.cloud import SCHEMES
from tillwatch.stores.local import LocalStore
from tillwatch.stores.objects import ObjectStore
from tillwatch.stores.probe import check_creates
from tillwatch.stores.volumes import VolumesStore

__all__ = ["LocalStore", "ObjectStore", "Store", "check_creates", "open_store", "put_same"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_SUPPORTED = "Use a path, file:///path, s3://, az://, abfss://, gs:// or dbfs:/Volumes/."


def open_store(uri: str) -> Store:
    """The store at `uri`: a path, `file:///absolute/path`, a bucket of a cloud, or a volume of Databricks.

    Nothing is asked of a cloud yet. The first `put` makes a folder; a bucket or volume must be there. Raises
    ConfigError when there is no such place, StoreError when a file is there, or what the environment says of a cloud
    cannot be used.

    >>> open_store("ftp://host/folder")
    Traceback (most recent call last):
    tillwatch.errors.ConfigError: ftp:// is no place for a store. Use a path, file:///path, s3://, az://, abfss://, \
gs:// or dbfs:/Volumes/.
    """
    if not uri:
        raise ConfigError(f"the place of a store is empty. {_SUPPORTED}")
    scheme = _SCHEME.match(uri)
    if scheme is None:
        _refuse_mounted_volume(uri)
        return LocalStore(uri)
    if scheme[1].lower() == "dbfs":
        return VolumesStore(uri)
    if scheme[1].lower() in SCHEMES:
        return ObjectStore(uri)
    return LocalStore(_file_path(uri, scheme[1].lower()))


def _refuse_mounted_volume(path: str) -> None:
    """A volume as Databricks mounts it has no hard links, without which nothing is created once."""
    if path.startswith("/Volumes/") and "DATABRICKS_RUNTIME_VERSION" in os.environ:
        raise ConfigError(f"{path} is mounted from a volume and cannot hold a store: write dbfs:{path}")


def _file_path(uri: str, scheme: str) -> str:
    # Only the scheme is named in these errors: the rest of the URI may hold a secret.
    if scheme != "file":
        raise ConfigError(f"{scheme}:// is no place for a store. {_SUPPORTED}")
    for start in ("file:///", "file://localhost/"):
        if uri.lower().startswith(start):
            return "/" + unquote(uri[len(start) :])
    raise ConfigError(f"a file URI names an absolute path on this machine; this one does not. {_SUPPORTED}")
