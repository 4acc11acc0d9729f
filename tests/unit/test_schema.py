"""The JSON Schemas that editors complete and check YAML by: they say what `check` says of the shape of a file."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tillwatch.cli.app import app
from tillwatch.config import load
from tillwatch.config.kinds import Kind
from tillwatch.config.reference import FULL
from tillwatch.config.schema import config_schema, schema_of
from tillwatch.config.yaml import parse_yaml
from tillwatch.errors import ConfigError, PatternError
from tillwatch.patterns.catalogue import built_in, read_pattern
from tillwatch.patterns.fields import FIELDS, pattern_schema

CONFIG, PATTERN = Draft202012Validator(config_schema()), Draft202012Validator(pattern_schema())
HEAD = "id: P\naction: A\nper: [customer, merchant]\nwhen: transactions > 1\n"
EXAMPLE = HEAD + "examples:\n- {{name: n, rows: [{{customer: A}}], expect: none{}}}\n"


def plain(text: str) -> Any:
    """A YAML text as a validator takes it."""
    return json.loads(json.dumps(parse_yaml(text, "x.yaml").plain(), default=float))


def config_error(text: str, folder: Path) -> str:
    """What `load` says of a configuration, empty when it is right."""
    (folder / "tillwatch.yaml").write_text(text, "utf-8")
    try:
        load(folder / "tillwatch.yaml", (), {"NAME": "1", "BANK_HOOK_SECRET": "s"})
    except ConfigError as error:
        return str(error)
    return ""


def pattern_error(text: str) -> str:
    """What is said of a pattern file, empty when it is right."""
    try:
        read_pattern(text, "p.yaml")
    except PatternError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("kind", "schema"), [("config", config_schema), ("pattern", pattern_schema)])
def test_the_command_prints_a_schema(kind: str, schema: Any) -> None:
    """`tillwatch schema` prints what is generated, and that is a JSON Schema."""
    result = CliRunner().invoke(app, ["schema", kind])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads(json.dumps(schema()))
    Draft202012Validator.check_schema(schema())


def test_a_kind_of_value_without_a_schema_is_told() -> None:
    """No value of the configuration can be anything at all for an editor by mistake."""
    with pytest.raises(TypeError, match="no JSON Schema is known for 'a colour'"):
        schema_of(Kind("a colour", str))


def test_every_field_of_a_pattern_is_described() -> None:
    """The schema of pattern files has the fields that are read, with the words for them."""
    properties = pattern_schema()["properties"]
    assert list(properties) == list(FIELDS)
    assert all(field["description"] for field in properties.values())


def test_the_whole_configuration_fits() -> None:
    """The configuration with everything said, and the smallest one, are what the schema says."""
    CONFIG.validate(plain(FULL))
    CONFIG.validate(plain("source: ./x.csv"))


@pytest.mark.parametrize("name", sorted(built_in()))
def test_the_catalogue_fits(name: str) -> None:
    """Every built-in pattern is what the schema says."""
    PATTERN.validate(plain(built_in()[name]))


@pytest.mark.parametrize(
    "text",
    [
        "rows: 5",
        "source: 5",
        "source:",
        "source: [a]",
        "source: s3:bucket",
        "source: {rows: 5}",
        "source: {uri: x, rows: 0}",
        "source: {uri: x, rows: ten}",
        "source: {uri: x, row: 5}",
        "source: {uri: x, every: soon}",
        "source: {uri: x, every: -1}",
        "source: {uri: x, format: xml}",
        "source: {uri: x, delimiter: ab}",
        "source: x\ncolumns: {amount: null}",
        "source: x\ncolumns: [customer]",
        "source: x\namounts: {negative: maybe}",
        "source: x\namounts: {digits: 7}",
        "source: x\nlookups: {1st: x}",
        "source: x\nlookups: {a: }",
        "source: x\nlookups: {a: {uri: x, on: {}}}",
        "source: x\nlookups: {a: {uri: x, value: 7}}",
        "source: x\nfeatures: {f: [a]}",
        "source: x\nlanding: {keep: soon}",
        "source: x\noutputs: {a: ./x}",
        "source: x\noutputs: {a: {uri: x}}",
        "source: x\nengine: flink",
        "source: x\nspark: {buckets: 0}",
        "source: x\nspark: {conf: {a: [1]}}",
        "source: x\nalerts: {chanels: {}}",
        "source: x\nalerts: {channels: {a: 5}}",
        "source: x\nalerts: {lag: 0}",
        "source: x\nalerts: {lag: {ovr: 5}}",
        "source: x\nalerts: {file_failed: maybe}",
        "source: x\nalerts: {no_new_chunk: soon}",
        "source: x\nalerts: {quarantine_share: 0.05}",
        "source: x\nalerts: {unreachable: {after: 1s, channels: []}}",
        "source: x\nalerts: {detections: PatId1}",
        "source: x\npatterns: PatId1",
        "source: x\npatterns: []",
        "source: x\npatterns: [7]",
        "source: x\npatterns: [PatId1, PatId1]",
        "source: x\npatterns: [{PatId2: {n: ten}}]",
        "source: x\npatterns: [{PatId2: {n: 1}, PatId3: }]",
        "source: x\npatterns: {PatId1: 5}",
        "[a]",
        "text",
    ],
)
def test_a_wrong_configuration_is_refused_by_both(text: str, tmp_path: Path) -> None:
    """What `check` refuses for its shape, an editor marks."""
    assert config_error(text, tmp_path)
    assert not CONFIG.is_valid(plain(text))


@pytest.mark.parametrize(
    "text",
    [
        "source: {uri: x, rows: '${NAME}', every: 1.5}\namounts: {negative: false}",
        "source: s3://bucket/prefix\nlanding: az://c/p",
        "source: {uri: x, delimiter: ';'}\ncolumns: {gender: null, time: null}",
        "source: x\nlookups: {a: ./a.csv, b: {uri: ./b.csv, on: {customer: C}, value: count(*)}}",
        "source: x\nlanding: {uri: ./l, keep: 30d}\ndetections: ./d\nreports: null",
        "source: x\npatterns: {PatId1: , ./mine/: {a: 1.5, b: '${NAME}'}}",
        "source: x\npatterns: [PatId1, ./p.yaml, PatId2: {transactions: 3}]",
        "source: x\nalerts: {channels: {a: 'json://h/x'}, lag: 5, no_new_chunk: 10min, detections: [PatId1]}",
        "source: x\nalerts: {lag: {over: '${NAME}'}, unreachable: {after: 90}, quarantine_share: '2.5%', settle: 0}",
        "source: x\nalerts: {file_failed: false, lag: null, detections: {PatId1: , PatId2: [a]}, digest: 2 h}",
        "source: x\nspark: {conf: {a: 1, b: true, c: x}, buckets: null, master: null}",
        "source: file:///x\nstate: postgresql://host/db?schema=s",
    ],
)
def test_a_right_configuration_is_taken_by_both(text: str, tmp_path: Path) -> None:
    """Short forms, nulls and variables are no mistakes for an editor either."""
    assert config_error(text, tmp_path) == ""
    CONFIG.validate(plain(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a",
        "id: P",
        HEAD + "whne: x",
        HEAD.replace("id: P", "id: [P]"),
        HEAD.replace("id: P", "id: ' '"),
        HEAD.replace("action: A", "action:"),
        HEAD.replace("[customer, merchant]", "[]"),
        HEAD.replace("[customer, merchant]", "[9shop]"),
        HEAD.replace("[customer, merchant]", "[merchant, merchant]"),
        HEAD.replace("[customer, merchant]", "5"),
        HEAD + "thresholds: [1]",
        HEAD + "thresholds: {a: many}",
        HEAD + "thresholds: {a: true}",
        HEAD + "features: {f: 5}",
        HEAD + "features:",
        HEAD + "runbook: [x]",
        HEAD + "examples: {a: b}",
        HEAD + "examples: [a]",
        HEAD + "examples: [{name: n}]",
        EXAMPLE.format(", more: 1"),
        EXAMPLE.format(", with: [1]"),
        EXAMPLE.replace("none", "").format(""),
        EXAMPLE.replace("none", "{{}}").format(""),
        EXAMPLE.replace("[{{customer: A}}]", "[]").format(""),
        EXAMPLE.replace("[{{customer: A}}]", "5").format(""),
        EXAMPLE.replace("[{{customer: A}}]", "[[A]]").format(""),
        EXAMPLE.replace("customer: A", "customer: [A]").format(""),
    ],
)
def test_a_wrong_pattern_is_refused_by_both(text: str) -> None:
    """What is refused of a pattern file for its shape, an editor marks."""
    assert pattern_error(text)
    assert not PATTERN.is_valid(plain(text))


@pytest.mark.parametrize(
    "text",
    [
        HEAD,
        HEAD.replace("id: P", "id: 5") + "title: 5\nrunbook: |\n  Look.\n",
        HEAD.replace("[customer, merchant]", "merchant"),
        HEAD + "thresholds: {a: 1, b: 0.5}\nfeatures: {f: count(*)}",
        HEAD + "examples: []",
        EXAMPLE.format(""),
        EXAMPLE.replace("none", "[{{customer: A, chunk: 0}}]").format(", with: {}"),
        EXAMPLE.replace("[{{customer: A}}]", "'customer, times\n\n    A#, 3'").format(""),
        EXAMPLE.replace("customer: A", "customer: , amount: 5, times: 3, gender: true").format(""),
    ],
)
def test_a_right_pattern_is_taken_by_both(text: str) -> None:
    """What is taken of a pattern file is right for an editor too."""
    assert pattern_error(text) == ""
    PATTERN.validate(plain(text))


VALUES = st.sampled_from(
    ["x", "", " ", "1s", "30d", "./x", "s3:x", "${NAME}", "PatId1", 0, 1, -1, 2.5, 10**7, True, None, [], ["x"], {}]
)
KEYS = st.sampled_from(["uri", "rows", "more", "format", "customer", "on", "x y"])


@st.composite
def changed(draw: st.DrawFn, tree: Any) -> Any:
    """The tree with one value replaced, removed or added somewhere."""
    tree = deepcopy(tree)
    node, steps = tree, draw(st.integers(0, 3))
    for _ in range(steps):
        inner = [v for v in (node.values() if isinstance(node, dict) else node) if isinstance(v, dict | list) and v]
        if not inner:
            break
        node = draw(st.sampled_from(inner))
    if isinstance(node, list):
        node[draw(st.integers(0, len(node) - 1))] = draw(VALUES)
        return tree
    key = draw(st.sampled_from([*node]) | KEYS)
    if key in node and draw(st.booleans()):
        del node[key]
    else:
        node[key] = draw(VALUES)
    return tree


SHAPE = re.compile(r"unknown key|is missing|expected a mapping|a list such as|expected true or false|expected one of")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed(parse_yaml(FULL, "full").plain()))
def test_schema_and_check_agree_on_changed_configurations(tmp_path: Path, tree: Any) -> None:
    """What `check` takes an editor takes, and what it refuses for its shape an editor marks."""
    text = json.dumps(tree, default=str)
    error, fits = config_error(text, tmp_path), CONFIG.is_valid(plain(text))
    if not error:
        assert fits, list(CONFIG.iter_errors(plain(text)))
    if SHAPE.search(error) and "from the environment" not in error:
        assert not fits, error


@settings(max_examples=120, deadline=None)
@given(changed(parse_yaml(built_in()["PatId2"], "p").plain()))
def test_schema_and_reader_agree_on_changed_patterns(tree: Any) -> None:
    """The same for pattern files."""
    text = json.dumps(tree, default=lambda number: float(number) if isinstance(number, Decimal) else str(number))
    error, fits = pattern_error(text), PATTERN.is_valid(plain(text))
    if not error:
        assert fits, list(PATTERN.iter_errors(plain(text)))
    if re.search(r"unknown field|lacks|expected a mapping|expected a list|expected names|expected text", error):
        assert not fits, error
