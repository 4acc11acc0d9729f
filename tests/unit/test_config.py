"""Configuration: what a file means, and what is said about a wrong one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tillwatch.config import Columns, Settings, Source, Sql, load, masked
from tillwatch.config.reference import FULL, reference_markdown
from tillwatch.config.settings import Section
from tillwatch.config.yaml import MapNode, parse_yaml
from tillwatch.errors import ConfigError
from tillwatch.model import STANDARD_KEYS

SMALLEST_SHOWN = """The smallest configuration is:

  source: ./transactions.csv
  lookups:
    importance: ./CustomerImportance.csv
"""
TOP_KEYS = "source, columns, where, time, amounts, lookups, require, features, landing, quarantine, state, detections, "
TOP_KEYS += "outputs, reports, backtests, alerts, dashboard, logs, metrics, engine, spark, patterns, shadow"
SECRET_SAID = "a secret must not stand in the configuration; write ${NAME} and set that variable"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in an empty folder, with the configuration in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_of(text: str | bytes, *overrides: str, environ: Mapping[str, str] | None = None) -> Settings:
    path = Path("tillwatch.yaml")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(path, overrides, environ or {})


def error_of(text: str | bytes, *overrides: str, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        settings_of(text, *overrides, environ=environ)
    return str(caught.value)


# What a file means


def test_smallest(folder: Path) -> None:
    """A source and a lookup are enough; all else has the documented defaults, below the file's folder."""
    settings = settings_of("source: ./transactions.csv\nlookups:\n  importance: ./CustomerImportance.csv\n")
    assert settings.model_dump() == {
        "source": {
            "uri": str(folder / "transactions.csv"),
            "rows": 10_000,
            "every": 1.0,
            "format": "auto",
            "delimiter": ",",
        },
        "columns": {
            "time": "step",
            "customer": "customer",
            "merchant": "merchant",
            "gender": "gender",
            "category": "category",
            "amount": "amount",
        },
        "row_filter": None,
        "time": {"format": "auto", "timezone": "UTC", "lateness": "0", "late": "count"},
        "amounts": {"digits": 4, "negative": False},
        "lookups": {
            "importance": {
                "uri": str(folder / "CustomerImportance.csv"),
                "table": None,
                "query": None,
                "on": {"customer": "Source", "merchant": "Target"},
                "value": "avg(Weight)",
                "refresh": "auto",
            }
        },
        "require": {},
        "features": {},
        "landing": {"uri": str(folder / "tillwatch-data/landing"), "format": "parquet", "layout": "flat", "keep": None},
        "quarantine": str(folder / "tillwatch-data/quarantine"),
        "state": str(folder / "tillwatch-data/state.db"),
        "detections": {
            "uri": str(folder / "tillwatch-data/detections"),
            "format": "csv",
            "cleared": str(folder / "tillwatch-data/cleared"),
            "rows": 50,
            "linger": 1.0,
            "timezone": "Asia/Kolkata",
        },
        "outputs": {},
        "reports": None,
        "backtests": str(folder / "tillwatch-data/backtests"),
        "alerts": {
            "channels": {},
            **dict.fromkeys(("file_failed", "no_new_chunk", "lag", "quarantine_share", "unreachable")),
            "detections": {},
            "settle": 60,
            "digest": 60,
            "per_hour": 20,
        },
        "dashboard": {"host": "127.0.0.1", "port": 8780, "header": None, "hosts": ()},
        "logs": {"format": None, "level": "info", "file": None, "size": 10_000_000, "count": 5},
        "metrics": {"listen": None},
        "engine": "embedded",
        "spark": {"master": None, "state": str(folder / "tillwatch-data/spark"), "buckets": None, "conf": {}},
        "patterns": tuple(
            {"ref": ref, "thresholds": {}, "where": "", "places": {}} for ref in ("PatId1", "PatId2", "PatId3")
        ),
        "shadow": (),
    }


def test_logs_and_metrics(folder: Path) -> None:
    """A log's path is below the file's folder, a size has a unit, and without a file stderr may be the log."""
    settings = settings_of("source: ./x.csv\nlogs: {file: a/b.log, size: 250kB}\nmetrics: {listen: '[::1]:0'}\n")
    assert (settings.logs.file, settings.logs.size) == (str(folder / "a/b.log"), 250_000)
    assert settings.metrics.listen == "[::1]:0"
    assert [settings_of("source: ./x.csv", *said).logs.on_stderr for said in ((), ("logs.format=json",))] == [
        False,
        True,
    ]
    assert not settings_of("source: ./x.csv", "logs.format=json", "logs.file=x.log").logs.on_stderr
    for wrong, expected in {
        "logs.size=9kB": "a size from 10kB to 1000GB such as 10MB",
        "logs.size=10Mb": "a size from 10kB to 1000GB such as 10MB",
        "logs.level=loud": "one of debug, info, warning, error",
        "logs.format=xml": "one of text, json, or null for none",
        "metrics.listen=9464": "an address and a port such as 127.0.0.1:9464",
        "metrics.listen=localhost:65536": "an address and a port such as 127.0.0.1:9464",
    }.items():
        key = wrong.partition("=")[0]
        assert f"--set {wrong}: {key}: found " in (said := error_of("source: ./x.csv", wrong)) and expected in said


def test_full(folder: Path) -> None:
    """The full example of the reference loads, and says what the defaults say where it repeats them."""
    full = settings_of(FULL)
    smallest = settings_of("source: ./transactions.csv\nlookups: {importance: ./CustomerImportance.csv}\n")
    assert full.source == smallest.source
    assert full.columns.model_dump() == smallest.columns.model_dump()
    assert (full.amounts, full.engine) == (smallest.amounts, smallest.engine)
    assert full.lookups["importance"] == smallest.lookups["importance"]
    assert (full.texts[-1], full.require) == ("segment", {"segment": "mark"})
    assert full.features == {"spent": "sum(amount)"}
    assert full.landing.uri == str(folder / "data/landing")
    assert full.state == str(folder / "data/state.db")
    assert (full.detections.cleared, full.shadow) == (str(folder / "data/cleared"), ("PatId3",))
    assert [choice.ref for choice in full.patterns] == ["PatId1", "PatId2", "PatId3", str(folder / "my-patterns")]


def test_settings_are_frozen() -> None:
    """Settings do not change once made."""
    settings = settings_of("source: x.csv")
    with pytest.raises(ValueError, match="frozen"):
        settings.source.rows = 5  # type: ignore[misc]


def test_made_in_python() -> None:
    """Settings can be made without a file; then paths stay as given, and places are dotted keys."""
    settings = Settings(source=Source(uri="x.csv"))
    assert settings.source.uri == "x.csv"
    assert settings.where("features", "big") == "features.big"


def test_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's paths and the defaults are below the file's folder, an override's below the current folder."""
    (folder / "etc").mkdir()
    (folder / "etc/my.yaml").write_text("source: in.csv\npatterns: [PatId1, ./mine/]\nstate: sqlite:////s.db\n")
    overrides = ["landing=land", "detections.rows=5", "quarantine=s3://bucket/q"]
    settings = load(Path("etc/my.yaml"), overrides, {})
    assert settings.source.uri == str(folder / "etc/in.csv")
    assert settings.patterns[1].path == folder / "etc/mine"
    assert settings.state == "/s.db"
    assert settings.landing.uri == str(folder / "land")
    assert settings.detections.uri == str(folder / "etc/tillwatch-data/detections")
    assert settings.quarantine == "s3://bucket/q"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("500ms", 0.5), ("2m", 120.0), ("1.5s", 1.5), ("0", 0.0), ("3", 3.0), ("0.25", 0.25), ("'1s'", 1.0)],
)
def test_durations(text: str, seconds: float) -> None:
    """Durations are float seconds, whatever their unit."""
    assert settings_of(f"source: {{uri: x, every: {text}}}").source.every == seconds


def test_columns_merge() -> None:
    """Columns that are given go over the defaults and are the explicit ones; null un-maps."""
    columns = settings_of("source: x\ncolumns: {customer: payer, gender: null}").columns
    assert columns == Columns(customer="payer", gender=None)
    assert (columns.merchant, columns.category, columns.gender) == ("merchant", "category", None)
    assert columns.explicit == {"customer", "gender"}
    assert settings_of("source: x").columns.explicit == set()


@pytest.mark.parametrize(
    "written",
    [
        "[PatId1, {PatId2: {transactions: 20, average: 0.10}}]",
        "{PatId1: , PatId2: {transactions: 20, average: 0.10}}",
        "\n  - PatId1\n  - PatId2:\n      transactions: 20\n      average: 0.10",
    ],
)
def test_patterns(written: str) -> None:
    """All ways to write patterns mean the same; thresholds keep their digits."""
    first, second = settings_of(f"source: x\npatterns: {written}").patterns
    assert (first.ref, first.thresholds, second.ref) == ("PatId1", {}, "PatId2")
    assert second.thresholds == {"transactions": 20, "average": Decimal("0.10")}
    assert str(second.thresholds["average"]) == "0.10"
    assert type(second.thresholds["transactions"]) is int


def test_places() -> None:
    """Settings know where their values were written, for those who check them further."""
    text = "source: x\nfeatures:\n  big: count(*)\nlookups:\n  i: a.csv\npatterns:\n- PatId1\n- PatId2: {n: 1}\n"
    settings = settings_of(text, "features.small=min(amount)", "patterns.PatId2.m=2")
    assert settings.where("features", "big") == "tillwatch.yaml:3:8"
    assert settings.where("features", "small") == "--set features.small=min(amount)"
    assert settings.where("lookups", "i", "value") == "tillwatch.yaml:5:6"
    assert settings.where("columns", "gender") == "tillwatch.yaml"
    assert [choice.where for choice in settings.patterns] == ["tillwatch.yaml:7:3", "tillwatch.yaml:8:3"]
    assert settings.patterns[1].places == {"n": "tillwatch.yaml:8:15", "m": "--set patterns.PatId2.m=2"}


def test_yaml_words_are_texts() -> None:
    """What only older YAML takes for a boolean, a date or a number in base 60 is text, also as a key."""
    lookup = settings_of("source: x\nlookups: {i: {uri: a, on: {customer: no, merchant: 1:30}}}").lookups["i"]
    assert lookup.on == {"customer": "no", "merchant": "1:30"}


def test_aliases() -> None:
    """Anchors and aliases work."""
    settings = settings_of("source: {uri: a, every: &pace 5s}\ndetections: {linger: *pace}")
    assert settings.detections.linger == 5.0


def test_bytes_that_editors_leave() -> None:
    """A byte order mark and Windows line ends do no harm."""
    assert settings_of(b"\xef\xbb\xbfsource:\r\n  uri: x\r\n  rows: 7\r\n").source.rows == 7


# --set


@pytest.mark.parametrize(
    ("text", "override", "path", "value"),
    [
        ("source: x", "source.rows=500", "source.rows", 500),
        ("source: x", "source.every=0", "source.every", 0.0),
        ("source: {uri: x, rows: 5}", "source.rows=6", "source.rows", 6),
        ("source: x\nlanding:", "landing.format=csv", "landing.format", "csv"),
        ("source: x", "columns.gender=null", "columns.gender", None),
        ("source: x", "columns.gender=", "columns.gender", None),
        ("source: x", "detections={rows: 7}", "detections.rows", 7),
        ("source: x\nlookups: {i: a.csv}", "lookups.i.value=max(W)", "lookups.i.value", "max(W)"),
        ("source: x", "features.f=sum(amount) = 1", "features.f", "sum(amount) = 1"),
    ],
)
def test_overrides(text: str, override: str, path: str, value: object) -> None:
    """An override sets one key, also below a short form or a section that is not there."""
    found: object = settings_of(text, override).model_dump()
    for step in path.split("."):
        assert isinstance(found, dict)
        found = found[step]
    assert found == value


def test_override_replaces_a_whole_mapping(folder: Path) -> None:
    """A whole key can be set to its short form, and a later override goes over an earlier one."""
    settings = settings_of("source: {uri: a, rows: 5}", "source.rows=6", "source=./b", "source.every=2m")
    assert (settings.source.uri, settings.source.rows, settings.source.every) == (str(folder / "b"), 10_000, 120.0)


@pytest.mark.parametrize(
    ("patterns", "refs"),
    [
        ("", ["PatId1", "PatId2", "PatId3"]),
        ("patterns: [PatId2]", ["PatId2"]),
        ("patterns: [{PatId2: {other: 1}}, PatId1]", ["PatId2", "PatId1"]),
        ("patterns: {PatId3: , PatId2: }", ["PatId3", "PatId2"]),
    ],
)
def test_override_of_a_threshold(patterns: str, refs: list[str]) -> None:
    """A threshold can be set however the patterns are written, and their order stays."""
    chosen = settings_of(f"source: x\n{patterns}", "patterns.PatId2.transactions=20").patterns
    assert [choice.ref for choice in chosen] == refs
    assert next(c.thresholds["transactions"] for c in chosen if c.ref == "PatId2") == 20


def test_override_of_a_threshold_of_a_file(folder: Path) -> None:
    """A pattern file's name may have dots, and stays relative to the configuration that names it."""
    (folder / "etc").mkdir()
    (folder / "etc/c.yaml").write_text("source: x\npatterns: [./p.d/my.yaml]")
    (choice,) = load(Path("etc/c.yaml"), ["patterns../p.d/my.yaml.limit=1.50"], {}).patterns
    assert choice.path == folder / "etc/p.d/my.yaml"
    assert choice.thresholds == {"limit": Decimal("1.50")}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("source.rows=ten", "source.rows: found 'ten', expected a whole number from 1 to 1000000"),
        ("source.rwos=5", "source.rwos: unknown key; did you mean 'rows'?"),
        ("rows=5", f"rows: unknown key; expected one of {TOP_KEYS}"),
        ("source", "expected KEY=VALUE, such as source.rows=500"),
        ("=5", "expected KEY=VALUE, such as source.rows=500"),
        ("source..rows=5", "expected KEY=VALUE, such as source.rows=500"),
        ("source.uri.x=1", "cannot be set below 'x', which is at tillwatch.yaml:1:9"),
        ("patterns.Patid2.n=1", "patterns: 'Patid2' is not among the patterns; did you mean 'PatId2'?"),
        ("patterns.PatId2=5", "patterns.PatId2: found 5, expected a mapping"),
        ("source={a: 1, a: 2}", "the key 'a' is there twice, first at --set source={a: 1, a: 2}"),
    ],
)
def test_wrong_overrides(override: str, message: str) -> None:
    """A mistake in an override names the override instead of a place in the file."""
    assert f"--set {override}: {message}" in error_of("source: x", override).splitlines()


# The environment, and secrets


def test_environment(folder: Path) -> None:
    """${NAME} is replaced in texts, is a number where one is wanted, and $${ is a literal ${."""
    text = "source: {uri: 'in/${FILE}', rows: '${ROWS}', every: '${PACE}'}\nquarantine: a$${b}\nstate: ${ROWS}\n"
    text += "amounts: {negative: '${YES}'}\npatterns: ['${DIR}/p.yaml', {PatId2: {n: '${N}'}}]\n"
    environ = {"FILE": "x.csv", "ROWS": "7", "PACE": "2s", "YES": "true", "DIR": "d", "N": "0.50"}
    settings = settings_of(text, "features.f=sum(${N})", environ=environ)
    assert (settings.source.uri, settings.source.rows, settings.source.every) == (str(folder / "in/x.csv"), 7, 2.0)
    assert (settings.quarantine, settings.state) == (str(folder / "a${b}"), str(folder / "7"))
    assert settings.amounts.negative is True
    assert settings.patterns[0].path == folder / "d/p.yaml"
    assert str(settings.patterns[1].thresholds["n"]) == "0.50"
    assert settings.features == {"f": "sum(0.50)"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source: ${NOPE}/x", "tillwatch.yaml:1:9: the environment variable NOPE is not set; found ${NOPE}"),
        ("source: a${", "tillwatch.yaml:1:9: found '${' without a name and '}'; write $${ for a literal ${"),
        (
            "source: {uri: x, rows: '${WORD}'}",
            "tillwatch.yaml:1:24: source.rows: found '${WORD}' from the environment, "
            "expected a whole number from 1 to 1000000",
        ),
        (
            "source: x\nstate: ${DB}",
            "tillwatch.yaml:2:8: state: found '${DB}' from the environment, expected no password in it: it belongs "
            "into PGPASSWORD, or into a password file that PGPASSFILE or passfile= names and that is read again "
            "whenever a connection is made",
        ),
        (
            "source: ${BELL}",
            "tillwatch.yaml:1:9: the environment variable BELL holds control characters, or bytes that are not UTF-8",
        ),
    ],
)
def test_wrong_environment(text: str, message: str) -> None:
    """A mistake with a variable names the variable."""
    environ = {"WORD": "hunter2", "DB": "postgresql://u:hunter2@h/db", "BELL": "hunter2\a"}
    assert error_of(text, environ=environ) == message


def leaf_keys(model: type[Section] = Settings, prefix: str = "") -> Iterator[str]:
    """The dotted keys of all single values in a mapping of the configuration, and in those below it."""
    for key, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from leaf_keys(field.annotation, f"{prefix}{key}.")
        else:
            yield prefix + (field.alias or key)


@pytest.mark.parametrize("key", [*leaf_keys(), "source.nope", "lookups.i.on", "patterns.PatId2.n", "features.9"])
def test_no_error_shows_a_value_of_the_environment(key: str) -> None:
    """Wherever a variable is used, an error shows its name and not its value."""
    environ = {"SECRET": "postgresql://u:hunter2@h/?x=hunter2 "}
    overrides = ["engine=wrong", f"{key}=${{SECRET}}"]
    assert "hunter2" not in error_of("source: x\nlookups: {i: x}", *overrides, environ=environ)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("source: s3://${KEY}:hunter2@bucket", "1:9: source.uri"),
        ("source: s3://key:p@hunter2/x@bucket", "1:9: source.uri"),
        ("source: {uri: x, api_key: hunter2}", "1:27: source.api_key"),
        ("source: x\ndbPassword: hunter2", "2:13: dbPassword"),
        ("source: x\npassword: [hunter2]", "2:12: password"),
        ("source: 'https://h/c?sv=1&sig=hunter2'", "1:9: source.uri"),
        ("source: x\nlanding: {uri: 'AccountName=a;AccountKey=hunter2'}", "2:16: landing.uri"),
        ("source: x\nlookups: {i: {uri: ['s3://k:hunter2@b']}}", "2:21: lookups.i.uri"),
        ("source: x\npatterns: ['s3://k:hunter2@b/p.yaml']", "2:12: patterns.s3://k:***@b/p.yaml"),
        ("source: x\npatterns: {'s3://k:hunter2@b/p.yaml': 5}", "2:12: patterns.s3://k:***@b/p.yaml"),
        ("source: x\n's3://k:hunter2@b': 5", "2:1: s3://k:***@b"),
        ("source: 's3://bucket/AKIAHUNTER2ABCDEFGHI?hunter2'", "1:9: source.uri"),
        ("source: x\nlanding: 'az://container/p?sv=2024&sig=hunter2'", "2:10: landing.uri"),
    ],
)
def test_secrets_in_the_file(text: str, place: str) -> None:
    """A secret that stands in the file is refused, and not shown."""
    message = error_of(text, "patterns.Nope.n=1")
    assert f"tillwatch.yaml:{place}: {SECRET_SAID}" in message.splitlines()
    assert "hunter2" not in message


def test_a_password_in_the_place_of_the_state() -> None:
    """What is said of it does not lead to `${NAME}`, which is refused there too."""
    message = error_of("source: x\nstate: postgresql://bob:hunter2@h/db")
    assert "2:8: state: a secret must not stand in the configuration; remove it\n" in message
    assert "it belongs into PGPASSWORD" in message
    assert "hunter2" not in message and "${NAME}" not in message


def test_a_secret_in_the_place_of_a_variable_is_not_shown() -> None:
    """What is no name of a variable may be the secret itself."""
    hook = "outputs: {w: {format: webhook, uri: 'https://h/x', secret_env: hunter2+/==}}"
    message = error_of(f"source: x\n{hook}")
    assert "2:64: outputs.w.secret_env: found ***, expected the name of an environment variable" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "key", ["source", "landing", "quarantine", "state", "detections", "reports", "backtests", "lookups.i"]
)
@pytest.mark.parametrize("place", ["s3:/bucket/x", "postgresql:/h/x", "gs:bucket"])
def test_a_uri_that_lacks_a_slash_is_no_path(key: str, place: str) -> None:
    """It would be a folder of that name on this machine, where nobody looks."""
    scheme = place.partition(":")[0]
    message = error_of("source: x\nlookups: {i: x}", f"{key}={place}")
    assert f"found '{place}', expected {scheme}:// with two slashes" in message


@pytest.mark.parametrize(
    ("override", "shown"),
    [
        ("landing=s3://u:hunter2@b", "--set landing=s3://u:***@b: landing.uri"),
        ("source.password=hunter2", "--set source.password=***: source.password"),
        ("source={uri: x, token: hunter2}", "--set source=***: source.token"),
    ],
)
def test_secrets_in_an_override(override: str, shown: str) -> None:
    """A secret on the command line is refused as well, and not shown."""
    message = error_of("source: x", override)
    assert f"{shown}: {SECRET_SAID}" in message.splitlines()
    assert "hunter2" not in message


@pytest.mark.parametrize("text", ["&hunter2", "*hunter2", "!hunter2", "!!hunter2 x", "password:hunter2", "'hunter2"])
@pytest.mark.parametrize("before", ["", "source: x\npassword: "])
def test_broken_yaml_shows_no_secret(text: str, before: str) -> None:
    """Also when the file is not YAML because of a secret, the secret is not shown."""
    assert "hunter2" not in error_of(before + text)


def test_secrets_from_the_environment() -> None:
    """The same URI with the password from the environment is taken."""
    settings = settings_of("source: 's3://${U}:${P}@bucket/x?token=${T}'", environ={"U": "u", "P": "p", "T": "t"})
    assert settings.source.uri == "s3://u:p@bucket/x?token=t"
    assert masked(settings.source.uri) == "s3://u:***@bucket/x?token=***"


# Wrong files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{s}\n  rows: ten", "3:9: source.rows: found 'ten', expected a whole number from 1 to 1000000"),
        ("{s}\n  rows: 0", "3:9: source.rows: found 0, expected a whole number from 1 to 1000000"),
        ("{s}\n  rows: 1000001", "3:9: source.rows: found 1000001, expected a whole number from 1 to 1000000"),
        ("{s}\n  rows: 1.5", "3:9: source.rows: found 1.5, expected a whole number from 1 to 1000000"),
        ("{s}\n  rows: true", "3:9: source.rows: found true, expected a whole number from 1 to 1000000"),
        ("{s}\n  rows: '5'", "3:9: source.rows: found '5', expected a whole number from 1 to 1000000"),
        ("{s}\n  rows: [5]", "3:9: source.rows: found a list, expected a whole number from 1 to 1000000"),
        ("{s}\n  rows:", "3:8: source.rows: found nothing, expected a whole number from 1 to 1000000"),
        (
            "{s}\n  every: 1h",
            "3:10: source.every: found '1h', expected a duration from 0 to 1 day such as 500ms, 1s, 2m; "
            "a plain number is seconds",
        ),
        (
            "{s}\n  every: -1",
            "3:10: source.every: found -1, expected a duration from 0 to 1 day such as 500ms, 1s, 2m; "
            "a plain number is seconds",
        ),
        ("{s}\n  format: xml", "3:11: source.format: found 'xml', expected one of auto, csv, jsonl, parquet"),
        (
            "{s}\n  delimiter: '::'",
            "3:14: source.delimiter: found '::', "
            "expected one ASCII character other than a quote or line break, such as ',' or \"\\t\"",
        ),
        ("{s}\n  rwos: 5", "3:3: source.rwos: unknown key; did you mean 'rows'?"),
        ("sorce: x\n{s}", "1:1: sorce: unknown key; did you mean 'source'?"),
        ("{s}\n9: x", f"3:1: 9: unknown key; expected one of {TOP_KEYS}"),
        ("source: [x]", "1:9: source: found a list, expected a path or URI, or a mapping"),
        ("source:", "1:8: source: found nothing, expected a path or URI, or a mapping"),
        ("source: ''", "1:9: source.uri: found '', expected a path or URI"),
        ("source: 5", "1:9: source.uri: found 5, expected a text; put it in quotes"),
        ("source: {rows: 5}", "1:9: source.uri: is missing; expected a path or URI"),
        (
            "engine: embedded",
            "1:1: source: is missing; expected a path or URI, such as source: ./transactions.csv",
        ),
        (
            "{s}\ncolumns: {amount: null}",
            "3:19: columns.amount: found null, expected a column name, or {sql: EXPRESSION}",
        ),
        (
            "{s}\ncolumns: {amount: ''}",
            "3:19: columns.amount: found '', expected a column name, or {sql: EXPRESSION}",
        ),
        (
            "{s}\ncolumns: {zone: {sq: x}}",
            "3:17: columns.zone: found a mapping, expected a column name, or {sql: EXPRESSION}",
        ),
        (
            "{s}\ncolumns: {id: x}",
            "3:11: columns: found the key 'id', expected a name of at most 30 letters, digits and _, starting with a "
            "letter, not id or value",
        ),
        ("{s}\ncolumns: {Zone: x, zone: y}", "3:10: columns: there are two columns 'zone', which differ in case only"),
        ("{s}\ncolumns: {time: 5}", "3:17: columns.time: found 5, expected a text; put it in quotes"),
        (
            "{s}\ncolumns: {amont: x}",
            "3:11: columns: found the key 'amont', expected a name that cannot be taken for 'amount': did you mean "
            "that?",
        ),
        ("{s}\ncolumns: step", "3:10: columns: found 'step', expected a mapping"),
        (
            "{s}\ncolumns: {customer: merchant}",
            "3:10: columns: customer, merchant and amount must be three different columns",
        ),
        ("{s}\namounts: {digits: 7}", "3:19: amounts.digits: found 7, expected a whole number from 0 to 6"),
        ("{s}\namounts: {negative: yes}", "3:21: amounts.negative: found 'yes', expected true or false"),
        (
            "{s}\nlookups: {9x: a}",
            "3:11: lookups: found the key '9x', expected a name of letters, digits and _, not starting with a digit",
        ),
        ("{s}\nlookups: {i: }", "3:13: lookups.i: found nothing, expected a path or URI, or a mapping"),
        ("{s}\nlookups: {i: {value: x}}", "3:14: lookups.i.uri: is missing; expected a path or URI"),
        ("{s}\nlookups: {i: {uri: x, vale: y}}", "3:23: lookups.i.vale: unknown key; did you mean 'value'?"),
        (
            "{s}\nlookups: {i: {uri: x, on: {merchnt: y}}}",
            "3:28: lookups.i.on: found the key 'merchnt', expected a name that cannot be taken for 'merchant': did you "
            "mean that?",
        ),
        (
            "{s}\nlookups: {i: {uri: x, on: {}}}",
            "3:27: lookups.i.on: found an empty mapping, expected at least one entry",
        ),
        ("{s}\nlookups: [x]", "3:10: lookups: found a list, expected a mapping"),
        (
            "{s}\nfeatures: {f: 5}",
            "3:15: features.f: found 5, expected a text; put it in quotes",
        ),
        ("{s}\nlanding: {format: xml}", "3:19: landing.format: found 'xml', expected one of parquet, csv"),
        ("{s}\nquarantine: {uri: x}", "3:13: quarantine: found a mapping, expected a path or URI"),
        (
            "{s}\nstate: postgresql://host/db?schema=My-Bank",
            "3:8: state: found 'postgresql://host/db?schema=My-Bank', expected one schema=NAME of at most 63 lower "
            "case letters, digits and _, not starting with a digit or pg_",
        ),
        (
            "{s}\nstate: mysql://host/db",
            "3:8: state: found 'mysql://host/db', expected the path of a file, sqlite:///PATH, or postgresql://HOST/DATABASE?schema=NAME",
        ),
        (
            "{s}\nstate: sqlite://data.db",
            "3:8: state: found 'sqlite://data.db', expected the path of a file, sqlite:///PATH, or postgresql://HOST/DATABASE?schema=NAME",
        ),
        ("{s}\nstate: ./data/", "3:8: state: found './data/', expected the path of a file, sqlite:///PATH, or postgresql://HOST/DATABASE?schema=NAME"),
        ("{s}\ndetections: {rows: 0}", "3:20: detections.rows: found 0, expected a whole number from 1 up"),
        (
            "{s}\ndetections: {timezone: Asia/Calcuta}",
            "3:24: detections.timezone: found 'Asia/Calcuta', expected an IANA time zone such as Asia/Kolkata",
        ),
        (
            "{s}\ndetections: {timezone: ../x}",
            "3:24: detections.timezone: found '../x', expected an IANA time zone such as Asia/Kolkata",
        ),
        (
            "{s}\noutputs: {a: {uri: ./x}}",
            "3:14: outputs.a.format: is missing; expected one of jsonl, parquet, delta, webhook",
        ),
        (
            "{s}\noutputs: {a: {format: kafka, uri: x}}",
            "3:23: outputs.a.format: found 'kafka', expected one of jsonl, parquet, delta, webhook",
        ),
        ("{s}\noutputs: {a: ./x}", "3:14: outputs.a: found './x', expected a mapping"),
        ("{s}\noutputs: {a: {format: jsonl}}", "3:14: outputs.a.uri: is missing; expected a path or URI"),
        ("{s}\noutputs: {a: {format: jsonl, ur: x, uri: x}}", "3:30: outputs.a.ur: unknown key; did you mean 'uri'?"),
        (
            "{s}\noutputs: {a: {format: jsonl, uri: x, secret_env: S}}",
            "3:14: outputs.a: only a webhook has a secret; remove secret_env",
        ),
        (
            '{s}\noutputs: {a: {format: webhook, uri: "https://h/x"}}',
            "3:14: outputs.a: a webhook needs secret_env or secret_file, and not both",
        ),
        (
            '{s}\noutputs: {a: {format: webhook, uri: "http://h/x", secret_env: S}}',
            "3:14: outputs.a: the uri of a webhook must begin with https:// and name a host; "
            "http:// is for this machine only",
        ),
        ("{s}\nengine: flink", "3:9: engine: found 'flink', expected one of embedded, spark"),
        (
            "{s}\nspark: {buckets: 0}",
            "3:18: spark.buckets: found 0, expected a whole number from 1 to 10000, or null for as many as there are "
            "cores",
        ),
        (
            "{s}\nspark: {conf: {spark.ui.enabled: [1]}}",
            "3:34: spark.conf.spark.ui.enabled: found a list, expected a text, a number, true or false",
        ),
        (
            "{s}\npatterns: PatId1",
            "3:11: patterns: found 'PatId1', expected a list such as [PatId1, ./my-patterns/], "
            "or a mapping of these to thresholds",
        ),
        (
            "{s}\npatterns: []",
            "3:11: patterns: at least one pattern is needed; without the key it is the three built in",
        ),
        ("{s}\npatterns: [PatId1, PatId1]", "3:20: patterns: 'PatId1' is there twice, first at tillwatch.yaml:3:12"),
        (
            "{s}\npatterns:\n- PatId2:\n  transactions: 20",
            "4:3: patterns: found a mapping of 2 keys, expected an id, a file, a folder, or one of these with "
            "thresholds below it, such as {PatId2: {transactions: 20}}",
        ),
        (
            "{s}\npatterns: [7]",
            "3:12: patterns: found 7, expected an id, a file, a folder, or one of these with "
            "thresholds below it, such as {PatId2: {transactions: 20}}",
        ),
        ("{s}\npatterns: {PatId1: 5}", "3:20: patterns.PatId1: found 5, expected a mapping"),
        ("{s}\npatterns: [{PatId2: {n: ten}}]", "3:25: patterns.PatId2.n: found 'ten', expected a number"),
        ("{s}\npatterns: [{PatId2: {n: .inf}}]", "3:25: patterns.PatId2.n: found '.inf', expected a number"),
        ("{s}\npatterns: [{PatId2: {n: true}}]", "3:25: patterns.PatId2.n: found true, expected a number"),
        ("{s}\nsource: y", "3:1: the key 'source' is there twice, first at tillwatch.yaml:1:1"),
        ("{s}\n  uri: y", "3:3: the key 'uri' is there twice, first at tillwatch.yaml:2:3"),
        ("{s}\n[a]: y", "3:1: found a list as a key, expected a text"),
        ("{s}\nstate: !!str x", "3:8: a YAML tag (!…) is not allowed; put text that starts with ! in quotes"),
        (
            "{s}\nstate: !!python/object/apply:os.system [ls]",
            "3:8: a YAML tag (!…) is not allowed; put text that starts with ! in quotes",
        ),
        ('{s}\nstate: "a\\0b"', "3:8: a character that is not text: NUL, or half a surrogate pair"),
        ('{s}\nstate: "a\\ud800b"', "3:8: a character that is not text: NUL, or half a surrogate pair"),
        ("a: b: c", "1:5: not valid YAML: mapping values are not allowed here; look at the indentation, quotes "
         "and brackets up to here"),
        ("{s}\n\tstate: x", "3:1: not valid YAML: a tab; indent with spaces"),
        (
            "source: {uri: ${X}}",
            "1:16: not valid YAML: between { } and [ ], text that holds a bracket must be in quotes",
        ),
        ("{s}\nstate: *x", "3:8: not valid YAML: a wrong alias, anchor or tag; put text that starts with *, & or ! "
         "in quotes"),
        ("{s}\n---\na: b", "3:1: a second YAML document (after '---'); expected one"),
        ('source: "\\U99999999"', "1:12: not valid YAML: a number or escape out of range"),
        ("source: x\0", "1:10: a character that YAML does not allow (#x0000)"),
        ("a: &a [*a]", "1:4: nested deeper than 20 levels, or an alias that contains itself"),
        ("[" * 5000, "1:21: nested deeper than 20 levels, or an alias that contains itself"),
        ("- {s: x}", f"1:1: found a list, expected a mapping. {SMALLEST_SHOWN}"),
        ("hello", f"1:1: found a text, expected a mapping. {SMALLEST_SHOWN}"),
        (b"\x89PNG\r\n\x1a\n\0", "1:1: is not UTF-8 text (byte 0x89)"),
        (b"source: x\nstate: \xff", "2:8: is not UTF-8 text (byte 0xff)"),
    ],
)  # fmt: skip
def test_wrong_files(text: str | bytes, message: str) -> None:
    """A mistake is told with its place, what was found and what was expected, and nothing else is."""
    if isinstance(text, str):
        text = text.replace("{s}", "source:\n  uri: x")
    assert error_of(text) == f"tillwatch.yaml:{message}"


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "null"])
def test_empty_files(text: str) -> None:
    """An empty file is told, with the smallest configuration."""
    assert error_of(text) == f"tillwatch.yaml: is empty. {SMALLEST_SHOWN}"


def test_the_smallest_configuration_shown_is_one() -> None:
    """What is shown as the smallest configuration loads."""
    shown = error_of("").partition("is:\n\n")[2]
    assert settings_of(shown).lookups.keys() == {"importance"}


def test_files_that_cannot_be_read(folder: Path) -> None:
    """A missing file, a folder and a far too large file are told."""
    with pytest.raises(ConfigError) as caught:
        load(Path("nope.yaml"), (), {})
    assert str(caught.value) == f"nope.yaml: there is no such file. {SMALLEST_SHOWN}"
    with pytest.raises(ConfigError, match=r": cannot be read: Is a directory$"):
        load(folder, (), {})
    assert error_of("# " + "x" * 300_000) == "tillwatch.yaml: is over 256 KiB; expected a configuration in YAML"


def test_all_mistakes_at_once() -> None:
    """All mistakes of the file, the environment and the overrides are told together, in the file's order."""
    text = "engine: flink\nstate: ${NOPE}\nsource:\n  rows: ten\n  uri: x\n  uri: y\npatterns: [5]\npassword: x"
    told = error_of(text, "landing.format=xml", "oops").splitlines()
    assert [line.partition(": ")[0] for line in told] == [
        "tillwatch.yaml:1:9",
        "tillwatch.yaml:2:8",
        "tillwatch.yaml:4:9",
        "tillwatch.yaml:6:3",
        "tillwatch.yaml:7:12",
        "tillwatch.yaml:8:1",
        "tillwatch.yaml:8:11",
        "--set oops",
        "--set landing.format=xml",
    ]


def test_billion_laughs() -> None:
    """A file whose aliases expand to very many values is refused at once."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert error_of("\n".join(lines)).endswith(": more than 10000 values")


# Any text

WORDS = st.sampled_from(
    (
        "source", "uri", "rows", "every", "columns", "gender", "lookups", "importance", "on", "customer",
        "value", "patterns", "PatId1", "PatId2", "features", "state", "detections", "timezone", "engine",
        "spark", "landing", "1s", "Asia", "Asia/Kolkata", "x.yaml", "${HOME}", "${NOPE}", "$${",
        "s3://u:p@h", "sqlite:///x", "\0", "",
    )
)  # fmt: skip
LEAVES = WORDS | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), below, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all examples of a property."""
    return tmp_path_factory.mktemp("any") / "tillwatch.yaml"


def loads_or_refuses(path: Path, content: bytes, overrides: list[str]) -> None:
    path.write_bytes(content)
    try:
        settings = load(path, overrides, {"HOME": "/home/x"})
    except ConfigError as error:
        assert str(error).strip()
        str(error).encode()
    else:
        assert isinstance(settings, Settings)


@settings(deadline=None)
@given(text=st.text(), override=st.text(max_size=20))
@example(text="%YAML 1." + "9" * 5000 + "\n---\na: b", override="")
@example(text="source: x\nstate: " + "9" * 5000, override="source.every=1e99")
@example(text="source: x\n? {a: b}\n: c", override="patterns=1")
@example(text="source: x\npatterns: [{[a]: b}]", override="patterns.x=1")
def test_any_text(config_file: Path, text: str, override: str) -> None:
    """Any text gives Settings or a ConfigError that can be printed, with any override."""
    loads_or_refuses(config_file, text.encode("utf-8", "surrogatepass"), ["source.rows=5", override])


@settings(deadline=None)
@given(tree=st.dictionaries(WORDS, TREES, max_size=5), key=st.lists(WORDS, min_size=1, max_size=3), value=TREES)
def test_any_tree(config_file: Path, tree: dict[str, object], key: list[str], value: object) -> None:
    """Any tree of values gives Settings or a ConfigError, with any key set to any value."""
    text = yaml.safe_dump({"source": "x", **tree}, sort_keys=False)
    flow = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    loads_or_refuses(config_file, text.encode("utf-8", "surrogatepass"), [f"{'.'.join(key)}={flow}"])


@settings(deadline=None)
@given(content=st.binary())
def test_any_bytes(config_file: Path, content: bytes) -> None:
    """Any bytes give Settings or a ConfigError."""
    loads_or_refuses(config_file, content, [])


# YAML with places, for pattern files too


def test_parse_yaml_places() -> None:
    """Every value and every key knows its line and column, also in lists and on one line."""
    root = parse_yaml("a:\n- {b: 1, c: [x, y]}\n", "p.yaml")
    assert isinstance(root, MapNode)
    assert str(root.keys["a"]) == "p.yaml:1:1"
    assert str(root.find("a", 0, "c", 1).place) == "p.yaml:2:17"
    assert str(root.find("a", 0, "nope", "x").place) == "p.yaml:2:3"
    assert root.plain() == {"a": [{"b": 1, "c": ["x", "y"]}]}


def test_parse_yaml_tells_all_duplicates() -> None:
    """Mistakes that YAML allows are told together."""
    with pytest.raises(ConfigError) as caught:
        parse_yaml("a: 1\na: 2\nb: {c: 1, c: 2}\n", "p.yaml")
    assert str(caught.value).splitlines() == [
        "p.yaml:2:1: the key 'a' is there twice, first at p.yaml:1:1",
        "p.yaml:3:11: the key 'c' is there twice, first at p.yaml:3:5",
    ]


def test_columns_of_ones_own() -> None:
    """Any other key of `columns` is a text column, after those of the language; a column may be worked out by SQL."""
    columns = settings_of(
        "source: x\ncolumns: {zone: z, amount: {sql: price * quantity}, device: device_id, merchant: null}\n"
    ).columns
    assert columns.keys == ("customer", "merchant", "category", "gender", "zone", "device")
    assert columns.mapped == {
        "customer": "customer",
        "category": "category",
        "gender": "gender",
        "zone": "z",
        "device": "device_id",
        "amount": Sql("price * quantity"),
    }
    assert columns.explicit == {"zone", "amount", "device", "merchant"}
    assert Columns().keys == STANDARD_KEYS


# The reference page, and imports


def test_every_key_is_in_the_reference() -> None:
    """The page has a row with a type and a meaning for every key."""
    page = reference_markdown()
    for key in leaf_keys():
        row = next(line for line in page.splitlines() if line.startswith((f"| `{key}`", f"| [`{key}`]")))
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4
        assert all(cells)


def test_import_is_light() -> None:
    """Reading the configuration brings in pydantic and yaml, and none of the heavy libraries."""
    code = "import sys, tillwatch.config as c; print(*{m.partition('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"pydantic", "yaml"} <= set(loaded)
    assert not {"polars", "numpy", "sqlglot", "duckdb", "click", "rich", "difflib"} & set(loaded)
