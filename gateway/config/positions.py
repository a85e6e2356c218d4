"""YAML text as plain values that remember where they stood.

Owns the reading of YAML 1.2 and the mistakes that are visible without knowing any setting:
broken syntax, duplicate keys, aliases, tags. What the values must be is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

Place = tuple[str | int, ...]
Position = tuple[int, int]

_CORE = "tag:yaml.org,2002:"
_NOT_ONE_LINE = "must be one line of text without control characters"
_ALIAS = "must be written out: aliases (*name) are not supported here"
#: Said of the place where it was opened, not of where the parser gave up.
_OPENED = (
    "the quoted text that begins here must end with the same quote",
    "this { or [ must be closed, and what is inside separated by commas",
)
_SYNTAX = {
    "found character '\\t'": "must be indented with spaces, not tabs",
    "mapping values are not allowed": "a colon is out of place: check the indentation of this "
    "line, or quote the text",
    "expected <block end>": "must be indented like the lines it belongs with",
    "could not find expected ':'": "must be `name: value`",
    "while scanning a quoted scalar": _OPENED[0],
    "expected ',' or": _OPENED[1],
    "expected a single document": "must be one document: there is a second one after `---`",
    "found undefined alias": _ALIAS,
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong: where, in which setting, and what would be right."""

    position: Position
    path: Place
    message: str


@dataclass(slots=True)
class Document:
    """The values of one file, the positions of its keys and values, and what is already wrong."""

    value: Any = None
    keys: dict[Place, Position] = field(default_factory=dict)
    values: dict[Place, Position] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def position(self, path: Place) -> Position:
        """Where a value stands, or ought to stand: then that of the mapping it is missing in."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, (1, 1))


class NotYaml(Exception):
    """The text has no structure to speak of; holds the one mistake that says why."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.message)
        self.mistake = mistake


def read(text: str) -> Document:
    """The document in a text; NotYaml where there is none."""
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False
    try:
        root = yaml.compose(text)
        document = Document()
        if root is not None:
            document.value = _Builder(document, yaml.constructor).build(root, ())
    except ReaderError as error:
        raise NotYaml(_unprintable(text, error.position)) from None
    except YAMLError as error:
        raise NotYaml(_syntax(error)) from None
    except RecursionError:
        raise NotYaml(Mistake((1, 1), (), "is nested too deeply")) from None
    return document


class _Builder:
    def __init__(self, document: Document, constructor: Any) -> None:
        self._document = document
        self._constructor = constructor
        self._seen: set[int] = set()

    def build(self, node: Node, path: Place) -> Any:
        aliased = id(node) in self._seen
        # What is not written at this place (an alias, nothing at all) is found at its key.
        absent = aliased or node.start_mark.index == node.end_mark.index
        key = self._document.keys.get(path) if absent else None
        self._document.values.setdefault(path, key or _position(node.start_mark))
        if aliased:
            # The same node once more: to follow it could take for ever.
            return self._mistaken(path, _ALIAS)
        self._seen.add(id(node))
        if isinstance(node, MappingNode) and node.tag == _CORE + "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == _CORE + "seq":
            return [self.build(item, (*path, n)) for n, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        return self._mistaken(path, "must be a plain value without a tag (!name)")

    def _mapping(self, node: MappingNode, path: Place) -> dict[Any, Any]:
        built: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._mistaken(path, "a name must be text, not a list or mapping", key_node)
                continue
            # A key that looks like a number or date is still the name that was written.
            key = key_node.value
            if not _one_line(key):
                self._mistaken(path, _NOT_ONE_LINE, key_node)
                continue
            here = (*path, key)
            if key in built:
                first = self._document.keys[here][0]
                self._mistaken(here, f"is given twice; the first is on line {first}", key_node)
            self._document.keys.setdefault(here, _position(key_node.start_mark))
            value = self.build(value_node, here)
            built.setdefault(key, value)
        return built

    def _scalar(self, node: ScalarNode, path: Place) -> Any:
        kind = str(node.tag).removeprefix(_CORE)
        if not _one_line(node.value):
            return self._mistaken(path, _NOT_ONE_LINE)
        if kind in ("str", "timestamp", "merge", "value"):
            return node.value
        if kind == "null":
            return None
        try:
            if kind == "bool":
                return self._constructor.construct_yaml_bool(node)
            if kind == "int":
                return self._constructor.construct_yaml_int(node)
            if kind == "float":
                return self._constructor.construct_yaml_float(node)
        except (ValueError, KeyError, IndexError, OverflowError):
            return self._mistaken(path, f"cannot be read as the {kind} it is written as")
        return self._mistaken(path, "must be a plain value without a tag (!name)")

    def _mistaken(self, path: Place, message: str, node: Node | None = None) -> None:
        place = _position(node.start_mark) if node is not None else self._document.values[path]
        self._document.mistakes.append(Mistake(place, path, message))


def _position(mark: StringMark) -> Position:
    return mark.line + 1, mark.column + 1


def _one_line(text: str) -> bool:
    return not any(
        character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff"
        for character in text
    )


def _unprintable(text: str, position: int) -> Mistake:
    before = text[:position]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    return Mistake((line, column), (), "must be text: there is a control character here")


def _syntax(error: YAMLError) -> Mistake:
    """The parser's complaint in our words: its own would quote the file, secrets and all."""
    if not isinstance(error, MarkedYAMLError):
        return Mistake((1, 1), (), "must be YAML")
    complaint = f"{error.context} {error.problem}"
    words = next((ours for theirs, ours in _SYNTAX.items() if theirs in complaint), None)
    mark = error.problem_mark or error.context_mark
    if words in _OPENED:
        mark = error.context_mark
    return Mistake(
        _position(mark) if mark is not None else (1, 1),
        (),
        words or "must be YAML: check the indentation, the quotes and the colons",
    )
