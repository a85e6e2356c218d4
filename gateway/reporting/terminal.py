"""One branch's drift as a table for a terminal of any width from 80 columns on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import click

from gateway.reporting import words
from gateway.reporting.document import Between, Column, Drift, worst_first
from gateway.reporting.histograms import blocks
from gateway.reporting.widths import fitted, plain, wrapped
from gateway.reporting.widths import width as width_of

MOST = 20
NARROWEST, WIDEST = 80, 160
_COLOURS = {"critical": "red", "alert": "red", "warn": "yellow", "ok": "green"}
#: Cells of each histogram, and of the column's name, that the narrowest table has.
_CELLS, _MOST_CELLS, _NAME, _MOST_NAME = 6, 10, 13, 32
#: Room for reasons beside the table; with less they get lines of their own.
_REASON = 26


@dataclass(frozen=True, slots=True)
class _Figure:
    """A column of the table that holds numbers."""

    title: str
    width: int
    of: Callable[[Column], str]


_FIGURES = (
    _Figure("PSI", 5, lambda one: words.number(one.psi)),
    _Figure("null", 5, lambda one: words.number(one.psi_null)),
    _Figure("p", 6, lambda one: words.chance(one.p_tolerance)),
    _Figure("miss.", 5, lambda one: words.share(one.missing_rate)),
    _Figure("range", 5, lambda one: words.share(one.out_of_range_rate)),
    _Figure("new", 5, lambda one: words.share(one.new_category_rate)),
    _Figure("shift", 5, lambda one: words.shift(one.mean_shift_sd)),
)
_LEGEND = (
    "PSI: distance from the reference; null: what PSI would be without any drift; p: chance of such"
    " a window if the true distance were the tolerance; miss., range, new: shares of rows without a"
    " value, outside the reference's range, with a value unknown to it; shift: of the mean, in"
    " standard deviations."
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a table is laid out in `width` columns of a terminal."""

    width: int
    name: int
    cells: int
    beside: bool

    @classmethod
    def within(cls, width: int, longest: int) -> _Layout:
        width = _bounded(width)
        fixed = 8 + sum(figure.width for figure in _FIGURES) + len(_FIGURES) + 2
        left = width - fixed - (2 * _CELLS + 1) - _NAME
        beside = left >= _REASON + 2
        left -= _REASON + 2 if beside else 0
        cells = min(_MOST_CELLS, _CELLS + left // 2)
        left -= 2 * (cells - _CELLS)
        name = min(_NAME + left, _MOST_NAME, max(longest, _NAME))
        return cls(width, name, cells, beside)

    @property
    def reason(self) -> int:
        used = 8 + sum(figure.width + 1 for figure in _FIGURES) + 2 + self.name + 2 * self.cells + 1
        return self.width - used - 2


def terminal(drift: Drift, width: int, *, whole: bool = False) -> str:
    """The text, with colours in it; `whole` for every column, however many."""
    lines = [*_head(drift, width)]
    if drift.columns:
        lines += ["", *_table(drift.columns, width, "before│window", whole=whole)]
        lines += ["", *(click.style(line, dim=True) for line in wrapped(_LEGEND, _bounded(width)))]
    if drift.between:
        lines += ["", *_between(drift.between, width, whole=whole)]
    return "\n".join(lines) + "\n"


def _head(drift: Drift, width: int) -> Iterator[str]:
    word = drift.severity or drift.state
    yield from _titled(drift.branch, words.verdict(drift), word, width)
    for note in words.notes(drift):
        yield from _indented(plain(note), width, "  ")
    facts = {
        "serves": drift.commit and drift.commit[:10],
        "window": drift.window and f"{words.span(drift.window)}, {words.seen(drift.window)}",
        "reference": drift.reference and words.reference(drift.reference),
        "waits for": words.waited_for(drift),
    }
    for name, fact in facts.items():
        if fact:
            first, *rest = _indented(plain(fact), width, " " * 12)
            yield from (f"  {name:<10}{first[12:]}", *rest)


def _table(columns: Sequence[Column], width: int, title: str, *, whole: bool) -> Iterator[str]:
    ranked = worst_first(columns)
    shown = ranked if whole else ranked[:MOST]
    layout = _Layout.within(width, max(width_of(_name(one)) for one in shown))
    heads = " ".join(f"{figure.title:>{figure.width}}" for figure in _FIGURES)
    pictures = fitted(title, 2 * layout.cells + 1)
    head = f"{'':8} {fitted('column', layout.name)} {pictures} {heads}"
    yield click.style(head + ("  why" if layout.beside else ""), dim=True)
    for column in shown:
        yield from _lines(column, layout)
    if rest := ranked[len(shown) :]:
        yield click.style(f"{'':8} {_counted(rest)}: --all shows them", dim=True)


def _counted(rest: Sequence[Column]) -> str:
    counts: dict[str, int] = {}
    for column in rest:
        word = "not measured" if column.skipped else column.severity
        counts[word] = counts.get(word, 0) + 1
    return "and " + ", ".join(f"{count} {word}" for word, count in counts.items())


def _lines(column: Column, layout: _Layout) -> Iterator[str]:
    word = "skipped" if column.skipped else "too few" if _is_short(column) else column.severity
    before, now = blocks(column.reference, column.current, layout.cells)
    picture = f"{before:<{layout.cells}}│{now}" if column.cells else ""
    figures = " ".join(f"{figure.of(column):>{figure.width}}" for figure in _FIGURES)
    severity = _coloured(f"{word:<8}", column.severity)
    name = fitted(_name(column), layout.name)
    line = f"{severity} {name} {picture:<{2 * layout.cells + 1}} {figures}"
    reason = plain(words.reasons(column))
    if not reason:
        yield line.rstrip()
    elif layout.beside and width_of(reason) <= layout.reason:
        yield f"{line}  {reason}"
    else:
        yield line.rstrip()
        yield from _indented(reason, layout.width, f"{'':8} ")


def _between(found: Between, width: int, *, whole: bool) -> Iterator[str]:
    rows = words.seen(found.window) if found.window else "no window"
    yield from _titled(f"beside {found.other}", rows, found.severity or "insufficient", width)
    for sentence in words.between(found):
        yield from _indented(plain(sentence), width, "  ")
    if differing := [*found.of("split"), *found.of("model")]:
        yield from _table(differing, width, f"{plain(found.other)}│here", whole=whole)


def _titled(name: str, text: str, word: str, width: int) -> Iterator[str]:
    """A name, a verdict in its colour, and what it means; in lines of their own if need be."""
    name, said = plain(name), f"{word.upper()}: {text}"
    if width_of(name) + 2 + width_of(said) <= _bounded(width):
        coloured = _coloured(word.upper(), word) + said[len(word) :]
        yield f"{click.style(name, bold=True)}  {coloured}"
        return
    yield from (click.style(line, bold=True) for line in wrapped(name, _bounded(width)))
    yield from (_coloured(line, word) for line in _indented(said, width, "  "))


def _is_short(column: Column) -> bool:
    return column.severity == "insufficient"


def _name(column: Column) -> str:
    return plain(words.column_name(column))


def _coloured(text: str, severity: str) -> str:
    colour = _COLOURS.get(severity)
    # None and not False, which would be written, and end what was set before.
    bold, dim = (severity == "critical") or None, (colour is None) or None
    return click.style(text, fg=colour, bold=bold, dim=dim)


def _bounded(width: int) -> int:
    return min(max(width, NARROWEST), WIDEST)


def _indented(text: str, width: int, indent: str) -> Iterator[str]:
    yield from (indent + line for line in wrapped(text, _bounded(width) - len(indent)))
