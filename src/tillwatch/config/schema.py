"""The JSON Schema of the configuration, written from the models, for editors that complete and check YAML.

It says what a file looks like: its keys, and the kind of each value. What depends on other keys, on files or on the
environment is for `tillwatch check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from tillwatch.config import kinds
from tillwatch.config.kinds import Kind
from tillwatch.config.section import Section
from tillwatch.config.settings import Columns, Lookup, PatternChoice, Settings
from tillwatch.config.shape import SHORT

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NAME = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}
_DURATION = {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m)$"}
_SCHEMES = ["abfss", "az", "file", "gdrive", "gs", "s3", "postgres", "postgresql", "sqlite"]
_ANY_CASE = "|".join("".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in scheme) for scheme in _SCHEMES)
_PLACE_PATTERN: Mapping[str, Any] = {**kinds.TEXT, "not": {"pattern": rf"^({_ANY_CASE}):(?!//)"}}
_NULL = {"type": "null"}

_DEFINED: Mapping[str, Any] = {
    "place": _PLACE_PATTERN,
    "variable": {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}", "description": "From the environment."},
}
_VARIABLE = {"$ref": "#/$defs/variable"}
"""What any value may be instead: a text with `${NAME}` in it."""

_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    kinds.FLAG.words: {"type": "boolean"},
    kinds.NAME.words: _NAME,
    kinds.NUMBER.words: {"type": "number"},
    kinds.SECONDS.words: {"anyOf": [{"type": "number", "minimum": 0, "maximum": kinds.DAY}, _DURATION]},
    kinds.REFRESH.words: {
        "anyOf": [
            {"enum": [kinds.AUTO, None]},
            {"type": "number", "minimum": 0, "maximum": kinds.DAY},
            {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h)$"},
        ]
    },
    kinds.LATENESS.words: {
        "anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": r"^[0-9]{1,15}(\.[0-9]{1,6})?( ?[A-Za-z]+)?$"},
            _VARIABLE,
        ]
    },
    kinds.DAYS.words: {"anyOf": [{"type": "string", "pattern": "^[1-9][0-9]{0,4}d$"}, _NULL]},
    kinds.IDS.words: {"type": "array", "items": kinds.TEXT},
    kinds.DELIMITER.words: {"type": "string", "pattern": r"""^[^"'\r\n\u0000\u0080-\uffff]$"""},
    kinds.TIMEZONE.words: kinds.TEXT,
    kinds.PLACE.words: {"$ref": "#/$defs/place"},
    kinds.OPTIONAL_PLACE.words: {"anyOf": [{"$ref": "#/$defs/place"}, _NULL]},
    kinds.VARIABLE.words: {"anyOf": [_NAME, _NULL]},
    kinds.TABLE.words: {"anyOf": [{"type": "string", "pattern": r"^[^\s.0-9][^\s.]*(\.[^\s.0-9][^\s.]*)?$"}, _NULL]},
    kinds.STATE.words: {"$ref": "#/$defs/place"},
    kinds.BUCKETS.words: {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 10_000}, _NULL]},
    kinds.CONF_VALUE.words: {"type": ["string", "number", "boolean"]},
}
"""What can be said of single kinds, by their words."""


def config_schema() -> dict[str, Any]:
    """The JSON Schema of `tillwatch.yaml`."""
    return {
        "$schema": DIALECT,
        "title": "The configuration of a tillwatch pipeline",
        **_section(Settings),
        "$defs": _DEFINED,
    }


def _section(model: type[Section]) -> dict[str, Any]:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    required = [name for name, field in fields.items() if field.is_required()]
    own = model is Columns
    return {
        "type": "object",
        "additionalProperties": schema_of(kinds.OPTIONAL_COLUMN) if own else False,
        **({"propertyNames": schema_of(kinds.KEY_NAME)} if own else {}),
        **({"required": required} if required else {}),
        "properties": {name: _field(name, field) for name, field in fields.items()},
    }


def _field(name: str, field: FieldInfo) -> dict[str, Any]:
    if name == "patterns":
        schema = _patterns(field)
    elif name == "require":
        schema = {"anyOf": [_NAME, {"type": "array", "uniqueItems": True, "items": _NAME}, _value(field.annotation)]}
    else:
        schema = _value(field.annotation, field.metadata)
        if name in SHORT and _is_section(field.annotation):  # and no value of the same name within a section
            schema = {"anyOf": [schema_of(kinds.PLACE), schema]}
    if isinstance(field.default, str | int | float):
        schema = {**schema, "default": field.default}
    return {**schema, "description": field.description or ""}


def _value(annotation: Any, marks: Any = ()) -> dict[str, Any]:
    """The schema of a value of that type. Raises TypeError for a type that no rule is for."""
    kind = next((mark for mark in marks if isinstance(mark, Kind)), None)
    if kind is not None:
        return _kind(kind)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _value(parts[0], annotation.__metadata__)
    if _is_section(annotation):
        section = _section(annotation)
        return {"anyOf": [schema_of(kinds.PLACE), section]} if annotation is Lookup else section
    if isinstance(origin, type) and issubclass(origin, Mapping):
        least = next((mark.min_length for mark in marks if hasattr(mark, "min_length")), 0)
        return _mapping(*parts) | ({"minProperties": least} if least else {})
    if origin in (Union, UnionType):
        return {"anyOf": [_value(part) for part in parts]}
    if annotation is NoneType:
        return {"type": "null"}
    raise TypeError(f"no rule for the JSON Schema of {annotation}")


def schema_of(kind: Kind) -> Mapping[str, Any]:
    """What can be said of a kind of value. Raises TypeError for one that nothing is said of."""
    if not (schema := kind.schema or _SCHEMAS.get(kind.words)):
        raise TypeError(f"no JSON Schema is known for '{kind.words}': say it in {__name__}")
    return schema


def _kind(kind: Kind) -> dict[str, Any]:
    schema = dict(schema_of(kind))
    return schema if kind.is_text else {"anyOf": [schema, _VARIABLE]}


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _mapping(key: Any, value: Any) -> dict[str, Any]:
    marks = [mark for mark in getattr(key, "__metadata__", ()) if isinstance(mark, Kind)]
    return {
        "type": "object",
        "propertyNames": dict(schema_of(marks[0])) if marks else {},
        "additionalProperties": _value(value),
    }


def _patterns(field: FieldInfo) -> dict[str, Any]:
    """A list of references, or of single ones with thresholds; or a mapping of references to thresholds."""
    thresholds = _value(PatternChoice.model_fields["thresholds"].annotation)
    chosen = {"type": "object", "minProperties": 1, "additionalProperties": {"anyOf": [thresholds, {"type": "null"}]}}
    built_in = [choice.ref for choice in field.default]
    name = {"type": "string", "pattern": r"\S", "examples": [*built_in, "./my-patterns/"]}
    items = {"anyOf": [name, {**chosen, "maxProperties": 1}]}
    return {"anyOf": [{"type": "array", "minItems": 1, "uniqueItems": True, "items": items}, chosen]}
