"""The rows by a column: its values, or spans of them, and how much of a change goes with them.

Pure.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.replaying.comparing import is_number
from gateway.replaying.document import Part, Segmented

#: More values than this are put together: numbers to spans, others to `OTHER`.
_MOST_VALUES = 10
_SPANS = 4
MISSING, OTHER = "(missing)", "(other)"
#: Columns that are shown unasked: so many, that explain at least this much of rows enough.
_MOST_COLUMNS, _LEAST, _LEAST_ROWS = 3, 0.05, 50


class Entry(NamedTuple):
    """One compared row as far as it is summed up: `moved` is how far its number went, if it has
    one."""

    values: Mapping[str, msgspec.Raw]
    changed: bool
    moved: float | None
    weight: float


def segments(entries: Sequence[Entry], asked: Sequence[str]) -> tuple[Segmented, ...]:
    """The asked columns; without any, those that go most with what changed, if some do."""
    if asked:
        return tuple(_segmented(column, entries, asked=True) for column in asked)
    if len(entries) < _LEAST_ROWS:
        return ()
    columns = dict.fromkeys(name for entry in entries for name in entry.values)
    found = [_segmented(column, entries, asked=False) for column in columns]
    telling = [one for one in found if one.explains >= _LEAST]
    telling.sort(key=lambda one: -one.explains)
    return tuple(telling[:_MOST_COLUMNS])


def _segmented(column: str, entries: Sequence[Entry], *, asked: bool) -> Segmented:
    names, order = _named([entry.values.get(column) for entry in entries])
    groups: dict[str, list[Entry]] = {}
    for name, entry in zip(names, entries, strict=True):
        groups.setdefault(name, []).append(entry)
    shown = dict.fromkeys(order)
    parts = tuple(_part(name, groups[name]) for name in shown if name in groups)
    return Segmented(column, _explained(list(groups.values())), parts, asked)


def _part(name: str, entries: Sequence[Entry]) -> Part:
    total = sum(entry.weight for entry in entries)
    changed = [entry for entry in entries if entry.changed]
    moves = [(entry.moved, entry.weight) for entry in entries if entry.moved is not None]
    weights = sum(weight for _, weight in moves)
    return Part(
        name,
        len(entries),
        len(changed),
        sum(entry.weight for entry in changed) / total if total else 0.0,
        sum(moved * weight for moved, weight in moves) / weights if weights else None,
    )


def _named(raws: Iterable[msgspec.Raw | None]) -> tuple[list[str], list[str]]:
    """Of each value the name of its part, and the names in the order in which they are shown."""
    values = [None if raw is None else msgspec.json.decode(raw) for raw in raws]
    there = [value for value in values if value is not None]
    if all(is_number(value) for value in there) and len(set(there)) > _MOST_VALUES:
        return _spans(values, there)
    texts = [None if value is None else _text(value) for value in values]
    counts = Counter(text for text in texts if text is not None)
    kept = [text for text, _ in counts.most_common(_MOST_VALUES)]
    if there and all(is_number(value) for value in there):
        kept.sort(key=float)
    known = set(kept)
    names = [MISSING if one is None else one if one in known else OTHER for one in texts]
    return names, [*kept, OTHER, MISSING]


def _spans(values: Sequence[Any], there: Sequence[float]) -> tuple[list[str], list[str]]:
    """By quarters of the rows; equal numbers are never parted."""
    ranked = sorted(there)
    cuts = sorted({ranked[len(ranked) * n // _SPANS] for n in range(1, _SPANS)} - {ranked[-1]})
    cuts = cuts or sorted(set(there))[-2:-1]
    shown = [f"{cut:.6g}" for cut in cuts]
    order = [
        f"up to {shown[0]}",
        *(f"{one} to {two}" for one, two in itertools.pairwise(shown)),
        f"above {shown[-1]}",
    ]
    names = [
        MISSING if value is None else order[sum(value > cut for cut in cuts)] for value in values
    ]
    return names, [*order, MISSING]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _explained(groups: Sequence[Sequence[Entry]]) -> float:
    """The part of the variance that lies between the groups, less what chance puts there."""
    everything = [entry for group in groups for entry in group]
    count, kinds = len(everything), len(groups)
    if count <= kinds or kinds < 2:
        return 0.0
    by_size = all(entry.changed for entry in everything)

    def measure(entry: Entry) -> float:
        # Where every row changed, as numbers do, it is how far that tells them apart.
        return abs(entry.moved or 0.0) if by_size else float(entry.changed)

    total = _squares([measure(entry) for entry in everything]) / (count - 1)
    within = sum(_squares([measure(entry) for entry in group]) for group in groups)
    return max(0.0, 1.0 - within / (count - kinds) / total) if total else 0.0


def _squares(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values)
