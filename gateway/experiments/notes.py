"""What has to be known beside the figures of a contrast: who is left out of them, and why."""

from __future__ import annotations

import numpy as np

from gateway.experiments import arrivals
from gateway.experiments.contrasts import Contrast
from gateway.experiments.evidence import Terms
from gateway.experiments.shown import counted
from gateway.experiments.spans import Layout
from gateway.names import BUCKETS
from gateway.statistics.sample_ratio import SampleRatio

_WITHOUT = "without_unit"
#: The part of units in both arms, or of requests without a unit, that is worth a warning.
_MANY = 0.01


def multiple_units(exposures: Layout) -> int:
    """Units seen in both arms."""
    return sum(cell.tallies.get("multiple", 0) for cell in exposures.cells)


def without_unit(contrast: Contrast, exposures: Layout) -> dict[str, dict[str, int]]:
    """By arm: requests without a unit, and how many of them had each built-in event."""
    found: dict[str, dict[str, int]] = {contrast.baseline: {}, contrast.candidate: {}}
    for key, cell in zip(exposures.keys, exposures.cells, strict=True):
        for name, count in sorted(cell.tallies.items()):
            what, _, event = name.partition(":")
            if what == _WITHOUT:
                shown = event or "requests"
                found[key.arm][shown] = found[key.arm].get(shown, 0) + count
    return {str(arm): dict(sorted(counts.items())) for arm, counts in found.items() if counts}


def notes(contrast: Contrast, exposures: Layout, terms: Terms) -> tuple[str, ...]:
    """As sentences."""
    told = [
        _adaptive(terms),
        _kept(terms),
        _multiple(exposures),
        *_without(contrast, exposures),
    ]
    return tuple(one for one in told if one)


def _adaptive(terms: Terms) -> str | None:
    if not terms.adaptive:
        return None
    return (
        "Weights follow outcomes here: it costs few users, and learns slowly. Only the exact "
        "method holds, so means and ratios are not decided, and the arms' own values are biased."
    )


def _kept(terms: Terms) -> str | None:
    if terms.kept >= BUCKETS:
        return None
    return (
        f"Only {100 * terms.kept / BUCKETS:.3g} % of the units are kept, chosen by their hash, as "
        "there are more than memory was given for: all figures are of these."
    )


def _multiple(exposures: Layout) -> str | None:
    several = multiple_units(exposures)
    units = sum(cell.events for cell in exposures.cells)
    if several <= _MANY * units:
        return None
    many = f"{counted(several, 'unit')} of {units:,} were seen in both arms"
    if len(np.unique(exposures.shares)) > 1:
        return f"{many}: that is expected after a change of weights, and blurs any effect."
    return (
        f"{many}, though the weights of the two did not change: it may be a sign of ids that "
        "change, or of users with several."
    )


def _without(contrast: Contrast, exposures: Layout) -> list[str]:
    counts = exposures.so_far(cell.tallies.get(_WITHOUT, 0) for cell in exposures.cells)
    without = sum(cell.tallies.get(_WITHOUT, 0) for cell in exposures.cells)
    requests = without + sum(cell.tallies.get("requests", 0) for cell in exposures.cells)
    found = []
    if without > _MANY * requests:
        found.append(
            f"{counted(without, 'request')} of {requests:,} came without a unit: they were "
            "answered, and count in nothing but in this line."
        )
    check = arrivals.checked(counts, exposures.shares)
    if isinstance(check, SampleRatio) and check.mismatch:
        by_arm = exposures.by_arm(cell.tallies.get(_WITHOUT, 0) for cell in exposures.cells)
        arms = zip((contrast.baseline, contrast.candidate), by_arm, strict=True)
        shown = ", ".join(f"{count:,.0f} of {arm}" for arm, count in arms)
        found.append(
            f"Requests without a unit do not fall on the arms as their weights say ({shown}): "
            "look for what loses the ids of one of them."
        )
    return found
