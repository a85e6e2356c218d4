"""The read-out for a comment on a pull request, in GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape

from gateway.experiments.document import ContrastReadout, ExperimentReadout, Ratio, Word
from gateway.reporting import results_words as words
from gateway.reporting.results_rows import Row, epochs, facts, groups
from gateway.reporting.widths import plain

#: Markup in the middle of a line, addresses and emoji; and what is markup at its beginning.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$#]|(?<!\d):(?=\S)|(?<=www)\.)")
_AT_BEGINNING = re.compile(r"^(\d*)([-+=.)])")
_RUNS = re.compile(r"`+")
#: After these a name would be called, or another request linked to.
_CALLS = re.compile(r"(?<=[@#])")
_COLUMNS = ("", "metric", "{baseline}", "{candidate}", "change", "interval", "p", "e")
_MORE = ("events", "units", "expected")


def markdown(document: ExperimentReadout, *, whole: bool = False) -> str:
    """The whole comment; stale contrasts on a line each, unless `whole`."""
    shown = [one for one in document.contrasts if one.current or whole]
    parts = [_trouble(document), *("\n".join(_contrast(one, document)) for one in shown)]
    if not any(one.current for one in document.contrasts):
        parts.append("Of what is served now, nothing is compared yet.")
    parts += [f"- {code(name)}: {inline(words.allocation(o))}" for name, o in words.apart(document)]
    if stale := [one for one in document.contrasts if not one.current and not whole]:
        parts.append("\n".join(_folded(one) for one in stale))
    used = {word for contrast in shown for word in words.used_in(contrast)}
    parts.append(_foot(document, used))
    return "\n\n".join(part for part in parts if part) + "\n"


def text(said: str) -> str:
    """Words of others as words: nothing in them is markup, calls anybody, or links."""
    return _AT_BEGINNING.sub(r"\1\\\2", inline(said).lstrip())


def inline(said: str) -> str:
    """The same within a line."""
    return _CALLS.sub("\u200b", _SPECIAL.sub(r"\\\1", plain(said)))


def inside_html(said: str) -> str:
    """The same where HTML stands around it, in which nothing else is markup."""
    return _CALLS.sub("\u200b", escape(plain(said), quote=False))


def code(name: str) -> str:
    """A name as code, whatever it holds."""
    name = plain(name)
    fence = "`" * (1 + max((len(run) for run in _RUNS.findall(name)), default=0))
    pad = " " if name.startswith("`") or name.endswith("`") else ""
    return f"{fence}{pad}{name}{pad}{fence}"


def cell(name: str) -> str:
    """The same in a table, where nothing protects a bar but this."""
    return code(name).replace("|", "\\|")


def _trouble(document: ExperimentReadout) -> str:
    said = [f"> **{inline(document.trouble)}**"] if document.trouble else []
    return "\n>\n".join([*said, *(f"> {text(one)}" for one in document.warnings)])


def _contrast(contrast: ContrastReadout, document: ExperimentReadout) -> Iterator[str]:
    role = " (shadow)" if contrast.shadow else ""
    yield (
        f"### {code(contrast.candidate)}{role} beside {code(contrast.baseline)}:"
        f" **{contrast.status}**"
    )
    yield ""
    yield text(words.verdict(contrast))
    yield from (f"\n> {text(one)}" for one in contrast.warnings)
    if contrast.sample_ratio is not None and contrast.sample_ratio.mismatch:
        yield f"\n> **{inline(words.split(contrast.sample_ratio, contrast))}**"
    for one in contrast.guardrails:
        if one.breached:
            yield f"\n> **{words.BREACHED}** {code(one.name)}: {inline(one.reason)}"
    found = groups(contrast)
    if found:
        yield ""
        arms = {"baseline": cell(contrast.baseline), "candidate": cell(contrast.candidate)}
        yield from _head(column.format(**arms) for column in (*_COLUMNS, *_MORE))
        for group in found:
            yield from (_line(row, group.tag) for row in group.rows)
    yield ""
    yield from _details(contrast, document)


def _head(titles: Iterable[str]) -> Iterator[str]:
    names = list(titles)
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * 2}{'---:|' * (len(names) - 2)}"


def _line(row: Row, tag: str) -> str:
    figures = (row.baseline, row.candidate, row.change, row.interval, row.p, row.e)
    more = (row.events.replace(" | ", " / "), row.units.replace(" | ", " / "), row.expected)
    name = f"{cell(row.name)} ({tag})" if tag else cell(row.name)
    return f"| {' | '.join([f'**{row.word}**', name, *map(inline, (*figures, *more))])} |"


def _details(contrast: ContrastReadout, document: ExperimentReadout) -> Iterator[str]:
    """What one looks at second, folded; its summary says what would be worth a look."""
    breached = [one.name for one in contrast.guardrails if one.breached]
    said = [f"breached: {', '.join(breached)}"] if breached else []
    if contrast.guardrails and not breached:
        said.append("no guardrail is breached")
    if not contrast.shadow:
        said.append(_split(contrast.sample_ratio))
    count = len(contrast.epochs)
    said.append(f"{count} epoch{'s' * (count != 1)}")
    yield f"<details><summary>{inside_html('; '.join(said))}</summary>"
    yield ""
    known = facts(contrast, document.written)
    yield from (f"- {name}: {inline(fact)}" for name, fact in known)
    if contrast.current and (order := document.allocation.get(contrast.candidate)):
        is_out = order.state == "ejected"
        how = words.ejected(order, contrast) if is_out else words.allocation(order)
        yield f"- allocation: {inline(how)}"
    for group in groups(contrast):
        if group.title:
            names = ", ".join(code(row.name) for row in group.rows)
            yield f"- {names}: {inline(group.title)}"
        for row in group.rows:
            # Of a breach they stand above the table.
            notes = row.notes if row.word != words.BREACHED else ()
            yield from (f"- {code(row.name)}: {inline(note)}" for note in notes)
    if count > 1:
        yield ""
        yield from _head(("epoch", "share", "baseline units", "candidate units"))
        yield from (f"| {' | '.join(map(inline, epoch))} |" for epoch in epochs(contrast))
    yield ""
    yield "</details>"


def _split(ratio: Ratio | None) -> str:
    if ratio is None:
        return "the split was not checked yet"
    return "the split is broken" if ratio.mismatch else "the split is as the weights say"


def _folded(contrast: ContrastReadout) -> str:
    return (
        f"- {code(contrast.candidate)} beside {code(contrast.baseline)}: **stale**, until"
        f" {inline(words.when(contrast.until))}"
    )


def _foot(document: ExperimentReadout, used: set[Word]) -> str:
    said = [
        f"**{word}**: {inline(words.MEANINGS[word])}." for word in words.MEANINGS if word in used
    ]
    said.append(inline(words.PROMISE))
    if outcomes := words.feedback(document.feedback):
        said.append(f"Outcomes: {inline(outcomes)}.")
    said.append(f"As of {inline(words.when(document.written))}, by `gateway results`.")
    return f"---\n<sub>{' '.join(said)}</sub>"
