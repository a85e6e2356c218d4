"""From the rows alone: the same read-out as live, to the last digit."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from experimentcells import CONTRAST, Cells, drawn, evidence, key

from gateway.experiments.cells import Cell, CellKey
from gateway.experiments.contrasts import Contrast
from gateway.experiments.evidence import Evidence, Terms
from gateway.experiments.metrics import EXPOSURE, Metric, built_in, rounded
from gateway.experiments.readout import read_out
from gateway.experiments.recomputed import recomputed
from gateway.experiments.rows import Fields, ResultRow, parse_rows, row_of
from gateway.monitoring.segments import RESULT_COLUMNS, Rows
from gateway.names import BUCKETS, Branch

METRICS = (
    Metric("bought", "binary", role="primary", margin=0.05),
    Metric("often", "binary", common=True, planned_units=3_000),
    Metric("spent", "mean", role="guardrail", margin=0.1),
    Metric("right", "ratio", missing="unknown"),
    Metric("clicks", "ratio", direction="down"),
    built_in("error_rate"),
    built_in("latency_over_slo"),
)
Ints = npt.NDArray[np.int64]
SHARES = {"e1": 0.05, "e2": 0.3, "e3": 1 / 3}


def made_up(rng: np.random.Generator, hours: int = 8, first: int = 0) -> Cells:
    """Cells of all metrics in three epochs, with anything in them that may be."""
    cells: Cells = {}
    for hour in range(first, first + hours):
        epoch = ("e1", "e2", "e3")[(hour - first) * 3 // hours]
        for arm in ("prod", "exp"):
            share = SHARES[epoch] if arm == "exp" else 1 - SHARES[epoch]
            n = rng.poisson(3 * share, BUCKETS)
            units, rows = int(n.sum()), n * rng.integers(1, 4)
            exposed = Cell(units, units * 2 // 3, _dict(rows), _dict(n))
            exposed.tallies = {"requests": units, "multiple": 3, "without_unit": 9}
            cells[key(hour, arm, EXPOSURE, epoch)] = exposed
            for metric in METRICS:
                cell = _cell(rng, metric, n, rows)
                cells[key(hour, arm, metric.name, epoch)] = cell
    return cells


def _cell(rng: np.random.Generator, metric: Metric, n: Ints, rows: Ints) -> Cell:
    had = rng.binomial(n, 0.02 if metric.built_in else 0.4)
    if metric.kind == "binary":
        cell = Cell(int(had.sum()), int(had.sum()) * 2 // 3, _dict(had))
    else:
        values = [rounded(value) for value in rng.normal(had * 3.3, 0.7).tolist()]
        told = rng.binomial(rows, 0.5) if metric.kind == "ratio" else rows * 0
        cell = Cell(int(had.sum()), int(had.sum()) * 2 // 3, _dict(values), _dict(told))
    cell.tallies = {"outcomes": int(had.sum()) * 2, "late": 2}
    return cell


def _dict(numbers: object) -> dict[int, float]:
    given = np.asarray(numbers, dtype=float).tolist()
    return {bucket: value for bucket, value in enumerate(given) if value}


def parts(rng: np.random.Generator, cell: Cell) -> list[Cell]:
    """The cell as it was written, and what came after in a row of its own."""
    first, later = Cell(), Cell()
    for name in ("values", "counts"):
        for bucket, value in getattr(cell, name).items():
            some = rounded(value * rng.random()) if name == "values" else float(int(value) // 2)
            getattr(first, name)[bucket] = some
            getattr(later, name)[bucket] = value - some
    for name in ("units", "events"):
        some = int(rng.integers(0, getattr(cell, name) + 1))
        setattr(first, name, some)
        setattr(later, name, getattr(cell, name) - some)
    for tally, count in cell.tallies.items():
        first.tally(tally, count // 2)
        later.tally(tally, count - count // 2)
    return [first, later]


def written(rng: np.random.Generator, *given: tuple[Evidence, Terms]) -> list[ResultRow]:
    """As CSV text in two files, split, shuffled, and read again."""
    fields: list[Fields] = []
    for one, terms in given:
        for where, cell in one.written.items():
            pieces = parts(rng, cell) if rng.random() < 0.5 else [cell]
            fields += [row_of(where, piece, one, terms) for piece in pieces]
    order = rng.permutation(len(fields)).tolist()
    texts: list[tuple[str, str]] = []
    for half in (order[: len(order) // 2], order[len(order) // 2 :]):
        rows = Rows(RESULT_COLUMNS)
        for place in half:
            rows.add(*fields[place])
        texts.append((f"{len(texts)}.csv", rows.encode().decode()))
    parsed = parse_rows(texts)
    assert parsed.bad == []
    assert len(parsed.rows) == len(fields)
    return parsed.rows


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("adaptive", [False, True])
def test_rows_alone_say_exactly_what_was_said_live(seed: int, adaptive: bool) -> None:
    rng = np.random.default_rng([seed, adaptive])
    terms = Terms(METRICS, alpha=0.05 / 3, adaptive=adaptive, kept=192)
    given = evidence(made_up(rng), SHARES)
    live = read_out(given, terms)
    assert [one.looks for one in live.metrics] == [8] * len(METRICS)
    assert "invalid" not in [live.status, live.metrics[1].status]
    assert recomputed(written(rng, (given, terms))) == [live]


def test_a_metric_that_is_not_mature_yet_is_there_as_live() -> None:
    """Half of the metrics have cells of the first hours alone, and one has none."""
    rng = np.random.default_rng(1)
    cells = {
        where: cell
        for where, cell in made_up(rng).items()
        if where.metric in (EXPOSURE, "error_rate")
        or (where.metric != "right" and where.end <= key(4, "", "").end)
    }
    given, terms = evidence(cells, SHARES), Terms(METRICS)
    live = read_out(given, terms)
    assert live.metrics[0].pending_units > 0
    assert live.metrics[3].looks == 0
    assert recomputed(written(rng, (given, terms))) == [live]


def other(where: CellKey, contrast: Contrast) -> CellKey:
    return where._replace(contrast=contrast.id)


def test_contrasts_are_told_newest_first_and_only_the_newest_of_a_candidate_is_current() -> None:
    rng = np.random.default_rng(2)
    terms = Terms(METRICS)
    fixed = replace(CONTRAST, candidate_fingerprint="f" * 32)
    third = replace(CONTRAST, candidate=Branch("team/third"))
    old = evidence(made_up(rng), SHARES, current=False)
    new_cells = {other(k, fixed): c for k, c in made_up(rng, 4, first=9).items()}
    new = Evidence(fixed, ("c" * 40, "e" * 40), SHARES, new_cells)
    third_cells = {
        other(k, third)._replace(arm="team/third" if k.arm == "exp" else "prod"): c
        for k, c in made_up(rng, 4, first=2).items()
    }
    beside = Evidence(third, ("c" * 40, "e" * 40), SHARES, third_cells)
    found = recomputed(written(rng, (old, terms), (new, terms), (beside, terms)))
    assert found == [read_out(one, terms) for one in (new, old, beside)]
    assert [one.current for one in found] == [True, False, True]
    assert found[1].status == "stale"


def test_terms_are_those_of_the_newest_rows() -> None:
    rng = np.random.default_rng(3)
    cells = made_up(rng)
    changed = (msgspec.structs.replace(METRICS[0], margin=0.2, role="secondary"), *METRICS[1:])
    before, after = Terms(METRICS), Terms(changed, alpha=0.01)
    early = {k: c for k, c in cells.items() if k.end <= key(4, "", "").end}
    late = {k: c for k, c in cells.items() if k not in early}
    rows = written(rng, (evidence(early, SHARES), before), (evidence(late, SHARES), after))
    assert recomputed(rows) == [read_out(evidence(cells, SHARES), after)]


def test_a_metric_of_another_definition_begins_anew() -> None:
    rng = np.random.default_rng(4)
    cells = made_up(rng)
    changed = (msgspec.structs.replace(METRICS[0], window=60.0), *METRICS[1:-1])
    early = {k: c for k, c in cells.items() if k.end <= key(4, "", "").end}
    late = {k: c for k, c in cells.items() if k not in early and k.metric != METRICS[-1].name}
    rows = written(
        rng, (evidence(early, SHARES), Terms(METRICS)), (evidence(late, SHARES), Terms(changed))
    )
    kept = {k: c for k, c in cells.items() if k in late or k.metric != "bought"}
    (found,) = recomputed(rows)
    assert found == read_out(evidence(kept, SHARES), Terms(changed))
    assert found.metrics[0].looks == 3
    assert found.metrics[1].looks == 8
    assert [one.name for one in found.metrics] == [one.name for one in changed]


def test_weights_that_adapted_once_have_adapted() -> None:
    rng = np.random.default_rng(5)
    cells = made_up(rng)
    early = {k: c for k, c in cells.items() if k.end <= key(4, "", "").end}
    late = {k: c for k, c in cells.items() if k not in early}
    rows = written(
        rng,
        (evidence(early, SHARES), Terms(METRICS, adaptive=True)),
        (evidence(late, SHARES), Terms(METRICS)),
    )
    assert recomputed(rows) == [read_out(evidence(cells, SHARES), Terms(METRICS, adaptive=True))]


def test_a_shadow_is_told_from_its_pairs_alone() -> None:
    rng = np.random.default_rng(6)
    cells: Cells = {}
    for hour in range(6):
        n = rng.poisson(2, BUCKETS)
        d = rng.binomial(n, 0.1) - rng.binomial(n, 0.05)
        cells[key(hour, "exp", "paired:right")] = Cell(0, 60, _dict(d), _dict(n))
    given = evidence(cells, {}, shadow=True)
    live = read_out(given, Terms(METRICS))
    assert [one.metric for one in live.paired] == ["right"]
    assert recomputed(written(rng, (given, Terms(METRICS)))) == [live]


def test_what_is_only_live_is_no_part_of_it() -> None:
    rng = np.random.default_rng(7)
    harmful = drawn(rng, 9, 1_000, 0.5, {"error_rate": (0.0, 0.2)}, "e3")
    given = evidence(made_up(rng), SHARES, live=harmful)
    live = read_out(given, Terms(METRICS))
    assert next(one for one in live.guardrails if one.name == "error_rate").breached
    (found,) = recomputed(written(rng, (given, Terms(METRICS))))
    assert not any(one.breached for one in found.guardrails if one.name == "error_rate")
    settled = msgspec.structs.replace(live, guardrails=found.guardrails)
    pending = [msgspec.structs.replace(one, pending_units=0) for one in settled.metrics]
    assert pending == list(found.metrics)
    assert msgspec.structs.replace(settled, metrics=found.metrics) == found


def test_without_rows_there_is_nothing() -> None:
    assert recomputed([]) == []


def test_what_units_were_deleted_of_is_left_out_wholly() -> None:
    """A metric's rows are written later than those of its units, and stay on the tip longer."""
    rng = np.random.default_rng(8)
    cells = made_up(rng)
    rows = written(rng, (evidence(cells, SHARES), Terms(METRICS)))
    early = sorted({place.start for place in cells})[:2]
    gone = {place for place in cells if place.start in early and place.metric == EXPOSURE}
    (found,) = recomputed([row for row in rows if row.key not in gone])
    left = {place: cell for place, cell in cells.items() if place.start not in early}
    assert found == read_out(evidence(left, SHARES), Terms(METRICS))
