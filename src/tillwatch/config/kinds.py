"""The kinds of single values in the configuration: what each accepts, and in which words that is said.

The same words stand in error texts ("found 'ten', expected a whole number from 1 to 1000000") and in the
generated reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tillwatch.config.environment import Replaced
from tillwatch.config.yaml import plain_scalar

DAY = 86_400
AUTO = "auto"
TIMES = ("auto", "number", "iso", "epoch_s", "epoch_ms")
OUTPUTS = ("jsonl", "parquet", "delta", "webhook")
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m)")
_HOURS = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)h")
_SPAN = re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?( ?[A-Za-z]{1,12})?")
_DAYS = re.compile(r"([1-9][0-9]{0,4})d")
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60)}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,29}")
_PLAIN = re.compile(r'\s*("[^"]+"|[\w ]+?)\s*')
_KNOWN = ("customer", "merchant", "category", "gender", "amount", "time")  # the last too short to be misspelt
_TAKEN = ("id", "value")  # columns of the state, and of lookups
_PASSWORD = re.compile(r"[?&]\w*password=", re.IGNORECASE)
_SCHEMA = re.compile(r"[?&]schema=([^&]*)")
_SCHEMA_NAME = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_TABLE = re.compile(r"[^\W\d][\w$]{0,62}(\.[^\W\d][\w$]{0,62})?")
_ONE_SLASH = re.compile(r"(abfss|az|file|gdrive|gs|postgres|postgresql|s3|sqlite):(?!//)", re.IGNORECASE)
TEXT: Mapping[str, Any] = {"type": "string", "pattern": r"\S"}
_NOT_DELIMITERS = "\"'\r\n\0"


@dataclass(frozen=True, slots=True)
class Sql:
    """An expression in SQL, where a column's name could be as well."""

    text: str


@dataclass(frozen=True)
class Kind:
    """A marker for `Annotated`: `read` turns a value into the kept one, or raises ValueError.

    A ValueError without a text means "expected `words`"; its text, which must not quote the value, replaces
    that.
    """

    words: str
    read: Callable[[Any], Any]
    is_text: bool = False
    schema: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What JSON Schema can say of it, never less than `read` takes; those of single kinds are in `config.schema`."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validated)

    def _validated(self, value: object) -> Any:
        if isinstance(value, Replaced):  # the environment has texts only
            value = str(value) if self.is_text else plain_scalar(value)
        try:
            return self.read(value)
        except ValueError as error:
            text = str(error) or f"expected {self.words}"
            raise PydanticCustomError("unexpected", "{text}", {"text": text}) from None


def whole(low: int, high: int | None = None) -> Kind:
    """A whole number in a range, both ends included."""

    def read(value: object) -> int:
        if type(value) is not int or value < low or (high is not None and value > high):
            raise ValueError
        return value

    words = f"a whole number from {low}" + (" up" if high is None else f" to {high}")
    limits = {"minimum": low} if high is None else {"minimum": low, "maximum": high}
    return Kind(words, read, schema={"type": "integer", **limits})


def one_of(*words: str) -> Kind:
    """One of a few words."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError
        return value

    return Kind(f"one of {', '.join(words)}", read, schema={"enum": [*words]})


def text(words: str) -> Kind:
    """A text that is not blank and holds no NUL."""
    return Kind(words, _text, is_text=True, schema=TEXT)


def optional_text(words: str) -> Kind:
    """As `text`, or null."""
    return Kind(f"{words}, or null for none", _optional_text, is_text=True, schema={"anyOf": [TEXT, {"type": "null"}]})


def _text(value: object) -> str:
    if isinstance(value, int | Decimal):
        _refuse("expected a text; put it in quotes")
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError
    return value


def _optional_text(value: object) -> str | None:
    return None if value is None else _text(value)


def _column(value: object) -> str | Sql:
    """A column's name, or the SQL that a column is worked out by."""
    if isinstance(value, Sql):
        return value
    if isinstance(value, dict):
        return Sql(_text(value["sql"])) if set(value) == {"sql"} else _refuse(f"expected {COLUMN.words}")
    return _text(value)


def _optional_column(value: object) -> str | Sql | None:
    return None if value is None else _column(value)


def _key_name(value: object) -> str:
    """The name of a key: of one's own, where it is not one that the language brings."""
    if not isinstance(value, str) or not _KEY.fullmatch(value) or value.lower() in _TAKEN:
        raise ValueError
    if value not in _KNOWN:
        from difflib import get_close_matches  # only columns of one's own pay for this import

        if near := get_close_matches(value.lower(), _KNOWN[:-1], n=1, cutoff=0.87):
            _refuse(f"expected a name that cannot be taken for '{near[0]}': did you mean that?")
    return value


def plain_column(value: str) -> str | None:
    """The column that the value of a lookup is, when it is not an aggregate.

    >>> plain_column("Segment"), plain_column('"Segment (new)"'), plain_column("avg(Weight)")
    ('Segment', 'Segment (new)', None)
    """
    match = _PLAIN.fullmatch(value)
    return match[1].strip('"') if match else None


def key_problem(name: str) -> str | None:
    """Why a name cannot be that of a text column of one's own; None when it can."""
    try:
        _key_name(name)
    except ValueError as error:
        return str(error) or f"expected {KEY_NAME.words}"
    return f"expected another name than {', '.join(_KNOWN)}" if name in _KNOWN else None


def is_uri(place: str) -> bool:
    """Whether a place is named by a URI, and not by a path.

    >>> [is_uri(place) for place in ("s3://bucket", "dbfs:/Volumes/main/bank/live", "./data")]
    [True, True, False]
    """
    return "://" in place or place.lower().startswith("dbfs:/")


def _place(value: object) -> str:
    """A path or URI; a URI that lacks a slash would be taken for a path."""
    place = _text(value)
    if match := _ONE_SLASH.match(place):
        _refuse(f"expected {match[1]}:// with two slashes; a path that begins so is written ./{match[1]}:…")
    return place


def _optional_place(value: object) -> str | None:
    return None if value is None else _place(value)


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError
    return value


def _variable(value: object) -> str | None:
    if value is not None and not _NAME.fullmatch(_text(value)):
        raise ValueError
    return None if value is None else str(value)


def _number(value: object) -> int | Decimal:
    if isinstance(value, Decimal) and value.is_finite():
        return value
    if type(value) is not int:
        raise ValueError
    return value


def _seconds(value: object) -> float:
    """Seconds from `500ms`, `1s`, `2m` or a plain number of seconds."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = Decimal(match[1]) * _SECONDS[match[2]]
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        seconds = Decimal(value)
    else:
        raise ValueError
    if not (seconds.is_finite() and 0 <= seconds <= DAY):
        raise ValueError
    return float(seconds)


def _refresh(value: object) -> float | str:
    """Seconds, as `_seconds` reads them, or from hours such as `1h`; 0 for never; `auto` for what fits the place."""
    if value is None or value == AUTO:
        return AUTO if value else 0.0
    if isinstance(value, str) and (match := _HOURS.fullmatch(value)):
        value = Decimal(match[1]) * 3600
    return _seconds(value)


def _lateness(value: object) -> str:
    """A number in the unit of the time column, or a duration; its unit is looked at with the patterns."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not _SPAN.fullmatch(value):
        raise ValueError
    return value


def _days(value: object) -> int | None:
    """Days from `30d`."""
    if value is None:
        return None
    if not isinstance(value, str) or not (match := _DAYS.fullmatch(value)):
        raise ValueError
    return int(match[1])


def _delimiter(value: object) -> str:
    if not isinstance(value, str) or len(value) != 1 or not value.isascii() or value in _NOT_DELIMITERS:
        raise ValueError
    return value


def _timezone(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # unknown; a path or other nonsense; a folder of zones
        raise ValueError from None
    return value


def _state(value: object) -> str:
    """The path of the SQLite file, as `sqlite:///PATH` or PATH says it, or the URI of a PostgreSQL schema."""
    uri = _place(value)
    scheme, slashes, rest = uri.partition("://")
    if slashes and scheme in ("postgresql", "postgres"):
        return _postgres(uri, rest)
    if slashes and (scheme.lower() != "sqlite" or not rest.startswith("/") or "?" in rest):
        raise ValueError
    path = rest[1:] if slashes else uri
    if not path.strip() or path.endswith("/") or path == ":memory:":
        raise ValueError
    return path


def check_web_address(uri: str) -> None:
    """Raises PydanticCustomError unless it is an https address, or an http one of this machine."""
    try:
        parts = urlsplit(uri)
        good = bool(parts.hostname) and (
            parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _HERE)
        )
    except ValueError:
        good = False
    if not good:
        text = "the uri of a webhook must begin with https:// and name a host; http:// is for this machine only"
        raise PydanticCustomError("rule", "{text}", {"text": text})


def _postgres(uri: str, rest: str) -> str:
    """A libpq URI with the schema of the pipeline."""
    user, at, _ = rest.rpartition("@")
    if (at and ":" in user) or _PASSWORD.search(rest):
        _refuse(
            "expected no password in it: it belongs into PGPASSWORD, or into a password file that PGPASSFILE or "
            "passfile= names and that is read again whenever a connection is made"
        )
    schemas: list[str] = [unquote(schema) for schema in _SCHEMA.findall(rest)]
    if len(schemas) > 1 or not all(_SCHEMA_NAME.fullmatch(schema) for schema in schemas):
        _refuse(
            "expected one schema=NAME of at most 63 lower case letters, digits and _, not starting with a digit or pg_"
        )
    return uri


def check_database_lookup(uri: str, table: str | None, query: str | None) -> None:
    """Raises PydanticCustomError unless a database comes with a table or a query, and a file with neither."""
    given = sum(said is not None for said in (table, query))
    text = ""
    if not uri.startswith(("postgresql://", "postgres://")):
        text = "table and query go with the uri of a database, postgresql://HOST/DATABASE" if given else ""
    elif given != 1:
        text = "a lookup in a database needs a table or a query" + (", not both" if given else "")
    elif _SCHEMA.search(uri):
        text = "schema= is for the state; write the table as schema.table"
    else:
        try:
            _postgres(uri, uri.partition("://")[2])
        except ValueError as error:
            text = str(error)
    if text:
        raise PydanticCustomError("rule", "{text}", {"text": text})


def _table(value: object) -> str | None:
    """A table's name, perhaps with its schema; letters are taken as they are written."""
    if value is not None and not _TABLE.fullmatch(_text(value)):
        raise ValueError
    return None if value is None else str(value)


def _optional_whole(value: object) -> int | None:
    return None if value is None else int(whole(1, 10_000).read(value))


def _conf_value(value: object) -> str:
    """A Spark setting as Spark reads it: text, whatever YAML took it for."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return str(value)
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return value


def _ids(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v.strip() for v in value):
        raise ValueError
    return tuple(value)


def _header(value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and re.fullmatch("[A-Za-z0-9-]+", value)):
        raise ValueError
    return value


TABLE = Kind("the name of a table, or schema.table", _table, is_text=True)
FLAG = Kind("true or false", _flag)
NAME = Kind("a name of letters, digits and _, not starting with a digit", _name)
NUMBER = Kind("a number", _number)
SECONDS = Kind("a duration from 0 to 1 day such as 500ms, 1s, 2m; a plain number is seconds", _seconds)
REFRESH = Kind("auto, a duration from 0 to 1 day such as 5s, 10m, 1h, or null for never", _refresh)
LATENESS = Kind("a number of steps such as 2, or a duration such as 30s, 10min, 2h, 1d", _lateness, is_text=True)
DAYS = Kind("a number of days from 1d to 99999d, such as 30d, or null for ever", _days)
IDS = Kind("a list of pattern ids such as [PatId1]", _ids)
HOSTS = Kind("a list of host names", _ids, schema={"type": "array", "items": TEXT})
HEADER = Kind(
    "the name of a header such as X-Forwarded-User, or null for none",
    _header,
    is_text=True,
    schema={"anyOf": [{"type": "string", "pattern": r"^[A-Za-z0-9-]+$|\$\{\w+\}"}, {"type": "null"}]},
)
DELIMITER = Kind("one ASCII character other than a quote or line break, such as ',' or \"\\t\"", _delimiter)
TIMEZONE = Kind("an IANA time zone such as Asia/Kolkata", _timezone)
PLACE = Kind("a path or URI", _place, is_text=True)
OPTIONAL_PLACE = Kind("a path or URI, or null for none", _optional_place, is_text=True)
VARIABLE = Kind("the name of an environment variable, or null for none", _variable, is_text=True)
TIME_COLUMN = optional_text("a column name")
COLUMN_NAME = text("a column name")
_SQL = {"type": "object", "additionalProperties": False, "required": ["sql"], "properties": {"sql": TEXT}}
KEY = {"type": "string", "pattern": r"^(?!([iI][dD]|[vV][aA][lL][uU][eE])$)[A-Za-z][A-Za-z0-9_]{0,29}$"}
"""What JSON Schema can say of the name of a key."""

COLUMN = Kind("a column name, or {sql: EXPRESSION}", _column, is_text=True, schema={"anyOf": [TEXT, _SQL]})
OPTIONAL_COLUMN = Kind(
    "a column name, or {sql: EXPRESSION}, or null for none",
    _optional_column,
    is_text=True,
    schema={"anyOf": [TEXT, _SQL, {"type": "null"}]},
)
KEY_NAME = Kind(
    "a name of at most 30 letters, digits and _, starting with a letter, not id or value", _key_name, schema=KEY
)
AGGREGATE = text("an SQL aggregate such as sum(amount)")
LOOKUP_VALUE = optional_text("an SQL aggregate such as avg(Weight), or a column of texts")
REQUIRE = one_of("quarantine", "mark")
STATE = Kind("the path of a file, sqlite:///PATH, or postgresql://HOST/DATABASE?schema=NAME", _state, is_text=True)
ENGINES = ("embedded", "spark")
BUCKETS = Kind("a whole number from 1 to 10000, or null for as many as there are cores", _optional_whole)
CONF_VALUE = Kind("a text, a number, true or false", _conf_value)
