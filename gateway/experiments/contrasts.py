"""Which two contents are compared, and in which epochs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from gateway.chunks import EpochRecord
from gateway.names import Branch


@dataclass(frozen=True)
class Contrast:
    """A candidate's content beside the baseline's, over all epochs in which both had weight.

    Other content of either is another contrast: nothing is carried over. Weights may differ from
    epoch to epoch.
    """

    salt: str
    baseline: Branch
    baseline_fingerprint: str
    candidate: Branch
    candidate_fingerprint: str

    @cached_property
    def id(self) -> str:
        """12 hex digits, the same for the same five texts for ever."""
        found = [self.salt, self.baseline, self.baseline_fingerprint]
        found += [self.candidate, self.candidate_fingerprint]
        canonical = json.dumps(found, separators=(",", ":"), ensure_ascii=False)
        return sha256(canonical.encode()).hexdigest()[:12]


def contrasts_of(epoch: EpochRecord) -> dict[Contrast, float]:
    """Those that an epoch says something of, with the candidate's share of the two arms' weights.

    None where the baseline has no weight, or the content of an arm is not known.
    """
    baseline, weights = epoch.baseline, epoch.weights
    fingerprint = epoch.fingerprints.get(baseline)
    if not fingerprint or not weights.get(baseline):
        return {}
    found = {}
    for name, weight in sorted(weights.items()):
        other = epoch.fingerprints.get(name)
        if name != baseline and weight > 0 and other:
            contrast = Contrast(epoch.salt, Branch(baseline), fingerprint, Branch(name), other)
            found[contrast] = weight / (weight + weights[baseline])
    return found
