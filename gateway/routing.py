"""The split in force: which arm a request gets, and the epoch its row belongs to.

Holds the applied configuration and the fingerprints of the arms. Decides nothing by itself:
`apply` and `arm_serves` are told by those who know.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.assignment import Split, epoch_of
from gateway.config import Config
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
        self._key = unit_key
        self._fingerprints: dict[Branch, Fingerprint | None] = dict(fingerprints)
        self._described: dict[Epoch, dict[str, object]] = {}
        self.apply(config)

    def apply(self, config: Config) -> None:
        """Put a configuration in force; every arm it weights is loaded, or there is none yet."""
        self.config = config
        self.split = Split(config.salt, config.weights)
        self._renew()

    def arm_serves(self, branch: Branch, fingerprint: Fingerprint) -> None:
        """An arm's content changed: that opens a new epoch if it has weight."""
        if self._fingerprints.get(branch) != fingerprint:
            self._fingerprints[branch] = fingerprint
            self._renew()

    def assign(self, raw_unit: str | None, request_id: str) -> Assignment:
        """The arm of a user, or of the request itself where there is no user id."""
        if raw_unit:
            arm = self.split.assign(raw_unit)
            unit, reason = Unit.keyed(raw_unit, self._key), "split"
        else:
            arm = self.split.assign(request_id)
            unit, reason = None, "no_unit"
        return Assignment(arm, unit, reason, self.split.propensities[arm], self.epoch)

    def describe_epoch(self, epoch: Epoch) -> dict[str, object]:
        """What an epoch's id stands for; only the id for one long past."""
        return self._described.get(epoch, {"epoch": epoch})

    def _renew(self) -> None:
        self.epoch: Epoch = epoch_of(self.split.salt, self.split.weights, self._fingerprints)
        arms = {arm: weight for arm, weight in self.split.weights.items() if weight > 0}
        self._described.pop(self.epoch, None)
        self._described[self.epoch] = {
            "epoch": self.epoch,
            "salt": self.split.salt,
            "weights": arms,
            "fingerprints": {arm: self._fingerprints.get(arm) for arm in arms},
        }
        if len(self._described) > _EPOCHS_KEPT:
            del self._described[next(iter(self._described))]
