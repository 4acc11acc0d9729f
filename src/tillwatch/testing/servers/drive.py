"""For tests: Google Drive and Google's token server, as far as a reader of files sees them."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import re
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

EMAIL = "reader@planted-project.iam.gserviceaccount.com"
AUDIENCE = "https://oauth2.googleapis.com/token"
SCOPE = "https://www.googleapis.com/auth/drive.readonly"
NATIVE = "application/vnd.google-apps."
FOLDER, SHEET, DOCUMENT, SHORTCUT = (f"{NATIVE}{k}" for k in ("folder", "spreadsheet", "document", "shortcut"))
BEGIN = datetime.datetime(2026, 11, 20, 9, tzinfo=datetime.UTC)

Asked = Literal["token", "list", "about", "media", "export"]


@dataclass
class DriveFile:
    """A file as the server has it. `drive` is the id of the shared drive that it is in, empty for none."""

    id: str
    name: str
    kind: str
    parent: str
    drive: str
    content: bytes
    modified: datetime.datetime
    revision: int = 1
    trashed: bool = False
    shared: bool = True
    target: str = ""
    downloadable: bool = True
    hashed: bool = True

    def shown(self) -> dict[str, Any]:
        """The resource, in the words of the API."""
        shown: dict[str, Any] = {
            "kind": "drive#file",
            "id": self.id,
            "name": self.name,
            "mimeType": self.kind,
            "modifiedTime": self.modified.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "trashed": self.trashed,
            "capabilities": {"canDownload": self.downloadable, "canEdit": False},
        }
        if self.drive:
            shown["driveId"] = self.drive
        if self.target:
            shown["shortcutDetails"] = {"targetId": self.target}
        if not self.kind.startswith(NATIVE):
            shown |= {"size": str(len(self.content)), "headRevisionId": f"{self.id}r{self.revision}"}
            if self.hashed:
                shown["md5Checksum"] = hashlib.md5(self.content).hexdigest()
                shown["sha256Checksum"] = hashlib.sha256(self.content).hexdigest()
        return shown


@dataclass
class Fault:
    """What happens to one request: a refusal, no answer (`status` 0), or one that breaks off `after_bytes`."""

    asked: Asked
    status: int = 0
    reason: str = ""
    retry_after: str = ""
    after_bytes: int = -1


@dataclass
class Served:
    """What was asked for so far."""

    times: Counter[str] = field(default_factory=Counter)
    ranges: list[tuple[str, int, int]] = field(default_factory=list)

    def bytes_of(self, id: str) -> int:
        """Bytes of a file's content that were sent."""
        return sum(length for file, _, length in self.ranges if file == id)


class DriveServer:
    """Files and faults; change them between requests. `pages` is the most files a page has."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, DriveFile] = {}
        self.faults: deque[Fault] = deque()
        self.served = Served()
        self.pages = 1000
        self.key_ids = {"key1"}
        self.tokens: set[str] = set()
        self.lock = threading.Lock()
        self._numbers = count(1)

    def folder(self, name: str = "folder", parent: str = "", drive: str = "") -> str:
        """The id of a new folder."""
        return self.put(name, b"", parent, drive=drive, kind=FOLDER)

    def put(
        self,
        name: str,
        content: bytes | str = b"",
        parent: str = "",
        *,
        age: float = 86_400,
        kind: str = "text/csv",
        drive: str = "",
        target: str = "",
    ) -> str:
        """The id of a new file, last modified so many seconds before BEGIN."""
        number = next(self._numbers)
        id = f"1File{number:04}-_Ab"
        modified = BEGIN - datetime.timedelta(seconds=age)
        drive = drive or (self.files[parent].drive if parent else "")
        body = content.encode() if isinstance(content, str) else content
        self.files[id] = DriveFile(id, name, kind, parent, drive, body, modified, target=target)
        return id

    def change(self, id: str, content: bytes | str) -> None:
        """A new revision."""
        file = self.files[id]
        file.content = content.encode() if isinstance(content, str) else content
        file.revision += 1
        file.modified += datetime.timedelta(seconds=1)

    def environment(self, folder: Path, key_id: str = "key1") -> dict[str, str]:
        """The variables with which the product finds the server; writes the key file that they name."""
        path = folder / "service-account.json"
        path.write_text(json.dumps(self.key_file(key_id)), "utf-8")
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(path),
            "TILLWATCH_GDRIVE_ENDPOINT": f"{self.url}/drive/v3",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }

    def key_file(self, key_id: str = "key1") -> dict[str, str]:
        """The key file of the service account, as Google gives it."""
        pem = _key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": "planted-project",
            "private_key_id": key_id,
            "private_key": pem.decode(),
            "client_email": EMAIL,
            "client_id": "100000000000000000001",
            "token_uri": f"{self.url}/token",
        }

    def expire_tokens(self) -> None:
        """No token that was given is accepted any more."""
        self.tokens.clear()

    def fault(self, asked: str) -> Fault | None:
        """The fault that is next, if it is for such a request."""
        with self.lock:
            if self.faults and self.faults[0].asked == asked:
                return self.faults.popleft()
        return None


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class _Handler(BaseHTTPRequestHandler):
    """Answers as Google does."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    drive: DriveServer

    def do_POST(self) -> None:
        """A token for a signed assertion."""
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if self._is_faulty("token"):
            return
        problem = self._problem_of(form.get("assertion", [""])[0])
        if self.path != "/token" or problem:
            self._send(400, {"error": "invalid_grant", "error_description": problem})
            return
        token = f"planted-token-{len(self.drive.tokens)}-{self.drive.served.times['token']}"
        self.drive.tokens.add(token)
        self._send(200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def do_GET(self) -> None:
        """Files."""
        parts = urlsplit(self.path)
        path = unquote(parts.path).removeprefix("/drive/v3/")
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        kind: Asked = "about"
        if path == "files":
            kind = "list"
        elif path.endswith("/export"):
            kind = "export"
        elif asked.get("alt") == "media":
            kind = "media"
        if self._is_faulty(kind):
            return
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.drive.tokens:
            self._refuse(401, "authError")
        elif kind == "list":
            self._list(asked)
        else:
            self._one(path.split("/")[1], kind, asked)

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def _list(self, asked: dict[str, str]) -> None:
        match = re.fullmatch(r"'([\w-]+)' in parents and trashed = false", asked["q"])
        assert match is not None
        drive = asked.get("driveId", "") if _all_drives(asked) and asked.get("corpora") == "drive" else ""
        files = [f for f in self.drive.files.values() if f.parent == match[1] and f.shared and not f.trashed]
        files = sorted((f for f in files if f.drive == drive), key=lambda f: (f.modified, f.name))
        first = int(asked.get("pageToken", "~0")[1:])
        size = min(self.drive.pages, int(asked["pageSize"]))
        wanted = re.search(r"files\((.*)\)", asked["fields"])
        assert wanted is not None
        answer: dict[str, Any] = {"files": [_only(f, wanted[1]) for f in files[first : first + size]]}
        if first + size < len(files) and "nextPageToken" in asked["fields"]:
            answer["nextPageToken"] = f"~{first + size}"
        self._send(200, answer)

    def _one(self, id: str, kind: Asked, asked: dict[str, str]) -> None:
        file = self.drive.files.get(id)
        hidden = file is not None and file.drive and asked.get("supportsAllDrives") != "true" and kind != "export"
        if file is None or not file.shared or hidden:
            self._refuse(404, "notFound")
        elif kind == "about":
            self._send(200, _only(file, asked["fields"]))
        elif not file.downloadable:
            self._refuse(403, "cannotDownloadFile")
        elif kind == "export" and (file.kind != SHEET or asked.get("mimeType") != "text/csv"):
            self._refuse(400, "badRequest")
        elif kind == "export" and len(file.content) > 10_000_000:
            self._refuse(403, "exportSizeLimitExceeded")
        else:
            self._content(file)

    def _content(self, file: DriveFile) -> None:
        start, end = 0, len(file.content)
        status, extra = 200, {}
        if match := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            start, end = int(match[1]), min(int(match[2]) + 1, end)
            status, extra = 206, {"Content-Range": f"bytes {start}-{end - 1}/{len(file.content)}"}
            if start >= len(file.content):
                self._refuse(416, "requestedRangeNotSatisfiable")
                return
        body = file.content[start:end]
        cut = self._cut if 0 <= self._cut < len(body) else len(body)
        with self.drive.lock:
            self.drive.served.ranges.append((file.id, start, cut))
        self._answer(status, body, {"Content-Type": file.kind, **extra}, cut)

    def _is_faulty(self, asked: Asked) -> bool:
        """Counts the request, and answers it with a fault if there is one."""
        self.drive.served.times[asked] += 1
        self._cut = -1
        fault = self.drive.fault(asked)
        if fault is None:
            return False
        if fault.after_bytes >= 0:
            self._cut = fault.after_bytes
            return False
        if fault.status == 0:
            self.close_connection = True
            return True
        self._refuse(fault.status, fault.reason, {"Retry-After": fault.retry_after} if fault.retry_after else {})
        return True

    def _problem_of(self, assertion: str) -> str:
        """What is wrong with an assertion; empty when nothing is."""
        try:
            head, claims, signature = (_decoded(part) for part in assertion.split("."))
            signed = assertion.rpartition(".")[0].encode()
            _key().public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        except (ValueError, InvalidSignature):
            return "Invalid JWT Signature."
        if json.loads(head)["kid"] not in self.drive.key_ids:
            return f"Invalid JWT Signature, for {assertion}."
        said = json.loads(claims)
        expected = {"iss": EMAIL, "scope": SCOPE, "aud": AUDIENCE}
        return "" if {name: said.get(name) for name in expected} == expected else "Invalid JWT."

    def _refuse(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        error = {"code": status, "message": reason, "errors": [{"domain": "global", "reason": reason}]}
        self._send(status, {"error": error}, headers)

    def _send(self, status: int, answer: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(answer).encode()
        cut = self._cut if 0 <= self._cut < len(body) else len(body)
        self._answer(status, body, {"Content-Type": "application/json", **(headers or {})}, cut)

    def _answer(self, status: int, body: bytes, headers: dict[str, str], cut: int) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut < len(body):
            self.close_connection = True


def _all_drives(asked: dict[str, str]) -> bool:
    return asked.get("supportsAllDrives") == asked.get("includeItemsFromAllDrives") == "true"


def _only(file: DriveFile, fields: str) -> dict[str, Any]:
    """The fields that were asked for."""
    wanted = set(re.sub(r"\([^)]*\)", "", fields).split(","))
    return {name: value for name, value in file.shown().items() if name in wanted}


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@contextmanager
def drive_server() -> Iterator[DriveServer]:
    """A server that listens while the context lasts."""

    class Handler(_Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    drive = Handler.drive = DriveServer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="drive")
    thread.start()
    try:
        yield drive
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
