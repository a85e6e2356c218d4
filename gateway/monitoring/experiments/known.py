"""Which epochs and contrasts there are, as the journal told: all that a count is filed under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from gateway.chunks import EpochRecord
from gateway.experiments.contrasts import Contrast, contrasts_of
from gateway.experiments.evidence import Terms
from gateway.experiments.metrics import Metric
from gateway.names import BUCKETS, Branch
from gateway.store import Store

_EPOCHS, _CONTRASTS = "experiment epochs", "experiment contrasts"
Changes = dict[tuple[str, str], bytes | None]


class KnownContrast(msgspec.Struct):
    """A contrast, and what was seen of it. Times are Unix seconds."""

    salt: str
    baseline: str
    baseline_fingerprint: str
    candidate: str
    candidate_fingerprint: str
    first: float
    last: float
    #: Candidate's share of the two arms' weights, by epoch; 0 where it was a shadow.
    shares: dict[str, float] = {}
    #: When each epoch was first seen.
    begun: dict[str, float] = {}
    #: The newest commit of each arm, and when it last was assigned a request.
    commits: dict[str, str] = {}
    asked: dict[str, float] = {}
    #: Have weights followed outcomes in any of its epochs?
    adaptive: bool = False
    #: By what it was told last while it was served: the terms of all that is still to come of it.
    terms: Terms | None = None
    #: Buckets of units that are counted, of 256: never more than when it was begun.
    kept: int = BUCKETS
    #: What its cells are of, also those that are measured no more.
    metrics: dict[str, Metric] = {}

    @property
    def contrast(self) -> Contrast:
        return Contrast(
            self.salt,
            Branch(self.baseline),
            self.baseline_fingerprint,
            Branch(self.candidate),
            self.candidate_fingerprint,
        )

    @property
    def shadow(self) -> bool:
        """It never had a weight: all that is known of it comes of copies."""
        return not any(self.shares.values())

    def other(self, arm: str) -> str:
        return self.candidate if arm == self.baseline else self.baseline


@dataclass(slots=True)
class Known:
    """All that is known now; `changes` is what the store is to remember of it."""

    #: By what a contrast that is new is counted, and how many buckets of units.
    measured: Mapping[str, Metric] = field(default_factory=dict)
    kept: int = BUCKETS
    epochs: dict[str, EpochRecord] = field(default_factory=dict)
    contrasts: dict[str, KnownContrast] = field(default_factory=dict)
    #: By epoch, baseline and arm.
    _arms: dict[tuple[str, str, str], tuple[str, ...]] = field(default_factory=dict)
    _changed: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def load(cls, store: Store) -> Known:
        decode = msgspec.json.decode
        return cls(
            {},
            BUCKETS,
            {name: decode(text, type=EpochRecord) for name, text in store.recall(_EPOCHS).items()},
            {
                name: decode(text, type=KnownContrast)
                for name, text in store.recall(_CONTRASTS).items()
            },
        )

    def describe(self, epoch: EpochRecord) -> None:
        """An epoch was described; of one long past only the id is left, which says nothing."""
        if not epoch.weights or self.epochs.get(epoch.epoch) == epoch:
            return
        self.epochs[epoch.epoch] = epoch
        self._changed.add((_EPOCHS, epoch.epoch))
        self._arms = {key: found for key, found in self._arms.items() if key[0] != epoch.epoch}

    def baseline_of(self, epoch: str) -> str:
        """Which branch others are compared with, as last described: another one may become it in
        the same epoch. Empty where the epoch is not known."""
        described = self.epochs.get(epoch)
        return described.baseline if described is not None else ""

    def of_arm(self, epoch: str, baseline: str, arm: str, moment: float) -> tuple[str, ...]:
        """The contrasts with the baseline that a request assigned to this arm counts in."""
        found = self._arms.get((epoch, baseline, arm))
        if found is None:
            described = self.epochs.get(epoch)
            shares: Mapping[Contrast, float] = {}
            if described is not None:
                shares = contrasts_of(msgspec.structs.replace(described, baseline=baseline))
            mine = {
                one: share for one, share in shares.items() if arm in (one.baseline, one.candidate)
            }
            for contrast, share in mine.items():
                known = self._file(contrast, moment)
                known.shares[epoch] = share
                known.begun.setdefault(epoch, moment)
            found = self._arms[epoch, baseline, arm] = tuple(one.id for one in mine)
        return found

    def of_shadow(self, contrast: Contrast, epoch: str, moment: float) -> str:
        """The contrast of a shadow, which has no weight."""
        known = self._file(contrast, moment)
        known.shares.setdefault(epoch, 0.0)
        return contrast.id

    def seen(self, name: str, arm: str, commit: str, moment: float) -> None:
        """A contrast has a request of an arm; `commit` is empty where another branch answered."""
        known = self.contrasts[name]
        known.last = max(known.last, moment)
        known.asked[arm] = max(known.asked.get(arm, 0.0), moment)
        if commit:
            known.commits[arm] = commit
        self._changed.add((_CONTRASTS, name))

    def agree(self, name: str, terms: Terms) -> Terms:
        """The terms of a contrast that is served: these, for the units that are kept of it.

        Adaptive once is adaptive for good.
        """
        known = self.contrasts[name]
        if terms.adaptive and not known.adaptive:
            known.adaptive = True
            self._changed.add((_CONTRASTS, name))
        return replace(terms, adaptive=known.adaptive, kept=known.kept)

    def note(self, name: str, terms: Terms) -> None:
        """The contrast is told by these terms, until it is served by others."""
        known = self.contrasts[name]
        if known.terms != terms:
            known.terms = terms
            self._changed.add((_CONTRASTS, name))

    def keep(self, buckets: int) -> None:
        """No contrast counts more buckets than these from now on."""
        for name, known in self.contrasts.items():
            if known.kept > buckets:
                known.kept = buckets
                self._changed.add((_CONTRASTS, name))

    def measure(self, name: str) -> list[str]:
        """It is counted by `measured` from now on; those whose cells are of something else."""
        known = self.contrasts[name]
        metrics = {**known.metrics, **self.measured}
        if known.metrics == metrics:
            return []
        edited = [
            one.name
            for one in self.measured.values()
            if one.name in known.metrics and known.metrics[one.name].definition != one.definition
        ]
        known.metrics = metrics
        self._changed.add((_CONTRASTS, name))
        return edited

    def counts(self, name: str, metric: Metric) -> None:
        """The contrast has cells of a metric, whatever was measured when it was last looked at."""
        known = self.contrasts[name]
        if metric.name not in known.metrics:
            known.metrics[metric.name] = metric
            self._changed.add((_CONTRASTS, name))

    def _file(self, contrast: Contrast, moment: float) -> KnownContrast:
        self._changed.add((_CONTRASTS, contrast.id))
        return self.contrasts.setdefault(
            contrast.id,
            KnownContrast(
                contrast.salt,
                str(contrast.baseline),
                str(contrast.baseline_fingerprint),
                str(contrast.candidate),
                str(contrast.candidate_fingerprint),
                moment,
                moment,
                kept=self.kept,
                metrics=dict(self.measured),
            ),
        )

    def forget(self, name: str) -> None:
        """A contrast of which nothing is left."""
        known = self.contrasts.pop(name)
        self._changed.add((_CONTRASTS, name))
        left = {epoch for one in self.contrasts.values() for epoch in one.shares}
        for epoch in known.shares.keys() - left:
            if self.epochs.pop(epoch, None) is not None:
                self._changed.add((_EPOCHS, epoch))
        self._arms.clear()

    def changes(self) -> Changes:
        """What changed since the last call."""
        found: Changes = {}
        for room, name in self._changed:
            kept = self.epochs.get(name) if room == _EPOCHS else self.contrasts.get(name)
            found[room, name] = msgspec.json.encode(kept) if kept is not None else None
        self._changed = set()
        return found
