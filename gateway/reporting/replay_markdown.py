"""What replaying found, for a comment on a pull request, in GitHub's Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.replaying.document import Comparison, Replay
from gateway.reporting import replay_words as words
from gateway.reporting.results_markdown import cell, code, inline, inside_html, text


def replay_markdown(found: Replay) -> str:
    """One request."""
    parts = [f"### {inline(words.title(found))}: **{found.word}**"]
    rows = []
    for row in found.rows:
        name, said = words.row_of(row)
        rows.append((f"**{row.word}**", inline(name), inline(said)))
    parts.append("\n".join(_table(("", "row", "what was answered, and what is now"), rows, 3)))
    parts += [f"- computed by {inline(words.computer(one))}" for one in found.computers]
    parts += [f"> {text(one)}" for one in found.warnings]
    return "\n\n".join(parts) + "\n"


def comparison_markdown(found: Comparison) -> str:
    """Many rows: the verdict and what changed, then the rest folded."""
    word, said = words.verdict(found)
    candidate = found.candidate
    beside = f"{code(candidate)} beside what was answered" if candidate else words.headline(found)
    parts = [f"### {beside}: **{word.lower()}**", f"**{inline(said)}**"]
    parts += [f"> {text(one)}" for one in found.warnings]
    if turned := words.turns(found):
        cells = [(cell(before), cell(after), inline(rows)) for before, after, rows in turned]
        parts.append("\n".join(_table(("answered", "computed", "rows"), cells, 2)))
    for one in found.segments:
        head, *lines = words.parts(one, found)
        shown = [(cell(name), *map(inline, figures)) for name, *figures in lines]
        table = "\n".join(_table((cell(one.column), *head[1:]), shown, 1))
        parts.append(f"{text(_capital(words.parts_title(one)))}\n\n{table}")
    parts.append("\n".join(_details(found)))
    legend = words.MEANINGS.format(tolerance=f"{found.tolerance:g}")
    legend += f" {words.WEIGHTED}" * found.weighted
    parts.append(f"---\n<sub>{inline(legend)} As of {found.written}, by `gateway replay`.</sub>")
    return "\n\n".join(parts) + "\n"


def _details(found: Comparison) -> Iterator[str]:
    rows = words.largest(found)
    summary = f"{found.rows:,} rows" + (", the largest changes" if rows else "")
    yield f"<details><summary>{inside_html(summary)}</summary>"
    yield ""
    yield from (f"- {name}: {inline(said)}" for name, said in words.facts(found))
    if rows:
        yield ""
        cells = [
            (code(request), number, inline(branch), cell(before), cell(after), inline(moved))
            for request, number, branch, before, after, moved in rows
        ]
        yield from _table(words.LARGEST, cells, 5)
    yield ""
    yield "</details>"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * left}{'---:|' * (len(titles) - left)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _capital(said: str) -> str:
    return said[:1].upper() + said[1:]
