"""The fields of a pattern file, and their JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tillwatch.config import kinds
from tillwatch.config.schema import DIALECT
from tillwatch.model import STANDARD_KEYS

TEXT = {"type": ["string", "number", "boolean"], "pattern": "\\S"}
NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}
_BLOCK = {"type": "string", "pattern": "\\S"}
_COLUMN = {"anyOf": [{"enum": [*STANDARD_KEYS, "amount"]}, kinds.KEY]}
_CELLS = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
}
_KEY = {"anyOf": [_CELLS, {"type": ["string", "number", "boolean"]}]}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a pattern file: what it is, whether it must be there, and which values it takes."""

    meaning: str
    schema: Mapping[str, Any]
    required: bool = False


_EXAMPLE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "rows", "expect"],
    "properties": {
        "name": {**TEXT, "description": "What the example shows, in a few words."},
        "with": {**NUMBERS, "description": "Thresholds of this example, so that it stays short."},
        "rows": {
            "anyOf": [_BLOCK, {"type": "array", "minItems": 1, "items": _CELLS}],
            "description": "Rows, as a block of CSV with a header or as a list of mappings. Columns that are not given "
            "hold their own name, an amount 1. times repeats a row, with # for the number of the repetition; chunk is "
            "its chunk; a column with the name of a lookup gives the value of the row's key.",
        },
        "expect": {
            "anyOf": [_KEY, {"type": "array", "items": _KEY}],
            "description": "The keys to be detected and no others, such as {customer: Ann}; or none.",
        },
    },
}

FIELDS: Mapping[str, Field] = {
    "id": Field("The name; two patterns of one configuration cannot share it.", TEXT, required=True),
    "action": Field("What the detection asks for.", TEXT, required=True),
    "title": Field("One line: what it finds.", TEXT),
    "why": Field("The reason behind it.", TEXT),
    "runbook": Field("What to do with a detection.", TEXT),
    "per": Field(
        "One key, or a list of keys, that it is judged for.",
        {
            "anyOf": [
                _COLUMN,
                {"type": "array", "minItems": 1, "uniqueItems": True, "items": _COLUMN},
            ]
        },
        required=True,
    ),
    "judge": Field(
        "When it is judged: after every chunk, or on every transaction with the values before it.",
        {"enum": ["chunk", "transaction"]},
    ),
    "thresholds": Field("Names with numbers, written :name in `when`.", NUMBERS),
    "features": Field(
        "Features that only this pattern uses: name to SQL aggregate.",
        {"type": "object", "additionalProperties": {"type": "string"}},
    ),
    "where": Field("Which rows it sees, such as `category = 'es_food'`; all without it.", TEXT),
    "when": Field("The condition: a SQL boolean expression over features.", TEXT, required=True),
    "emit": Field(
        "When a key is detected: the first time that the condition comes true, each time, after every chunk after "
        "which it is, or for every transaction for which it is.",
        {"enum": ["once", "on_enter", "every_chunk", "every_transaction"]},
    ),
    "cleared": Field("Whether it is published too when a detection ceases to hold.", {"type": "boolean"}),
    "mode": Field("In the shadow, what it finds is recorded and not published.", {"enum": ["publish", "shadow"]}),
    "examples": Field(
        "Rows and the keys to be detected in them; `tillwatch test` runs them.", {"type": "array", "items": _EXAMPLE}
    ),
}

REQUIRED = tuple(name for name, field in FIELDS.items() if field.required)


def pattern_schema() -> dict[str, Any]:
    """The JSON Schema of pattern files."""
    return {
        "$schema": DIALECT,
        "title": "A tillwatch pattern",
        "type": "object",
        "additionalProperties": False,
        "required": [*REQUIRED],
        "properties": {n: {**f.schema, "description": f.meaning} for n, f in FIELDS.items()},
    }
