"""What a row says in its two derived fields: the features it was made of, and the score.

Pure. Model values stay the JSON text they were, so a long number keeps its digits.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from gateway.chunks import Header, Request

_OBJECT: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])


def features_of(request: Request, header: Header, columns: tuple[str, ...] | None) -> list[str]:
    """One JSON object per row of the request, or the empty text where nothing may be written."""
    recorded = request.instances or []
    hidden = header.features != "segments" or (header.redact and not request.normalised)
    if hidden or len(recorded) != request.rows:
        return [""] * request.rows
    return [_features(bytes(instance), columns, header.redact) for instance in recorded]


def _features(instance: bytes, columns: tuple[str, ...] | None, redact: tuple[str, ...]) -> str:
    named = _named(instance, columns)
    for column in redact:
        named.pop(column, None)
    return msgspec.json.format(msgspec.json.encode(named), indent=-1).decode()


def _named(instance: bytes, columns: tuple[str, ...] | None) -> dict[str, msgspec.Raw]:
    start = instance.lstrip()[:1]
    if start == b"{":
        given = _OBJECT.decode(instance)
        if columns is None:
            return given
        return {column: given[column] for column in columns if column in given}
    values = _ARRAY.decode(instance) if start == b"[" else [msgspec.Raw(instance)]
    if columns is None or len(columns) != len(values):
        return {str(place): value for place, value in enumerate(values)}
    return dict(zip(columns, values, strict=True))


def score_of(
    prediction: bytes | None, probabilities: bytes | None, classes: tuple[Any, ...] | None
) -> float | None:
    """P(classes[1]) if there are two, else P(predicted); None where that has no meaning."""
    if probabilities is None:
        return None
    try:
        shares = msgspec.json.decode(probabilities, type=list[float])
        predicted = None if prediction is None else msgspec.json.decode(prediction)
    except msgspec.ValidationError:
        return None
    if len(shares) == 2:
        return _finite(shares[1])
    if predicted is not None and classes is not None and len(classes) == len(shares):
        for value, share in zip(classes, shares, strict=True):
            if value == predicted:
                return _finite(share)
    return None


def _finite(share: float) -> float | None:
    return share if math.isfinite(share) else None
