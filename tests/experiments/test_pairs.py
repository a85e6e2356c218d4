"""A shadow's read-out: one label scores both, and nobody was split."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from experimentcells import Cells, drawn, evidence, key

from gateway.experiments.cells import Cell
from gateway.experiments.document import ContrastReadout
from gateway.experiments.metrics import Metric
from gateway.experiments.readout import Terms, read_out
from gateway.names import BUCKETS
from gateway.statistics.paired import Paired, evidence_at_looks, paired

RIGHT = Metric("right", "ratio", role="primary", missing="unknown")
BOUGHT = Metric("bought", "binary", role="primary")


def pairs(up: float, down: float, hours: int = 10, rows: int = 500, seed: int = 1) -> Cells:
    rng, cells = np.random.default_rng(seed), {}
    for hour in range(hours):
        bucket = rng.integers(BUCKETS, size=rows)
        d = rng.choice([1.0, -1.0, 0.0], rows, p=[up, down, 1 - up - down])
        values, counts = (
            dict(enumerate(np.bincount(bucket, part, BUCKETS).tolist())) for part in (d, None)
        )
        cell = Cell(0, int(np.abs(d).sum()), values, counts)
        cells[key(hour, "exp", "paired:right", f"e{hour // 4}")] = cell
    return cells


def shadow(cells: Cells, *metrics: Metric, current: bool = True) -> ContrastReadout:
    return read_out(evidence(cells, {}, shadow=True, current=current), Terms(metrics))


def test_pairs_are_those_of_all_rows_and_the_contrast_stands_as_they_do() -> None:
    cells = pairs(0.06, 0.02)
    found = shadow(cells, RIGHT)
    (one,) = found.paired
    values, counts = np.zeros((10, BUCKETS)), np.zeros((10, BUCKETS))
    for hour, cell in enumerate(cells.values()):
        values[hour:, list(cell.values)] += list(cell.values.values())
        counts[hour:, list(cell.counts)] += list(cell.counts.values())
    differing = np.cumsum([cell.events for cell in cells.values()])
    wanted = paired(values[-1], counts[-1], int(differing[-1]))
    assert isinstance(wanted, Paired)
    assert one.difference is not None
    assert one.difference.estimate == pytest.approx(wanted.difference.estimate)
    assert one.difference.low == pytest.approx(wanted.difference.low)
    assert (one.rows, one.differing) == (5_000, int(differing[-1]))
    log_e, _ = evidence_at_looks(values, counts, differing)
    assert one.p == pytest.approx(math.exp(-log_e.max()))
    assert (found.status, found.reason) == ("better", one.reason) == (one.status, one.reason)
    assert found.shadow
    assert (found.metrics, found.guardrails, found.sample_ratio) == ((), (), None)
    assert found.epochs == ()


def test_an_earlier_decision_of_pairs_stands() -> None:
    cells = pairs(0.06, 0.01, hours=4) | {
        k._replace(start=k.start + 40 * 3_600, end=k.end + 40 * 3_600): cell
        for k, cell in pairs(0.03, 0.033, hours=20).items()
    }
    (one,) = shadow(cells, RIGHT).paired
    assert one.status == "better"
    assert "as an earlier look decided" in one.reason


def test_pairs_without_a_difference_are_running() -> None:
    (one,) = shadow(pairs(0.03, 0.03), RIGHT).paired
    assert one.status == "running"
    assert "does not mean no effect" in one.reason


def test_few_pairs_say_nothing() -> None:
    found = shadow(pairs(0.03, 0.02, hours=1, rows=80), RIGHT)
    (one,) = found.paired
    assert (one.status, one.p, one.difference) == ("insufficient", None, None)
    assert one.reason == (
        "Too early to say: there are 80 of the 100 labelled rows that both answered it takes."
    )


def test_a_shadow_without_a_labelled_row_says_so() -> None:
    found = shadow({}, RIGHT)
    assert found.status == "insufficient"
    assert found.reason == "No row that both branches predicted has an outcome of right yet."
    assert found.paired == ()
    other = shadow(pairs(0.06, 0.02), BOUGHT, Metric("right", "ratio", missing="unknown"))
    assert other.status == "insufficient"
    assert other.reason == "No row that both branches predicted has an outcome of bought yet."
    assert [one.status for one in other.paired] == ["better"]


def test_pairs_of_content_that_is_served_no_more_are_stale() -> None:
    found = shadow(pairs(0.06, 0.02), RIGHT, current=False)
    assert found.status == "stale"
    assert found.paired[0].difference is not None


def test_what_was_a_shadow_first_and_is_split_now_tells_of_both() -> None:
    """The same contents, so the same contrast; as a shadow again, its pairs decide once more."""
    rng = np.random.default_rng(3)
    cells, shares = pairs(0.06, 0.02), {"e9": 0.5}
    for hour in range(20, 26):
        drawn_now = drawn(rng, hour, 2_000, 0.5, {"bought": (0.1, 0.1)}, "e9")
        cells |= {
            k._replace(metric=k.metric.replace("bought", "right")): replace(
                cell, counts=dict(cell.values) if k.metric == "bought" else cell.counts
            )
            for k, cell in drawn_now.items()
        }
    zero = Metric("right", "ratio", role="primary")
    split = read_out(evidence(cells, shares), Terms((zero,)))
    assert split.status == "running"
    assert split.metrics[0].status == split.status
    assert split.paired[0].status == "better"
    shadowed = read_out(evidence(cells, shares, shadow=True), Terms((zero,)))
    assert (shadowed.status, shadowed.metrics) == ("better", split.metrics)
