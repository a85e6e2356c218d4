"""Thompson sampling: users move to the branch that a binary metric likely goes best with.

It limits what is lost on worse branches; it is no test. Batches: an update at most every quarter
of an hour, and only once each arm has a hundred more units whose outcomes are all in. Each arm
keeps a floor, so that it can still be seen to get better. STATISTICS §3.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

from gateway.experiments.facts import ArmCounts
from gateway.names import Branch

CADENCE = 900.0
LEAST_UNITS = 100
FLOOR = 0.05
DRAWS = 10_000


def chances(counts: Sequence[ArmCounts], seed: str, *, up: bool, draws: int = DRAWS) -> list[float]:
    """How likely each arm is the best one, of what it showed; the same for the same arguments.

    From beliefs that are uniform beforehand.
    """
    import numpy as np

    rng = np.random.default_rng(int.from_bytes(sha256(seed.encode()).digest()[:8], "big"))
    won = [1 + one.events for one in counts]
    lost = [1 + max(0, one.units - one.events) for one in counts]
    drawn = rng.beta(won, lost, size=(draws, len(counts)))
    best = drawn.argmax(axis=1) if up else drawn.argmin(axis=1)
    return [float(part) for part in np.bincount(best, minlength=len(counts)) / draws]


def dealt(
    counts: Mapping[Branch, ArmCounts],
    number: int,
    epoch: str,
    free: float,
    *,
    up: bool,
    draws: int = DRAWS,
) -> dict[Branch, float]:
    """The part of all users that each arm gets of `free`, at least its floor's."""
    arms = sorted(counts)
    floor = min(FLOOR, 0.5 / len(arms))
    found = chances([counts[arm] for arm in arms], f"{number} {epoch}", up=up, draws=draws)
    return {
        arm: free * (floor + (1 - len(arms) * floor) * chance)
        for arm, chance in zip(arms, found, strict=True)
    }
