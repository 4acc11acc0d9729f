"""The store in a bucket of S3, Azure Blob Storage or Google Cloud Storage, through obstore."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from tillwatch.errors import StoreError
from tillwatch.stores.cloud import TIMEOUT, Connected, connect
from tillwatch.stores.trouble import explained, trouble

if TYPE_CHECKING:
    from obstore import ObjectMeta

    from tillwatch.stores.cloud import Bucket

T = TypeVar("T")

_PAGE = 1000


class ObjectStore:
    """Objects below a prefix of a bucket: `s3://`, `az://`, `abfss://` or `gs://`.

    `put` is one conditional request, which the service grants to one racer only (`probe.check_creates` proves
    that it does). Credentials are those of the environment; when they are refused they are read again, once per
    call, so that they may be changed while the program runs. One request takes `timeout` seconds at most, and is
    repeated twice in quick succession after a hiccup. Safe with many threads.
    """

    def __init__(self, uri: str, timeout: float = TIMEOUT) -> None:
        self._connected = connect(uri, timeout)
        self._timeout = timeout
        self._lock = Lock()

    @property
    def uri(self) -> str:
        """The place, without a slash at its end. It holds no credentials."""
        return self._connected.uri

    @property
    def remote(self) -> bool:
        """Yes."""
        return True

    @property
    def resumes(self) -> bool:
        """Yes: the service is told where to begin."""
        return True

    def put(self, name: str, data: bytes) -> None:
        """Creates the object, durably, whole or not at all. Raises ObjectExists when the name is taken.

        It may be taken by this very call: when the answer to its request was lost and the request was repeated.
        """
        path = self._path(name)
        # One request, never in parts: only then is it put if absent.
        self._do("create", name, lambda bucket: bucket.put(path, data, mode="create", use_multipart=False))

    def get(self, name: str) -> bytes:
        """The object's bytes. Raises ObjectMissing."""
        path = self._path(name)
        return self._do("read", name, lambda bucket: bytes(bucket.get(path).bytes()))

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """At most `length` bytes from `start` on: fewer, or none, where the object ends. Raises ObjectMissing."""
        path = self._path(name)

        def read(bucket: Bucket) -> bytes:
            try:
                return bytes(bucket.get_range(path, start=start, length=length))
            except _obstore_errors() as error:
                if trouble(error).past_end:
                    return b""
                raise

        return self._do("read", name, read)

    def has(self, name: str) -> bool:
        """Whether the object is there. A missing bucket has none; the other methods tell that it is missing."""
        path = self._path(name)

        def look(bucket: Bucket) -> bool:
            try:
                bucket.head(path)
            except FileNotFoundError:
                return False
            return True

        return self._do("look for", name, look)

    def list(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Names that start with `prefix` and sort after `after`, in code point order, a page at a time.

        Who stops early has asked for no more pages. The service is asked for what follows `after` only; where it does
        not heed that, all is listed and the rest left out here. Raises StoreError, while it is read, also for a service
        that does not list in order.
        """
        last = ""
        for name in self._below(prefix, after):
            if name <= last:
                raise StoreError(f"cannot list {self.uri}: the service names {name!r} after {last!r}, not in order.")
            last = name
            if name > after and name.startswith(prefix):
                yield name
            elif name > max(after, prefix):
                return

    def _below(self, prefix: str, after: str) -> Iterator[str]:
        """Names as the service gives them, from before the first one that is wanted."""
        root = f"{self._connected.prefix}/" if self._connected.prefix else ""
        folder = prefix.rpartition("/")[0]  # a service's own prefix ends with a part of the name
        if folder and not _is_name(folder):
            return
        last = max(after, prefix[:-1])
        renewed = False
        while True:
            connected = self._connected
            offset = root + last if _is_name(last) else None
            try:
                pages = connected.store.list((root + folder).rstrip("/") or None, offset=offset, chunk_size=_PAGE)
                for name in _paths(pages, root):
                    last = name
                    yield name
                return
            except _obstore_errors() as error:
                if renewed or not trouble(error).is_refusal:
                    raise explained(error, "list", self.uri, "", self._timeout) from None
            self._renewed(connected)
            renewed = True

    def delete(self, name: str) -> None:
        """Removes the object; it is fine when there is none."""
        path = self._path(name)

        def remove(bucket: Bucket) -> None:
            try:
                bucket.delete(path)
            except FileNotFoundError as error:
                if trouble(error).code:  # the bucket is missing
                    raise

        self._do("delete", name, remove)

    def _path(self, name: str) -> str:
        if not _is_name(name):
            raise StoreError(
                f"{name!r} is no name for an object below {self.uri}: expected parts joined by '/', "
                "none of them empty, '.' or '..'."
            )
        prefix = self._connected.prefix
        return f"{prefix}/{name}" if prefix else name

    def _do(self, verb: str, name: str, act: Callable[[Bucket], T]) -> T:
        connected = self._connected
        try:
            return act(connected.store)
        except _obstore_errors() as error:
            if not trouble(error).is_refusal:
                raise explained(error, verb, self.uri, name, self._timeout) from None
        try:
            return act(self._renewed(connected).store)
        except _obstore_errors() as error:
            raise explained(error, verb, self.uri, name, self._timeout) from None

    def _renewed(self, refused: Connected) -> Connected:
        """A client with credentials as they are now; another thread may have made it already."""
        with self._lock:
            if self._connected is refused:
                self._connected = connect(self.uri, self._timeout)
            return self._connected


def _paths(pages: Iterable[Sequence[ObjectMeta]], root: str) -> Iterator[str]:
    return (entry["path"][len(root) :] for page in pages for entry in page if entry["path"].startswith(root))


def _is_name(text: str) -> bool:
    return "\0" not in text and not any(part in ("", ".", "..") for part in text.split("/"))


def _obstore_errors() -> tuple[type[Exception], ...]:
    from obstore.exceptions import BaseError

    return BaseError, FileNotFoundError, ValueError
