"""For tests: a Databricks workspace, as far as the Files API and the token endpoint go.

What it answers is what the API's documentation and its published clients say; folders are listed out of order, for
nothing promises one.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "dapi-planted-token"
CLIENT, SECRET = "planted-client", "planted-client-secret"

_FILES, _FOLDERS = "/api/2.0/fs/files/", "/api/2.0/fs/directories/"


class DatabricksServer:
    """Volumes and what is in them, by path. `page` is the most entries that a page of a listing has.

    While `busy_for` is not 0, it asks to be left alone for so many seconds.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.folders: set[str] = set()
        self.tokens = {TOKEN}
        self.exchanges = 0
        self.page = 1000
        self.overwrites = False
        self.busy_for = 0
        self.requests: list[str] = []
        self.lock = threading.Lock()
        self._numbers = count(1)

    def environment(self, url: str = "") -> dict[str, str]:
        """The variables with which the product finds it and is let in; through a proxy at `url` if given."""
        return {"DATABRICKS_HOST": url or self.url, "DATABRICKS_TOKEN": TOKEN}

    def client_environment(self, url: str = "") -> dict[str, str]:
        """The same with the credentials of a service principal."""
        return {
            "DATABRICKS_HOST": url or self.url,
            "DATABRICKS_CLIENT_ID": CLIENT,
            "DATABRICKS_CLIENT_SECRET": SECRET,
        }

    def wrong(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The same environment with credentials that the server refuses."""
        secrets = {name: "planted-wrong" for name in environment if name != "DATABRICKS_HOST"}
        return {**environment, **secrets}

    def make(self) -> str:
        """A new empty volume; returns its URI."""
        path = f"/Volumes/main/bank/v{next(self._numbers)}"
        self.folders.add(path)
        return f"dbfs:{path}"

    def peek(self, uri: str) -> dict[str, bytes]:
        """All files of a volume, by their name in it."""
        root = uri.removeprefix("dbfs:") + "/"
        with self.lock:
            return {path[len(root) :]: data for path, data in self.files.items() if path.startswith(root)}

    def plant(self, uri: str, name: str, data: bytes) -> None:
        """Makes a file, or replaces it."""
        with self.lock:
            self._make(f"{uri.removeprefix('dbfs:')}/{name}", data)

    def expire_tokens(self) -> None:
        """No token that was given for a client is accepted any more."""
        self.tokens = {TOKEN}

    def create(self, path: str, data: bytes, *, overwrite: bool) -> tuple[int, str]:
        """What becomes of a PUT: status and error code."""
        with self.lock:
            if not any(path.startswith(f"{volume}/") for volume in self.folders if volume.count("/") == 4):
                return 404, "NOT_FOUND"
            if path in self.folders or any(above in self.files for above in _above(path)):
                return 409, "RESOURCE_CONFLICT"
            if path in self.files and not (overwrite or self.overwrites):
                return 409, "ALREADY_EXISTS"
            self._make(path, data)
        return 204, ""

    def entries(self, folder: str) -> list[dict[str, Any]] | None:
        """What is in a folder; None when there is no such folder, as for a volume that holds nothing."""
        start = folder.rstrip("/") + "/"
        with self.lock:
            inside = {path: False for path in self.files if path.startswith(start)}
            inside |= {path: True for path in self.folders if path.startswith(start)}
        found = [_entry(path, is_folder) for path, is_folder in inside.items() if "/" not in path[len(start) :]]
        if not found and (folder not in self.folders or folder.count("/") == 4):
            return None
        return sorted(found, key=lambda entry: entry["path"][::-1])

    def _make(self, path: str, data: bytes) -> None:
        self.files[path] = data
        self.folders.update(above for above in _above(path) if above.count("/") > 4)


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(5, len(parts))]


def _entry(path: str, is_folder: bool) -> dict[str, Any]:
    return {"path": path, "name": path.rpartition("/")[2], "is_directory": is_folder, "last_modified": 1}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    workspace: DatabricksServer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""

    def handle_any(self) -> None:
        """Answers a request of any method."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), {k: v[0] for k, v in parse_qs(parts.query).items()}
        self.workspace.requests.append(f"{self.command} {self.path}")
        if self.workspace.busy_for:
            self._refuse(429, "REQUEST_LIMIT_EXCEEDED")
        elif path == "/oidc/v1/token" and self.command == "POST":
            self._token(body)
        elif self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.workspace.tokens:
            self._refuse(401, "UNAUTHENTICATED")
        elif path.startswith(_FILES):
            self._file(f"/{path[len(_FILES) :]}", body, query)
        elif path.startswith(_FOLDERS) and self.command == "GET":
            self._folder(f"/{path[len(_FOLDERS) :]}".rstrip("/"), query)
        else:
            self._refuse(400, "BAD_REQUEST")

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = handle_any

    def _token(self, body: bytes) -> None:
        form = {k: v[0] for k, v in parse_qs(body.decode()).items()}
        expected = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        right = form == {"grant_type": "client_credentials", "scope": "all-apis"}
        if not right or self.headers.get("Authorization") != expected:
            self._answer(401, json.dumps({"error": "invalid_client"}).encode())
            return
        self.workspace.exchanges += 1
        token = f"planted-exchanged-{self.workspace.exchanges}"
        self.workspace.tokens.add(token)
        self._answer(200, json.dumps({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}).encode())

    def _file(self, path: str, body: bytes, query: dict[str, str]) -> None:
        files = self.workspace.files
        if self.command == "PUT":
            status, code = self.workspace.create(path, body, overwrite=query.get("overwrite", "true") == "true")
            if code:
                self._refuse(status, code)
            else:
                self._answer(status, b"")
        elif path not in files:
            self._refuse(404, "NOT_FOUND")
        elif self.command == "DELETE":
            del files[path]
            self._answer(204, b"")
        else:
            self._content(files[path])

    def _content(self, data: bytes) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if match is None or self.command == "HEAD":
            self._answer(200, data)
        elif int(match[1]) >= len(data):
            self._refuse(416, "REQUESTED_RANGE_NOT_SATISFIABLE")
        else:
            self._answer(206, data[int(match[1]) : int(match[2]) + 1])

    def _folder(self, path: str, query: dict[str, str]) -> None:
        entries = self.workspace.entries(path)
        if entries is None:
            self._refuse(404, "NOT_FOUND")
            return
        first = int(query.get("page_token", "at-0")[3:])
        end = first + self.workspace.page
        told: dict[str, Any] = {"contents": entries[first:end]} if entries else {}
        if end < len(entries):
            told["next_page_token"] = f"at-{end}"
        self._answer(200, json.dumps(told).encode())

    def _refuse(self, status: int, code: str) -> None:
        # The text repeats what was asked, as the real one does: it must not be shown.
        text = f"planted: {self.path} with {self.headers.get('Authorization')}"
        self._answer(status, json.dumps({"error_code": code, "message": text}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", str(self.workspace.busy_for))
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def databricks_server() -> Iterator[DatabricksServer]:
    """A server that listens while the context lasts."""
    handler = type("Handler", (_Handler,), {})
    with _Listener(("127.0.0.1", 0), handler) as server:
        workspace = DatabricksServer(f"http://127.0.0.1:{server.server_port}")
        handler.workspace = workspace  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="databricks")
        thread.start()
        try:
            yield workspace
        finally:
            server.shutdown()
            thread.join()
