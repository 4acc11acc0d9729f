"""tillwatch alerts."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tillwatch.cli.command import Command
from tillwatch.cli.options import configured, opened
from tillwatch.cli.outcome import FAILED, tell
from tillwatch.cli.words import duration

if TYPE_CHECKING:
    from tillwatch.alerts.channels import Channel
    from tillwatch.alerts.message import Message

ANSWER_SECONDS = 30.0
"""How long a channel may take."""


@click.command(
    cls=Command,
    examples=[
        ("tillwatch alerts test", "send a test message to every channel"),
        ("tillwatch alerts test ops -c bank.yaml", "to this one"),
    ],
)
@configured
@click.argument("action", type=click.Choice(["test"]))
@click.argument("channel", required=False)
def alerts(config: Path, overrides: tuple[str, ...], action: str, channel: str | None) -> None:
    """Send a test message to the channels of alerts.

    Says of each channel of the configuration, or of CHANNEL, whether the message was taken. Nothing else is run.
    """
    from tillwatch.alerts.configured import channels_of, letterhead

    pipeline = opened(config, overrides)
    channels = channels_of(pipeline.settings)
    if not channels:
        raise click.UsageError("the configuration has no channels; name them in alerts.channels")
    if channel is not None and channel not in channels:
        raise click.UsageError(f"there is no channel '{channel}'; there are: {', '.join(channels)}")
    head = letterhead(pipeline.composed, "run")
    sendings = [Sending(found, head.test(name)) for name, found in channels.items() if channel in (None, name)]
    until = time.monotonic() + ANSWER_SECONDS
    outcomes = [sending.ok(until) for sending in sendings]  # each is told, also after one that failed
    if not all(outcomes):
        raise click.exceptions.Exit(FAILED)


class Sending:
    """One message on its way to a channel, beside others; a receiver that dawdles keeps nobody waiting."""

    def __init__(self, channel: Channel, message: Message) -> None:
        self._channel, self._message, self._problem = channel, message, "it has not answered yet"
        self._began, self._seconds = time.monotonic(), 0.0
        self._thread = threading.Thread(target=self._send, name=f"tillwatch-alerts-{channel.name}", daemon=True)
        self._thread.start()

    def _send(self) -> None:
        from tillwatch.alerts.channels import ChannelError

        try:
            self._channel.send(self._message)
            self._problem = ""
        except ChannelError as error:
            self._problem = str(error)
        self._seconds = time.monotonic() - self._began

    def ok(self, until: float) -> bool:
        """Waits for the answer, until then, and tells it."""
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._problem:
            tell(f"{self._channel.name}: {self._problem}")
            return False
        click.echo(f"{self._channel.name}: sent to {self._channel.service} in {duration(self._seconds)}")
        return True
