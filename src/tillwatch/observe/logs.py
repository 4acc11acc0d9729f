"""What a run does, written to a file or to stderr: lines for people, or JSON. No secret gets into either."""

from __future__ import annotations

import datetime
import logging
import logging.handlers
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from zoneinfo import ZoneInfo

from tillwatch.config import Logs
from tillwatch.errors import ConfigError
from tillwatch.events import Event, RunBegan, RunEnded
from tillwatch.observe.redact import Redact
from tillwatch.observe.words import Entry, entry

MISSING = "logs in JSON need a package that is not installed: pip install 'tillwatch[logs]'"


class TextFormatter(logging.Formatter):
    """Time, level, mechanism, what happened, and the first digits of the run's id. Further lines are set in."""

    def __init__(self, redact: Redact, zone: str) -> None:
        super().__init__()
        self._redact, self._zone = redact, ZoneInfo(zone)

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.datetime.fromtimestamp(record.created, self._zone).isoformat(timespec="milliseconds")
        run = str(getattr(record, "trace.id", "") or "")[:8]
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        who = record.name.partition(".")[2] or "run"
        line = f"{at} {record.levelname:<7} {who:<6} {text}" + (f" [{run}]" if run else "")
        return "\n  ".join(self._redact(line).splitlines())


class Log:
    """An observer that writes to a handler. Nothing else in this process writes there."""

    def __init__(self, handler: logging.Handler, level: str) -> None:
        self._level = logging.getLevelNamesMapping()[level.upper()]
        self._loggers = {who: self._logger(who, handler) for who in (None, "ingest", "detect")}
        self._run = ""
        self._failed: set[str] = set()

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunBegan):
            self._run = event.run
        elif isinstance(event, RunEnded):
            self._failed.add(event.text)
        self._write(entry(event))

    def failed(self, error: Exception) -> None:
        """Writes what ended the run, unless a mechanism has told it already."""
        if str(error) not in self._failed:
            fields = {"error.type": type(error).__name__, "error.message": str(error), "event.outcome": "failure"}
            self._write(Entry(logging.ERROR, "failed", str(error), None, fields))

    def _write(self, said: Entry) -> None:
        logger = self._loggers[said.mechanism]
        if logger.isEnabledFor(said.level):
            fields = {name: value for name, value in said.fields.items() if value is not None}
            known = {"event.action": said.action, "trace.id": self._run or None}
            # Not formatted: a text may have a % in it.
            logger.log(said.level, "%s", said.text, extra=fields | {k: v for k, v in known.items() if v})

    def _logger(self, who: str | None, handler: logging.Handler) -> logging.Logger:
        logger = logging.Logger(f"tillwatch.{who}" if who else "tillwatch", self._level)
        logger.addHandler(handler)
        return logger


class _Loud:
    """A handler whose failures come out, to be told as those of an observer are."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise


class _File(_Loud, logging.handlers.RotatingFileHandler):
    pass


class _Stderr(_Loud, logging.StreamHandler):  # type: ignore[type-arg]
    pass


@contextmanager
def logging_to(logs: Logs, redact: Redact, zone: str) -> Iterator[Log]:
    """A log as it is configured, closed at the end. Raises ConfigError when there can be none."""
    formatter = _formatter(logs.format or "text", redact, zone)
    handler = _handler(logs)
    handler.setFormatter(formatter)
    log = Log(handler, logs.level)
    try:
        yield log
    except Exception as error:
        log.failed(error)
        raise
    finally:
        with suppress(OSError):  # of a write that failed, which was told
            handler.close()


def _formatter(format: str, redact: Redact, zone: str) -> logging.Formatter:
    if format == "text":
        return TextFormatter(redact, zone)
    try:
        from tillwatch.observe.ecs import EcsFormatter
    except ImportError:
        raise ConfigError(MISSING) from None
    common = {"service.name": "tillwatch", "service.version": version("tillwatch"), "host.name": socket.gethostname()}
    return EcsFormatter(redact, common)


def _handler(logs: Logs) -> logging.Handler:
    if logs.file is None:
        return _Stderr(sys.stderr)
    path = Path(logs.file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _File(path, maxBytes=logs.size, backupCount=logs.count, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"logs.file: {path} cannot be written to: {error.strerror}") from None
