"""What is wrong with a value of gateway.yaml, in words that say what would be right.

Every error of pydantic becomes a `Mistake` here; none of its own sentences passes. What a
setting accepts is read from its annotation, so a new setting needs no words of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import chain
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from gateway.config.positions import Document, Mistake, Place

_PYDANTICS_OWN = frozenset(get_args(ErrorType))
_SECRET = re.compile(
    r"secret|passw|token|credential|auth(?!or$)|key|private|cookie|^url_", re.IGNORECASE
)
_SECRET_ADDRESS = re.compile(r"//.*@|^[^/]*:[^/]*@|\?")
_LONGEST = 80
_NUMBERS = {float: "a number", int: "a whole number"}
_KINDS = {bool: "true or false", str: "text", dict: "a mapping", tuple: "a list", list: "a list"}


def explain(
    errors: Iterable[ErrorDetails], model: type[BaseModel], found: Document
) -> list[Mistake]:
    """The mistakes behind pydantic's errors, one for each member of a union that complains."""
    mistakes = []
    for error in errors:
        path, message = _explained(error, model, found)
        position = found.values.get(path, (1, 1))
        if error["type"] == "missing":
            position = found.values.get(path[:-1], (1, 1))
        elif _is_about_key(error):
            position = found.keys.get(path, position)
        mistakes.append(Mistake(position, path, message))
    return mistakes


def _explained(error: ErrorDetails, model: type[BaseModel], found: Document) -> tuple[Place, str]:
    kind = error["type"]
    path = error["loc"] if kind == "missing" else _known_part(error["loc"], found)
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind == "missing":
        return path, f"is missing: {_purpose(model, path)}"
    if kind == "extra_forbidden":
        return path, _unknown(str(path[-1]), _annotation(model, path[:-1]))
    if kind in ("value_error", "assertion_error"):
        message = str(context["error"])
    elif kind not in _PYDANTICS_OWN:
        message = error["msg"]
    else:
        message = f"must be {_expected(_annotation(model, path))}"
    if "[key]" in error["loc"]:
        return path, message
    return path, message + given(path, _at(found.value, path))


def _is_about_key(error: ErrorDetails) -> bool:
    return error["type"] in ("extra_forbidden", "invalid_key") or "[key]" in error["loc"]


def _known_part(loc: Place, found: Document) -> Place:
    """The longest beginning of pydantic's location that is a place in the file.

    What follows it names members of a union, or that a key is meant and not its value.
    """
    while loc and loc not in found.values:
        loc = loc[:-1]
    return loc


def _at(value: Any, path: Place) -> Any:
    for step in path:
        value = value[step]
    return value


def _annotation(model: type[BaseModel], path: Place) -> Any:
    annotation: Any = model
    for step in path:
        annotation = _step(_plain(annotation), step)
    return annotation


def _step(annotation: Any, step: str | int) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(step))
        if field is None:
            return Any
        return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    members = get_args(annotation)
    return {dict: members[-1:], tuple: members[:1]}.get(get_origin(annotation), (Any,))[0]


def _plain(annotation: Any) -> Any:
    """The annotation without its metadata, and without the None of an optional setting."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        return _plain(members[0]) if len(members) == 1 else annotation
    return annotation


def _expected(annotation: Any) -> str:
    """What a setting of this annotation accepts, to follow the words "must be"."""
    metadata: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *rest = get_args(annotation)
        metadata = tuple(
            chain.from_iterable(m.metadata if isinstance(m, FieldInfo) else [m] for m in rest)
        )
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        if len(members) == 1 and metadata:  # an optional setting's bounds are its value's
            return _expected(Annotated[members[0], *metadata])
        return " or ".join(map(_expected, members))
    if get_origin(annotation) is Literal:
        return listed([str(choice) for choice in get_args(annotation)])
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "a mapping of " + listed(list(kind.model_fields), "and")
    if kind in _NUMBERS:
        return _NUMBERS[kind] + _bounds(metadata)
    return _KINDS.get(kind, "a plain value") + _lengths(kind, metadata)


def _bounds(metadata: Iterable[Any]) -> str:
    low = next((m.ge for m in metadata if isinstance(m, Ge)), None)
    high = next((m.le for m in metadata if isinstance(m, Le)), None)
    if any(isinstance(m, Gt | Lt) for m in metadata):
        raise TypeError("bounds of settings are inclusive: use ge and le")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    return f" of at most {high}" if high is not None else ""


def _lengths(kind: Any, metadata: Iterable[Any]) -> str:
    least = next((m.min_length for m in metadata if isinstance(m, MinLen)), 0)
    most = next((m.max_length for m in metadata if isinstance(m, MaxLen)), None)
    part = "character" if kind is str else "entry"
    parts = "characters" if kind is str else "entries"
    if least and most is not None:
        return f" of {least} to {most} {parts}"
    words = f" of at least {least} {part if least == 1 else parts}" if least else ""
    return words + (f" of at most {most} {parts}" if most is not None else "")


def _purpose(model: type[BaseModel], path: Place) -> str:
    owner = _plain(_annotation(model, path[:-1]))
    description: str = owner.model_fields[str(path[-1])].description
    return description[0].lower() + description[1:].rstrip(".")


def _unknown(key: str, annotation: Any) -> str:
    known = list(_plain(annotation).model_fields)
    close = get_close_matches(key, known, n=1)
    if close:
        return f"is not a setting. Did you mean {close[0]}?"
    return f"is not a setting here; these are: {', '.join(known)}"


def listed(words: list[str], last: str = "or") -> str:
    """`a, b or c`."""
    return " ".join(filter(None, [", ".join(words[:-1]), last if words[1:] else "", words[-1]]))


def given(path: Place, value: Any) -> str:
    """What stands in the file, as the end of a message; never what could be a secret."""
    if isinstance(value, dict | list):
        return ". Given: a mapping" if isinstance(value, dict) else ". Given: a list"
    if value is None:
        return ". Given: nothing"
    if any(_SECRET.search(str(step)) for step in path) or (
        isinstance(value, str) and _SECRET_ADDRESS.search(value)
    ):
        return ""
    return f". Given: {_short(json.dumps(value, ensure_ascii=False))}"


def line(name: str, mistake: Mistake) -> str:
    """`gateway.yaml:7:13: branches.prod.weight: must be …`, as editors and terminals link it."""
    row, column = mistake.position
    place = f"{name}:{row}:{column}: "
    return place + (f"{_dotted(mistake.path)}: " if mistake.path else "") + mistake.message


def _dotted(path: Place) -> str:
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{_short(step)}" for step in path)
    return steps.removeprefix(".")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
