"""Log records as JSON lines, by the Elastic Common Schema."""

from __future__ import annotations

import logging
from typing import Any

from ecs_logging import StdlibFormatter

from tillwatch.observe.redact import Redact, redacted

_NOT_SAID = ("log.original", "log.origin", "process.name", "process.thread.id")


class EcsFormatter(StdlibFormatter):
    """One line a record, all texts redacted. `common` are fields that every record has."""

    def __init__(self, redact: Redact, common: dict[str, Any]) -> None:
        super().__init__(extra=common, exclude_fields=_NOT_SAID, ensure_ascii=False)
        self._redact = redact

    def format_to_ecs(self, record: logging.LogRecord) -> dict[str, Any]:
        said: dict[str, Any] = redacted(super().format_to_ecs(record), self._redact)
        return said
