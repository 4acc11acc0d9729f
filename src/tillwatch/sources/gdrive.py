"""A source on Google Drive: one file, or the files in and below a folder, also of a shared drive."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Any

from tillwatch.errors import ConfigError, SourceError, SourceUnavailable
from tillwatch.sources.base import (
    Again,
    FileChanged,
    FileIgnored,
    FileRefused,
    Found,
    Look,
    Remote,
    counts,
    told_apart,
)
from tillwatch.sources.drive_api import DriveApi, Refused, quoted

_URI = re.compile(r"gdrive://([A-Za-z0-9_-]+)/?", re.IGNORECASE)
_NATIVE = "application/vnd.google-apps."
_FOLDER, _SHEET, _SHORTCUT = (f"{_NATIVE}{kind}" for kind in ("folder", "spreadsheet", "shortcut"))
_FIELDS = (
    "id,name,mimeType,size,modifiedTime,headRevisionId,sha256Checksum,md5Checksum,trashed,driveId,"
    "shortcutDetails(targetId),capabilities(canDownload)"
)
_PAGE = "1000"

_About = dict[str, Any]
"""What Drive says of a file, in its own words."""


def file_id(uri: str) -> str:
    """The id in `gdrive://ID`, of a file or a folder. Raises ConfigError.

    >>> file_id("gdrive://1aB_c-9")
    '1aB_c-9'
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise ConfigError("expected gdrive://ID with the id of a file or a folder: the last part of its address")
    return match[1]


class DriveSource:
    """Files on Google Drive. A file is known by its id, a revision by the id that Drive gives it.

    Google Sheets are read as CSV, as of when they were last changed.
    """

    poll = 5.0

    def __init__(self, id: str) -> None:
        self._id = id
        self._api = DriveApi()
        self._sheets: set[str] = set()

    @property
    def uri(self) -> str:
        return f"gdrive://{self._id}"

    def close(self) -> None:
        self._api.close()

    def look(self) -> Look:
        root = self._about(self._id)
        if root["mimeType"] == _SHORTCUT:
            root = self._about(_target(root))
        if root.get("trashed"):
            raise SourceError(f"the source {self.uri} is in the trash")
        seen = Look(lone=root["mimeType"] != _FOLDER)
        found = [(root["name"], root)] if seen.lone else list(self._walk(root, "", {root["id"]}, seen))
        files = {about["id"]: about for name, about in found if self._is_file(name, about, seen)}
        names = told_apart((about["id"], _shown(name, about)) for name, about in found if about["id"] in files)
        seen.files = [_found(names[id], about) for id, about in files.items()]
        self._sheets = {id for id, about in files.items() if about["mimeType"] == _SHEET}
        if seen.lone and seen.ignored:
            raise SourceError(f"the source {self.uri} {seen.ignored[0].reason}")
        return seen

    def unchanged(self, found: Found) -> bool:
        try:
            self._check(found)
        except FileChanged:
            return False
        return True

    def file(self, found: Found, again: Again) -> Remote:
        if found.id in self._sheets:
            text = again(lambda: self._exported(found))
            return Remote(self._where(found), found.revision, len(text), found.checksum, lambda s, n: text[s : s + n])

        def fetch(start: int, length: int) -> bytes:
            return again(lambda: self._range(found, start, length))

        return Remote(self._where(found), found.revision, found.size, found.checksum, fetch)

    def _where(self, found: Found) -> str:
        return f"gdrive://{found.id} ({found.name})"

    def _about(self, id: str) -> _About:
        return self._api.answer(f"files/{quoted(id)}", f"gdrive://{id}", fields=_FIELDS, supportsAllDrives="true")

    def _walk(self, folder: _About, above: str, visited: set[str], seen: Look) -> Iterator[tuple[str, _About]]:
        """What is in and below a folder, with its path; shortcuts are followed, no folder is gone into twice."""
        for entry in self._inside(folder):
            name = above + entry["name"].replace("/", "_")
            if not counts(entry["name"]):
                continue
            about = self._followed(entry, name, seen)
            if about is None:
                continue
            if about["mimeType"] != _FOLDER:
                yield name, about
            elif about["id"] not in visited:
                visited.add(about["id"])
                yield from self._walk(about, f"{name}/", visited, seen)

    def _inside(self, folder: _About) -> Iterator[_About]:
        asked = {
            "q": f"'{folder['id']}' in parents and trashed = false",
            "orderBy": "modifiedTime,name",
            "pageSize": _PAGE,
            "fields": f"nextPageToken,files({_FIELDS})",
            "supportsAllDrives": "true",
            "includeItemsFromAllDrives": "true",
            "corpora": "user",
        }
        if drive := folder.get("driveId"):
            asked |= {"corpora": "drive", "driveId": drive}
        page = self._api.answer("files", self.uri, **asked)
        yield from page.get("files", ())
        while token := page.get("nextPageToken"):
            page = self._api.answer("files", self.uri, **asked, pageToken=token)
            yield from page.get("files", ())

    def _followed(self, entry: _About, name: str, seen: Look) -> _About | None:
        """What an entry stands for; None, and a word about it, when that is not there or not shared."""
        if entry["mimeType"] != _SHORTCUT:
            return entry
        try:
            about = self._about(_target(entry))
        except Refused as error:
            seen.ignored.append(FileIgnored(name, f"is a shortcut, and {error}", True))
            return None
        if about.get("trashed"):
            seen.ignored.append(FileIgnored(name, "is a shortcut to a file in the trash", True))
            return None
        return about

    def _is_file(self, name: str, about: _About, seen: Look) -> bool:
        kind = about["mimeType"]
        if not about.get("capabilities", {}).get("canDownload", True):
            seen.ignored.append(FileIgnored(name, "may not be downloaded, as its owner has set: allow it", True))
        elif kind.startswith(_NATIVE) and kind != _SHEET:
            what = f"is a Google {kind.removeprefix(_NATIVE)}"
            seen.ignored.append(FileIgnored(name, f"{what}, expected a file or a Google Sheet", False))
        else:
            return True
        return False

    def _range(self, found: Found, start: int, length: int) -> bytes:
        path = f"files/{quoted(found.id)}"
        what = self._where(found)
        try:
            block = self._api.content(path, what, start, length, alt="media", supportsAllDrives="true")
        except Refused as error:
            raise self._lost(found, error) from None
        # Drive cannot be asked for a revision that is not its owner's to see: so look whether it was the one.
        self._check(found)
        if not block:
            raise SourceUnavailable(f"{what}: Google Drive gave nothing of bytes {start} to {start + length - 1}")
        return block

    def _exported(self, found: Found) -> bytes:
        try:
            text = self._api.content(f"files/{quoted(found.id)}/export", self._where(found), mimeType="text/csv")
        except Refused as error:
            raise self._lost(found, error) from None
        self._check(found)
        return text

    def _check(self, found: Found) -> None:
        """Raises FileChanged when the file is gone or not of that revision any more."""
        try:
            now = self._about(found.id)
        except Refused as error:
            raise self._lost(found, error) from None
        if now.get("trashed") or _revision(now) != found.revision:
            raise FileChanged(f"{self._where(found)} was changed or removed")

    def _lost(self, found: Found, refused: Refused) -> SourceError:
        """What it means that a file is refused: it may not be had, or is gone; or all of the source is for now."""
        if refused.reason == "exportSizeLimitExceeded":
            return FileRefused("is a Google Sheet too large to be exported (10 MB): save it as a CSV file")
        if refused.reason in ("cannotDownloadFile", "cannotDownloadAbusiveFile"):
            return FileRefused(f"may not be downloaded ({refused.reason})")
        if refused.status == 416:
            return FileChanged(f"{self._where(found)} was changed")
        if found.id != self._id:
            try:
                self._about(self._id)
            except Refused as error:
                return SourceUnavailable(str(error))
            return FileChanged(f"{self._where(found)} was removed, or is not shared any more")
        return SourceUnavailable(str(refused))


def _target(shortcut: _About) -> str:
    return str(shortcut.get("shortcutDetails", {}).get("targetId", ""))


def _shown(name: str, about: _About) -> str:
    is_sheet = about["mimeType"] == _SHEET and not name.lower().endswith(".csv")
    return f"{name}.csv" if is_sheet else name


def _revision(about: _About) -> str:
    """Of a native file nothing but its time changes with its content."""
    content = about.get("headRevisionId") or about.get("sha256Checksum") or about.get("md5Checksum")
    return str(content or about["modifiedTime"])


def _found(name: str, about: _About) -> Found:
    revision = _revision(about)
    checksum = about.get("sha256Checksum")
    if checksum is None and (md5 := about.get("md5Checksum")):
        checksum = f"md5:{md5}"
    modified = datetime.datetime.fromisoformat(about["modifiedTime"])
    return Found(
        name,
        int(about.get("size", 0)),
        round(modified.timestamp() * 1000) * 1_000_000,
        about["id"],
        revision,
        checksum or f"revision:{about['id']}@{revision}",
    )
