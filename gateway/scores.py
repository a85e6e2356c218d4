"""The score of a row: one number by which answers of classifiers are compared.

Pure. Model values stay the JSON text they were until they are needed.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

Classes = tuple[Any, ...] | None

_RAWS: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_TWO: msgspec.json.Decoder[list[tuple[float, float]]] = msgspec.json.Decoder(
    list[tuple[float, float]]
)
_SHARES: msgspec.json.Decoder[list[list[float]]] = msgspec.json.Decoder(list[list[float]])


def score_of(
    prediction: bytes | None, probabilities: bytes | None, classes: Classes
) -> float | None:
    """P(classes[1]) if there are two, else P(predicted); None where that has no meaning."""
    if probabilities is None:
        return None
    try:
        shares = msgspec.json.decode(probabilities, type=list[float])
        predicted = None if prediction is None else msgspec.json.decode(prediction)
    except msgspec.ValidationError:
        return None
    return _score(predicted, shares, classes)


def scores_of(predictions: bytes, probabilities: bytes, classes: Classes) -> list[float | None]:
    """`score_of` every row of an answer, of which each part is one JSON array."""
    try:
        # Two classes are what there mostly is, and need no look at what was predicted.
        return [share if math.isfinite(share) else None for _, share in _TWO.decode(probabilities)]
    except msgspec.ValidationError:
        pass
    try:
        rows = _SHARES.decode(probabilities)
    except msgspec.ValidationError:
        # Something in it is no list of numbers, such as a null: only its own row has no score.
        parts = zip(_RAWS.decode(predictions), _RAWS.decode(probabilities), strict=True)
        return [score_of(bytes(one), bytes(shares), classes) for one, shares in parts]
    predicted: list[Any] = msgspec.json.decode(predictions)
    return [_score(value, shares, classes) for value, shares in zip(predicted, rows, strict=True)]


def _score(predicted: Any, shares: list[float], classes: Classes) -> float | None:
    if len(shares) == 2:
        return _finite(shares[1])
    if predicted is not None and classes is not None and len(classes) == len(shares):
        for value, share in zip(classes, shares, strict=True):
            if value == predicted:
                return _finite(share)
    return None


def _finite(share: float) -> float | None:
    return share if math.isfinite(share) else None
