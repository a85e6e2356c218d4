"""A written cell as one row of monitoring/results/, and back.

The row says all that the read-out needs, so that whoever has the rows needs nothing else. Floats
are written as Python's shortest text for them, and come back as the same numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec

from gateway.experiments.cells import Buckets, Cell, CellKey
from gateway.experiments.contrasts import Contrast
from gateway.experiments.evidence import Evidence, Terms
from gateway.experiments.metrics import EXPOSURE, PAIRED, Metric
from gateway.names import BUCKETS, Branch
from gateway.timestamps import rfc3339

Alpha = Annotated[float, msgspec.Meta(gt=0, lt=1)]
#: No sum of anything that was written is larger, and no sum of such rows is infinite.
_MOST = 2.0**63


class Fields(NamedTuple):
    """A row's texts, by column, in their order."""

    start: str
    end: str
    contrast: str
    epoch: str
    baseline: str
    candidate: str
    arm: str
    commit: str
    fingerprint: str
    share: str
    metric: str
    units: str
    events: str
    sums: str
    terms: str


class RowTerms(msgspec.Struct, frozen=True):
    """The `terms` column. `metric` is null where the cell is of units.

    Rows of units, and of pairs, which need no units, name all `metrics` of then as well.
    """

    metric: Metric | None
    alpha: Alpha
    guardrail_alpha: Alpha
    adaptive: bool
    salt: str
    kept: Annotated[int, msgspec.Meta(ge=1, le=BUCKETS)]
    shadow: bool
    baseline_fingerprint: str
    candidate_fingerprint: str
    baseline_commit: str = ""
    candidate_commit: str = ""
    #: In the read-out's order.
    metrics: tuple[Metric, ...] = ()


class _Sums(msgspec.Struct, omit_defaults=True):
    values: dict[int, float] = {}
    counts: dict[int, float] = {}
    tallies: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A row that was read. `share` is the candidate's part in the epoch; pairs may have none."""

    key: CellKey
    contrast: Contrast
    share: float | None
    cell: Cell
    terms: RowTerms


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is none. `where` is `file:line`."""

    where: str
    reason: str


@dataclass(slots=True)
class Parsed:
    """What files of rows hold."""

    rows: list[ResultRow] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)


def row_of(
    key: CellKey,
    cell: Cell,
    evidence: Evidence,
    terms: Terms,
    counted: Mapping[str, Metric] | None = None,
) -> Fields:
    """The fields for `segments.Rows.add`; a later row of the same key is added to it by readers.

    `counted` says what cells are of, also those of a metric that the terms have no more.
    """
    contrast = evidence.contrast
    is_candidate = key.arm == contrast.candidate
    share = evidence.shares.get(key.epoch)
    said = RowTerms(
        metric=_metric(key.metric, terms, counted or {}),
        alpha=terms.alpha,
        guardrail_alpha=terms.guardrail_alpha,
        adaptive=terms.adaptive,
        salt=str(contrast.salt),
        kept=terms.kept,
        shadow=evidence.shadow,
        baseline_fingerprint=str(contrast.baseline_fingerprint),
        candidate_fingerprint=str(contrast.candidate_fingerprint),
        baseline_commit=str(evidence.commits[0]),
        candidate_commit=str(evidence.commits[1]),
        metrics=terms.metrics if key.metric == EXPOSURE or key.metric.startswith(PAIRED) else (),
    )
    sums = _Sums(_ordered(cell.values), _ordered(cell.counts), dict(sorted(cell.tallies.items())))
    return Fields(
        start=rfc3339(key.start),
        end=rfc3339(key.end),
        contrast=contrast.id,
        epoch=key.epoch,
        baseline=contrast.baseline,
        candidate=contrast.candidate,
        arm=key.arm,
        commit=evidence.commits[is_candidate],
        fingerprint=(
            contrast.candidate_fingerprint if is_candidate else contrast.baseline_fingerprint
        ),
        share="" if share is None else repr(float(share)),
        metric=key.metric,
        units=str(cell.units),
        events=str(cell.events),
        sums=msgspec.json.encode(sums).decode(),
        terms=msgspec.json.encode(said).decode(),
    )


def _metric(name: str, terms: Terms, counted: Mapping[str, Metric]) -> Metric | None:
    if name == EXPOSURE:
        return None
    plain = name.removeprefix(PAIRED)
    if plain in counted:
        return counted[plain]
    for metric in terms.metrics:
        if metric.name == plain:
            return metric
    raise ValueError(f"a cell's metric must be among those measured. Given: {name!r}")


def _ordered(sums: Buckets) -> Buckets:
    """Whole numbers without a point, which makes most rows half as long."""
    return {bucket: _shortest(value) for bucket, value in sorted(sums.items())}


def _shortest(value: float) -> float:
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else value


def parse_rows(texts: Iterable[tuple[str, str]]) -> Parsed:
    """The rows of CSV files, given as their path and content; what is no row is told of."""
    parsed = Parsed()
    for place, text in texts:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        lacking = set(Fields._fields).difference(reader.fieldnames or ())
        if lacking:
            reason = (
                f"the first line must name the columns. Not there: {', '.join(sorted(lacking))}"
            )
            parsed.bad.append(BadRow(f"{place}:1", reason))
            continue
        try:
            for found in reader:
                try:
                    parsed.rows.append(_row({name: found[name] for name in Fields._fields}))
                except (ValueError, RecursionError) as error:
                    parsed.bad.append(BadRow(f"{place}:{reader.line_num}", str(error)))
        except csv.Error as error:
            reason = f"{error}; this and what follows in the file is passed over"
            parsed.bad.append(BadRow(f"{place}:{reader.line_num + 1}", reason))
    return parsed


def _row(texts: dict[str, str | None]) -> ResultRow:
    lacking = [name for name, text in texts.items() if text is None]
    if lacking:
        raise ValueError(f"the row must have all columns. Not there: {', '.join(lacking)}")
    fields = Fields(**{name: text or "" for name, text in texts.items()})
    terms = msgspec.json.decode(fields.terms, type=RowTerms)
    contrast = Contrast(
        terms.salt,
        Branch(fields.baseline),
        terms.baseline_fingerprint,
        Branch(fields.candidate),
        terms.candidate_fingerprint,
    )
    if contrast.id != fields.contrast:
        given = f"{fields.contrast!r} where the row's own contents make it {contrast.id!r}"
        raise ValueError(f"contrast: must be the digest of what is compared. Given: {given}")
    if fields.arm not in (contrast.baseline, contrast.candidate):
        raise ValueError(f"arm: must be one of the two branches. Given: {fields.arm!r}")
    plain = None if fields.metric == EXPOSURE else fields.metric.removeprefix(PAIRED)
    if plain != (terms.metric and terms.metric.name):
        raise ValueError(f"metric: must be the one of the terms. Given: {fields.metric!r}")
    for metric in (*terms.metrics, *([terms.metric] if terms.metric else [])):
        if metric.planned_units < 1 or not 0 <= (metric.margin or 0) < _MOST:
            raise ValueError(
                f"terms: {metric.name} must have planned_units of at least 1, and a margin of at "
                f"least 0, if any. Given: {metric}"
            )
    start, end = _seconds("start", fields.start), _seconds("end", fields.end)
    if not start < end:
        raise ValueError(f"end: must be after the start. Given: {fields.end!r}")
    key = CellKey(contrast.id, start, end, fields.epoch, fields.arm, fields.metric)
    return ResultRow(key, contrast, _share(fields), _cell(fields), terms)


def _seconds(name: str, text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or moment.microsecond:
        raise ValueError(f"{name}: must be whole seconds in UTC. Given: {text!r}")
    return int(moment.timestamp())


def _share(fields: Fields) -> float | None:
    if fields.metric.startswith(PAIRED) and not fields.share:
        return None
    share = float(fields.share)
    if not 0 < share < 1:
        given = f"{fields.share!r}"
        raise ValueError(f"share: must lie between 0 and 1, without them. Given: {given}")
    return share


def _cell(fields: Fields) -> Cell:
    sums = msgspec.json.decode(fields.sums, type=_Sums)
    units, events = int(fields.units), int(fields.events)
    for name, buckets in (("values", sums.values), ("counts", sums.counts)):
        if not all(0 <= bucket < BUCKETS and abs(sum_) < _MOST for bucket, sum_ in buckets.items()):
            raise ValueError(f"sums: {name} must be numbers below 2**63 of buckets 0 to 255")
    numbers = (units, events, *sums.counts.values(), *sums.tallies.values())
    if not 0 <= min(numbers) <= max(numbers) < _MOST:
        raise ValueError("units, events and counts must not be negative, and below 2**63")
    return Cell(units, events, sums.values, sums.counts, sums.tallies)
