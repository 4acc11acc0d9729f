"""The tree of the file with its short forms written out, and what `--set` changes in it.

Written out, `source`, `landing`, `detections` and every lookup are mappings with `uri`, `patterns` is a mapping of
reference (id, file or folder) to thresholds, and `require` one of lookups to what becomes of other rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from tillwatch.config.secrets import may_hold_secret
from tillwatch.config.settings import Settings
from tillwatch.config.yaml import (
    ListNode,
    MapNode,
    Node,
    Place,
    Problem,
    ScalarNode,
    read_tree,
    shown_text,
    suggestion,
)
from tillwatch.errors import ConfigError

SHORT = ("source", "landing", "detections")
REQUIRE_WORDS = "the name of a lookup, a list of names, or a mapping such as {customers: mark}"
PATTERNS_WORDS = "a list such as [PatId1, ./my-patterns/], or a mapping of these to thresholds"


def written_out(root: MapNode, problems: list[Problem]) -> MapNode:
    """The same tree without short forms. A wrong `patterns` is left out of it and added to `problems`."""
    items = {key: _with_uri(node) if key in SHORT else node for key, node in root.items.items()}
    lookups = items.get("lookups")
    if isinstance(lookups, MapNode):
        written = {name: _with_uri(node) for name, node in lookups.items.items()}
        items["lookups"] = MapNode(lookups.place, written, lookups.keys)
    if "require" in items:
        items["require"] = _required(items["require"], problems)
    if "patterns" in items:
        before = len(problems)
        patterns = _patterns(items["patterns"], problems)
        if len(problems) > before:
            del items["patterns"]
        else:
            items["patterns"] = patterns
    return MapNode(root.place, items, root.keys)


def _required(node: Node, problems: list[Problem]) -> Node:
    """A mapping of lookups to what becomes of other rows; a name alone stands for the quarantine."""
    if isinstance(node, MapNode) or (isinstance(node, ScalarNode) and node.value is None):
        return _or_empty(node)
    items: dict[str, Node] = {}
    keys: dict[str, Place] = {}
    for item in node.items if isinstance(node, ListNode) else [node]:
        if not isinstance(item, ScalarNode) or not isinstance(item.value, str):
            problems.append(Problem(item.place, f"require: found {item.shown()}, expected {REQUIRE_WORDS}"))
        elif item.raw in items:
            problems.append(Problem(item.place, f"require: '{shown_text(item.raw)}' is there twice"))
        else:
            items[item.raw], keys[item.raw] = ScalarNode(item.place, "quarantine", "quarantine"), item.place
    return MapNode(node.place, items, keys)


def _with_uri(node: Node) -> Node:
    if not isinstance(node, ScalarNode) or node.value is None:
        return node
    return MapNode(node.place, {"uri": node}, {"uri": node.place})


def _patterns(node: Node, problems: list[Problem]) -> MapNode:
    """A mapping of reference to thresholds, from any of the ways to write it."""
    if isinstance(node, ListNode):
        entries = [_pattern(item, problems) for item in node.items]
    elif isinstance(node, MapNode):
        entries = [(ref, node.keys[ref], thresholds) for ref, thresholds in node.items.items()]
    else:
        problems.append(Problem(node.place, f"patterns: found {node.shown()}, expected {PATTERNS_WORDS}"))
        entries = []
    items: dict[str, Node] = {}
    keys: dict[str, Place] = {}
    for ref, place, thresholds in entries:
        if ref in items:
            text = f"patterns: '{shown_text(ref)}' is there twice, first at {keys[ref]}"
            problems.append(Problem(place, text))
            continue
        items[ref], keys[ref] = _or_empty(thresholds), place
    return MapNode(node.place, items, keys)


def _pattern(item: Node, problems: list[Problem]) -> tuple[str, Place, Node]:
    """One entry of the list: its reference, its place, its thresholds."""
    if isinstance(item, ScalarNode) and isinstance(item.value, str):
        return item.raw, item.place, MapNode(item.place)
    if isinstance(item, MapNode) and len(item.items) == 1:
        ((ref, thresholds),) = item.items.items()
        return ref, item.keys[ref], thresholds
    found = f"a mapping of {len(item.items)} keys" if isinstance(item, MapNode) else item.shown()
    text = f"patterns: found {found}, expected an id, a file, a folder, or one of these with thresholds below it"
    problems.append(Problem(item.place, f"{text}, such as {{PatId2: {{transactions: 20}}}}"))
    return str(item.place), item.place, item


def _or_empty(node: Node) -> Node:
    is_nothing = isinstance(node, ScalarNode) and node.value is None
    return MapNode(node.place) if is_nothing else node


def overridden(root: MapNode, override: str, problems: list[Problem]) -> MapNode:
    """The written-out tree with one `KEY=VALUE` set; a wrong one is added to `problems` instead."""
    key, equals, text = override.partition("=")
    is_address = key.partition(".")[0] == "alerts" and "://" in text
    shown = "***" if is_address or may_hold_secret(override) else shown_text(text)
    place = Place(f"--set {shown_text(key)}{equals}{shown if equals else ''}")
    path = _path(key)
    if not equals or not all(path):
        problems.append(Problem(place, "expected KEY=VALUE, such as source.rows=500"))
        return root
    try:
        value = read_tree(text, place.name, problems, numbered=False)
        if path[0] == "patterns":
            root = _with_known_patterns(root, path)
        changed = _with_value(root, path, value, place)
    except ConfigError as error:
        problems.append(Problem(place, str(error).removeprefix(f"{place}: ")))
        return root
    return written_out(changed, problems)


def _path(key: str) -> list[str]:
    """The steps of a dotted key. A pattern's reference may hold dots itself: `patterns../my.yaml.limit`."""
    section, _, rest = key.partition(".")
    if section == "patterns" and "." in rest:
        return [section, *rest.rsplit(".", 1)]
    return key.split(".")


def _with_known_patterns(root: MapNode, path: Sequence[str]) -> MapNode:
    """The tree, with the default patterns if it has none. Raises ConfigError for a new reference."""
    if "patterns" not in root.items and len(path) > 1:
        refs = [choice.ref for choice in Settings.model_fields["patterns"].default]
        default = Place("the default patterns")
        nodes = ListNode(default, tuple(ScalarNode(default, ref, ref) for ref in refs))
        root = _with_value(root, ["patterns"], _patterns(nodes, []), default)
    patterns = root.items.get("patterns")
    if len(path) > 1 and isinstance(patterns, MapNode) and path[1] not in patterns.items:
        known = suggestion(path[1], patterns.items)
        raise ConfigError(f"patterns: '{shown_text(path[1])}' is not among the patterns; {known}")
    return root


def _with_value(node: Node | None, path: Sequence[str], value: Node, place: Place) -> MapNode:
    """A copy of the mapping with `value` at `path`; mappings on the way are made when they are missing."""
    if node is None or (isinstance(node, ScalarNode) and node.value is None):
        node = MapNode(place)
    if not isinstance(node, MapNode):
        raise ConfigError(f"cannot be set below {node.shown()}, which is at {node.place}")
    step, *rest = path
    below = _with_value(node.items.get(step), rest, value, place) if rest else value
    return MapNode(node.place, {**node.items, step: below}, {step: place, **node.keys})
