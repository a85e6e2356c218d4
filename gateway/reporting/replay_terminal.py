"""What replaying found, for a terminal of any width from 80 columns on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from gateway.replaying.document import Comparison, Replay
from gateway.reporting import replay_words as words
from gateway.reporting.results_table import bounded
from gateway.reporting.widths import cut, fitted, plain, wrapped
from gateway.reporting.widths import width as width_of

_COLOURS = {
    "SAME": "green",
    "CHANGED": "yellow",
    "DIFFERENT": "red",
    "FAILED": "red",
    "UNKNOWN": "yellow",
}
_NAMES = 15
_GAP = 2


def replay_terminal(found: Replay, width: int) -> str:
    """One request."""
    width = bounded(width)
    word = found.word.upper()
    lines = [
        f"{click.style(words.title(found), bold=True)}  {click.style(word, fg=_COLOURS[word])}"
    ]
    for row in found.rows:
        name, said = words.row_of(row)
        lines += _indented(f"{name}: {row.word.upper()}: {said}", width, "  ")
    lines += [""] if found.computers else []
    for one in found.computers:
        lines += _fact("computed by", words.computer(one), width)
    lines += _warnings(found.warnings, width)
    return "\n".join(lines) + "\n"


def comparison_terminal(found: Comparison, width: int) -> str:
    """Many rows."""
    width = bounded(width)
    word, said = words.verdict(found)
    lines = [click.style(line, bold=True) for line in wrapped(plain(words.headline(found)), width)]
    first, *rest = _indented(f"{word}: {said}", width, "  ")
    lines += ["  " + click.style(word, fg=_COLOURS[word]) + first[2 + len(word) :], *rest, ""]
    for name, text in words.facts(found):
        lines += _fact(name, text, width)
    if turned := words.turns(found):
        lines += ["", *_table(("answered", "computed", "rows"), turned, width, left=2)]
    for one in found.segments:
        title = _indented(words.parts_title(one), width, "")
        lines += ["", *(click.style(line, bold=True) for line in title)]
        head, *cells = words.parts(one, found)
        lines += _table(head, cells, width, left=1)
    if rows := words.largest(found):
        lines += ["", click.style("largest changes", bold=True)]
        lines += _table(words.LARGEST, rows, width, left=5)
    lines += _warnings(found.warnings, width)
    legend = words.MEANINGS.format(tolerance=f"{found.tolerance:g}")
    legend += f" {words.WEIGHTED}" * found.weighted
    lines += ["", *(click.style(line, dim=True) for line in wrapped(legend, width))]
    return "\n".join(lines) + "\n"


def _table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, left: int
) -> Iterator[str]:
    """Columns as wide as what stands in them; where that is too wide, the widest are cut.

    The first `left` columns begin at their left, the others end at their right.
    """
    shown = [[plain(cell) for cell in row] for row in rows]
    widths = [max(width_of(row[n]) for row in (titles, *shown)) for n in range(len(titles))]
    while sum(widths) + _GAP * len(widths) > width:
        widths[widths.index(max(widths))] -= 1
    for number, row in enumerate((titles, *shown)):
        cells = [
            fitted(cell, wide) if place < left else _right(cell, wide)
            for place, (cell, wide) in enumerate(zip(row, widths, strict=True))
        ]
        line = " " * _GAP + (" " * _GAP).join(cells).rstrip()
        yield click.style(line, dim=True) if not number else line


def _right(text: str, columns: int) -> str:
    text = cut(text, columns)
    return " " * (columns - width_of(text)) + text


def _fact(name: str, text: str, width: int) -> Iterator[str]:
    first, *rest = _indented(text, width, " " * _NAMES)
    yield f"  {name:<{_NAMES - 2}}{first[_NAMES:]}"
    yield from rest


def _warnings(warnings: Sequence[str], width: int) -> Iterator[str]:
    for one in warnings:
        for line in _indented(f"! {one}", width, ""):
            yield click.style(line, fg="yellow")


def _indented(text: str, width: int, indent: str) -> Iterator[str]:
    yield from (indent + line for line in wrapped(plain(text), width - len(indent)))
