"""Named statements of a `.sql` file: `-- name: x` begins statement x."""

from __future__ import annotations

import re
from importlib import resources


def read_sql(name: str) -> str:
    """The text of a file in `sql/`."""
    return (resources.files("tillwatch.state") / "sql" / name).read_text("utf-8")


def named(text: str) -> dict[str, str]:
    """Statement by name.

    >>> named("-- name: one\\nSELECT 1;\\n-- name: two\\nSELECT 2;\\n")
    {'one': 'SELECT 1;', 'two': 'SELECT 2;'}
    """
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def in_psycopg(statement: str) -> str:
    """A statement that has ? for values, as psycopg takes it: comments off, %s for values.

    >>> in_psycopg("-- Why?\\nSELECT key FROM meta WHERE key = ?;")
    'SELECT key FROM meta WHERE key = %s;'
    """
    lines = (line for line in statement.splitlines() if not line.startswith("--"))
    return "\n".join(lines).replace("?", "%s")
