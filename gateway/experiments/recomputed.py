"""The read-outs of a candidate from the rows of monitoring/results/ alone.

They are those that the gateway gave live on the same cells: terms are the newest row's, and what
only the gateway knows, such as units of the last minutes, is not there.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.experiments.cells import Cell, CellKey
from gateway.experiments.document import ContrastReadout
from gateway.experiments.evidence import Evidence, Terms
from gateway.experiments.metrics import EXPOSURE, PAIRED
from gateway.experiments.readout import read_out
from gateway.experiments.rows import ResultRow
from gateway.names import Branch


def recomputed(rows: Iterable[ResultRow]) -> list[ContrastReadout]:
    """Of all contrasts, the newest first; current is the newest of each candidate."""
    contrasts: dict[str, list[ResultRow]] = {}
    for row in rows:
        contrasts.setdefault(row.contrast.id, []).append(row)
    newest_first = sorted(contrasts.values(), key=_age, reverse=True)
    seen: set[Branch] = set()
    found = []
    for own in newest_first:
        candidate = own[0].contrast.candidate
        evidence, terms = evidence_of(own, current=candidate not in seen)
        found.append(read_out(evidence, terms))
        seen.add(candidate)
    return found


def evidence_of(rows: list[ResultRow], *, current: bool) -> tuple[Evidence, Terms]:
    """What the rows of one contrast say, and by which terms the newest of them were written."""
    newest = max(rows, key=_newness)
    said = newest.terms
    terms = Terms(
        metrics=said.metrics,
        alpha=said.alpha,
        guardrail_alpha=said.guardrail_alpha,
        adaptive=any(row.terms.adaptive for row in rows),
        kept=said.kept,
    )
    written: dict[CellKey, Cell] = {}
    for row in rows:
        if _counts(row, terms):
            written.setdefault(row.key, Cell()).add(row.cell)
    # A metric's rows are written later than those of its units, so retention deletes them later.
    whole = {key: cell for key, cell in written.items() if _exposure(key) in written}
    shares = {row.key.epoch: row.share for row in rows if row.share is not None}
    evidence = Evidence(
        contrast=newest.contrast,
        commits=(said.baseline_commit, said.candidate_commit),
        shares=shares,
        written=whole,
        current=current,
        shadow=said.shadow,
    )
    return evidence, terms


def _exposure(key: CellKey) -> CellKey:
    """The cell without which nothing can be made of another; pairs need none."""
    return key if key.metric.startswith(PAIRED) else key._replace(metric=EXPOSURE)


def _counts(row: ResultRow, terms: Terms) -> bool:
    own = row.terms.metric
    return own is None or own.definition in {metric.definition for metric in terms.metrics}


def _newness(row: ResultRow) -> tuple[bool, int, bytes]:
    """Only those that name all metrics can be it; the text decides between equally new ones."""
    return bool(row.terms.metrics), row.key.end, msgspec.json.encode(row.terms)


def _age(rows: list[ResultRow]) -> tuple[int, int, str]:
    ends = [row.key.end for row in rows]
    return max(ends), min(row.key.start for row in rows), rows[0].contrast.id
