"""Every error tillwatch raises on purpose. Each says what happened, which value, where, and what to do.

TillwatchError
├── ConfigError        the call or the configuration is wrong             exit code 2
│   └── PatternError   a pattern or feature is wrong                      exit code 2
└── RunError           the run failed                                     exit code 1
    ├── SourceError    a source or a lookup cannot be read as it is
    │   ├── FilesSetAside   all else is done, but some source files were not read, or not to their end
    │   └── SourceUnavailable   a source cannot be reached for now
    ├── StoreError     a store did not do what was asked
    │   ├── ObjectExists    put-if-absent found the name taken
    │   ├── ObjectMissing   no object of that name
    │   └── ObjectConflict  the name is taken by other content
    ├── LogError       the landing zone is not a whole log: a gap, a wrong digest, other content
    │   └── ChunkRefused    rows cannot be written in the landing zone's format
    ├── StateError     the state store is not usable
    │   ├── StateMissing    there is no state yet: nothing has been run
    │   └── StateConflict   it was made by another configuration or version, or moved on by another process
    ├── LeaseHeld      another instance of the same mechanism is at work
    └── PublishError   a detection file exists with other content, or an output refuses detections
        └── OutputUnavailable   an output does not take detections for now
"""

from __future__ import annotations


class TillwatchError(Exception):
    """Base of every error raised on purpose. `str(error)` is fit to be shown to a person."""

    exit_code = 1
    place: str = ""
    """The name in the configuration of the place that failed, where that is known."""


class ConfigError(TillwatchError):
    """The call or the configuration is wrong; nothing has been run."""

    exit_code = 2


class PatternError(ConfigError):
    """A pattern or a feature is wrong."""


class RunError(TillwatchError):
    """The run failed."""


class SourceError(RunError):
    """A source or a lookup cannot be read as it is."""


class FilesSetAside(SourceError):
    """All else is done, but some source files were not read, or not to their end."""


class SourceUnavailable(SourceError):
    """A source cannot be reached for now, or asks to be left alone for `after` seconds."""

    def __init__(self, text: str, after: float = 0.0) -> None:
        super().__init__(text)
        self.after = after


class StoreError(RunError):
    """A store did not do what was asked."""


class ObjectExists(StoreError):
    """Put-if-absent found the name taken."""


class ObjectMissing(StoreError):
    """There is no object of that name."""


class ObjectConflict(StoreError):
    """The name is taken by other content: two writers disagree."""


class LogError(RunError):
    """The landing zone is not a whole log."""


class ChunkRefused(LogError):
    """Rows cannot be written in the landing zone's format."""


class StateError(RunError):
    """The state store is not usable."""


class StateMissing(StateError):
    """There is no state yet: nothing has been run with this configuration."""


class StateConflict(StateError):
    """The state was made by another configuration or version, or moved on by another process."""


class LeaseHeld(RunError):
    """Another instance of the same mechanism is at work on this pipeline."""


class PublishError(RunError):
    """A detection file exists already with other content, or an output refuses detections."""


class OutputUnavailable(PublishError):
    """An output does not take detections for now; it asked to be left alone for `after` seconds."""

    def __init__(self, text: str, after: float = 0.0) -> None:
        super().__init__(text)
        self.after = after
