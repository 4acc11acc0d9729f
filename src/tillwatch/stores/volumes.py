"""The store in a volume of Unity Catalog, through the Files API of Databricks.

The mount of a volume on a cluster, /Volumes/…, makes no hard links and renames nothing, so it cannot create a file
whole or not at all. The API can: a PUT with overwrite=false is refused when the name is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from tillwatch.errors import ConfigError, ObjectExists, ObjectMissing, StoreError
from tillwatch.stores.databricks import TIMEOUT, Refused, Request, Workspace, parsed

SCHEME = "dbfs:/"
FORM = "dbfs:/Volumes/CATALOG/SCHEMA/VOLUME/PREFIX"

_URI = re.compile(r"dbfs:(?://)?(/Volumes(?:/[^/?#]+){3})(/[^?#]*)?", re.IGNORECASE)
_FILES, _FOLDERS = "/api/2.0/fs/files", "/api/2.0/fs/directories"
_MISSING, _TAKEN, _PAST_END = 404, 409, 416


def volume_path(uri: str) -> str:
    """The path that a URI names, without a slash at its end. Raises ConfigError, which does not repeat the URI.

    >>> volume_path("dbfs:/Volumes/main/bank/live/landing/")
    '/Volumes/main/bank/live/landing'
    >>> volume_path("dbfs:/FileStore/landing")
    Traceback (most recent call last):
    tillwatch.errors.ConfigError: expected dbfs:/Volumes/CATALOG/SCHEMA/VOLUME/PREFIX; \
of DBFS only volumes can hold a store
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise ConfigError(f"expected {FORM}; of DBFS only volumes can hold a store")
    parts = [*match[1].split("/")[2:], *(match[2] or "").strip("/").split("/")]
    if not _is_name("/".join(parts).rstrip("/")):
        raise ConfigError(f"expected {FORM}, with no part of it empty, '.' or '..'")
    return "/Volumes/" + "/".join(parts).rstrip("/")


class VolumesStore:
    """Objects as files below a folder of a volume, which the first `put` makes when it is missing.

    `put` is one request that must not overwrite. One request takes `timeout` seconds at most. Safe with many threads.
    """

    def __init__(self, uri: str, timeout: float = TIMEOUT) -> None:
        self._root = volume_path(uri)
        self._workspace = Workspace(timeout)

    @property
    def uri(self) -> str:
        """The place, without a slash at its end."""
        return f"dbfs:{self._root}"

    @property
    def remote(self) -> bool:
        """Yes."""
        return True

    @property
    def resumes(self) -> bool:
        """No: the service promises no order, so that a folder is listed whole."""
        return False

    def put(self, name: str, data: bytes) -> None:
        """Creates the file, durably, whole or not at all. Raises ObjectExists when the name is taken.

        It may be taken by this very call: when the answer to its request was lost and the request was repeated.
        """
        path, doing = self._path(name), self._doing("create", name)
        octets = {"Content-Type": "application/octet-stream"}
        try:
            self._workspace.send(Request("PUT", _FILES + path, doing, data, octets, {"overwrite": "false"}))
        except Refused as error:
            if error.status == _TAKEN and self.has(name):
                raise ObjectExists(f"{self.uri}/{name} exists already.") from None
            raise

    def get(self, name: str) -> bytes:
        """The file's bytes. Raises ObjectMissing."""
        return self._read(name, {})

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """At most `length` bytes from `start` on: fewer, or none, where the file ends. Raises ObjectMissing."""
        try:
            return self._read(name, {"Range": f"bytes={start}-{start + max(length, 1) - 1}"}, start)[:length]
        except Refused as error:
            if error.status == _PAST_END:
                return b""
            raise

    def has(self, name: str) -> bool:
        """Whether there is such a file. A missing volume has none; `put` tells that it is missing."""
        path = self._path(name)
        try:
            self._workspace.send(Request("HEAD", _FILES + path, self._doing("look for", name)))
        except Refused as error:
            if error.status == _MISSING:
                return False
            raise
        return True

    def list(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Names that start with `prefix` and sort after `after`, in code point order, a folder at a time.

        A folder is read whole, a thousand names a request; folders in which no name is wanted are not read.
        """
        base = prefix.rpartition("/")[0]
        if base and not _is_name(base):
            return iter(())
        return self._walk(f"{base}/" if base else "", prefix, after)

    def delete(self, name: str) -> None:
        """Removes the file; it is fine when there is none. Folders stay."""
        path = self._path(name)
        try:
            self._workspace.send(Request("DELETE", _FILES + path, self._doing("delete", name)))
        except Refused as error:
            if error.status != _MISSING:
                raise

    def _read(self, name: str, headers: dict[str, str], start: int = 0) -> bytes:
        request = Request("GET", _FILES + self._path(name), self._doing("read", name), headers=headers)
        try:
            answer = self._workspace.send(request)
        except Refused as error:
            if error.status == _MISSING:
                raise ObjectMissing(f"{self.uri}/{name} does not exist.") from None
            raise
        return answer.content if answer.status_code == 206 else answer.content[start:]

    def _walk(self, base: str, prefix: str, after: str) -> Iterator[str]:
        for name in sorted(self._entries(base)):
            within = name.startswith(prefix) or (name.endswith("/") and prefix.startswith(name))
            if not within or not (name > after or (name.endswith("/") and after.startswith(name))):
                continue
            if name.endswith("/"):
                yield from self._walk(name, prefix, after)
            else:
                yield name

    def _entries(self, base: str) -> Iterator[str]:
        """What is in a folder, whose name ends with a slash if it has one; so do those of the folders in it."""
        path, doing = _escaped(f"{self._root}/{base}".rstrip("/")), self._doing("list", base.rstrip("/"))
        query: dict[str, str] = {}
        while True:
            try:
                told = parsed(self._workspace.send(Request("GET", _FOLDERS + path, doing, query=query)), doing)
            except Refused as error:
                if error.status == _MISSING and not query:  # nothing was put there yet
                    return
                raise
            contents = told.get("contents", [])
            if not isinstance(contents, list):
                raise Refused(f"{doing}: the answer is not understood; check DATABRICKS_HOST.")
            yield from (base + _entry(entry) for entry in contents if isinstance(entry, dict))
            if not (token := told.get("next_page_token")):
                return
            query = {"page_token": str(token)}

    def _doing(self, verb: str, name: str) -> str:
        return f"cannot {verb} {self.uri}/{name}" if name else f"cannot {verb} {self.uri}"

    def _path(self, name: str) -> str:
        if not _is_name(name):
            raise StoreError(
                f"{name!r} is no name for an object below {self.uri}: expected parts joined by '/', "
                "none of them empty, '.' or '..'."
            )
        return _escaped(f"{self._root}/{name}")


def _entry(entry: dict[str, object]) -> str:
    """The name of what a folder holds, with a slash at its end if it is a folder itself."""
    name = str(entry.get("path", "")).rstrip("/").rpartition("/")[2]
    return f"{name}/" if entry.get("is_directory") else name


def _escaped(path: str) -> str:
    return quote(path, safe="/")


def _is_name(text: str) -> bool:
    return "\0" not in text and not any(part in ("", ".", "..") for part in text.split("/"))
