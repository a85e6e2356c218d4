"""How much likelier an event is with a candidate than with the baseline: exact at any size.

Under a rate ratio R each event falls to the candidate with chance θ = wR / (wR + 1 - w), where w is
its share of the two arms' weights. That holds whatever the rate and however it moves, and so do an
e-value and a confidence sequence made of it: at every look, over weights that change or adapt, and
from the first event on. Each unit counts once over all epochs. Formulas: STATISTICS §3.4 (B), after
Lindon and Malek (arXiv 2011.03567).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.statistics.sequences import ALPHA, CannotSay, Interval
from gateway.statistics.sums import EventCounts, Floats, columns, product
from gateway.statistics.tails import log_beta, log_odds, log_share, log_sum, root

#: The mixture: other ratios by their logarithm, in steps of 0.1, and what each weighs. Two ratios
#: less than half a step apart are not told from one another by any number of events, so an interval
#: never gets narrower than 5 % to either side: what is finer is for `effects`.
LOG_RATIOS = np.linspace(-3, 3, 61)
_NEAR, _WIDE = (np.exp(-np.square(LOG_RATIOS / sd) / 2) / sd for sd in (0.15, 0.8))
LOG_WEIGHTS = np.log((_NEAR + _WIDE) / (_NEAR + _WIDE).sum())
#: What the closed form believes beforehand, in events.
STRENGTH = 50.0
#: Logarithms of ratios beyond which every event falls to one arm, for all that floats can tell.
_FAR = 50.0


@dataclass(frozen=True, slots=True)
class RateRatio:
    """A contrast of rates of events: candidate by baseline, 1 if they are equal."""

    ratio: Interval
    #: ln of the e-value against a ratio of 1, at this look. Decisions go by the largest so far,
    #: which the caller keeps.
    log_e: float
    candidate: int
    baseline: int

    @property
    def p(self) -> float:
        """Always-valid, at this look."""
        return math.exp(min(0.0, -self.log_e))

    @property
    def relative(self) -> Interval:
        """The ratio as a part more or less than the baseline's rate."""
        ratio = self.ratio
        return Interval(ratio.estimate - 1, ratio.low - 1, ratio.high - 1)

    @property
    def direction(self) -> int:
        """1 if the event is likelier with the candidate, -1 if it is less likely."""
        return int(np.sign(self.ratio.estimate - 1))


def log_evidence(
    candidate: npt.ArrayLike, both: npt.ArrayLike, shares: npt.ArrayLike, log_ratio: float = 0.0
) -> Floats:
    """ln E against one common rate ratio, e^`log_ratio`, by the mixture of 61 others.

    `candidate` and `both`: events of the candidate and of both arms, shape (..., epochs);
    `shares`: (epochs,). The epochs are multiplied inside the mixture; the result has shape (...).
    """
    x, t = np.asarray(candidate, dtype=np.float64), np.asarray(both, dtype=np.float64)
    offsets = log_odds(shares)[:, None]
    there, here = offsets + log_ratio + LOG_RATIOS, offsets + log_ratio
    # ln θ = -ln(1 + e^-u) and ln(1 - θ) = -ln(1 + e^u), at the logit u of θ.
    gain = np.logaddexp(0, -here) - np.logaddexp(0, -there)
    loss = np.logaddexp(0, here) - np.logaddexp(0, there)
    exponents = product(x, gain) + product(t - x, loss) + LOG_WEIGHTS
    return log_sum(exponents)


def rate_ratio(epochs: Sequence[EventCounts], *, alpha: float = ALPHA) -> RateRatio | CannotSay:
    """The contrast of all epochs together; CannotSay before the first event.

    Ends that the events cannot bound are 0 and infinite, and so may the estimate be.
    """
    x, t, w = columns(epochs)
    if not t.sum():
        return CannotSay("no unit of either branch has had the event yet")

    def log_e(log_ratio: float) -> float:
        return float(log_evidence(x, t, w, log_ratio))

    def slope(log_ratio: float) -> float:
        return float((x - t * np.exp(log_share(log_odds(w) + log_ratio))).sum())

    far = _FAR + float(np.abs(log_odds(w)).max())
    none, every = not x.sum(), x.sum() == t.sum()
    best = -far if none else far if every else root(slope, -far, far)
    low, high = _ends(log_e, best, far, -math.log(alpha))
    estimate = 0.0 if none else math.inf if every else math.exp(best)
    return RateRatio(
        Interval(estimate, low, high), log_e(0.0), int(x.sum()), int(t.sum() - x.sum())
    )


def _ends(
    log_e: Callable[[float], float], best: float, far: float, threshold: float
) -> tuple[float, float]:
    """Both ends of {R: E(R) < 1/alpha}; E is at most 1 at the best ratio and grows from there."""

    def excess(log_ratio: float) -> float:
        return log_e(log_ratio) - threshold

    def end(outermost: float) -> float | None:
        if excess(outermost) <= 0:
            return None
        return math.exp(root(excess, best, outermost))

    low, high = end(-far), end(far)
    return (0.0 if low is None else low), (math.inf if high is None else high)


def log_dirichlet(
    counts: npt.ArrayLike, shares: npt.ArrayLike, strength: float = STRENGTH
) -> Floats:
    """ln E that counts fall on k arms otherwise than by `shares`, in closed form, of one epoch.

    A Dirichlet mixture with `strength` times the shares, which add up to 1. counts: (..., k),
    shares: (k,), result: (...).
    """
    n, w = np.asarray(counts, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    prior = strength * w
    return np.asarray(_log_beta(prior + n) - _log_beta(prior) - (n * np.log(w)).sum(axis=-1))


def _log_beta(a: Floats) -> Any:
    """ln of the multivariate beta function over the last axis, as a chain of plain ones."""
    rest = np.cumsum(a[..., ::-1], axis=-1)[..., ::-1]
    return log_beta(a[..., :-1], rest[..., 1:]).sum(axis=-1)


def closed_form_ratio(
    counts: EventCounts, *, alpha: float = ALPHA, strength: float = STRENGTH
) -> Interval:
    """The rate ratio of a single epoch by `log_dirichlet`: a check on the mixture beside it."""
    x, t, w = counts.candidate, counts.both, counts.share
    prior = log_beta(strength * w + x, strength * (1 - w) + t - x)
    prior -= log_beta(strength * w, strength * (1 - w))

    def log_e(log_ratio: float) -> float:
        here = float(log_odds(w)) + log_ratio
        return float(prior + x * np.logaddexp(0, -here) + (t - x) * np.logaddexp(0, here))

    far = _FAR + abs(float(log_odds(w)))
    ratio = (x / w) / ((t - x) / (1 - w)) if x < t else math.inf
    best = min(far, max(-far, math.log(ratio))) if ratio > 0 else -far
    low, high = _ends(log_e, best, far, -math.log(alpha))
    return Interval(ratio, low, high)
