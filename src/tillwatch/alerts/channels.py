"""Where messages go: e-mail, chats, webhooks, all through the library Apprise.

Addresses hold tokens, and nobody knows in which part: so nothing that Apprise says is shown, only what kind of failure
it was.
"""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from pydantic import SecretStr

from tillwatch.alerts.alert import Kind
from tillwatch.alerts.message import Message
from tillwatch.config.yaml import suggestion
from tillwatch.errors import ConfigError, RunError

_STATUS = re.compile(r"\berror=(\d{3})\b")
_CONNECTION = re.compile(r"connection error", re.IGNORECASE)


class ChannelError(RunError):
    """A channel did not take a message."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel by its name in the configuration; `service` is what it is, such as Slack."""

    name: str
    service: str
    _plugin: Any

    def send(self, message: Message) -> None:
        """Sends a message, in this thread. Raises ChannelError, within some seconds unless the receiver dawdles."""
        from apprise import NotifyFormat, NotifyType

        types: Mapping[Kind, NotifyType] = {
            "began": NotifyType.WARNING,
            "ended": NotifyType.SUCCESS,
            "told": NotifyType.INFO,
        }
        with _heard() as said:
            try:
                sent = self._plugin.notify(
                    body=message.body,
                    title=message.title,
                    notify_type=types[message.kind],
                    body_format=NotifyFormat.TEXT,
                )
            except Exception as error:  # noqa: BLE001 - whatever a service's module raises, and its text may be secret
                raise ChannelError(f"{self.service}: {type(error).__name__}") from None
        if not sent:
            raise ChannelError(f"{self.service}: {_reason(said)}")


def open_channel(name: str, address: SecretStr) -> Channel:
    """A channel; nothing is sent. Raises ConfigError, which does not show the address."""
    if find_spec("apprise") is None:
        raise ConfigError("alerts need: pip install 'tillwatch[alerts]'")
    import apprise

    url = address.get_secret_value()
    asset = apprise.AppriseAsset(
        app_id="tillwatch",
        app_desc="tillwatch",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        image_path_mask="",
        storage_mode="memory",
        allow_templates=False,
        http_redirects=False,
    )
    with _heard(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it loads the modules of all services, also of those that nobody uses
        plugin = apprise.Apprise.instantiate(url, asset=asset)
    if plugin is None:
        raise ConfigError(_wrong(url.partition("://")[0].lower()))
    if plugin.service_name == "E-Mail":
        plugin.request_rate_per_sec = 0.0  # five seconds between mails would outlast the end of a run
    return Channel(name, str(plugin.service_name), plugin)


def _wrong(scheme: str) -> str:
    from apprise.plugins import N_MGR

    known: Any = N_MGR
    if scheme in known:
        return f"is not an address of {known[scheme].service_name}; see what Apprise says of {scheme}://"
    if scheme in ("http", "https"):
        return f"no service is known by this {scheme} address; a webhook is json{scheme[4:]}://…"
    return f"'{scheme}' is no service that Apprise knows; {_near(scheme, list(known.schemas()))}"


def _near(scheme: str, known: list[str]) -> str:
    text = suggestion(scheme, known)
    return text if text.startswith("did you mean") else "see the list of Apprise"


def _reason(said: list[str]) -> str:
    """The kind of a failure, from what was said of it."""
    for line in reversed(said):
        if status := _STATUS.search(line):
            return f"refused with status {status[1]}"
    if any(_CONNECTION.search(line) for line in said):
        return "no connection, no answer in time, or a login that is refused"
    return "the service did not take it"


class _Hearing(logging.Filter):
    """Keeps what Apprise logs in a thread of ours from being shown; in other threads it is left alone."""

    def __init__(self) -> None:
        super().__init__()
        self.of = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        said: list[str] | None = getattr(self.of, "said", None)
        if said is None:
            return True
        said.append(record.getMessage())
        return False


_HEARING = _Hearing()


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What Apprise logs in this thread meanwhile."""
    logger = logging.getLogger("apprise")
    if _HEARING not in logger.filters:
        logger.addFilter(_HEARING)
    said: list[str] = []
    _HEARING.of.said = said
    try:
        yield said
    finally:
        _HEARING.of.said = None
