"""YAML text to a tree in which every value knows its place, `file:line:column`.

For the configuration, and for every other YAML file a person writes (patterns). The reader never builds
Python objects: there are mappings, lists and scalars, nothing else.

- Scalars follow the YAML 1.2 core schema: `null`, `~` or nothing → None, `true`/`false` → bool, whole
  numbers → int, other numbers → Decimal, exactly as written (0.1 is Decimal("0.1")); all else, and everything
  in quotes, is text. So `on`, `yes`, `1:30` and `2026-11-20` are text, and so are numbers of over 30 digits.
- Mapping keys are text as written, so `on: …` is the key "on".
- Anchors and aliases work; tags (`!!int`, `!x`), duplicate keys, and trees of more than 10,000 values or
  deeper than 20 levels are refused.

>>> root = parse_yaml("source:\\n  uri: ./x.csv\\n  rows: ten\\n", "tillwatch.yaml")
>>> root.plain()
{'source': {'uri': './x.csv', 'rows': 'ten'}}
>>> rows = root.find("source", "rows")
>>> print(f"{rows.place}: source.rows: found {rows.shown()}, expected a whole number")
tillwatch.yaml:3:9: source.rows: found 'ten', expected a whole number
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

import yaml

from tillwatch.config.secrets import masked
from tillwatch.errors import ConfigError

Scalar: TypeAlias = str | int | Decimal | bool | None

MAX_NODES = 10_000
MAX_DEPTH = 20

_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_INT = re.compile(r"[-+]?[0-9]{1,30}")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written. `line` and `column` count from 1; line 0: only the name is known."""

    name: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}:{self.column}" if self.line else self.name


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake and its place."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the tree: a ScalarNode, a ListNode or a MapNode."""

    place: Place

    def plain(self) -> object:
        """The value without its places: dict, list, str, int, Decimal, bool or None."""
        raise NotImplementedError

    def shown(self) -> str:
        """The value in a few words for an error text, without secrets."""
        raise NotImplementedError

    def child(self, step: str | int) -> Node | None:
        """The value of that key (str) or at that index (int), or None."""
        return None

    def find(self, *path: str | int) -> Node:
        """The value at `path`, or the nearest value above it that exists."""
        node = self
        for step in path:
            below = node.child(step)
            if below is None:
                return node
            node = below
        return node


@dataclass(frozen=True, slots=True)
class ScalarNode(Node):
    """Text, a number, true, false or nothing. `raw` is the text as written, without its quotes."""

    value: Scalar
    raw: str

    def plain(self) -> Scalar:
        return self.value

    def shown(self) -> str:
        if not self.raw and self.value is None:
            return "nothing"
        text = shown_text(self.raw)
        return f"'{text}'" if isinstance(self.value, str) else text


@dataclass(frozen=True, slots=True)
class ListNode(Node):
    """A list."""

    items: Sequence[Node]

    def plain(self) -> list[object]:
        return [item.plain() for item in self.items]

    def shown(self) -> str:
        return "a list" if self.items else "an empty list"

    def child(self, step: str | int) -> Node | None:
        return self.items[step] if isinstance(step, int) and 0 <= step < len(self.items) else None


@dataclass(frozen=True, slots=True)
class MapNode(Node):
    """A mapping in the order written; `keys` has the place of each key."""

    items: Mapping[str, Node] = field(default_factory=dict)
    keys: Mapping[str, Place] = field(default_factory=dict)

    def plain(self) -> dict[str, object]:
        return {key: item.plain() for key, item in self.items.items()}

    def shown(self) -> str:
        return "a mapping" if self.items else "an empty mapping"

    def child(self, step: str | int) -> Node | None:
        return self.items.get(step) if isinstance(step, str) else None


def parse_yaml(text: str, name: str) -> Node:
    """The tree of one YAML document; an empty one is a scalar None. `name` is the file's name in places.

    Raises ConfigError with every mistake and its place.
    """
    problems: list[Problem] = []
    root = read_tree(text, name, problems)
    if problems:
        raise error_of(problems)
    return root


def read_tree(text: str, name: str, problems: list[Problem], *, numbered: bool = True) -> Node:
    """As `parse_yaml`, but mistakes that leave a usable tree are added to `problems`.

    With `numbered=False` places are the name alone. Raises ConfigError when the text is not YAML.
    """
    builder = _Builder(name, numbered, problems)
    try:
        document = _compose(text)
    except _Unreadable as error:
        raise ConfigError(str(Problem(builder.place(error.line, error.column), error.text))) from None
    if document is None:
        return ScalarNode(builder.place(0, 0), None, "")
    return builder.node(document, 1)


def error_of(problems: Sequence[Problem], kind: type[ConfigError] = ConfigError) -> ConfigError:
    """One error with all problems, a line each, in the order of the file."""
    ordered = sorted(problems, key=lambda p: (p.place.line == 0, p.place.line, p.place.column))
    return kind("\n".join(dict.fromkeys(str(problem) for problem in ordered)))


def shown_text(text: str, limit: int = 60) -> str:
    """The text fit for one line of an error: no secrets, no control characters, not too long."""
    line = masked(text)
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    return line if line.isprintable() else repr(line)[1:-1]


def suggestion(word: str, known: Iterable[str]) -> str:
    """What to say after "unknown …": the nearest known word, or all of them."""
    from difflib import get_close_matches  # only a mistake pays for this import

    words = list(known)
    near = get_close_matches(word[:100], words, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{shown_text(near[0])}'?"
    return f"expected one of {', '.join(shown_text(known_word) for known_word in words)}"


def plain_scalar(text: str) -> Scalar:
    """The value of an unquoted scalar.

    >>> [plain_scalar(text) for text in ("10", "0.10", "true", "~", "1s", "010")]
    [10, Decimal('0.10'), True, None, '1s', 10]
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return Decimal(text) if _DECIMAL.fullmatch(text) else text


class _Unreadable(Exception):
    """The text is not YAML, which showed at `line` and `column`, both from 0."""

    def __init__(self, text: str, line: int, column: int) -> None:
        super().__init__(text)
        self.text = text
        self.line = line
        self.column = column


class _Loader(yaml.SafeLoader):
    """Composes nodes, within the limits. No tag is made up, so a node that has one was given it."""

    depth = 0
    nodes = 0

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        return ""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        self.nodes += 1
        if self.depth > MAX_DEPTH or self.nodes > MAX_NODES:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise _Unreadable(_too_much(self.depth), mark.line, mark.column)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _too_much(depth: int) -> str:
    if depth > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH} levels, or an alias that contains itself"
    return f"more than {MAX_NODES} values"


def _compose(text: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        column = len(before) - (before.rfind("\n") + 1)
        raise _Unreadable(
            f"a character that YAML does not allow (#x{error.character:04x})", before.count("\n"), column
        ) from None
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        raise _Unreadable(_syntax_problem(error), line, column) from None
    except (ValueError, OverflowError):  # the scanner lets escapes beyond Unicode and huge versions through
        text = "not valid YAML: a number or escape out of range"
        raise _Unreadable(text, loader.line, loader.column) from None


def _syntax_problem(error: yaml.MarkedYAMLError) -> str:
    """The parser's words, except where they quote the file, which may be a secret that starts with * or &."""
    problem = error.problem or ""
    if "'\\t'" in problem:
        return "not valid YAML: a tab; indent with spaces"
    if "alias" in problem or "anchor" in problem or "tag" in problem:
        return "not valid YAML: a wrong alias, anchor or tag; put text that starts with *, & or ! in quotes"
    if "but found another document" in problem:
        return "a second YAML document (after '---'); expected one"
    if problem.endswith(("but got '{'", "but got '['")):
        return "not valid YAML: between { } and [ ], text that holds a bracket must be in quotes"
    return f"not valid YAML: {problem}; look at the indentation, quotes and brackets up to here"


@dataclass(slots=True)
class _Builder:
    """Turns composed nodes into the tree, following aliases, within the limits."""

    name: str
    numbered: bool
    problems: list[Problem]
    nodes: int = 0

    def place(self, line: int, column: int) -> Place:
        return Place(self.name, line + 1, column + 1) if self.numbered else Place(self.name)

    def node(self, node: yaml.Node, depth: int) -> Node:
        place = self.place(node.start_mark.line, node.start_mark.column)
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise ConfigError(str(Problem(place, _too_much(depth))))
        if node.tag:
            text = "a YAML tag (!…) is not allowed; put text that starts with ! in quotes"
            self.problems.append(Problem(place, text))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, depth)
        if isinstance(node, yaml.SequenceNode):
            return ListNode(place, tuple(self.node(item, depth + 1) for item in node.value))
        assert isinstance(node, yaml.ScalarNode)  # there is no other kind
        return self._scalar(node, place)

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> ScalarNode:
        text: str = node.value
        if _NOT_TEXT.search(text):
            self.problems.append(Problem(place, "a character that is not text: NUL, or half a surrogate pair"))
            text = ""
        quoted = node.style is not None
        return ScalarNode(place, text if quoted else plain_scalar(text), text)

    def _mapping(self, node: yaml.MappingNode, place: Place, depth: int) -> MapNode:
        items: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        for key_node, value_node in node.value:
            key = self.node(key_node, depth + 1)
            value = self.node(value_node, depth + 1)
            if not isinstance(key, ScalarNode):
                self.problems.append(Problem(key.place, f"found {key.shown()} as a key, expected a text"))
            elif key.raw in items:
                text = f"the key '{shown_text(key.raw)}' is there twice, first at {keys[key.raw]}"
                self.problems.append(Problem(key.place, text))
            else:
                items[key.raw] = value
                keys[key.raw] = key.place
        return MapNode(place, items, keys)
