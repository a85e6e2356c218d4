"""Whether an answer may be what it is: pure bookkeeping of users, weights and commits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """When a question was asked: in which stretch of steady weights, or between two."""

    stretch: int
    steady: bool


class Judge:
    """Holds every answer against those before it.

    Between `changing` and `settled` either split may answer, so nothing is held against anybody;
    what is asked and answered within one steady stretch must keep each user on one branch. Over a
    change, users move only to a branch whose weight grew beside that of the one they leave.
    """

    def __init__(self, weights: Mapping[str, float], was_on: Callable[[str, str], bool]) -> None:
        self._weights = dict(weights)
        self._before: dict[str, float] = {}
        self._was_on = was_on
        self._stretch = 0
        self._steady = True
        self._now: dict[str, str] = {}
        self._earlier: dict[str, str] = {}
        self.moved = 0

    def changing(self) -> None:
        """Weights are about to change."""
        self._steady = False

    def settled(self, weights: Mapping[str, float]) -> None:
        """These weights are in force."""
        self._before, self._weights = self._weights, dict(weights)
        self._earlier, self._now = self._now, {}
        self._stretch += 1
        self._steady = True

    def asked(self) -> Asked:
        return Asked(self._stretch, self._steady)

    def complaint(self, asked: Asked, unit: str, branch: str, commit: str) -> str | None:
        """What is wrong with the answer that the user got, if something is."""
        if branch not in self._weights:
            return f"answered by {branch!r}, which is not served"
        if not self._was_on(branch, commit):
            return f"answered by commit {commit}, which was never on {branch}"
        if not asked.steady or asked != self.asked():
            return None
        known = self._now.setdefault(unit, branch)
        if known != branch:
            return f"user {unit} went from {known} to {branch} though no weight changed"
        earlier = self._earlier.pop(unit, branch)
        if earlier != branch:
            self.moved += 1
            if self._growth(branch) <= self._growth(earlier):
                return f"user {unit} went from {earlier} to {branch} against the change of weights"
        return None

    def _growth(self, branch: str) -> float:
        before = self._before[branch]
        return self._weights[branch] / before if before else float("inf")
