"""Reading patterns: the built-in catalogue, and YAML files and folders of a user's own. One file a pattern."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from importlib import resources
from pathlib import Path

from tillwatch.config import PatternChoice
from tillwatch.config.yaml import MapNode, Node, Problem, ScalarNode, error_of, parse_yaml, suggestion
from tillwatch.errors import ConfigError, PatternError
from tillwatch.model import STANDARD_KEYS
from tillwatch.patterns.examples import Example, Reader
from tillwatch.patterns.expression import Expr, ExpressionError, Truth, parse
from tillwatch.patterns.features import Feature, grain_order, parse_feature, parse_filter
from tillwatch.patterns.fields import FIELDS, REQUIRED
from tillwatch.patterns.mistakes import near
from tillwatch.patterns.pattern import Emit, Judge, Pattern, Spot
from tillwatch.patterns.reading import Told, choice_of, flag

_EMITS: tuple[Emit, ...] = ("once", "on_enter", "every_chunk", "every_transaction")
_MODES = ("publish", "shadow")
_TEXTS = ("id", "action", "title", "why", "runbook", "when")
_CATALOGUE = resources.files("tillwatch.patterns") / "catalogue"


def built_in() -> dict[str, str]:
    """The catalogue: pattern id to the text of its file.

    >>> sorted(built_in())
    ['DUPLICATE', 'FREQUENCY', 'OUTLIER', 'PatId1', 'PatId1-cont', 'PatId2', 'PatId3']
    """
    files = [f for f in _CATALOGUE.iterdir() if f.name.endswith(".yaml") and f.name != "features.yaml"]
    return {f.name.removesuffix(".yaml"): f.read_text("utf-8") for f in files}


def built_in_features() -> dict[str, Feature]:
    """The features that every pattern may use."""
    text = (_CATALOGUE / "features.yaml").read_text("utf-8")
    return read_features(parse_yaml(text, "features.yaml"), "features.yaml", text)


def load_patterns(
    choices: Sequence[PatternChoice],
    keys: Sequence[str] = STANDARD_KEYS,
    shadow: Sequence[str] = (),
    where: str = "shadow",
) -> list[Pattern]:
    """The chosen patterns in order, with their thresholds set; those of the ids `shadow`, said at `where`, publish
    nothing. `keys` are the text columns there can be.

    Raises PatternError for unknown ids, unreadable files, two patterns with one id, unknown thresholds.

    >>> [p.id for p in load_patterns([PatternChoice(ref="PatId3"), PatternChoice(ref="PatId2")])]
    ['PatId3', 'PatId2']
    """
    return patterns_in(sources(choices), keys, shadow, where)


Source = tuple[str, str, PatternChoice]
"""Name and text of a pattern's file, and what the configuration says beside it."""


def sources(choices: Sequence[PatternChoice]) -> list[Source]:
    """The files of the chosen patterns. Raises PatternError."""
    found: list[Source] = []
    problems: list[str] = []
    for choice in choices:
        try:
            found += [(name, text, choice) for name, text in _sources(choice)]
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise PatternError("\n".join(problems))
    return found


def patterns_in(
    written: Sequence[Source],
    keys: Sequence[str] = STANDARD_KEYS,
    shadow: Sequence[str] = (),
    where: str = "shadow",
) -> list[Pattern]:
    """The patterns of these files, as `load_patterns` gives them. Raises PatternError."""
    found = [_read_one(*source, keys) for source in written]
    if problems := [str(problem) for problem in found if isinstance(problem, ConfigError)]:
        raise PatternError("\n".join(problems))
    patterns = [pattern for pattern in found if isinstance(pattern, Pattern)]
    seen: dict[str, Pattern] = {}
    for pattern in patterns:
        if pattern.id in seen:
            first = seen[pattern.id].spot.file
            raise PatternError(f"{pattern.spot.file}: pattern id '{pattern.id}' is taken already by {first}")
        seen[pattern.id] = pattern
    if unknown := [name for name in shadow if name not in seen]:
        hint = suggestion(unknown[0], sorted(seen))
        raise PatternError(f"{where}: '{unknown[0]}' is not one of the patterns; {hint}")
    return [replace(p, shadow=p.shadow or p.id in shadow) for p in patterns]


def read_patterns(choices: Sequence[PatternChoice], keys: Sequence[str] = STANDARD_KEYS) -> list[Pattern | ConfigError]:
    """The chosen patterns in order, or what is wrong with the file or the choice."""
    found: list[Pattern | ConfigError] = []
    for choice in choices:
        try:
            found += [_read_one(name, text, choice, keys) for name, text in _sources(choice)]
        except PatternError as error:
            found.append(error)
    return found


def _read_one(name: str, text: str, choice: PatternChoice, keys: Sequence[str]) -> Pattern | ConfigError:
    try:
        return read_pattern(text, name, choice, keys)
    except ConfigError as error:
        return error


def _sources(choice: PatternChoice) -> list[tuple[str, str]]:
    """Name and text of each file."""
    files = _choice_files(choice)
    if choice.thresholds and len(files) != 1:
        raise PatternError(f"{choice.where}: thresholds can be set for one pattern, '{choice.ref}' has {len(files)}")
    return files


def _choice_files(choice: PatternChoice) -> list[tuple[str, str]]:
    if choice.path is None:
        catalogue = built_in()
        if choice.ref not in catalogue:
            hint = suggestion(choice.ref, sorted(catalogue))
            raise PatternError(
                f"{choice.where}: '{choice.ref}' is not a pattern of the catalogue; {hint} "
                f"A file of yours has a path: ./{choice.ref}.yaml"
            )
        return [(f"{choice.ref}.yaml", catalogue[choice.ref])]
    return [(str(file), _read(file, choice.where)) for file in _files(choice.path, choice.ref, choice.where)]


def _files(path: Path, ref: str, place: str) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml") and p.is_file())
    if not files:
        raise PatternError(f"{place}: the folder '{ref}' has no .yaml file")
    return files


def _read(file: Path, place: str) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise PatternError(f"{place}: cannot read the pattern file {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PatternError(f"{file}: not UTF-8 text") from None


def read_pattern(
    text: str, name: str, choice: PatternChoice | None = None, keys: Sequence[str] = STANDARD_KEYS
) -> Pattern:
    """The pattern of one file's text; the choice's thresholds replace those of the file.

    `keys` are the text columns there can be. Raises PatternError with every mistake, a line each, in the order of the
    file.
    """
    root = parse_yaml(text, name)
    if not isinstance(root, MapNode):
        raise PatternError(f"{name}: a pattern is a mapping with {', '.join(REQUIRED)}; found {root.shown()}")
    told = Told(name)
    per: tuple[str, ...] = ()
    features: dict[str, Feature] = {}
    examples: tuple[Example, ...] = ()
    tree: Expr = Truth(True)
    where: Expr | None = None
    judge: Judge = "chunk"
    emit, cleared, mode = _EMITS[0], False, _MODES[0]
    with told:
        _check_fields(root)
    texts = _texts(root, told)
    numbers = _thresholds(root, choice, told)
    with told:
        features = read_features(root.items["features"], name, text, keys) if "features" in root.items else {}
    with told:
        tree = _tree(texts, numbers, _spot(root.items["when"], name, text)) if "when" in texts else tree
    with told:
        judge = _judge(root)
    with told:
        where = _where(root, name, text, keys)
    with told:
        per = _per(root, grain_order(keys)) if "per" in root.items else ()
    with told:
        reader = Reader(per or grain_order(keys), numbers, lambda node: _spot(node, name, text))
        examples = reader.read(root.items["examples"]) if "examples" in root.items else ()
    with told:
        emit = choice_of(root, "emit", _EMITS)
    with told:
        cleared = flag(root, "cleared")
    with told:
        _check_emit(root, emit, judge, cleared=cleared)
    with told:
        mode = choice_of(root, "mode", _MODES)
    told.raise_any()
    return Pattern(
        texts["id"],
        texts["action"],
        texts.get("title", ""),
        " ".join(texts.get("why", "").split()),
        per,
        texts["when"],
        numbers,
        tree,
        features,
        _spot(root.items["when"], name, text),
        judge,
        " ".join(texts.get("runbook", "").split()),
        examples,
        where,
        emit,
        cleared,
        mode == "shadow",
    )


def _check_emit(root: MapNode, emit: Emit, judge: Judge, *, cleared: bool) -> None:
    if emit == "every_chunk" and judge == "transaction":
        raise PatternError(
            f"{root.items['emit'].place}: emit: found every_chunk, but the pattern is judged on transactions: expected "
            "once, on_enter or every_transaction"
        )
    if emit == "every_transaction" and judge == "chunk":
        raise PatternError(
            f"{root.items['emit'].place}: emit: found every_transaction, but the pattern is judged after chunks: "
            "expected once, on_enter or every_chunk, or 'judge: transaction'"
        )
    if emit == "every_transaction" and cleared:
        raise PatternError(
            f"{root.items['cleared'].place}: cleared: found true, but with emit: every_transaction a detection is of "
            "one transaction, which does not cease to be"
        )


def _tree(texts: Mapping[str, str], numbers: Mapping[str, Decimal], spot: Spot) -> Expr:
    try:
        return parse(texts["when"], numbers)
    except ExpressionError as error:
        raise PatternError(f"{spot.of(texts['when'], error.start)}: {texts.get('id', '')}: {error}") from None


def _where(root: MapNode, name: str, text: str, keys: Sequence[str]) -> Expr | None:
    """The filter on the rows that the pattern sees."""
    if "where" not in root.items:
        return None
    node, said = root.items["where"], _text(root, "where")
    try:
        return parse_filter(said, keys)
    except ExpressionError as error:
        raise PatternError(f"{_spot(node, name, text).of(said, error.start)}: where: {error}") from None


def _check_fields(root: MapNode) -> None:
    problems = [
        Problem(place, f"unknown field '{key}'; {suggestion(key, FIELDS)}")
        for key, place in root.keys.items()
        if key not in FIELDS
    ]
    missing = [k for k in REQUIRED if k not in root.items]
    if missing:
        problems.append(Problem(root.place, f"the pattern lacks {', '.join(missing)}"))
    if problems:
        raise error_of(problems, PatternError)


def _texts(root: MapNode, told: Told) -> dict[str, str]:
    """The fields that are texts; those that are not are told and left out."""
    texts: dict[str, str] = {}
    for key in _TEXTS:
        if key in root.items:
            with told:
                texts[key] = _text(root, key)
    return texts


def _text(root: MapNode, key: str) -> str:
    node = root.items[key]
    value = node.raw.strip() if isinstance(node, ScalarNode) and node.value is not None else ""
    if not value:
        raise PatternError(f"{node.place}: {key}: found {node.shown()}, expected text")
    return node.raw if key in ("when", "where") and isinstance(node, ScalarNode) else value


def _judge(root: MapNode) -> Judge:
    if "judge" not in root.items:
        return "chunk"
    node = root.items["judge"]
    match node.plain():
        case "chunk" | "transaction" as judge:
            return judge
    raise PatternError(f"{node.place}: judge: found {node.shown()}, expected chunk or transaction")


def _per(root: MapNode, known: Sequence[str]) -> tuple[str, ...]:
    node = root.items["per"]
    plain = node.plain()
    keys = plain if isinstance(plain, list) else [plain]
    wrong = [k for k in keys if k not in known]
    if wrong or not keys or len(set(map(str, keys))) != len(keys):
        hint = "".join(near(k, known) for k in wrong if isinstance(k, str))
        raise PatternError(
            f"{node.place}: per: found {node.shown()} {plain!r}, {hint}expected one or more different keys of "
            f"{', '.join(known)}"
        )
    return tuple(str(k) for k in keys)


def _thresholds(root: MapNode, choice: PatternChoice | None, told: Told) -> dict[str, Decimal]:
    """The thresholds; one whose number is wrong is told, and is 1 for the rest of the file."""
    declared = root.items.get("thresholds", MapNode(root.place))
    if not isinstance(declared, MapNode):
        told.add(f"{declared.place}: thresholds: found {declared.shown()}, expected names with numbers")
        declared = MapNode(root.place)
    numbers: dict[str, Decimal] = {}
    for key, node in declared.items.items():
        value = node.plain()
        numbers[key] = Decimal(1)
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            told.add(f"{node.place}: thresholds.{key}: found {node.shown()}, expected a number")
        else:
            numbers[key] = Decimal(value)
    if choice is not None:
        _set_thresholds(numbers, choice, root, told)
    return numbers


def _set_thresholds(numbers: dict[str, Decimal], choice: PatternChoice, root: MapNode, told: Told) -> None:
    id = root.items["id"].plain() if "id" in root.items else "the pattern"
    known = tuple(numbers)
    for key, number in choice.thresholds.items():
        if key not in known:
            hint = suggestion(key, known) if known else "it declares none"
            told.add(f"{choice.places.get(key, choice.where)}: {id} has no threshold '{key}'; {hint}")
        numbers[key] = Decimal(number)


def read_features(node: Node, name: str, text: str = "", keys: Sequence[str] = STANDARD_KEYS) -> dict[str, Feature]:
    """Features from a YAML mapping of names to SQL aggregates. Raises PatternError."""
    if not isinstance(node, MapNode):
        raise PatternError(f"{node.place}: features: found {node.shown()}, expected names with SQL aggregates")
    found: dict[str, Feature] = {}
    for key, item in node.items.items():
        sql = item.plain()
        if not isinstance(sql, str):
            raise PatternError(f"{item.place}: features.{key}: found {item.shown()}, expected a SQL aggregate")
        try:
            found[key] = parse_feature(key, sql, keys)
        except ExpressionError as error:
            raise PatternError(f"{_spot(item, name, text).of(sql, error.start)}: features.{key}: {error}") from None
    return found


def declared_features(texts: Mapping[str, str], where: str, keys: Sequence[str] = STANDARD_KEYS) -> dict[str, Feature]:
    """Features declared in the configuration, over the built-in ones. Raises PatternError."""
    found = built_in_features()
    for key, sql in texts.items():
        try:
            found[key] = parse_feature(key, sql, keys)
        except ExpressionError as error:
            raise PatternError(f"{where}: features.{key}: {error}") from None
    return found


def _spot(node: Node, name: str, text: str) -> Spot:
    """Where the text of a value begins. A literal block (|) begins below its header, at the block's indentation."""
    lines = text.splitlines()
    line, column = node.place.line, node.place.column
    if not 0 < line <= len(lines):
        return Spot(name, line)
    header = lines[line - 1][column - 1 :]
    if header.startswith(("|", ">")):
        return _block_spot(name, header, line, lines)
    quoted = header[:1] in ("'", '"')
    value = node.raw if isinstance(node, ScalarNode) else ""
    return Spot(name, line, column + quoted, len(value) if value in header else 0)


def _block_spot(name: str, header: str, line: int, lines: Sequence[str]) -> Spot:
    """A block begins below its header; of a folded one (>) only the first line is where it seems to be."""
    said = re.match(r"[|>][+-]?([1-9])", header)
    first = next((text for text in lines[line:] if text.strip()), "")
    outer = lines[line - 1]
    indent = _indent(outer) + int(said[1]) if said else _indent(first)
    folded = header.startswith(">")
    return Spot(name, line + 1, indent + 1, len(first) - indent, None if folded else indent)


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip(" "))
