"""The alerts of a configuration: its channels, what is wrong with them, and its rules in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from tillwatch.alerts.alert import Scope
from tillwatch.alerts.channels import Channel, open_channel
from tillwatch.alerts.message import Letterhead
from tillwatch.alerts.words import lasting, many
from tillwatch.compose import Composed
from tillwatch.config import Settings, masked
from tillwatch.config.alerts import Alerts, Rule
from tillwatch.config.yaml import suggestion
from tillwatch.errors import ConfigError


def check_rules(composed: Composed) -> None:
    """Rules name channels and patterns that there are. Raises ConfigError with all that do not, and their places."""
    alerts, patterns = composed.settings.alerts, [plan.pattern.id for plan in composed.program.plans]
    problems: list[str] = []
    for path, rule in alerts.rules():
        where = f"{composed.settings.where('alerts', *path)}: alerts.{'.'.join(path)}: "
        if not alerts.channels:
            problems.append(f"{where}there is no channel to tell it to; name one in alerts.channels")
        problems += [
            f"{where}unknown channel '{name}'; {suggestion(name, alerts.channels)}"
            for name in rule.channels
            if alerts.channels and name not in alerts.channels
        ]
        if path[0] == "detections" and path[1] not in patterns:
            problems.append(f"{where}this pattern is not among the patterns; {suggestion(path[1], patterns)}")
    if problems:
        raise ConfigError("\n".join(problems))


def channels_of(settings: Settings) -> dict[str, Channel]:
    """The channels by name; nothing is sent. Raises ConfigError with all that is wrong and its places."""
    channels: dict[str, Channel] = {}
    problems: list[str] = []
    for name, address in settings.alerts.channels.items():
        try:
            channels[name] = open_channel(name, address)
        except ConfigError as error:
            problems.append(f"{settings.where('alerts', 'channels', name)}: alerts.channels.{name}: {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    return channels


def letterhead(composed: Composed, scope: Scope) -> Letterhead:
    """What messages of a pipeline say of it."""
    settings = composed.settings
    patterns = [plan.pattern for plan in composed.program.plans]
    name = PurePosixPath(masked(settings.source.uri)).name
    return Letterhead(name, masked(settings.state), scope, {p.id: p.runbook for p in patterns})


def rules_in_words(alerts: Alerts) -> Iterator[str]:
    """The rules, a line each, with who is told."""
    for path, rule in alerts.rules():
        yield f"{_what(path, rule)}: told to {', '.join(rule.channels) or 'all'}"


def _what(path: tuple[str, ...], rule: Rule) -> str:
    match path[0]:
        case "file_failed":
            return "a source file that failed"
        case "no_new_chunk":
            return f"no new chunk for {lasting(rule.limit)}"
        case "lag":
            return f"over {many(int(rule.limit), 'chunk')} behind"
        case "quarantine_share":
            return f"over {rule.limit.normalize():f}% of the rows of {many(rule.chunks, 'chunk')} quarantined"
        case "unreachable":
            return f"a place that cannot be reached for {lasting(rule.limit)}"
        case _:
            return f"detections of {path[1]}"
