"""Pairs: as sure as promised at every look, and with fewer labels than two arms take."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.names import BUCKETS
from gateway.statistics.paired import Paired, evidence_at_looks, mean_and_error, paired
from gateway.statistics.sequences import CannotSay, always_valid_p, half_width, tuning
from gateway.statistics.standing import standing
from gateway.statistics.sums import Floats

NO_SPLIT = CannotSay("nothing is split")


def spread(
    rng: np.random.Generator, rows: int, up: float, down: float
) -> tuple[Floats, Floats, int]:
    """Rows in any bucket; the other is right and the baseline wrong in a part `up` of them."""
    bucket = rng.integers(BUCKETS, size=rows)
    d = rng.choice([1.0, -1.0, 0.0], rows, p=[up, down, 1 - up - down])
    values = np.bincount(bucket, d, BUCKETS).astype(np.float64)
    counts = np.bincount(bucket, minlength=BUCKETS).astype(np.float64)
    return values, counts, int((d != 0).sum())


def test_of_single_rows_it_is_the_plain_sequence_of_their_differences() -> None:
    d = np.zeros(BUCKETS)
    d[:30], d[30:40] = 1, -1
    found = paired(d, np.ones(BUCKETS), 40)
    assert isinstance(found, Paired)
    error = d.std(ddof=1) / math.sqrt(BUCKETS)
    assert found.error == pytest.approx(error, rel=1e-12)
    assert found.difference.estimate == pytest.approx(20 / BUCKETS)
    width = half_width(error, BUCKETS, tuning())
    assert found.difference.high == pytest.approx(20 / BUCKETS + width)
    assert found.p == pytest.approx(float(always_valid_p(20 / BUCKETS / error, BUCKETS, tuning())))
    assert (found.rows, found.differing, found.direction) == (256, 40, 1)


def test_rows_of_one_bucket_are_not_independent() -> None:
    """A user who is asked ten times over says what he says once."""
    rng = np.random.default_rng(1)
    d = rng.choice([1.0, 0.0, -1.0], BUCKETS)
    once = mean_and_error(d, np.ones(BUCKETS))
    often = mean_and_error(10 * d, np.full(BUCKETS, 10.0))
    assert once == pytest.approx(often)


@pytest.mark.parametrize(
    ("rows", "differing", "reason"),
    [
        (99, 40, "there are 99 of the 100 labelled rows that both answered it takes"),
        (5_000, 24, "there are 24 of the 25 rows on which they differ it takes"),
    ],
)
def test_too_few_pairs_say_nothing(rows: int, differing: int, reason: str) -> None:
    counts = np.zeros(BUCKETS)
    counts[:3] = rows / 3
    values = np.zeros(BUCKETS)
    values[0] = differing
    assert paired(values, counts, differing) == CannotSay(reason)
    log_e, _ = evidence_at_looks(values[None], counts[None], [differing])
    assert log_e.tolist() == [-math.inf]


def test_differences_that_are_all_the_same_say_nothing() -> None:
    found = paired(np.ones(BUCKETS), np.ones(BUCKETS), BUCKETS)
    assert found == CannotSay("all differences are the same, so nothing is known of their spread")


def test_the_word_of_pairs_is_told_as_a_difference() -> None:
    found = paired(*spread(np.random.default_rng(2), 5_000, 0.06, 0.02))
    assert isinstance(found, Paired)
    word = standing(found, NO_SPLIT, margin=0.5)
    assert word.word == "better"
    assert word.reason.startswith("The candidate is better: +0.03")
    assert standing(found, NO_SPLIT, direction="down").word == "worse"
    even = paired(*spread(np.random.default_rng(2), 2_000, 0.03, 0.03))
    assert isinstance(even, Paired)
    undecided = standing(even, NO_SPLIT, margin=0.5)
    assert undecided.word == "running"
    assert "does not mean no effect" in undecided.reason


def simulated(rng: np.random.Generator, looks: int, each: int) -> tuple[Floats, Floats, Floats]:
    """Labels come in for a shadow that is neither better nor worse, by users who come again."""
    rows = looks * each
    user = rng.integers(1_500, size=rows)
    leaning = rng.choice([-1.0, 1.0], 1_500)
    d = leaning[user] * (rng.random(rows) < 0.05)
    place = (np.arange(rows) // each) * BUCKETS + user % BUCKETS
    values, counts = (
        np.bincount(place, weights, looks * BUCKETS).reshape(looks, BUCKETS).cumsum(axis=0)
        for weights in (d, None)
    )
    return values, counts.astype(float), np.cumsum(np.abs(d))[each - 1 :: each]


def test_looking_at_every_label_that_comes_finds_nothing_where_there_is_nothing() -> None:
    rng = np.random.default_rng(5)
    runs, ours, naive, by_row = 400, 0, 0, 0
    for _ in range(runs):
        values, counts, differing = simulated(rng, 60, 150)
        log_e, mean = evidence_at_looks(values, counts, differing)
        ours += bool((log_e >= -math.log(0.05)).any())
        error = mean_and_error(values, counts)[1]
        told = np.isfinite(log_e)
        naive += bool((np.abs(mean) > 1.96 * error)[told].any())
        rows = counts.sum(axis=1)
        plain = np.sqrt(differing / rows / rows)
        by_row += bool((np.abs(mean) > 1.96 * plain)[told].any())
        found = paired(values[-1], counts[-1], int(differing[-1]))
        assert isinstance(found, Paired)
        assert found.log_e == pytest.approx(log_e[-1])
    bound = 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert ours / runs <= bound
    assert naive / runs > 0.2
    assert by_row / runs >= naive / runs > bound


def test_a_label_that_scores_both_saves_six_of_seven() -> None:
    """Accuracies of 0.90 and 0.91 that differ on 5 % of rows, as in STATISTICS §3.3.

    Of two arms each label scores one; the error of the same size takes a seventh of the labels.
    """
    rng = np.random.default_rng(6)
    n = 200_000
    values, counts, _ = spread(rng, n, 0.03, 0.02)
    of_pairs = float(mean_and_error(values, counts)[1]) ** 2 * n
    of_arms = 2 * (0.90 * 0.10 + 0.91 * 0.09)
    assert of_arms / of_pairs == pytest.approx(6.9, rel=0.12)
    # And so it goes for the labels until a decision, in the middle of experiments.
    needed = []
    for seed in range(60):
        d = np.random.default_rng([7, seed]).choice([1.0, -1.0, 0.0], 24_000, p=[0.03, 0.02, 0.95])
        mean, rows = np.cumsum(d), np.arange(1, len(d) + 1)
        z = mean / np.sqrt(np.maximum(np.cumsum(np.abs(d)), 1))
        decided = always_valid_p(z, rows, tuning()) <= 0.05
        needed.append(rows[decided & (rows > 500)][:1].tolist() or [len(d)])
    assert np.median(needed) == pytest.approx(3_912, rel=0.5)
