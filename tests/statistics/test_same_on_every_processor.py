"""A read-out recomputed elsewhere must agree to the last digit: nothing hangs on the BLAS there."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import numpy as np
from gateway.names import BUCKETS
from gateway.statistics.effects import effect
from gateway.statistics.guardrail import harm
from gateway.statistics.rates import log_dirichlet, rate_ratio
from gateway.statistics.sums import BucketSums, EventCounts, Sides, UnitSums

rng = np.random.default_rng(1)
for _ in range(30):
    epochs = int(rng.integers(1, 5))
    sums = [
        [BucketSums(900, rng.integers(1, 90, BUCKETS), rng.integers(1, 90, BUCKETS))
         for _ in range(2)] for _ in range(epochs)
    ]
    print(effect([Sides(*pair) for pair in sums], "ratio"))
    units = [[UnitSums.of_events(*map(int, rng.integers([400, 50], [900, 300]))) for _ in range(2)]
             for _ in range(epochs)]
    print(effect([Sides(*pair) for pair in units], "binary"))
    events = [EventCounts(*map(int, rng.integers(9, 90, 2)), rng.random()) for _ in range(epochs)]
    print(rate_ratio(events), harm(events))
    print(log_dirichlet(rng.integers(100, 900, (3, 2)), [0.3, 0.7]).tolist())
"""


def said(**environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_read_out_is_the_same_with_the_kernels_of_another_processor() -> None:
    """The variable is OpenBLAS'; elsewhere it changes nothing, and neither does this test."""
    here = said()
    assert len(here.splitlines()) == 120
    assert said(OPENBLAS_CORETYPE="Haswell") == here
    assert said(OPENBLAS_CORETYPE="Prescott") == here
