"""Who is served, and to whom: as a gateway.yaml says it, or as a running gateway does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gateway.assignment import Split
from gateway.config import TeamConfig
from gateway.config.document import load_config, parse_team, read_text
from gateway.names import Branch
from gateway.reporting.document import UnreadableAnswer


class Ejected(msgspec.Struct, frozen=True):
    """That the baseline answers for a branch which failed too often, since when and why."""

    since: str
    reason: str


class Ordered(msgspec.Struct, frozen=True):
    """That the gateway itself decided on a branch's share: how, why and since when."""

    state: str
    reason: str
    since: str


class Condition(msgspec.Struct, frozen=True):
    """How a branch is at this moment; `state` is `ready` where a worker answers."""

    state: str
    #: As gateway.yaml says.
    weight: float
    #: What users are dealt by, where that is something else.
    effective_weight: float | None = None
    allocation: Ordered | None = None
    reason: str | None = None
    ejected: Ejected | None = None
    shadow: dict[str, Any] | None = None
    fallback: bool = True

    @property
    def deals(self) -> float:
        """The weight that users are dealt by."""
        return self.weight if self.effective_weight is None else self.effective_weight


class Configuration(msgspec.Struct, frozen=True):
    """Whether what the gateway's configuration says is in force, and if not, why."""

    state: str
    reason: str | None = None
    waiting_for: dict[str, str] = {}


class _Page(msgspec.Struct, frozen=True):
    baseline: str
    salt: str
    epoch: str
    configuration: Configuration
    branches: dict[str, Condition]


@dataclass(frozen=True, slots=True)
class Running:
    """What only a gateway that runs can say."""

    epoch: str
    configuration: Configuration
    branches: Mapping[Branch, Condition]

    def answering(self, arm: Branch, baseline: Branch) -> Branch | None:
        """The branch that answers for an arm's users just now; None where nobody can."""
        if self._is_ready(arm):
            return arm
        falls_back = arm != baseline and self.branches[arm].fallback
        return baseline if falls_back and self._is_ready(baseline) else None

    def _is_ready(self, branch: Branch) -> bool:
        found = self.branches.get(branch)
        return found is not None and found.state == "ready"


@dataclass(frozen=True, slots=True)
class Standing:
    """A split with what stands around it. `said_by` is the file or the gateway's address."""

    said_by: str
    baseline: Branch
    split: Split
    #: The share of the answered requests that each one gets a copy of.
    shadows: Mapping[Branch, float]
    #: Branches that answer an error where they cannot answer.
    without_fallback: frozenset[Branch]
    #: Steps of ramps by branch, in percent, where a file alone is asked.
    ramps: Mapping[Branch, tuple[float, ...]] = field(default_factory=dict)
    running: Running | None = None

    def weighted(self, weights: Mapping[Branch, float]) -> Split:
        """The split with some other weights; ValueError if nothing has any."""
        return Split(self.split.salt, {**self.split.weights, **weights})


def standing_in(file: Path, *, in_repository: bool) -> Standing:
    """As the file says it; ConfigError with its mistakes.

    `in_repository` for one of those that `--config-branch` reads from a branch.
    """
    config: TeamConfig = (
        parse_team(read_text(file).encode(), str(file)) if in_repository else load_config(file)
    )
    branches = config.branches
    return Standing(
        said_by=str(file),
        baseline=config.baseline,
        split=Split(
            config.salt,
            {name: weight for name, weight in config.weights.items() if not branches[name].shadow},
        ),
        shadows={name: one.shadow_share for name, one in config.shadows.items()},
        without_fallback=frozenset(name for name, one in branches.items() if not one.fallback),
        ramps={name: one.ramp.steps for name, one in branches.items() if one.ramp is not None},
    )


def parse_standing(data: bytes, where: str) -> Standing:
    """The body of GET /branches of the gateway at `where`."""
    try:
        page = msgspec.json.decode(data, type=_Page)
        branches = {Branch(name): one for name, one in page.branches.items()}
        weights = {name: one.deals for name, one in branches.items() if one.shadow is None}
        shadows = {
            name: float(one.shadow.get("share", 1.0))
            for name, one in branches.items()
            if one.shadow is not None
        }
        return Standing(
            said_by=where,
            baseline=Branch(page.baseline),
            split=Split(page.salt, weights),
            shadows=shadows,
            without_fallback=frozenset(name for name, one in branches.items() if not one.fallback),
            running=Running(page.epoch, page.configuration, branches),
        )
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        given = data[:80].decode(errors="replace")
        text = f"must answer as GET /branches of this version does: {error}. Given: {given!r}"
        raise UnreadableAnswer(text, where=where) from error
