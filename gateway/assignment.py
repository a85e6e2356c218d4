"""Which branch a unit gets, and what an epoch is: pure functions of their arguments.

Weighted rendezvous hashing: stateless, independent of the order of the branches, and when one
branch's weight changes only units of that branch move (Schindelhauer & Schomaker 2005).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b, sha256
from math import inf, log

from gateway.names import Branch, Epoch, Fingerprint

#: Why a request has its arm, where it asked for that branch by name: no part of the split.
OVERRIDE = "override"


def uniform(salt: str, arm: str, unit: str) -> float:
    """A number in (0, 1), the same for the same three texts for ever."""
    digest = blake2b(f"{salt}\x1f{arm}\x1f{unit}".encode(), digest_size=8).digest()
    return _as_uniform(digest)


#: The largest float below 1, which the formula would round to 1 for the highest digest of all.
_HIGHEST = 1 - 2**-53


def _as_uniform(digest: bytes) -> float:
    return min(((int.from_bytes(digest, "big") >> 11) + 0.5) / 2**53, _HIGHEST)


class Split:
    """The weights in force: assigns units to arms. Immutable.

    `weights` are relative and at least 0; an arm of weight 0 gets nobody. At least one must be
    positive, else ValueError.
    """

    __slots__ = ("_arms", "_only", "propensities", "salt", "weights")

    def __init__(self, salt: str, weights: Mapping[Branch, float]) -> None:
        total = sum(weights.values())
        if not total > 0 or any(not 0 <= weight < inf for weight in weights.values()):
            raise ValueError(f"a split needs weights of at least 0, one of them above: {weights}")
        self.salt = salt
        self.weights = dict(sorted(weights.items()))
        self.propensities = {arm: weight / total for arm, weight in self.weights.items()}
        # Sorted by name, so that an exact tie falls the same way whatever the order of the file.
        positive = [(arm, weight) for arm, weight in self.weights.items() if weight > 0]
        self._arms = tuple(
            (arm, weight, blake2b(f"{salt}\x1f{arm}\x1f".encode(), digest_size=8))
            for arm, weight in positive
        )
        self._only = positive[0][0] if len(positive) == 1 else None

    def assign(self, unit: str) -> Branch:
        """The arm of a unit: argmax over arms of weight / -ln u(salt, arm, unit)."""
        if self._only is not None:
            return self._only
        text = unit.encode()
        best, best_score = self._arms[0][0], -1.0
        for arm, weight, prefix in self._arms:
            state = prefix.copy()
            state.update(text)
            score = weight / -log(_as_uniform(state.digest()))
            if score > best_score:
                best, best_score = arm, score
        return best


def epoch_of(
    salt: str, weights: Mapping[Branch, float], fingerprints: Mapping[Branch, Fingerprint | None]
) -> Epoch:
    """The epoch of a split: it changes with salt, weights or the content of any arm.

    Arms are the branches of positive weight; a fingerprint is None until the arm has loaded.
    """
    arms = {arm: float(weight) for arm, weight in weights.items() if weight > 0}
    content = {
        "salt": salt,
        "weights": arms,
        "fingerprints": {arm: fingerprints.get(arm) for arm in arms},
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Epoch(sha256(canonical.encode()).hexdigest()[:12])
