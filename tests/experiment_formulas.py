"""STATISTICS §3.4 (A), (B) and (C), written once more with numpy alone.

Nothing of the gateway is imported: what it reads out is checked by this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def effect(
    units: Any, values: Any, counts: Any, planned: int, alpha: float, *, binary: bool
) -> dict[str, float] | None:
    """(A) of (epochs, 2) units and (epochs, 2, 256) sums; None where it cannot say."""
    held = ((values != 0) | (counts != 0)).sum(axis=2) * (counts.sum(axis=2) > 0)
    told = held.min(axis=1) >= 2
    units, values, counts, held = units[told], values[told], counts[told], held[told]
    if not told.any() or units.sum(axis=0).min() < 100:
        return None
    if binary:
        events, of = values.sum(axis=(0, 2)), counts.sum(axis=(0, 2))
        if min(events.min(), (of - events).min()) < 25:
            return None
    weights = units.prod(axis=1) / units.sum(axis=1)
    weights /= weights.sum()
    means = values.sum(axis=2) / counts.sum(axis=2)
    off = (values - means[..., None] * counts) / counts.sum(axis=2)[..., None]
    off *= np.sqrt(held / (held - 1))[..., None]
    # A bucket's users are the same ones in every epoch.
    v_a, v_b = np.square((weights[:, None, None] * off).sum(axis=0)).sum(axis=1)
    a, b = weights @ means
    n = float(units.sum())
    rho2 = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / planned
    reach = math.sqrt((1 + 1 / (n * rho2)) * math.log((n * rho2 + 1) / alpha**2))
    error = math.sqrt(v_a + v_b)
    z2 = (b - a) ** 2 / (v_a + v_b)
    log_p = 0.5 * math.log(n * rho2 + 1) - n * rho2 * z2 / (2 * (n * rho2 + 1))
    lift_error = math.sqrt(v_b / a**2 + v_a * b**2 / a**4)
    return {
        "baseline": a,
        "candidate": b,
        "difference": b - a,
        "low": b - a - error * reach,
        "high": b - a + error * reach,
        "lift": (b - a) / a,
        "lift_low": (b - a) / a - lift_error * reach,
        "lift_high": (b - a) / a + lift_error * reach,
        "log_e": -log_p,
    }


def log_e(events: Any, shares: Sequence[float], log_ratio: float) -> float:
    """(B): ln of the mixture's e-value against this ratio, of (epochs, 2) events."""
    points = np.linspace(-3, 3, 61)

    def normal(sd: float) -> Any:
        return np.exp(-(points**2) / (2 * sd**2)) / sd

    prior = 0.5 * normal(0.15) + 0.5 * normal(0.8)
    terms = np.log(prior / prior.sum())
    for (y, x), w in zip(events, shares, strict=True):
        here = w * math.exp(log_ratio) / (w * math.exp(log_ratio) + 1 - w)
        there = w * np.exp(log_ratio + points) / (w * np.exp(log_ratio + points) + 1 - w)
        terms = terms + x * np.log(there / here) + y * np.log((1 - there) / (1 - here))
    return float(np.log(np.exp(terms - terms.max()).sum()) + terms.max())


def best_ratio(events: Any, shares: Sequence[float]) -> float:
    def slope(log_ratio: float) -> float:
        total = 0.0
        for (y, x), w in zip(events, shares, strict=True):
            total += x - (x + y) * w * math.exp(log_ratio) / (w * math.exp(log_ratio) + 1 - w)
        return total

    return _root(slope, -5.0, 5.0)


def ratio_ends(events: Any, shares: Sequence[float], alpha: float) -> tuple[float, float]:
    best = best_ratio(events, shares)

    def excess(log_ratio: float) -> float:
        return log_e(events, shares, log_ratio) + math.log(alpha)

    return math.exp(_root(excess, best - 5, best)), math.exp(_root(excess, best, best + 5))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """By halving; the ends have different signs."""
    positive = function(low) > 0
    assert positive != (function(high) > 0)
    for _ in range(80):
        middle = (low + high) / 2
        if (function(middle) > 0) == positive:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def log_dirichlet(units: Any, share: float, strength: float = 1_000.0) -> float:
    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    y, x = map(float, units)
    before = log_beta(strength * share, strength * (1 - share))
    after = log_beta(strength * share + x, strength * (1 - share) + y)
    return after - before - x * math.log(share) - y * math.log(1 - share)
