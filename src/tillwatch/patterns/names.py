"""The names that tables of running values have in a state store."""

from __future__ import annotations

from collections.abc import Mapping

from tillwatch.errors import PatternError
from tillwatch.model import STANDARD_KEYS

LONGEST = 63
"""Characters that PostgreSQL keeps of a name."""


def table_name(grain: tuple[str, ...]) -> str:
    """The table of a grain. Columns of one's own may have any name, such as `meta`, which is another table's.

    >>> table_name(("customer", "merchant")), table_name(("customer", "device")), table_name(())
    ('customer_merchant', 'by_customer_device', 'stream')
    """
    own = set(grain) - {*STANDARD_KEYS, "amount"}
    return "_".join(["by", *grain] if own else grain) or "stream"


def check_names(tables: Mapping[tuple[str, ...], str]) -> None:
    """Every table, and the view beside it, has a name of its own that databases take. Raises PatternError."""
    taken: dict[str, tuple[str, ...]] = {}
    for grain, table in tables.items():
        for name in (table, f"{table}_stats"):
            if len(name) > LONGEST:
                raise PatternError(f"the names of the columns {', '.join(grain)} are too long together: '{name}'")
            other = taken.setdefault(name.lower(), grain)
            if other != grain:
                raise PatternError(
                    f"the columns {', '.join(other)} and {', '.join(grain)} would both be '{name}' in the state: "
                    "rename a column"
                )
