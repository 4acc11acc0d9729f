"""The section `dashboard` of the configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tillwatch.config import kinds
from tillwatch.config.section import Section


class Dashboard(Section):
    """Where `tillwatch dashboard` and `run --dashboard` serve their pages: see [dashboard](../dashboard.md).

    On any other address than this machine's own it must be said who may look: by a token, which is given beside the
    configuration, or by the header that a reverse proxy sets.
    """

    host: Annotated[str, kinds.text("a host name or address")] = Field(
        default="127.0.0.1", description="The address it listens on."
    )
    port: Annotated[int, kinds.whole(0, 65_535)] = Field(default=8780, description="The port; 0 is any free one.")
    header: Annotated[str | None, kinds.HEADER] = Field(
        default=None,
        description="The header by which a reverse proxy says who looks, such as `X-Forwarded-User`; what comes "
        "without it is refused.",
    )
    hosts: Annotated[tuple[str, ...], kinds.HOSTS] = Field(
        default=(), description="Further names by which it may be called, such as that of a reverse proxy."
    )
