"""What can be configured, and the only place where defaults are.

Every class is one mapping of `tillwatch.yaml`, every field one key. The reference page is made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from tillwatch.config import kinds, log_kinds
from tillwatch.config.alerts import Alerts
from tillwatch.config.dashboard import Dashboard
from tillwatch.config.section import Section as Section

Place = Annotated[str, kinds.PLACE]
Column = Annotated[str | kinds.Sql, kinds.COLUMN]
OptionalColumn = Annotated[str | kinds.Sql | None, kinds.OPTIONAL_COLUMN]
ColumnName = Annotated[str, kinds.COLUMN_NAME]
Key = Annotated[str, kinds.KEY_NAME]
Seconds = Annotated[float, kinds.SECONDS]
Name = Annotated[str, kinds.NAME]
Aggregate = Annotated[str, kinds.AGGREGATE]
Number = Annotated[int | Decimal, kinds.NUMBER]


class Source(Section):
    """Where transactions come from. A plain path or URI is short for `uri` alone."""

    uri: Place = Field(
        description="A file, or a folder of files, of transactions; also gdrive://ID, s3://…, az://…, gs://…."
    )
    rows: Annotated[int, kinds.whole(1, 1_000_000)] = Field(
        default=10_000, description="Rows per chunk. The last chunk of a file may have fewer."
    )
    every: Seconds = Field(default=1.0, description="Pace: one chunk in this time; 0 is as fast as possible.")
    format: Annotated[Literal["auto", "csv", "jsonl", "parquet"], kinds.one_of("auto", "csv", "jsonl", "parquet")] = (
        Field(default="auto", description="Format of the files; `auto` goes by the file's name.")
    )
    delimiter: Annotated[str, kinds.DELIMITER] = Field(
        default=",", description="What separates the values of a CSV line."
    )


class Columns(Section):
    """Which source column holds what. What is given here goes over the defaults, the rest stays.

    A column named here must be in the source; a default gender, category or time that the source lacks is not mapped.
    Any other key is a column of your own, such as `device: device_id`: a text that is not empty in a valid row, which
    patterns can use as they use `category`. Instead of a column's name, `{sql: EXPRESSION}` works the column out from
    others: see [columns](../columns.md).
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[Key, OptionalColumn] = Field(init=False)

    time: Annotated[str | None, kinds.TIME_COLUMN] = Field(
        default="step", description="Time of the transaction; null for none."
    )
    customer: OptionalColumn = Field(default="customer", description="Who pays; null for none.")
    merchant: OptionalColumn = Field(default="merchant", description="Who is paid; null for none.")
    gender: OptionalColumn = Field(default="gender", description="Gender of the customer; null for none.")
    category: OptionalColumn = Field(default="category", description="What was bought; null for none.")
    amount: Column = Field(default="amount", description="How much was paid, a decimal number.")

    @property
    def explicit(self) -> frozenset[str]:
        """The keys that were given, such as {"customer"}; the others are defaults."""
        return frozenset(self.model_fields_set)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of all text columns there can be, in the order that they have in every grain."""
        return ("customer", "merchant", "category", "gender", *(self.__pydantic_extra__ or {}))

    @property
    def mapped(self) -> dict[str, str | kinds.Sql]:
        """What is mapped: the text columns in their order, then the amount."""
        said = {name: getattr(self, name) for name in (*self.keys, "amount")}
        return {name: column for name, column in said.items() if column is not None}

    @model_validator(mode="after")
    def _needed_columns_differ(self) -> Self:
        needed = [column for column in (self.customer, self.merchant, self.amount) if column is not None]
        if len(set(needed)) < len(needed):
            raise PydanticCustomError("rule", "customer, merchant and amount must be three different columns")
        names = [name.lower() for name in (*self.keys, "amount", "time")]
        if twice := [name for name in names if names.count(name) > 1]:
            raise PydanticCustomError(
                "rule", "there are two columns '{name}', which differ in case only", {"name": twice[0]}
            )
        return self


class Time(Section):
    """How event time is read, where a pattern has windows or late rows are quarantined."""

    format: Annotated[Literal["auto", "number", "iso", "epoch_s", "epoch_ms"], kinds.one_of(*kinds.TIMES)] = Field(
        default="auto",
        description="What `columns.time` holds: a `number` such as BankSim's step, an `iso` 8601 time, seconds "
        "(`epoch_s`) or milliseconds (`epoch_ms`) since 1970; `auto` takes a number for a number, all else for ISO.",
    )
    timezone: Annotated[str, kinds.TIMEZONE] = Field(
        default="UTC", description="Time zone of ISO times without an offset."
    )
    lateness: Annotated[str, kinds.LATENESS] = Field(
        default="0",
        description="How far a row may be behind the latest time of the chunks before its own, such as `2` or `10min`.",
    )
    late: Annotated[Literal["count", "quarantine"], kinds.one_of("count", "quarantine")] = Field(
        default="count",
        description="What becomes of rows that are later than that: `count` them in everything they belong to, or "
        "`quarantine` them.",
    )


class Amounts(Section):
    """Which amounts are valid, and how exactly they are kept."""

    digits: Annotated[int, kinds.whole(0, 6)] = Field(
        default=4, description="Fraction digits that are kept exactly; more are rounded, half to even."
    )
    negative: Annotated[bool, kinds.FLAG] = Field(
        default=False, description="Whether a negative amount is valid; if not, its row is quarantined."
    )


class Lookup(Section):
    """A reference table, aggregated per key and then joined. A plain path or URI is short for `uri` alone."""

    uri: Place = Field(description="The file of the table, or `postgresql://HOST/DATABASE`.")
    table: Annotated[str | None, kinds.TABLE] = Field(
        default=None, description="In a database: the table or view, such as `bank.weights`."
    )
    query: Annotated[str | None, kinds.optional_text("a SELECT")] = Field(
        default=None, description="In a database, instead of `table`: one query that only reads."
    )
    on: Mapping[Key, ColumnName] = Field(
        default={"customer": "Source", "merchant": "Target"},
        min_length=1,
        description="Key to the table's column that holds it: `customer`, `merchant`, another mapped key, or several.",
    )
    value: Annotated[str | None, kinds.LOOKUP_VALUE] = Field(
        default="avg(Weight)",
        description="SQL aggregate over all rows of a key; its value is joined. Or the name of a column, whose text is "
        "joined to every row of the key; or null, when only the keys are wanted, for `require`.",
    )

    refresh: Annotated[float | str, kinds.REFRESH] = Field(
        default=kinds.AUTO,
        description="How often a run that goes on looks whether the table has changed; `auto` is 5s for a file of this "
        "machine, 1m for one elsewhere, 1h for a database, which is read each time. With 0 only a start looks.",
    )

    @property
    def period(self) -> float:
        """How often it is looked at, in seconds; 0 for at the start only."""
        if self.refresh != kinds.AUTO:
            return float(self.refresh)
        return 3600.0 if self.in_database else 60.0 if kinds.is_uri(self.uri) else 5.0

    @property
    def in_database(self) -> bool:
        """Whether it is read from a database."""
        return self.table is not None or self.query is not None

    @property
    def is_text(self) -> bool:
        """Whether it joins a text to every row."""
        return self.value is not None and kinds.plain_column(self.value) is not None

    @model_validator(mode="after")
    def _of_a_database_one_table(self) -> Self:
        kinds.check_database_lookup(self.uri, self.table, self.query)
        return self


class Landing(Section):
    """The landing zone: the log of chunks. A plain path or URI is short for `uri` alone."""

    uri: Place = Field(default="./tillwatch-data/landing", description="Folder of the landed chunks.")
    format: Annotated[Literal["parquet", "csv"], kinds.one_of("parquet", "csv")] = Field(
        default="parquet", description="Format of a landed chunk."
    )
    layout: Annotated[Literal["flat", "dated", "folder"], kinds.one_of("flat", "dated", "folder")] = Field(
        default="flat",
        description="Where chunks are: side by side, in folders by the day (UTC) of landing, or in a folder each.",
    )
    keep: Annotated[int | None, kinds.DAYS] = Field(
        default=None,
        description="How long a processed chunk is kept, such as `30d`; `tillwatch compact` removes what is older. "
        "Not with layout `folder`.",
    )

    @model_validator(mode="after")
    def _only_merged_chunks_are_removed(self) -> Self:
        if self.keep is not None and self.layout == "folder":
            raise PydanticCustomError("rule", "keep needs landing.layout flat or dated; chunks in folders stay")
        return self


class Detections(Section):
    """What was found, as CSV files. A plain path or URI is short for `uri` alone."""

    uri: Place = Field(default="./tillwatch-data/detections", description="Folder of the detection files.")
    format: Annotated[Literal["csv", "none"], kinds.one_of("csv", "none")] = Field(
        default="csv", description="`none` when there are to be no files here, only what `outputs` says."
    )
    cleared: Place = Field(
        default="./tillwatch-data/cleared",
        description="Folder of the files that say when detections ceased to hold, for patterns with `cleared: true`.",
    )
    rows: Annotated[int, kinds.whole(1)] = Field(default=50, description="Detections per file.")
    linger: Seconds = Field(
        default=1.0,
        description="How long a file waits for more detections, when no chunk is waiting, before it is "
        "published with fewer.",
    )
    timezone: Annotated[str, kinds.TIMEZONE] = Field(
        default="Asia/Kolkata", description="Time zone of the times in the files."
    )


class Output(Section):
    """A further place for detections. Its name is how the state remembers what was delivered to it: under a new name,
    delivery begins with the first detection.
    """

    format: Annotated[Literal["jsonl", "parquet", "delta", "webhook"], kinds.one_of(*kinds.OUTPUTS)] = Field(
        description="What it is: `jsonl` and `parquet` are objects in a folder or bucket, `delta` is a Delta table, "
        "`webhook` is a POST for each detection."
    )
    uri: Place = Field(description="Its folder or URI; for a webhook, its https address.")
    secret_env: Annotated[str | None, kinds.VARIABLE] = Field(
        default=None, description="Webhook: the environment variable that holds the secret it is signed with."
    )
    secret_file: Annotated[str | None, kinds.optional_text("a path")] = Field(
        default=None, description="Webhook: the file, such as a mounted secret, that holds it."
    )

    @model_validator(mode="after")
    def _only_webhooks_are_signed(self) -> Self:
        given = [key for key in ("secret_env", "secret_file") if getattr(self, key) is not None]
        if self.format != "webhook":
            if given:
                raise PydanticCustomError("rule", "only a webhook has a secret; remove {key}", {"key": given[0]})
            return self
        if len(given) != 1:
            raise PydanticCustomError("rule", "a webhook needs secret_env or secret_file, and not both")
        kinds.check_web_address(self.uri)
        return self


class Spark(Section):
    """How `engine: spark` runs."""

    master: Annotated[str | None, kinds.optional_text("a Spark master such as local[4] or spark://HOST:7077")] = Field(
        default=None,
        description="The cluster; null for what spark-submit says, and `local[*]` without it.",
    )
    state: Place = Field(
        default="./tillwatch-data/spark",
        description="Folder or bucket of the state that the executors keep; all of them must reach it.",
    )
    buckets: Annotated[int | None, kinds.BUCKETS] = Field(
        default=None,
        description="Into how many parts the keys are divided; null for as many as there are cores at the first start.",
    )
    conf: Mapping[Annotated[str, kinds.text("the name of a Spark setting")], Annotated[str, kinds.CONF_VALUE]] = Field(
        default={}, description="Spark settings by name, over those that tillwatch sets."
    )


class Logs(Section):
    """What a run writes down of what it does. See [what can be seen of a run](../observability.md)."""

    format: Annotated[Literal["text", "json"] | None, log_kinds.FORMAT] = Field(
        default=None,
        description="Of the file, `text` where nothing is said. Without a file, the log goes to stderr, instead of the "
        "progress for people.",
    )
    level: Annotated[Literal["debug", "info", "warning", "error"], kinds.one_of(*log_kinds.LEVELS)] = Field(
        default="info", description="What is less than that is left out."
    )
    file: Annotated[str | None, kinds.optional_text("a path")] = Field(
        default=None, description="The file; each process needs one of its own."
    )
    size: Annotated[int, log_kinds.SIZE] = Field(
        default=10_000_000, description="A file of this size is put aside as `FILE.1`, and a new one begun."
    )
    count: Annotated[int, kinds.whole(1, 1000)] = Field(
        default=5, description="How many of those are kept, `FILE.1` being the newest."
    )

    @property
    def on_stderr(self) -> bool:
        """Whether stderr is the log."""
        return self.file is None and self.format is not None


class Metrics(Section):
    """Metrics for Prometheus, while a run is at work. See [metrics](../observability.md#metrics)."""

    listen: Annotated[str | None, log_kinds.LISTEN] = Field(
        default=None,
        description="Where `/metrics` is served; who can reach that address can read it. Each process needs one of its "
        "own.",
    )


class PatternChoice(Section):
    """One entry of `patterns`: an id, a YAML file or a folder of them, with thresholds of one's own."""

    ref: Annotated[str, kinds.text("a pattern id, a YAML file or a folder")] = Field(
        description="The id of a built-in pattern, or the path of a YAML file or of a folder of them."
    )
    thresholds: Mapping[Annotated[str, kinds.text("a threshold's name")], Number] = Field(
        default={}, description="Threshold name to number; those not named keep the pattern's value."
    )
    where: str = Field(default="", description="The place of the entry, file:line:column.")
    places: Mapping[str, str] = Field(default={}, description="Threshold name to its place.")

    @property
    def path(self) -> Path | None:
        """The file or folder, when `ref` is one and not an id: it has a slash or ends in .yaml or .yml."""
        is_path = "/" in self.ref or "\\" in self.ref or self.ref.endswith((".yaml", ".yml"))
        return Path(self.ref) if is_path else None


def _not_empty(patterns: tuple[PatternChoice, ...]) -> tuple[PatternChoice, ...]:
    if not patterns:
        raise PydanticCustomError("rule", "at least one pattern is needed; without the key it is the three built in")
    return patterns


class Settings(Section):
    """The whole configuration. Made by `load`, local places are absolute paths; `state` is a path alone."""

    source: Source = Field(description="Where transactions come from.")
    columns: Columns = Field(default=Columns(), description="Which source column holds what.")
    row_filter: Annotated[str | None, kinds.optional_text("a condition on a row")] = Field(
        default=None,
        alias="where",
        description="Only rows for which it is true are counted, such as `category <> 'es_travel'`; the others are "
        "filtered out.",
    )
    time: Time = Field(default=Time(), description="How event time is read, where it is needed.")
    amounts: Amounts = Field(default=Amounts(), description="Which amounts are valid, and how exactly they are kept.")
    lookups: Mapping[Name, Lookup] = Field(
        default={}, description="Reference tables by name; patterns use the name, such as `importance`."
    )
    require: Mapping[Name, Annotated[Literal["quarantine", "mark"], kinds.REQUIRE]] = Field(
        default={},
        description="Lookups that the keys of every row must be in, such as `customers`, or a list of them: other rows "
        "go to the quarantine. `{customers: mark}` counts them, and counts how many they are.",
    )
    features: Mapping[Name, Aggregate] = Field(
        default={}, description="More features than the patterns bring: name to SQL aggregate."
    )
    landing: Landing = Field(default=Landing(), description="The landing zone: the log of chunks.")
    quarantine: Place = Field(
        default="./tillwatch-data/quarantine", description="Folder of the rows that were not valid."
    )
    state: Annotated[str, kinds.STATE] = Field(
        default="./tillwatch-data/state.db",
        description="What must survive a crash: a SQLite file, or `postgresql://…`.",
    )
    detections: Detections = Field(default=Detections(), description="Where and how detections are published.")
    outputs: Mapping[Name, Output] = Field(
        default={}, description="Further places for detections, by name, beside or instead of the CSV files."
    )
    reports: Annotated[str | None, kinds.OPTIONAL_PLACE] = Field(
        default=None, description="Folder of the quality reports that are written at the end of a run."
    )
    backtests: Annotated[str | None, kinds.OPTIONAL_PLACE] = Field(
        default="./tillwatch-data/backtests",
        description="Folder of the results of `tillwatch backtest`, which the dashboard shows; null to keep none.",
    )
    alerts: Alerts = Field(default=Alerts(), description="What is told to whom, by e-mail, chat or webhook.")
    dashboard: Dashboard = Field(default=Dashboard(), description="Where the dashboard is served, and to whom.")
    logs: Logs = Field(default=Logs(), description="What a run writes down of what it does.")
    metrics: Metrics = Field(default=Metrics(), description="Metrics of a run, for Prometheus.")
    engine: Annotated[Literal["embedded", "spark"], kinds.one_of(*kinds.ENGINES)] = Field(
        default="embedded", description="What runs the detection: `embedded` is this process, `spark` a Spark cluster."
    )
    spark: Spark = Field(default=Spark(), description="How the Spark engine runs.")
    patterns: Annotated[tuple[PatternChoice, ...], AfterValidator(_not_empty)] = Field(
        default=tuple(PatternChoice(ref=ref) for ref in ("PatId1", "PatId2", "PatId3")),
        description="What to look for: pattern ids, YAML files or folders, in the order of their detections.",
    )
    shadow: Annotated[tuple[str, ...], kinds.IDS] = Field(
        default=(),
        description="Ids of patterns that publish nothing: what they find is recorded and shown by "
        "`tillwatch detections --shadow`.",
    )
    _places: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def texts(self) -> tuple[str, ...]:
        """The names of all text columns there can be, in the order of grains: those of rows, then those of lookups."""
        return (*self.columns.keys, *(name for name, lookup in self.lookups.items() if lookup.is_text))

    def where(self, *path: str) -> str:
        """The place, file:line:column, of the value at `path`, such as `where("features", "big")`.

        For a default it is the place of the mapping it would be in; without a file it is the dotted path.
        """
        for length in range(len(path), -1, -1):
            if place := self._places.get(".".join(path[:length])):
                return place
        return ".".join(path)

    def with_places(self, places: Mapping[str, str]) -> Self:
        """The same settings that know the places of their values, by dotted path."""
        copy = self.model_copy()
        copy._places = dict(places)
        return copy
