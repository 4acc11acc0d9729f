"""Configuration: `tillwatch.yaml`, `--set` and the environment become frozen Settings.

Nothing else in tillwatch reads any of the three. `tillwatch.config.yaml` reads other YAML files with places.
"""

from tillwatch.config.kinds import Sql, is_uri
from tillwatch.config.loader import load
from tillwatch.config.secrets import masked
from tillwatch.config.settings import (
    Amounts,
    Columns,
    Detections,
    Landing,
    Logs,
    Lookup,
    Metrics,
    Output,
    PatternChoice,
    Settings,
    Source,
    Spark,
)

__all__ = [
    "Amounts",
    "Columns",
    "Detections",
    "Landing",
    "Logs",
    "Lookup",
    "Metrics",
    "Output",
    "PatternChoice",
    "Settings",
    "Source",
    "Spark",
    "Sql",
    "is_uri",
    "load",
    "masked",
]
