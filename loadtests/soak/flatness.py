"""Whether what was measured again and again has grown: medians of the first and last third."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from loadtests.soak.gauge import LASTING, Sample

#: A shorter life says nothing about growth.
SHORTEST = 40.0
#: Of a life, for caches to fill.
WARM_UP = 0.2
MEMORY_SHARE, MEMORY_BYTES = 0.10, 4_000_000
DESCRIPTORS = 8

Point = tuple[float, float]


@dataclass(frozen=True)
class Trend:
    """One figure over one life. `allowed` is the most that `late` may be."""

    what: str
    unit: str
    seconds: float
    early: float
    late: float
    peak: float
    allowed: float

    @property
    def is_judged(self) -> bool:
        return self.seconds >= SHORTEST

    @property
    def is_flat(self) -> bool:
        return not self.is_judged or self.late <= self.allowed


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """Of the longest-lived process of each kind, and of the memory of all together."""
    found = []
    lives = {kind: _longest(each for each in samples if each.kind == kind) for kind in LASTING}
    for kind, life in lives.items():
        if not life:
            continue
        what = f"{kind}, the longest-lived"
        resident = [(sample.at, float(sample.resident)) for sample in life]
        found.append(memory_trend(f"{what}: RSS", resident))
        open_ones = [(sample.at, float(sample.descriptors)) for sample in life]
        found.append(trend(f"{what}: descriptors", "", open_ones, 0.0, DESCRIPTORS))
    if front := lives["front"]:
        # One front's life: with it, all that it has started begins anew.
        there = [each for each in samples if front[0].at <= each.at <= front[-1].at]
        found.append(memory_trend("all together: PSS", _together(there)))
    return found


def _together(samples: Iterable[Sample]) -> list[Point]:
    """The sums over all processes, where there are as many of each kind as there mostly are.

    While a model is loaded beside another, or a process is missing, there is nothing to compare.
    """
    looks: dict[float, list[Sample]] = defaultdict(list)
    for sample in samples:
        looks[sample.at].append(sample)
    kinds = {at: tuple(sorted(each.kind for each in look)) for at, look in looks.items()}
    usual, _ = Counter(kinds.values()).most_common(1)[0]
    return [
        (at, float(sum(each.share for each in look)))
        for at, look in sorted(looks.items())
        if kinds[at] == usual
    ]


def memory_trend(what: str, points: Sequence[Point]) -> Trend:
    return trend(what, "MB", points, MEMORY_SHARE, MEMORY_BYTES)


def trend(what: str, unit: str, points: Sequence[Point], share: float, slack: float) -> Trend:
    """Growth up to a share and a slack is none."""
    begin, end = points[0][0], points[-1][0]
    warm = begin + WARM_UP * (end - begin)
    third = (end - warm) / 3
    first = [value for at, value in points if warm <= at <= warm + third]
    early = median(first or [points[0][1]])
    late = median(value for at, value in points if at >= end - third)
    peak = max(value for _, value in points)
    return Trend(what, unit, end - begin, early, late, peak, early * (1 + share) + slack)


def _longest(samples: Iterable[Sample]) -> list[Sample]:
    lives: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        lives[sample.pid].append(sample)
    return max(lives.values(), key=lambda life: life[-1].at - life[0].at, default=[])
