"""Detections as a Delta table, each batch exactly once: the table's own log says how far it has come."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from tillwatch.config import masked
from tillwatch.errors import ConfigError, OutputUnavailable, PublishError
from tillwatch.publish.output import Batch
from tillwatch.publish.parquet import FOLDERS, table

if TYPE_CHECKING:
    from deltalake import DeltaTable


class DeltaOutput:
    """A Delta table, partitioned by `patternId` and `date`, made by the first batch.

    One commit of the table for each batch. It carries the application transaction `tillwatch/<YStartTime>` with the
    last `seq` of the batch as its version, and is left out when the table has that version already: so a batch
    delivered again, also after a commit whose answer was lost, adds nothing.
    """

    def __init__(self, uri: str) -> None:
        if find_spec("deltalake") is None:
            raise ConfigError("a Delta table needs: pip install 'tillwatch[delta]'")
        self._uri = uri

    @property
    def place(self) -> str:
        """Where the table is."""
        return masked(self._uri)

    def deliver(self, batch: Batch) -> None:
        from deltalake.exceptions import DeltaError, SchemaMismatchError

        try:
            there = self._there()
            if self._reached(there, batch) < batch.plan.last:
                self._append(there, batch)
        except SchemaMismatchError as error:
            raise PublishError(f"{self.place}: is a Delta table of other columns: {_brief(error)}") from error
        except (DeltaError, OSError) as error:
            raise OutputUnavailable(f"{self.place}: the Delta table cannot be written: {_brief(error)}") from error

    def _there(self) -> DeltaTable | None:
        """The table as it is now, None when there is none."""
        from deltalake import DeltaTable

        return DeltaTable(self._uri) if DeltaTable.is_deltatable(self._uri) else None

    def _reached(self, there: DeltaTable | None, batch: Batch) -> int:
        """The last `seq` in the table, 0 when it is not there or has no rows."""
        if there is None:
            return 0
        reached = there.transaction_version(_application(batch))
        if reached is None and _has_rows(there):
            self._refuse(batch)
        if reached and batch.plan.first <= reached < batch.plan.last:
            raise PublishError(f"{self.place}: ends with seq {reached}, within {batch.plan.name}. It was written to.")
        return reached or 0

    def _append(self, there: DeltaTable | None, batch: Batch) -> None:
        """Adds to the very version of the table that was looked at: another writer since makes it fail."""
        from deltalake import CommitProperties, Transaction, write_deltalake

        mark = Transaction(_application(batch), batch.plan.last)
        write_deltalake(
            self._uri if there is None else there,
            table(batch),
            mode="error" if there is None else "append",
            partition_by=list(FOLDERS),
            commit_properties=CommitProperties(app_transactions=[mark]),
        )

    def _refuse(self, batch: Batch) -> NoReturn:
        raise PublishError(
            f"{self.place}: is a Delta table with rows that this pipeline did not write, so detections "
            f"{batch.plan.first} to {batch.plan.last} were not added. Was the state removed while the table stayed? "
            "Move the table away, or set a new place."
        )


def _application(batch: Batch) -> str:
    return f"tillwatch/{batch.started_at}"


def _has_rows(there: DeltaTable) -> bool:
    return bool(there.file_uris())


def _brief(error: Exception) -> str:
    return masked(re.sub(r"\s+", " ", str(error)))[:300]
