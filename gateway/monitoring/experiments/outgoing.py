"""What experiments write into git: mature cells as rows, and segments of all that waits.

Rows wait in the ledger until the flush, each for the branch that it is about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateway.experiments.evidence import Terms
from gateway.experiments.rows import row_of
from gateway.layout import Kind, Segment, segment_path
from gateway.monitoring.experiments.book import Book
from gateway.monitoring.segments import COLUMNS, Rows, line_of
from gateway.names import Branch
from gateway.store.ledger import Ledger, Line
from gateway.timestamps import rfc3339

#: Rows of one segment at most: it is held whole.
_MOST_LINES = 200_000


def write_mature(
    book: Book, ledger: Ledger, terms: Callable[[str], Terms], watermark: float, *, all_: bool
) -> bool:
    """Make rows of the cells that are mature, by each contrast's terms; whether there were any.

    What comes to a cell after its row waits until `all_` are asked for: it may be little. Of a
    metric that was taken away no row is made: half of what it waited for is not there.
    """
    ready = [key for key in book.mature(watermark) if all_ or not ledger.was_written(key)]
    if not ready:
        return False
    with ledger.whole():
        for key in ready:
            cell = book.fresh.pop(key)
            evidence = book.evidence(key.contrast, {}, {})
            known = book.known.contrasts[key.contrast]
            agreed = replace(terms(key.contrast), kept=known.kept)
            text = line_of(*row_of(key, cell, evidence, agreed, known.metrics))
            book.known.note(key.contrast, agreed)
            ledger.add_lines([Line("results", evidence.contrast.candidate, text)])
            ledger.write_cell(key, cell)
            book.urgent.add(key.contrast)
        book.save(ledger)
    return True


def decision_line(
    ts: float, branch: Branch, commit: str, decision: str, reason: str, evidence: dict[str, Any]
) -> Line:
    """A row of monitoring/decisions/."""
    text = json.dumps(evidence, separators=(",", ":"), ensure_ascii=False)
    return Line("decisions", branch, line_of(rfc3339(ts), branch, commit, decision, reason, text))


def flush(book: Book, ledger: Ledger, now: float) -> bool:
    """Make segments of the rows that wait, the oldest first; whether there were any."""
    with ledger.whole():
        lines = ledger.take_lines(_MOST_LINES)
        if lines:
            ledger.remember({}, outgoing=_segments(book, lines, now))
            book.save(ledger)
    return bool(lines)


def _segments(book: Book, lines: Iterable[Line], now: float) -> list[Segment]:
    files: dict[tuple[Kind, Branch], Rows] = {}
    for line in lines:
        rows = files.setdefault((line.kind, line.branch), Rows(COLUMNS[line.kind]))
        rows.add_line(line.text)
    key = book.next_key()
    opened = datetime.fromtimestamp(now, UTC)
    return [
        Segment(
            key, kind, branch, segment_path(kind, branch, opened, key), rows.encode(), len(rows)
        )
        for (kind, branch), rows in sorted(files.items())
    ]
