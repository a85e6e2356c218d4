"""The read-out for a terminal of any width from 80 columns on."""

from __future__ import annotations

from collections.abc import Iterator

import click

from gateway.experiments.document import (
    BranchAllocation,
    ContrastReadout,
    ExperimentReadout,
    Word,
)
from gateway.reporting import results_words as words
from gateway.reporting.results_rows import content, epochs, facts, groups
from gateway.reporting.results_table import COLOURS, bounded, table
from gateway.reporting.widths import plain, wrapped
from gateway.reporting.widths import width as width_of

#: Epochs and stale contrasts that are shown unless all are wanted.
_MOST_EPOCHS = 5
_NAMES = 13


def terminal(document: ExperimentReadout, width: int, *, whole: bool = False) -> str:
    """The text, with colours in it; `whole` for every epoch, and stale contrasts in full."""
    width = bounded(width)
    lines = [*_head(document, width)]
    shown = [one for one in document.contrasts if one.current or whole]
    for contrast in shown:
        allocation = document.allocation.get(contrast.candidate) if contrast.current else None
        lines += ["", *_contrast(contrast, allocation, document.written, width, whole=whole)]
    if not any(one.current for one in document.contrasts):
        lines += ["", *_indented(_nothing(document), width, "")]
    if stale := [one for one in document.contrasts if not one.current and not whole]:
        lines += ["", click.style("served no more (--all shows them in full):", dim=True)]
        lines += [line for one in stale for line in _folded(one, width)]
    if foot := list(_foot(document, width)):
        lines += ["", *foot]
    used = {word for contrast in shown for word in words.used_in(contrast)}
    lines += ["", *_legend(used, width)]
    return "\n".join(lines) + "\n"


def _head(document: ExperimentReadout, width: int) -> Iterator[str]:
    beside = f" beside {document.baseline}" if document.baseline else ""
    text = f"experiment{beside}, as of {words.when(document.written)}"
    yield from (click.style(line, bold=True) for line in wrapped(plain(text), width))
    if document.trouble:
        yield from _coloured(f"! {document.trouble}", "red", width)
    for warning in document.warnings:
        yield from _coloured(f"! {warning}", "yellow", width)
    for branch, order in words.apart(document):
        yield from _indented(plain(f"{branch}: {words.allocation(order)}"), width, "")


def _nothing(document: ExperimentReadout) -> str:
    if any(not one.current for one in document.contrasts):
        return (
            "Of what is served now nothing is known yet: a read-out begins with the first requests"
            " of users that both branches answer."
        )
    return (
        "Nothing is compared yet: a read-out begins once the baseline and another branch have"
        " weight and answer requests of users."
    )


def _contrast(
    contrast: ContrastReadout,
    allocation: BranchAllocation | None,
    written: str,
    width: int,
    *,
    whole: bool,
) -> Iterator[str]:
    yield from _headline(contrast, width)
    if allocation is not None and allocation.state == "ejected":
        yield from _coloured(f"! {words.ejected(allocation, contrast)}", "red", width, "  ")
    for warning in contrast.warnings:
        yield from _coloured(f"! {warning}", "yellow", width, "  ")
    if found := groups(contrast):
        yield ""
        yield from table(found, contrast.baseline, contrast.candidate, width, whole=whole)
        yield ""
    known = facts(contrast, written)
    if allocation is not None and allocation.state != "ejected":
        known.append(("allocation", words.allocation(allocation)))
    for name, text in known:
        first, *rest = _indented(plain(text), width, " " * _NAMES)
        line = f"  {name:<{_NAMES - 2}}{first[_NAMES:]}"
        mismatch = name == "split" and text.startswith("MISMATCH")
        yield click.style(line, fg="red", bold=True) if mismatch else line
        yield from rest
    if len(contrast.epochs) > 1:
        yield from _epochs(contrast, width, whole=whole)


def _headline(contrast: ContrastReadout, width: int) -> Iterator[str]:
    """Who beside whom, the word in its colour, and why."""
    name, word = plain(words.title(contrast)), contrast.status.upper()
    said = f"{word}: {plain(words.verdict(contrast))}"
    colour = COLOURS.get(contrast.status)
    if width_of(name) + 2 + width_of(said) <= width:
        yield f"{click.style(name, bold=True)}  {click.style(word, fg=colour)}{said[len(word) :]}"
        return
    yield from (click.style(line, bold=True) for line in wrapped(name, width))
    first, *rest = _indented(said, width, "  ")
    yield "  " + click.style(word, fg=colour) + first[2 + len(word) :]
    yield from rest


def _epochs(contrast: ContrastReadout, width: int, *, whole: bool) -> Iterator[str]:
    """Estimates are made in each, and only then put together."""
    known = epochs(contrast)
    shown = known if whole else known[-_MOST_EPOCHS:]
    more = f", the last {len(shown)} of {len(known)}: --all shows them" * (len(shown) < len(known))
    title = f"epochs, oldest first{more}; nothing is pooled over them"
    yield from (click.style(line, dim=True) for line in _indented(title, width, "  "))
    for span, share, before, after in shown:
        text = f"{span}: {share} on {contrast.candidate}; {before} | {after} units"
        yield from _indented(plain(text), width, "    ")


def _folded(contrast: ContrastReadout, width: int) -> Iterator[str]:
    """A stale contrast in short."""
    units = sum(one.baseline_units + one.candidate_units for one in contrast.epochs)
    commits = f"{content(contrast, 'candidate')} and {content(contrast, 'baseline')}"
    text = f"until {words.when(contrast.until)}, {units:,} units; {commits}"
    first, *rest = wrapped(plain(f"{words.title(contrast)}  STALE {text}"), width - 2)
    yield from (click.style(line, dim=True) for line in (first, *(f"  {one}" for one in rest)))


def _foot(document: ExperimentReadout, width: int) -> Iterator[str]:
    if said := words.feedback(document.feedback):
        yield from _indented(f"outcomes    {said}", width, "")
    if document.excluded:
        counts = ", ".join(
            f"{count:,} {reason}" for reason, count in sorted(document.excluded.items())
        )
        yield from _indented(plain(f"left out    requests: {counts}"), width, "")


def _legend(used: set[Word], width: int) -> Iterator[str]:
    said = [f"{word}: {words.MEANINGS[word]}." for word in words.MEANINGS if word in used]
    for text in (" ".join(said), words.PROMISE):
        if text:
            yield from (click.style(line, dim=True) for line in wrapped(text, width))


def _coloured(text: str, colour: str, width: int, indent: str = "") -> Iterator[str]:
    for line in _indented(plain(text), width, indent):
        yield click.style(line, fg=colour)


def _indented(text: str, width: int, indent: str) -> Iterator[str]:
    yield from (indent + line for line in wrapped(text, width - len(indent)))
