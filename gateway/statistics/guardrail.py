"""Whether a candidate does harm: an event that must not get likelier does, by more than a margin.

One-sided and exact: an alarm at E ≥ 1/alpha comes to at most alpha of all canaries that do no
harm, however often one looks and over all steps of a ramp. Formulas: STATISTICS §3.4 (D).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.statistics.sequences import CannotSay
from gateway.statistics.sums import EventCounts, Floats, columns, product
from gateway.statistics.tails import log_odds, log_share, log_sum

#: How much likelier than the margin allows, in the mixture; all weigh the same.
HARMS = np.array([1.1, 1.25, 1.5, 2, 3, 5, 10, 20])
ALPHA = 0.01


@dataclass(frozen=True, slots=True)
class Harm:
    """What the events so far say against a candidate."""

    #: ln of the e-value at this look; the caller keeps the largest so far.
    log_e: float
    candidate: int
    baseline: int

    def breaches(self, alpha: float = ALPHA) -> bool:
        return self.log_e >= -math.log(alpha)


def log_harm(
    candidate: npt.ArrayLike, both: npt.ArrayLike, shares: npt.ArrayLike, margin: float = 1.0
) -> Floats:
    """ln E against "the event is at most `margin` times as likely with the candidate".

    Units with the event, each once over all epochs: the candidate's and those of both arms, shape
    (..., epochs); the candidate's shares: (epochs,). Epochs are multiplied; result: (...).
    """
    if not (margin > 0 and math.isfinite(margin)):
        raise ValueError(f"margin: must be a ratio above 0; 1 allows none. Given: {margin}")
    x, t = np.asarray(candidate, dtype=np.float64), np.asarray(both, dtype=np.float64)
    allowed = log_odds(shares)[:, None] + math.log(margin)
    harmful = allowed + np.log(HARMS)
    gain = log_share(harmful) - log_share(allowed)
    loss = log_share(-harmful) - log_share(-allowed)
    exponents = product(x, gain) + product(t - x, loss) - math.log(len(HARMS))
    return log_sum(exponents)


def harm(epochs: Sequence[EventCounts], margin: float = 1.0) -> Harm | CannotSay:
    """The epochs of one fingerprint together: its evidence is carried over the steps of a ramp."""
    candidate, both, shares = columns(epochs)
    if not both.sum():
        return CannotSay("no unit of either branch has had the event yet")
    log_e = float(log_harm(candidate, both, shares, margin))
    return Harm(log_e, int(candidate.sum()), int(both.sum() - candidate.sum()))
