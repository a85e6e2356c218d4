"""Error rates where weights follow the outcomes, where a canary is tiny, and of pairs.

As promised, each beside a usual method that fails the same bound. The streams are those of
`make experiment-tables`.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.statistics.sequences import ALPHA, always_valid_p, tuning
from loadtests.experiments import expected, pairs, thompson
from loadtests.experiments.judges import by_evidence, by_sequence, by_z, firsts
from loadtests.experiments.records import Ints
from loadtests.experiments.streams import Arm, Stream, events, values

RUNS = 1_500


def bound(runs: int) -> float:
    return ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)


def ever(first: Ints) -> float:
    return float((first >= 0).mean())


@pytest.mark.parametrize("floor", [0.05, 0.01])
def test_weights_that_follow_the_outcomes_find_no_effect_where_there_is_none(floor: float) -> None:
    """The z-test fails even when it is asked once, at the end."""
    rng = np.random.default_rng(round(100 * floor))
    made = thompson.batches(rng, RUNS, thompson.thompson(floor), (0.1, 0.1))
    shares, units, happened = made
    assert ever(firsts(thompson.decided(shares, happened))) <= bound(RUNS)
    n, x = (part.cumsum(axis=1)[..., None] for part in (units, happened))
    a, b = (Arm.of_events(n[:, :, k], x[:, :, k]) for k in (0, 1))
    naive = Stream(a, b, np.array([0.5]), thompson.BATCH)
    assert ever(by_z(naive, once=True)) > bound(RUNS)
    assert ever(by_z(naive)) > 0.25
    # It does adapt: without an effect, to chance.
    assert float(np.abs(shares[:, -1] - 0.5).mean()) > 0.2


def test_an_effect_shows_while_weights_follow_it() -> None:
    rng = np.random.default_rng(3)
    made = thompson.batches(rng, 300, thompson.thompson(0.05), (0.1, 0.14))
    shares, _, happened = made
    assert ever(firsts(thompson.decided(shares, happened))) >= 0.75
    assert float(shares[:, -1].mean()) > 0.9


@pytest.mark.parametrize(("share", "rate"), [(0.02, 0.02), (0.05, 0.005)])
def test_a_tiny_canary_finds_no_effect_where_there_is_none(share: float, rate: float) -> None:
    """Some ten events of its own: too few for (A), which says so, and enough for (B)."""
    rng = np.random.default_rng(4)
    stream = events(rng, 400, [100], 200, [share], [(rate, rate)])
    assert ever(by_sequence(stream)) <= bound(400)
    assert ever(by_evidence(stream)) <= bound(400)
    assert ever(by_sequence(stream, "mean")) > bound(400)
    assert ever(by_z(stream)) > 0.5


def test_skewed_values_find_no_effect_where_there_is_none() -> None:
    stream = values(
        np.random.default_rng(5), 300, 100, 200, lambda rng, shape: rng.lognormal(size=shape)
    )
    assert ever(by_sequence(stream, "mean")) <= bound(300)
    assert ever(by_z(stream)) > 0.25


def test_pairs_need_a_part_of_the_labels_and_find_nothing_where_nothing_is() -> None:
    cells = {(one.setting, one.method): one for one in pairs.pairs(400, 6)}
    none, better = expected.NONE_BETTER, expected.ONE_BETTER
    assert cells[none, expected.PAIRED].measured <= bound(400)
    assert cells[none, "z-test, paired, at every look"].measured > 0.25
    assert 5 < cells[better, "unpaired by paired"].measured < 9
    assert cells[better, f"{expected.PAIRED}, {expected.LABELS}"].measured < 5_000


def test_the_arithmetic_of_pairs_is_that_of_a_mean_difference() -> None:
    z, rows = pairs._paired(np.random.default_rng(7), 1, 50, 0.1, 0.05)
    came = np.random.default_rng(7).multinomial(50, [0.1, 0.05, 0.85], (1, pairs.LOOKS))
    up, down, _ = came[0, :3].sum(axis=0).tolist()
    each = np.repeat([1.0, -1.0, 0.0], [up, down, 150 - up - down])
    assert rows[2] == 150
    assert z[0, 2] == pytest.approx(each.mean() / (each.std(ddof=1) / math.sqrt(150)))
    assert always_valid_p(z[0, 2], 150, tuning()) == pytest.approx(
        float(always_valid_p(z[:, 2], rows[2], tuning())[0])
    )
