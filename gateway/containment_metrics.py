"""What contains each branch's workers, and what they tried, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from prometheus_client import Counter, Gauge


class Layers(Protocol):
    """What a loaded worker says of itself."""

    @property
    def holds(self) -> Mapping[str, str]: ...
    @property
    def lacks(self) -> Mapping[str, str]: ...


class ContainmentMetrics:
    """Makes its families by the given makers, which keep them by branch."""

    def __init__(self, gauge: Callable[..., Gauge], counter: Callable[..., Counter]) -> None:
        self._layers = gauge(
            "gateway_branch_contained",
            "1 if this layer of containment holds in the branch's workers, 0 if it lacks: limits,"
            " user, privileges, parent_death, landlock, seccomp, scratch; absent where it is not"
            " asked for.",
            *("branch", "layer"),
        )
        self._attempts = counter(
            "gateway_branch_attempts_total",
            "What branch code tried though its containment does not allow it.",
            "branch",
        )

    def branch(self, name: str) -> BranchContainment:
        """The children of a branch."""
        return BranchContainment(name, self._layers, self._attempts.labels(name))


class BranchContainment:
    """One branch's; `attempts` is ready to `inc`."""

    def __init__(self, branch: str, layers: Gauge, attempts: Counter) -> None:
        self.attempts = attempts
        self._branch = branch
        self._layers = layers
        self._shown: set[str] = set()

    def show(self, layers: Layers) -> None:
        """What serves now; the series of layers that it says nothing of go away."""
        now = {**dict.fromkeys(layers.lacks, 0), **dict.fromkeys(layers.holds, 1)}
        for layer in self._shown - now.keys():
            self._layers.remove(self._branch, layer)
        self._shown = set(now)
        for layer, holds in now.items():
            self._layers.labels(self._branch, layer).set(holds)
