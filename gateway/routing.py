"""The split in force: which arm a request gets, and the epoch its row belongs to.

Holds the applied configuration, the fingerprints of the arms, and the orders that stand over the
weights. Decides nothing by itself: `apply`, `arm_serves` and `follow` are told by those who know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from gateway.assignment import OVERRIDE, Split, epoch_of
from gateway.config import Config
from gateway.errors import NotFound
from gateway.experiments.allocation import Order, effective, in_force
from gateway.names import Branch, Epoch, Fingerprint, Unit

#: Requests may still be under way in an epoch that has just ended.
_EPOCHS_KEPT = 64


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """The decision for one request."""

    arm: Branch
    unit: Unit | None
    reason: str
    propensity: float
    epoch: Epoch


class Routing:
    """Assigns requests by the configuration in force."""

    def __init__(
        self, config: Config, unit_key: bytes, fingerprints: Mapping[Branch, Fingerprint]
    ) -> None:
        """`fingerprints` are those remembered from before a restart, so that it opens no epoch."""
        #: Called when the split may have become another one.
        self.changed: Callable[[], None] = lambda: None
        self._key = unit_key
        self._ordered: Mapping[str, Order] = {}
        self._fingerprints: dict[Branch, Fingerprint | None] = dict(fingerprints)
        self._described: dict[Epoch, dict[str, object]] = {}
        self.apply(config)

    def apply(self, config: Config) -> None:
        """Put a configuration in force; every arm it weights is loaded, or there is none yet."""
        self.config = config
        self._configured = {
            name: config.configured(name)
            for name, branch in config.branches.items()
            if name != config.baseline and not branch.shadow
        }
        self._first_steps = {name: step / 100 for name, step in config.first_steps.items()}
        self._renew()

    def follow(self, orders: Mapping[str, Order]) -> None:
        """Put orders over the weights, in place of all former ones."""
        self._ordered = orders
        self._renew()

    def arm_serves(self, branch: Branch, fingerprint: Fingerprint) -> None:
        """An arm's content changed: that opens a new epoch if it has weight, or gets one by it.

        Orders for its former content fall away with it.
        """
        if self._fingerprints.get(branch) != fingerprint:
            self._fingerprints[branch] = fingerprint
            self._renew()

    def assign(
        self,
        raw_unit: str | None,
        request_id: str,
        *,
        excluded: bool = False,
        override: Branch | None = None,
    ) -> Assignment:
        """The arm of a user, or of the request itself where there is no user id.

        An `override` is the branch that the request asks for by name, and an `excluded` request
        gets the baseline: neither is a part of the split, but by a rule and not by chance, so that
        its propensity is 1. Its unit and epoch are recorded as any other's.
        """
        if override is not None or excluded:
            unit = Unit.keyed(raw_unit, self._key) if raw_unit else None
            if override is not None:
                return Assignment(override, unit, OVERRIDE, 1.0, self.epoch)
            return Assignment(self.config.baseline, unit, "excluded", 1.0, self.epoch)
        if raw_unit:
            arm = self.split.assign(raw_unit)
            unit, reason = Unit.keyed(raw_unit, self._key), "split"
        else:
            arm = self.split.assign(request_id)
            unit, reason = None, "no_unit"
        return Assignment(arm, unit, reason, self.split.propensities[arm], self.epoch)

    def known(self, text: str, where: str) -> Branch:
        """A configured branch by name, also with `~` for `/`; NotFound otherwise."""
        for name in self.config.branches:
            if text in (name, name.folder):
                return name
        known = ", ".join(self.config.branches)
        raise NotFound(f"no branch {text[:80]!r} is served; there are: {known}", where=where)

    def recorded(self, raw_unit: str) -> Unit:
        """How a user's id stands in rows."""
        return Unit.keyed(raw_unit, self._key)

    def describe_epoch(self, epoch: Epoch) -> dict[str, object]:
        """What an epoch's id stands for; only the id for one long past."""
        return self._described.get(epoch, {"epoch": epoch})

    def _renew(self) -> None:
        config = self.config
        serving = {arm: content or "" for arm, content in self._fingerprints.items()}
        #: The orders that hold, by branch.
        self.orders: Mapping[Branch, Order] = in_force(self._ordered, self._configured, serving)
        self.split = Split(
            config.salt,
            effective(config.weights, config.baseline, self._first_steps, self.orders),
        )
        self.epoch: Epoch = epoch_of(self.split.salt, self.split.weights, self._fingerprints)
        arms = {arm: weight for arm, weight in self.split.weights.items() if weight > 0}
        self._described.pop(self.epoch, None)
        self._described[self.epoch] = {
            "epoch": self.epoch,
            "salt": self.split.salt,
            "weights": arms,
            "fingerprints": {arm: self._fingerprints.get(arm) for arm in arms},
            "baseline": self.config.baseline,
        }
        if len(self._described) > _EPOCHS_KEPT:
            del self._described[next(iter(self._described))]
        self.changed()
