"""The JSON Schema of the configuration, written from the models, for editors that complete and check YAML.

It says what a file looks like: its keys, and the kind of each value. What depends on other keys, on files or on the
environment is for `tillwatch check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from tillwatch.config.kinds import PLACE, Kind
from tillwatch.config.settings import Lookup, PatternChoice, Section, Settings
from tillwatch.config.shape import SHORT

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DEFINED: Mapping[str, Any] = {
    "place": PLACE.schema,
    "variable": {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}", "description": "From the environment."},
}
_PLACE = {"$ref": "#/$defs/place"}
_VARIABLE = {"$ref": "#/$defs/variable"}
"""What any value may be instead: a text with `${NAME}` in it."""


def config_schema() -> dict[str, Any]:
    """The JSON Schema of `tillwatch.yaml`."""
    return {
        "$schema": DIALECT,
        "title": "The configuration of a tillwatch pipeline",
        **_section(Settings),
        "$defs": _DEFINED,
    }


def _section(model: type[Section]) -> dict[str, Any]:
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    return {
        "type": "object",
        "additionalProperties": False,
        **({"required": required} if required else {}),
        "properties": {name: _field(name, field) for name, field in model.model_fields.items()},
    }


def _field(name: str, field: FieldInfo) -> dict[str, Any]:
    if name == "patterns":
        schema = _patterns(field)
    else:
        schema = _value(field.annotation, field.metadata)
        if name in SHORT:
            schema = {"anyOf": [_PLACE, schema]}
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
    if isinstance(annotation, type) and issubclass(annotation, Section):
        section = _section(annotation)
        return {"anyOf": [_PLACE, section]} if annotation is Lookup else section
    if isinstance(origin, type) and issubclass(origin, Mapping):
        least = next((mark.min_length for mark in marks if hasattr(mark, "min_length")), 0)
        return _mapping(*parts) | ({"minProperties": least} if least else {})
    if origin in (Union, UnionType):
        return {"anyOf": [_value(part) for part in parts]}
    if annotation is NoneType:
        return {"type": "null"}
    raise TypeError(f"no rule for the JSON Schema of {annotation}")


def _kind(kind: Kind) -> dict[str, Any]:
    schema = _PLACE if kind is PLACE else dict(kind.schema)
    return schema if kind.is_text else {"anyOf": [schema, _VARIABLE]}


def _mapping(key: Any, value: Any) -> dict[str, Any]:
    kinds = [mark for mark in getattr(key, "__metadata__", ()) if isinstance(mark, Kind)]
    return {
        "type": "object",
        "propertyNames": dict(kinds[0].schema) if kinds else {},
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
