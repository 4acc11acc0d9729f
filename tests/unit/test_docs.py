"""The documentation: what it links to is there, what it shows works, what is generated is current."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

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
from tillwatch.model import STANDARD_KEYS
from tillwatch.patterns.catalogue import built_in_features, read_pattern
from tillwatch.patterns.compiler import Compiler
from tillwatch.patterns.derived import parse_derived
from tillwatch.patterns.expression import ExpressionError
from tillwatch.patterns.program import LookupSpec
from tillwatch.trials.run import run

ROOT = Path(__file__).parents[2]
PAGES = {str(p.relative_to(ROOT)): p for p in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])}
GENERATED: dict[Path, str] = runpy.run_path(str(ROOT / "docs" / "make.py"))["pages"]()

SMALLEST = {"source": "./transactions.csv", "lookups": "{importance: ./CustomerImportance.csv}"}
SMALL_RUN = """\
source: {uri: ./transactions.csv, rows: 100}
lookups: {importance: ./CustomerImportance.csv}
patterns:
  PatId1: {merchant_transactions: 200, transactions_rank: 0.8, importance_rank: 0.3}
  PatId2: {transactions: 8, avg_amount: 25}
  PatId3: {female_customers: 3}
"""
ANY_PATTERN = "{id: Own, action: LOOK, per: customer, when: transactions > 1}"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAVED = re.compile(r"Save this as `([^`]+)`[^`]*:\n\n\Z")
OURS = ("./run", "tillwatch")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. `saved_as` is the file that the text before it says it is saved as."""

    page: str
    line: int
    language: str
    text: str
    saved_as: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    text = PAGES[page].read_text("utf-8")
    found = []
    for match in FENCE.finditer(text):
        saved = SAVED.search(text, 0, match.start())
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match[1], match[2], saved and saved[1]))
    return found


ALL = [block for page in PAGES for block in blocks_of(page)]


def each(*languages: str) -> pytest.MarkDecorator:
    """One test for each block in one of these languages."""
    blocks = [block for block in ALL if block.language in languages]
    return pytest.mark.parametrize("block", blocks, ids=str)


def each_page(*languages: str) -> pytest.MarkDecorator:
    """One test for each page that has a block in one of these languages, or for every page."""
    pages = dict.fromkeys(b.page for b in ALL if b.language in languages) if languages else PAGES
    return pytest.mark.parametrize("page", pages)


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", PAGES[page].read_text("utf-8"))


def links(page: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made by the usual Markdown renderers."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def tables(page: str, *header: str) -> Iterator[list[str]]:
    """The cells of all rows of the tables with this header."""
    lines = iter(prose(page).splitlines())
    for line in lines:
        if cells(line) == list(header):
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    break
                yield cells(row)


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")] if row.startswith("|") else []


def spans(cell: str) -> list[str]:
    """The code in a cell."""
    return re.findall(r"`([^`]+)`", cell)


# Links and generated pages


@each_page()
def test_every_link_leads_somewhere(page: str) -> None:
    """A relative link names a file of the project, and its anchor a heading of that file."""
    here = PAGES[page]
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (here.parent / path).resolve() if path else here
        assert target.exists() and target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_reached() -> None:
    """Following links from the README leads to every page."""
    reached, left = set[Path](), [ROOT / "README.md"]
    while left:
        here = left.pop()
        if here not in reached:
            reached.add(here)
            found = links(str(here.relative_to(ROOT)))
            paths = [(here.parent / link.partition("#")[0]).resolve() for link in found if "://" not in link]
            left += [path for path in paths if path in PAGES.values()]
    assert sorted(set(PAGES.values()) - reached) == []


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_generated_pages_are_current(path: Path) -> None:
    """The pages in docs/reference are what the code says; './run python docs/make.py' writes them."""
    assert path.read_text("utf-8") == GENERATED[path]


def test_every_page_of_the_reference_is_generated() -> None:
    """Nothing in docs/reference is written by hand."""
    assert set((ROOT / "docs" / "reference").iterdir()) == set(GENERATED)


def test_the_changelog_knows_this_version() -> None:
    """The newest version in the changelog is the program's."""
    newest = re.search(r"^## (\S+)", prose("CHANGELOG.md"), re.MULTILINE)
    assert newest and newest[1] == tillwatch.__version__


# What the pages say of the code


def test_layers_are_those_that_are_enforced() -> None:
    """The layer table of the architecture page is the import contract, layer by layer."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    enforced = [[name.removeprefix("tillwatch.") for name in layer.split(" | ")] for layer in layers]
    assert [spans(layer) for layer, _ in tables("docs/architecture.md", "layer", "what it is for")] == enforced


def test_files_named_in_the_architecture_are_there() -> None:
    """What the architecture page says to look into exists in src/tillwatch."""
    rows = tables("docs/architecture.md", "question", "file")
    named = [span for _, files in rows for span in spans(files) if "/" in span or span.endswith(".py")]
    assert named
    assert [name for name in named if not (ROOT / "src" / "tillwatch" / name).exists()] == []


def decoded(column: str, text: str) -> object:
    """What one value is kept as, or the code of the reason why not."""
    columns = {name: name for name in ("customer", "merchant", "gender", "amount")}
    row = {"customer": "C", "merchant": "M", "gender": "F", "amount": "1"} | {column: text}
    decoder = Decoder(columns)
    (chunk,) = decoder.decode([pl.DataFrame({name: [value] for name, value in row.items()})])
    if chunk.rejects:
        return chunk.rejects[0].code
    if column == "amount":
        return Decimal(int(chunk.rows.amount[0])).scaleb(-4)
    return decoder.dictionaries[column].texts(chunk.rows.codes[column])[0]


def test_keys_are_cleaned_as_the_contract_says() -> None:
    """Every row of the table of keys is what the decoder makes of it."""
    rows = list(tables("docs/contract.md", "written", "kept as a key"))
    assert rows
    for written, kept in rows:
        assert decoded("customer", spans(written)[0]) == (spans(kept)[0] if spans(kept) else "customer_empty")


def test_genders_are_read_as_the_contract_says() -> None:
    """Every row of the table of genders is what the decoder makes of it."""
    rows = list(tables("docs/contract.md", "written", "kept"))
    assert rows
    for written, kept in rows:
        assert {decoded("gender", text) for text in spans(written) or ("x", "")} == {spans(kept)[0]}


def test_amounts_are_read_as_the_contract_says() -> None:
    """Every row of the table of amounts is what the decoder makes of it, to the last digit."""
    rows = list(tables("docs/contract.md", "written", "kept, or why not"))
    assert rows
    for written, kept in rows:
        assert str(decoded("amount", spans(written)[0])) == kept, written


def test_expressions_of_derived_columns_are_understood() -> None:
    """Every expression in the table of what an expression may say is a number or a text."""
    rows = [row.replace(r"\|", "/") for row in prose("docs/columns.md").splitlines() if row.startswith("| `")]
    texts = [span.replace("/" * 2, "||") for row in rows for span in spans(row.split(" | ")[0])]
    assert len(texts) > 10
    assert [text for text in texts if not is_derived(text)] == []


def is_derived(text: str) -> bool:
    """Whether it is an expression of a derived column, of either kind."""
    for kind in ("number", "text"):
        with suppress(ExpressionError):
            return bool(parse_derived(text, kind))  # type: ignore[arg-type]
    return False


# Configurations and patterns


@each("yaml")
def test_yaml(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern compiles and does what its examples say; all else is a configuration, or a part of one, understood."""
    root = parse_yaml(block.text, str(block))
    assert isinstance(root, MapNode)
    if "id" in root.items:
        importance = LookupSpec("importance", ("customer", "merchant"), "float")
        lookups = {"importance": importance, "segment": LookupSpec("segment", ("customer",), "text")}
        keys = (*STANDARD_KEYS, "device", "country", "segment")
        pattern = read_pattern(block.text, str(block), None, keys)
        assert Compiler(built_in_features(), lookups, 4, keys).program([pattern]).plans
        (tmp_path / "tillwatch.yaml").write_text(SMALL_RUN, "utf-8")
        settings = load(tmp_path / "tillwatch.yaml")
        assert [e.name for e in pattern.examples if not run(settings, pattern, e).ok] == []
        return
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"\$\{(\w+)\}", block.text):
        monkeypatch.setenv(name, "json://127.0.0.1/alerts")
    Path("my-patterns").mkdir()
    Path("my-patterns/own.yaml").write_text(ANY_PATTERN, "utf-8")
    rest = "".join(f"{key}: {value}\n" for key, value in SMALLEST.items() if key not in root.items)
    Path("tillwatch.yaml").write_text(block.text + rest, "utf-8")
    assert compose(load(Path("tillwatch.yaml"))).program.plans


# SQL and Python over a small run


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small pipeline that has found something of every pattern."""
    folder = tmp_path_factory.mktemp("small")
    generate(folder, rows=3000, customers=100, merchants=24, seed=3, faults=0.02)
    (folder / "tillwatch.yaml").write_text(SMALL_RUN, "utf-8")
    Pipeline.open(folder / "tillwatch.yaml").run(once=True)
    return folder


@each("sql")
def test_sql(block: Block, small_run: Path) -> None:
    """Every query runs on the state, and finds something."""
    state = sqlite3.connect(f"{(small_run / 'tillwatch-data' / 'state.db').as_uri()}?mode=ro", uri=True)
    try:
        assert state.execute(block.text).fetchall()
    finally:
        state.close()


@each("python")
def test_python(block: Block, small_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every piece of Python runs in the folder of a pipeline."""
    monkeypatch.chdir(small_run)
    exec(compile(block.text, str(block), "exec"), {})


# Commands


def commands(block: Block) -> list[str]:
    """The command lines of a block: those behind `$` of a console, all of a shell script."""
    lines = block.text.splitlines()
    return [line[2:] for line in lines if line.startswith("$ ")] if block.language == "console" else lines


@each("sh", "console")
def test_calls_are_right(block: Block) -> None:
    """Every call of tillwatch names a command, and options and values that it takes; `./run` knows its commands."""
    for line in commands(block):
        words = shlex.split(line, comments=True)
        for at in [at for at, word in enumerate(words) if word in OURS]:
            name, *arguments = words[at + 1 :] or ["--help"]
            if words[at] == "./run" and name != "tillwatch":
                assert f"  {name} " in run_usage() or Path(sys.executable).with_name(name).exists(), line
                continue
            if words[at] == "./run":
                name, *arguments = arguments
            end = [at for at, word in enumerate(arguments) if word in ("|", "||", "&&", ">", ">>", "&")]
            with click.Context(app, info_name="tillwatch") as context:
                app.commands[name].make_context(name, arguments[: min(end, default=None)], parent=context).close()


def run_usage() -> str:
    return subprocess.run(["./run", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout


NOT_HERE = re.compile(r"\./run (test|check|bench|lock)\b|\.ci/run\b")


@pytest.mark.slow
@each_page("console")
def test_consoles_show_what_happens(page: str, tmp_path: Path) -> None:
    """The commands of a page succeed in order in an empty folder, and their output is what the page shows.

    `…` stands for anything on its line, and alone on a line for any lines.
    """
    (tmp_path / "run").write_text(f'#!/bin/sh\nexec "{ROOT}/run" "$@"\n', "utf-8")
    (tmp_path / "run").chmod(0o755)
    here = tmp_path
    for block in blocks_of(page):
        if block.saved_as and block.language == "yaml":
            (here / block.saved_as).parent.mkdir(parents=True, exist_ok=True)
            (here / block.saved_as).write_text(block.text, "utf-8")
        if block.language != "console":
            continue
        for command, shown in steps(block):
            if command.startswith("cd "):
                here = here / command[3:]
            elif not NOT_HERE.search(command):
                output = done(command, here)
                assert matches(shown, output), f"{block}: $ {command}\n{output}"


def steps(block: Block) -> list[tuple[str, str]]:
    """The commands of a console, each with the output that is shown."""
    parts = re.split(r"^\$ (.*)\n", block.text, flags=re.MULTILINE)
    assert parts[0] == ""
    return list(zip(parts[1::2], parts[2::2], strict=True))


def done(command: str, folder: Path) -> str:
    """The output of a command that must succeed."""
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "COLUMNS": "100", "TZ": "UTC"}
    result = subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert result.returncode == 0, f"$ {command}\n{result.stdout}"
    return result.stdout


def matches(shown: str, output: str) -> bool:
    """Whether the output is what is shown, `…` aside. Nothing shown stands for anything."""
    if not shown:
        return True
    lines = [
        r"(?:.*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"
        for line in shown.splitlines()
    ]
    actual = "".join(f"{line.rstrip()}\n" for line in output.splitlines())
    return re.fullmatch("".join(lines), actual) is not None
