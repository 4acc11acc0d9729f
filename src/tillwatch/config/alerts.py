"""The section `alerts`: what is told to whom, and how often."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, SecretStr

from tillwatch.config.environment import Replaced
from tillwatch.config.kinds import NAME, TEXT, Kind, text, whole
from tillwatch.config.section import Section
from tillwatch.config.yaml import plain_scalar

SHARE_CHUNKS = 20
"""Over so many chunks a share is taken when a rule does not say over how many."""

_MONTH = 30 * 86_400
_PERIOD = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|min|m|h|d)")
_UNITS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "min": Decimal(60)} | {
    "h": Decimal(3600),
    "d": Decimal(86_400),
}
_PERCENT = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,4})?) ?%")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule and the channels that it is told to, none named for all.

    `limit` is in seconds, chunks or percent, as the rule says; `chunks` are those that a share is taken over.
    """

    limit: Decimal = Decimal(0)
    channels: tuple[str, ...] = ()
    chunks: int = SHARE_CHUNKS


def _channel(value: object) -> SecretStr:
    """An address is a secret as a whole: so no text that is made of the settings shows it."""
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise ValueError
    return SecretStr(str(value))


def _period(low: Decimal) -> Callable[[object], Decimal]:
    """Reads seconds from `30s`, `10min`, `2h`, `1d`, or a plain number of seconds."""

    def read(value: object) -> Decimal:
        value = _scalar(value)
        if isinstance(value, str) and (match := _PERIOD.fullmatch(value)):
            seconds = Decimal(match[1]) * _UNITS[match[2]]
        elif isinstance(value, int | Decimal) and not isinstance(value, bool):
            seconds = Decimal(value)
        else:
            raise ValueError
        if not (seconds.is_finite() and low <= seconds <= _MONTH):
            raise ValueError
        return seconds

    return read


def _chunks(value: object) -> Decimal:
    return Decimal(_WHOLE.read(_scalar(value)))


def _percent(value: object) -> Decimal:
    value = _scalar(value)
    if not isinstance(value, str) or not (match := _PERCENT.fullmatch(value)):
        raise ValueError
    return Decimal(match[1])


def _scalar(value: object) -> object:
    """A value within a mapping, that of the environment as YAML reads it."""
    return plain_scalar(value) if isinstance(value, Replaced) else value


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError
    return tuple(NAME.read(name) for name in value)


def _rule(key: str, read: Callable[[object], Decimal]) -> Callable[[object], Rule | None]:
    """Reads a limit alone, or a mapping with it at `key`."""

    def rule(value: object) -> Rule | None:
        if value is None or isinstance(value, Rule):
            return value
        if not isinstance(value, dict):
            return Rule(read(value))
        rest = set(value) - {key, "channels"} - ({"chunks"} if key == "over" and read is _percent else set())
        if key not in value or rest:
            raise ValueError
        channels = _names(value["channels"]) if "channels" in value else ()
        return Rule(read(value[key]), channels, _WHOLE.read(_scalar(value.get("chunks", SHARE_CHUNKS))))

    return rule


def _files(value: object) -> Rule | None:
    if isinstance(value, Rule):
        return value
    value = _scalar(value)
    if value is None or isinstance(value, bool):
        return Rule() if value else None
    if not isinstance(value, dict) or set(value) != {"channels"}:
        raise ValueError
    return Rule(channels=_names(value["channels"]))


def _detections(value: object) -> dict[str, Rule]:
    """Pattern ids, each with the channels it is told to."""
    if isinstance(value, list):
        value = dict.fromkeys([_id(item) for item in value])
    if not isinstance(value, dict):
        raise ValueError
    return {_id(name): _told_to(channels) for name, channels in value.items()}


def _told_to(channels: object) -> Rule:
    return channels if isinstance(channels, Rule) else Rule(channels=() if channels is None else _names(channels))


def _id(value: object) -> str:
    return str(_ID.read(value))


_VARIABLE: Mapping[str, Any] = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"}
_NUMBER: Mapping[str, Any] = {"type": "number", "minimum": 0, "maximum": _MONTH}
_PERIODS: Mapping[str, Any] = {"anyOf": [_NUMBER, {"type": "string", "pattern": rf"^{_PERIOD.pattern}$"}, _VARIABLE]}
_COUNTS: Mapping[str, Any] = {"anyOf": [{"type": "integer", "minimum": 1}, _VARIABLE]}
_SHARES: Mapping[str, Any] = {"anyOf": [{"type": "string", "pattern": rf"^{_PERCENT.pattern}$"}, _VARIABLE]}
_LIST: Mapping[str, Any] = {"type": "array", "minItems": 1, "items": {"type": "string"}}
_NULL: Mapping[str, Any] = {"type": "null"}


def _mapping(required: str | None, **properties: Any) -> dict[str, Any]:
    needed = {"required": [required]} if required else {}
    return {"type": "object", "additionalProperties": False, **needed, "properties": properties}


def _schema(key: str, limit: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"anyOf": [limit, _NULL, _mapping(key, **{key: limit}, channels=_LIST, **more)]}


_WHOLE, _ID = whole(1), text("a pattern id")
CHANNEL = Kind(
    "the address of a channel such as mailtos://… or slack://…",
    _channel,
    is_text=True,
    schema={**TEXT, "pattern": r"://|\$\{"},
)
SETTLE = Kind("a duration up to 30 days such as 30s, 10min, 2h, 1d", _period(Decimal(0)), schema=_PERIODS)
AFTER = Kind(
    "a duration over 0 and up to 30 days such as 30s, 10min, 2h, 1d, or {after: DURATION, channels: [NAME, …]}",
    _rule("after", _period(Decimal("0.001"))),
    schema=_schema("after", _PERIODS),
)
OVER = Kind(
    "a whole number of chunks from 1 up, or {over: CHUNKS, channels: [NAME, …]}",
    _rule("over", _chunks),
    schema=_schema("over", _COUNTS),
)
SHARE = Kind(
    "a share from 0% to 99.9999% such as 5%, or {over: SHARE, chunks: NUMBER, channels: [NAME, …]}",
    _rule("over", _percent),
    schema=_schema("over", _SHARES, chunks=_COUNTS),
)
FILES = Kind(
    "true, false, or {channels: [NAME, …]}",
    _files,
    schema={"anyOf": [{"type": "boolean"}, _NULL, {**_mapping("channels", channels=_LIST)}]},
)
PATTERNS = Kind(
    "a list of pattern ids such as [PatId1], or a mapping of them to lists of channels",
    _detections,
    schema={
        "anyOf": [
            {"type": "array", "items": TEXT},
            {"type": "object", "additionalProperties": {"anyOf": [_LIST, _NULL]}},
        ]
    },
)


class Alerts(Section):
    """What is told to whom: see [alerts](../alerts.md). Each rule is told to all channels, or to those it names."""

    channels: Mapping[Annotated[str, NAME], Annotated[SecretStr, CHANNEL]] = Field(
        default={},
        description="Name to address, as the library Apprise writes them: e-mail, Slack, Teams, webhooks and others. "
        "What is secret in it comes from the environment.",
    )
    file_failed: Annotated[Rule | None, FILES] = Field(
        default=None, description="A source file was refused, was changed, or ended early."
    )
    no_new_chunk: Annotated[Rule | None, AFTER] = Field(default=None, description="Nothing was landed for so long.")
    lag: Annotated[Rule | None, OVER] = Field(
        default=None, description="More than so many chunks are landed and not processed."
    )
    quarantine_share: Annotated[Rule | None, SHARE] = Field(
        default=None,
        description="More than this share of the rows of the last 20 chunks, or so many `chunks`, was quarantined.",
    )
    unreachable: Annotated[Rule | None, AFTER] = Field(
        default=None, description="A database, a store, a source or an output has been tried again for so long."
    )
    detections: Annotated[Mapping[str, Rule], PATTERNS] = Field(
        default={}, description="Detections of these patterns, gathered into digests."
    )
    settle: Annotated[Decimal, SETTLE] = Field(
        default=Decimal(60), description="For how long a condition must be over before its end is told."
    )
    digest: Annotated[Decimal, SETTLE] = Field(
        default=Decimal(60), description="For how long detections, and failed files, are gathered into one message."
    )
    per_hour: Annotated[int, whole(1, 3600)] = Field(
        default=20, description="Messages per channel and hour; what is beyond is summed up later in one message."
    )

    def rules(self) -> Iterator[tuple[tuple[str, ...], Rule]]:
        """The rules that are set, each with its path below `alerts`."""
        for name in ("file_failed", "no_new_chunk", "lag", "quarantine_share", "unreachable"):
            if (rule := getattr(self, name)) is not None:
                yield (name,), rule
        for pattern, rule in self.detections.items():
            yield ("detections", pattern), rule

    def channels_of(self, rule: str, pattern: str = "") -> tuple[str, ...]:
        """The channels that a rule is told to; of `detections`, those of a pattern."""
        found = self.detections.get(pattern) if rule == "detections" else getattr(self, rule)
        return (found.channels if found else ()) or tuple(self.channels)
