"""A source in S3, Azure Blob Storage or Google Cloud Storage: one object, or the objects below a prefix."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from tillwatch.errors import ObjectMissing, SourceError, SourceUnavailable, StoreError
from tillwatch.sources.base import Again, FileChanged, FileIgnored, Found, Look, Remote, counts
from tillwatch.stores.cloud import TIMEOUT, connect
from tillwatch.stores.trouble import explained, trouble

if TYPE_CHECKING:
    from obstore import ObjectMeta

    from tillwatch.stores.cloud import Bucket

T = TypeVar("T")

_BY_TIME = "time "
_OF_CONTENT = re.compile(r"[0-9a-f]{32}(?:-[0-9]+)?")
"""An ETag of S3 that is made from the content. Those of other services count writes, and may meet by chance."""


class ObjectSource:
    """Objects as files: an object is known by its name, a revision by its ETag.

    What the service refuses for now is SourceUnavailable. Credentials that are refused are read again.
    """

    poll = 5.0

    def __init__(self, uri: str, timeout: float = TIMEOUT) -> None:
        self._connected = connect(uri, timeout)
        self._timeout = timeout
        self._lone = False

    @property
    def uri(self) -> str:
        return self._connected.uri

    def close(self) -> None:
        pass

    def look(self) -> Look:
        one = self._one()
        self._lone = one is not None
        if one is not None:
            return Look([self._found(one["path"].rpartition("/")[2], one)], lone=True)
        root = f"{self._connected.prefix}/" if self._connected.prefix else ""
        entries = self._do("list", "", lambda bucket: _listed(bucket, root))
        folders = {above for entry in entries for above in _above(entry["path"])}
        files = {e["path"].removeprefix(root): e for e in entries if e["size"] or e["path"] not in folders}
        counting = {name: e for name, e in files.items() if all(map(counts, name.split("/")))}
        seen = Look([self._found(name, entry) for name, entry in counting.items()])
        if not entries:
            seen.ignored.append(FileIgnored(self.uri, "holds no object yet", False))
        return seen

    def unchanged(self, found: Found) -> bool:
        now = self._do("look for", found.name, lambda bucket: _head(bucket, self._path(found)))
        return now is not None and _revision(now) == found.revision

    def file(self, found: Found, again: Again) -> Remote:
        def fetch(start: int, length: int) -> bytes:
            return again(lambda: self._range(found, start, length))

        where = self.uri if self._lone else f"{self.uri}/{found.name}"
        return Remote(where, found.revision, found.size, found.checksum, fetch)

    def _one(self) -> ObjectMeta | None:
        """The object that the URI names; not a marker of a folder, which is empty."""
        path = self._connected.prefix
        one = self._do("look for", "", lambda bucket: _head(bucket, path)) if path else None
        return one if one is not None and one["size"] else None

    def _path(self, found: Found) -> str:
        prefix = self._connected.prefix
        if self._lone:
            return prefix
        return f"{prefix}/{found.name}" if prefix else found.name

    def _found(self, name: str, entry: ObjectMeta) -> Found:
        revision = _revision(entry)
        of_content = self.uri.startswith("s3://") and _OF_CONTENT.fullmatch(revision)
        checksum = f"etag:{revision}" if of_content else f"revision:{entry['path']}@{revision}"
        modified = round(entry["last_modified"].timestamp() * 1000) * 1_000_000
        return Found(name, entry["size"], modified, "", revision, checksum)

    def _range(self, found: Found, start: int, length: int) -> bytes:
        from obstore.exceptions import PreconditionError

        def read(bucket: Bucket) -> bytes:
            etag = None if found.revision.startswith(_BY_TIME) else f'"{found.revision}"'
            got = bucket.get(self._path(found), options={"range": (start, start + length), "if_match": etag})
            if _revision(got.meta) != found.revision:
                raise FileChanged(f"{self.uri}/{found.name} was changed")
            return bytes(got.bytes())

        def guarded(bucket: Bucket) -> bytes:
            try:
                return read(bucket)
            except (FileNotFoundError, PreconditionError) as error:
                if isinstance(error, FileNotFoundError) and not self._is_missing(error):
                    raise
                raise FileChanged(f"{self.uri}/{found.name} was changed or removed") from None

        block = self._do("read", found.name, guarded)
        if not block:
            raise SourceUnavailable(f"{self.uri}/{found.name}: bytes {start} to {start + length - 1} did not come")
        return block

    def _do(self, verb: str, name: str, act: Callable[[Bucket], T]) -> T:
        try:
            return act(self._connected.store)
        except _obstore_errors() as error:
            if not trouble(error).is_refusal:
                raise self._unavailable(error, verb, name) from None
        try:
            self._connected = connect(self.uri, self._timeout)  # credentials as they are now
            return act(self._connected.store)
        except StoreError as error:
            raise SourceUnavailable(str(error)) from None
        except _obstore_errors() as error:
            raise self._unavailable(error, verb, name) from None

    def _is_missing(self, error: Exception) -> bool:
        """Whether it is the object that is missing, not the bucket."""
        return isinstance(explained(error, "read", self.uri, "", self._timeout), ObjectMissing)

    def _unavailable(self, error: Exception, verb: str, name: str) -> SourceError:
        return SourceUnavailable(str(explained(error, verb, self.uri, name, self._timeout)))


def _head(bucket: Bucket, path: str) -> ObjectMeta | None:
    try:
        return bucket.head(path)
    except FileNotFoundError as error:
        if trouble(error).code:  # the bucket is missing
            raise
        return None


def _listed(bucket: Bucket, root: str) -> list[ObjectMeta]:
    pages = bucket.list(root.rstrip("/") or None)
    return [entry for page in pages for entry in page if entry["path"].startswith(root)]


def _above(path: str) -> list[str]:
    """The folders that a name is in.

    >>> _above("in/2026/a.csv")
    ['in', 'in/2026']
    """
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _revision(entry: ObjectMeta) -> str:
    tag = (entry["e_tag"] or "").strip('"')  # Azure's listings leave the quotes out
    return tag or f"{_BY_TIME}{entry['last_modified'].isoformat()}"


def _obstore_errors() -> tuple[type[Exception], ...]:
    from obstore.exceptions import BaseError

    return BaseError, FileNotFoundError, ValueError
