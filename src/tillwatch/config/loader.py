"""From `tillwatch.yaml`, `--set` and the environment to Settings; the only reader of any of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any, TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tillwatch.config.environment import expanded, expanded_text, is_replaced, secrets_in
from tillwatch.config.kinds import OUTPUTS, is_uri
from tillwatch.config.secrets import is_secret_key, is_secret_setting
from tillwatch.config.section import Section
from tillwatch.config.settings import Lookup, Output, Settings
from tillwatch.config.shape import SHORT, overridden, written_out
from tillwatch.config.yaml import (
    MapNode,
    Node,
    Place,
    Problem,
    ScalarNode,
    error_of,
    read_tree,
    shown_text,
    suggestion,
)
from tillwatch.errors import ConfigError

SMALLEST = """\
source: ./transactions.csv
lookups:
  importance: ./CustomerImportance.csv
"""

MAX_BYTES = 256 * 1024
NEWLINE = b"\n"

_SMALLEST_WORDS = "The smallest configuration is:\n\n" + indent(SMALLEST, "  ")

Location: TypeAlias = tuple[str | int, ...]


def load(path: Path, overrides: Sequence[str] = (), environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the file at `path`, with each `KEY=VALUE` of `overrides` on top, in order.

    Local paths come out absolute: those of the file, and the defaults, below the file's folder; those of
    overrides below the current folder. Raises ConfigError with every mistake, a line each: file:line:column
    or the override, key, what was found, what was expected. No error shows a secret.
    """
    problems: list[Problem] = []
    tree = written_out(_mapping(read_tree(_text(path), str(path), problems), path), problems)
    for override in overrides:
        tree = overridden(tree, override, problems)
    data = _data(tree, environ, problems)
    settings = _validated(data, tree, problems)
    return _absolute(settings, tree, path.absolute().parent).with_places(dict(_places(tree, str(path))))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file. {_SMALLEST_WORDS}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: is over {MAX_BYTES // 1024} KiB; expected a configuration in YAML")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        place = f"{path}:{before.count(NEWLINE) + 1}:{len(before) - before.rfind(NEWLINE)}"
        raise ConfigError(f"{place}: is not UTF-8 text (byte 0x{data[error.start]:02x})") from None


def _mapping(root: Node, path: Path) -> MapNode:
    if isinstance(root, MapNode):
        return root
    if isinstance(root, ScalarNode) and root.value is None:
        raise ConfigError(f"{path}: is empty. {_SMALLEST_WORDS}")
    found = "a text" if isinstance(root, ScalarNode) else root.shown()  # the text may be "password:…"
    raise ConfigError(f"{root.place}: found {found}, expected a mapping. {_SMALLEST_WORDS}")


def _data(tree: MapNode, environ: Mapping[str, str], problems: list[Problem]) -> dict[str, Any]:
    """The values as the models take them."""
    plain = {key: expanded(node, environ, problems).plain() for key, node in tree.items.items()}
    patterns = tree.items.get("patterns")
    if isinstance(patterns, MapNode):
        plain["patterns"] = [
            {
                "ref": expanded_text(ref, patterns.keys[ref], environ, problems),
                "thresholds": expanded(thresholds, environ, problems).plain(),
                "where": str(patterns.keys[ref]),
                "places": {name: place for name, place in _places(thresholds, "") if name},
            }
            for ref, thresholds in patterns.items.items()
        ]
    return plain


def _validated(data: dict[str, Any], tree: MapNode, problems: list[Problem]) -> Settings:
    """The settings; raises ConfigError for `problems`, secrets, and what the models find beyond `problems`."""
    told = {problem.place for problem in problems}
    problems = [*problems, *secrets_in(tree)]
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        found = [_problem(details, tree) for details in error.errors(include_url=False, include_input=False)]
        fresh = [problem for problem in found if problem.place not in told]
        raise error_of([*problems, *fresh]) from None
    if problems:
        raise error_of(problems)
    return settings


def _problem(details: ErrorDetails, tree: MapNode) -> Problem:
    """One finding of the models, in the words and at the place of the file."""
    kind, path = details["type"], _written_path(details["loc"], tree)
    *above, last = path
    node = tree.find(*path)
    if kind == "extra_forbidden":
        text = f"unknown key; {suggestion(last, _known_keys(above))}"
        return Problem(_key_place(tree, above, last), f"{_dotted(path)}: {text}")
    if last == "[key]" or details["msg"].startswith("expected a name "):
        *above, key = above if last == "[key]" else path
        text = f"{_dotted(above)}: found the key '{shown_text(key)}', {details['msg']}"
        return Problem(_key_place(tree, above, key), text)
    if kind == "missing":
        example = ", such as source: ./transactions.csv" if path == ("source",) else ""
        wanted = f"one of {', '.join(OUTPUTS)}" if last == "format" else f"a path or URI{example}"
        return Problem(node.place, f"{_dotted(path)}: is missing; expected {wanted}")
    return Problem(node.place, f"{_dotted(path)}: {_mismatch(details, path, node)}")


def _mismatch(details: ErrorDetails, path: tuple[str, ...], node: Node) -> str:
    """What was found and what was expected, or the rule that was broken."""
    kind = details["type"]
    if kind == "rule":
        return details["msg"]
    # Who misreads `secret_env` writes the secret itself there.
    hidden = is_secret_key(path[-1]) or path[-1] == "secret_env" or _is_address(path, node)
    hidden = hidden or (path[0] == "spark" and is_secret_setting(path[-1]))
    found = f"found {'***' if hidden else node.shown()}"
    if isinstance(node, ScalarNode) and is_replaced(node.raw):
        found += " from the environment"
    if kind == "unexpected":
        return f"{found}, {details['msg']}"
    if kind == "too_short":
        return f"{found}, expected at least one entry"
    is_short = path[0] in SHORT or (path[0] == "lookups" and len(path) == 2)
    return f"{found}, expected {'a path or URI, or a mapping' if is_short else 'a mapping'}"


def _is_address(path: tuple[str, ...], node: Node) -> bool:
    """Whether a value is, or was meant to be, the address of a channel, which is secret as a whole."""
    in_alerts = path[0] == "alerts" and isinstance(node, ScalarNode) and "://" in node.raw
    return in_alerts or path[:2] == ("alerts", "channels")


def _written_path(location: Location, tree: MapNode) -> tuple[str, ...]:
    """A location in the models, where patterns are numbered, as one in the tree, where they are named."""
    patterns = tree.items.get("patterns")
    if location[0] == "patterns" and len(location) > 1 and isinstance(patterns, MapNode):
        ref = list(patterns.items)[int(location[1])]
        location = ("patterns", ref, *location[3:])
    return tuple(str(step) for step in location)


def _known_keys(path: Sequence[str]) -> list[str]:
    """The keys of the mapping at `path`."""
    model: Any = {"lookups": Lookup, "outputs": Output}.get(path[0] if path else "", Settings)
    if path and model is Settings:
        model = Settings.model_fields[path[0]].annotation
    assert issubclass(model, Section)  # only these forbid other keys
    return [field.alias or name for name, field in model.model_fields.items()]


def _key_place(tree: MapNode, above: Sequence[str], key: str) -> Place:
    node = tree.find(*above)
    assert isinstance(node, MapNode)  # the models have found the key in it
    return node.keys[key]


def _dotted(path: Sequence[str]) -> str:
    return ".".join(shown_text(step) for step in path)


def _absolute(settings: Settings, tree: MapNode, folder: Path) -> Settings:
    """The settings with local places made absolute, each below the folder that it was said in."""

    def at(uri: str, *path: str) -> str:
        node = tree.find(*path[:-1]).child(path[-1])
        return _below(uri, node.place if node else None, folder)

    changed: dict[str, Any] = {key: at(getattr(settings, key), key) for key in ("quarantine", "state")}
    for key in SHORT:
        section = getattr(settings, key)
        changed[key] = section.model_copy(update={"uri": at(section.uri, key, "uri")})
    cleared = at(settings.detections.cleared, "detections", "cleared")
    changed["detections"] = changed["detections"].model_copy(update={"cleared": cleared})
    changed["lookups"] = {
        name: lookup.model_copy(update={"uri": at(lookup.uri, "lookups", name, "uri")})
        for name, lookup in settings.lookups.items()
    }
    changed["outputs"] = {name: _output(name, output, at) for name, output in settings.outputs.items()}
    changed["spark"] = settings.spark.model_copy(update={"state": at(settings.spark.state, "spark", "state")})
    changed["logs"] = settings.logs.model_copy(
        update={"file": settings.logs.file and at(settings.logs.file, "logs", "file")}
    )
    changed["reports"] = settings.reports and at(settings.reports, "reports")
    changed["backtests"] = settings.backtests and at(settings.backtests, "backtests")
    patterns = tree.items.get("patterns")
    if isinstance(patterns, MapNode):
        changed["patterns"] = tuple(
            choice.model_copy(update={"ref": _below(choice.ref, place, folder)}) if choice.path else choice
            for choice, place in zip(settings.patterns, patterns.keys.values(), strict=True)
        )
    return settings.model_copy(update=changed)


def _output(name: str, output: Output, at: Callable[..., str]) -> Output:
    """The output with its local paths made absolute by `at`."""
    file = output.secret_file and at(output.secret_file, "outputs", name, "secret_file")
    return output.model_copy(update={"uri": at(output.uri, "outputs", name, "uri"), "secret_file": file})


def _below(uri: str, place: Place | None, folder: Path) -> str:
    """A local path below the folder it was said in: an override's is the current one. URIs stay."""
    if is_uri(uri):
        return uri
    is_override = place is not None and not place.line
    return str((Path.cwd() if is_override else folder) / uri)


def _places(node: Node, name: str, *path: str) -> Iterator[tuple[str, str]]:
    """Dotted path and place of every value; the whole file's is its name."""
    yield ".".join(path), str(node.place) if path else name
    if isinstance(node, MapNode):
        for key, item in node.items.items():
            yield from _places(item, name, *path, key)
