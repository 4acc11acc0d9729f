"""What every mapping of the configuration is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping: its keys are known, and it does not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")
