"""From what is configured to outputs."""

from __future__ import annotations

from collections.abc import Callable

from tillwatch.clock import Clock
from tillwatch.config import Output as Settings
from tillwatch.config import is_uri
from tillwatch.config.mounted import secret_of
from tillwatch.errors import ConfigError
from tillwatch.publish.delta import DeltaOutput
from tillwatch.publish.jsonl import JsonLines
from tillwatch.publish.output import Output
from tillwatch.publish.parquet import ParquetFiles
from tillwatch.publish.webhook import Webhook
from tillwatch.stores.base import Store
from tillwatch.stores.cloud import SCHEMES, cloud_place


def open_output(settings: Settings, store: Callable[[str], Store], clock: Clock) -> Output:
    """The output that is configured; `store` opens the place of objects. Nothing is written yet.

    Raises ConfigError when a package that it needs is not installed, or the place is none for objects.
    """
    match settings.format:
        case "jsonl":
            return JsonLines(store(settings.uri))
        case "parquet":
            return ParquetFiles(store(settings.uri))
        case "delta":
            _check_table(settings.uri)
            return DeltaOutput(settings.uri)
        case "webhook":
            return Webhook(settings.uri, secret_of(settings.secret_env, settings.secret_file), clock)


def _check_table(uri: str) -> None:
    """Raises ConfigError unless it is a path, or the URI of a place that a table can be in."""
    scheme = uri.partition(":/")[0]
    if not is_uri(uri) or scheme.lower() == "file":
        return
    if scheme.lower() not in SCHEMES:
        raise ConfigError(f"{scheme}:// is no place for a Delta table. Use a path, s3://, az://, abfss:// or gs://.")
    cloud_place(uri)
