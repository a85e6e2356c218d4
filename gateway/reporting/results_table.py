"""The table of a contrast's metrics and guardrails in a terminal, with as many columns as fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import click

from gateway.reporting import results_words as words
from gateway.reporting.results_rows import Group, Row
from gateway.reporting.widths import cut, fitted, folded, plain, wrapped
from gateway.reporting.widths import width as width_of

NARROWEST, WIDEST = 80, 160
COLOURS = {
    "better": "green",
    "equivalent": "green",
    "worse": "red",
    "invalid": "red",
    words.BREACHED: "red",
    "running": "cyan",
    "insufficient": "yellow",
}
#: Of the name of a branch over its figures.
_MOST_LINES = 3
_WORD, _NAME, _MOST_NAME, _VALUE, _MOST_VALUE, _CHANGE, _INTERVAL, _P = 12, 13, 28, 7, 14, 8, 18, 6


@dataclass(frozen=True, slots=True)
class _Extra:
    """A figure with a column where there is room, and else on a line of its own."""

    title: str
    width: int
    of: Callable[[Row], str]


_EXTRAS = (
    _Extra("e", 8, lambda row: row.e),
    _Extra("events", 15, lambda row: row.events),
    _Extra("expected", 8, lambda row: row.expected),
    _Extra("units", 19, lambda row: row.units),
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How wide the columns are; `extras` have one, `rest` have not."""

    width: int
    name: int
    value: int
    extras: tuple[_Extra, ...]
    rest: tuple[_Extra, ...]

    @classmethod
    def within(cls, width: int, longest: int, arms: int) -> _Layout:
        left = width - (_WORD + _NAME + 2 * _VALUE + _CHANGE + _INTERVAL + _P + 6)
        name = min(_NAME + left, _MOST_NAME, max(longest, _NAME))
        left -= name - _NAME
        extras = []
        for extra in _EXTRAS:
            if extra.width + 1 <= left:
                left -= extra.width + 1
                extras.append(extra)
        value = min(_VALUE + left // 2, _MOST_VALUE, max(arms, _VALUE))
        rest = tuple(one for one in _EXTRAS if one not in extras)
        return cls(width, name, value, tuple(extras), rest)

    @property
    def figures(self) -> list[int]:
        """The widths of what stands right of the name."""
        fixed = [self.value, self.value, _CHANGE, _INTERVAL, _P]
        return fixed + [extra.width for extra in self.extras]

    def line(self, word: str, name: str, figures: Sequence[str]) -> str:
        """Word and name from the left, figures from the right."""
        cells = [_right(text, width) for text, width in zip(figures, self.figures, strict=True)]
        return " ".join([fitted(word, _WORD), fitted(name, self.name), *cells]).rstrip()

    def head(self, titles: Sequence[str]) -> Iterator[str]:
        """The names of the columns: a branch's is folded where it is wider than its figures."""
        columns = zip(titles, self.figures, strict=True)
        parts = [folded(text, width, _MOST_LINES) for text, width in columns]
        high = max(map(len, parts))
        for number in range(high):
            cells = [
                part[number - high + len(part)] if number >= high - len(part) else ""
                for part in parts
            ]
            yield self.line("", "metric" if number == high - 1 else "", cells)


def bounded(width: int) -> int:
    """Narrower is not laid out for, and wider is not read."""
    return min(max(width, NARROWEST), WIDEST)


def table(
    groups: Sequence[Group], baseline: str, candidate: str, width: int, *, whole: bool
) -> Iterator[str]:
    """A head, and below it the groups; `whole` says of guardrails too what has no column."""
    arms = (plain(baseline), plain(candidate))
    longest = max(width_of(plain(row.name)) for group in groups for row in group.rows)
    layout = _Layout.within(width, longest, max(map(width_of, arms)))
    titles = (*arms, "change", "interval", "p", *(extra.title for extra in layout.extras))
    for line in layout.head(titles):
        yield click.style(line, dim=True)
    for group in groups:
        if group.title:
            indent = " " * (_WORD + 1)
            for line in wrapped(plain(f"{group.title}:"), width - len(indent)):
                yield click.style(indent + line, dim=True)
        for row in group.rows:
            yield from _lines(row, layout, titles, whole=whole)


def _lines(row: Row, layout: _Layout, titles: Sequence[str], *, whole: bool) -> Iterator[str]:
    known = (row.baseline, row.candidate, row.change, row.interval, row.p)
    figures = [*known, *(extra.of(row) for extra in layout.extras)]
    rest = [(extra.title, extra.of(row)) for extra in layout.rest]
    for place, wide in enumerate(layout.figures):
        if width_of(figures[place]) > wide:  # half a number is another number
            rest.append((titles[place], figures[place]))
            figures[place] = ""
    line = layout.line(row.word, plain(row.name), figures)
    colour, bold = COLOURS.get(row.word), (row.word == words.BREACHED) or None
    word = click.style(line[:_WORD], fg=colour, bold=bold, dim=(colour is None) or None)
    yield word + line[_WORD:]
    quiet = row.word == words.HELD and not whole
    below = "" if quiet else ", ".join(f"{title} {text}" for title, text in rest if text)
    indent = " " * (_WORD + 1)
    for text in (below, *row.notes):
        if text:
            yield from (indent + part for part in wrapped(plain(text), layout.width - len(indent)))


def _right(text: str, columns: int) -> str:
    text = cut(text, columns)
    return " " * (columns - width_of(text)) + text
