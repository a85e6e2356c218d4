"""The classes that an .onnx file names: what converters of classifiers write into their nodes.

onnxruntime does not tell them. The file is protobuf; this walks as far into it as there are
attributes, and steps over the rest.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Fields of ModelProto, GraphProto, NodeProto and AttributeProto.
_GRAPH, _NODE, _ATTRIBUTE, _NAME, _INTS, _STRINGS = 7, 1, 5, 1, 8, 9
_NAMED = (b"classlabels_strings", b"classlabels_int64s", b"classlabels_ints")


def class_labels(path: Path) -> list[Any] | None:
    """In the order of the probabilities; None if none are named, or not all alike."""
    found: list[list[Any]] = []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        try:
            for attribute in _below(whole, 0, len(whole), (_GRAPH, _NODE, _ATTRIBUTE)):
                labels = _labels(whole, *attribute)
                if labels and labels not in found:
                    found.append(labels)
        except (IndexError, ValueError):
            return None
    return found[0] if len(found) == 1 else None


def _below(data: Any, start: int, end: int, path: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    if not path:
        yield start, end
        return
    for field, value in _fields(data, start, end):
        if field == path[0] and isinstance(value, tuple):
            yield from _below(data, *value, path[1:])


def _labels(data: Any, start: int, end: int) -> list[Any]:
    """Of one attribute; nothing if it is another."""
    fields = list(_fields(data, start, end))
    names = [data[v[0] : v[1]] for f, v in fields if f == _NAME and isinstance(v, tuple)]
    if not names or names[0] not in _NAMED:
        return []
    labels: list[Any] = []
    for field, value in fields:
        if field == _STRINGS and isinstance(value, tuple):
            labels.append(data[value[0] : value[1]].decode())
        elif field == _INTS and isinstance(value, int):
            labels.append(_signed(value))
        elif field == _INTS and isinstance(value, tuple):  # packed
            at = value[0]
            while at < value[1]:
                number, at = _varint(data, at)
                labels.append(_signed(number))
    return labels


def _fields(data: Any, at: int, end: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
    """Numbers, and where the bytes of others lie."""
    while at < end:
        key, at = _varint(data, at)
        field, kind = key >> 3, key & 7
        if kind == 0:
            number, at = _varint(data, at)
            yield field, number
            continue
        if kind == 2:
            length, at = _varint(data, at)
        else:
            length = {1: 8, 5: 4}.get(kind, -1)
        if length < 0 or at + length > end:
            raise ValueError("no protobuf")
        yield field, (at, at + length)
        at += length


def _varint(data: Any, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number
