"""Configuration: `tillwatch.yaml`, `--set` and the environment become frozen Settings.

Nothing else in tillwatch reads any of the three. `tillwatch.config.yaml` reads other YAML files with places.
"""

from tillwatch.config.kinds import is_uri
from tillwatch.config.loader import load
from tillwatch.config.secrets import masked
from tillwatch.config.settings import (
    Amounts,
    Columns,
    Detections,
    Landing,
    Lookup,
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
    "Lookup",
    "Output",
    "PatternChoice",
    "Settings",
    "Source",
    "Spark",
    "is_uri",
    "load",
    "masked",
]
