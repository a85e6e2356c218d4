"""Whether what arrives falls on both arms as their weights say: units, or outcomes of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from gateway.experiments.document import Ratio
from gateway.experiments.shown import finite
from gateway.statistics.rates import log_dirichlet
from gateway.statistics.sample_ratio import LEAST_E, STRENGTH, EpochUnits, SampleRatio, sample_ratio
from gateway.statistics.sequences import CannotSay
from gateway.statistics.sums import Floats, product


def checked(counts: Floats, shares: Floats) -> SampleRatio | CannotSay:
    """Of what came so far, (looks, epochs, 2): that of the last look, with the largest e-value."""
    if not len(counts):
        return CannotSay("no unit has been assigned yet")
    found = sample_ratio(_epochs(counts[-1], shares))
    if isinstance(found, CannotSay):
        return found
    grown = np.zeros(len(counts))
    for epoch, share in enumerate(shares):
        # Most looks are at other epochs than this one.
        new = np.diff(counts[:, epoch], axis=0, prepend=np.zeros((1, 2)))
        looks = np.flatnonzero(new.any(axis=1))
        so_far = log_dirichlet(counts[looks, epoch], [1 - share, share], STRENGTH)
        grown[looks] += np.diff(so_far, prepend=0.0)
    return replace(found, log_e=max(found.log_e, float(grown.cumsum().max())))


def shown(check: SampleRatio | CannotSay, counts: Floats, shares: Floats) -> Ratio:
    """The check as the document has it."""
    last = counts[-1] if len(counts) else np.zeros((len(shares), 2))
    baseline, candidate = (int(arm) for arm in last.sum(axis=0))
    units = last.sum(axis=1)
    told = check if isinstance(check, SampleRatio) else None
    return Ratio(
        mismatch=told is not None and told.mismatch,
        log_e=finite(told.log_e) if told else None,
        threshold=math.log(LEAST_E),
        p=told.p if told else None,
        baseline=baseline,
        candidate=candidate,
        expected=float(product(units, shares) / units.sum()) if told else None,
    )


def _epochs(last: Floats, shares: Floats) -> list[EpochUnits]:
    return [
        EpochUnits((int(baseline), int(candidate)), (1 - float(share), float(share)))
        for (baseline, candidate), share in zip(last, shares, strict=True)
    ]
