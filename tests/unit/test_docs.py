"""The documentation: what it links to is there, what it shows works, what is generated is current."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import click
import polars as pl
import pytest

import tillwatch
from tillwatch import Pipeline
from tillwatch.cli.app import app
from tillwatch.compose import compose
from tillwatch.config import load
from tillwatch.config.yaml import MapNode, parse_yaml
from tillwatch.engine.decode import Decoder
from tillwatch.generate import generate
from tillwatch.patterns.catalogue import built_in_features, read_pattern
from tillwatch.patterns.program import Compiler, LookupSpec

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

SMALLEST = "source: ./transactions.csv\nlookups:\n  importance: ./CustomerImportance.csv\n"
IMPORTANCE = LookupSpec("importance", ("customer", "merchant"), "float")
ANY_PATTERN = "{id: Own, action: LOOK, per: customer, when: transactions > 1}"
SMALL_RUN = f"""{SMALLEST}\
source.rows: 100
patterns:
  PatId1: {{merchant_transactions: 200, transactions_rank: 0.8, importance_rank: 0.3}}
  PatId2: {{transactions: 8, avg_amount: 25}}
  PatId3: {{female_customers: 3}}
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and the line on which it begins."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    found = []
    for page, name in zip(PAGES, NAMES, strict=True):
        text = page.read_text("utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(name, line, match[1], match[2]))
    return [block for block in found if block.language in languages]


def is_pattern(block: Block) -> bool:
    root = parse_yaml(block.text, str(block))
    assert isinstance(root, MapNode)
    return "id" in root.items
