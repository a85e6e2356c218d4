"""What a row says of the features it was made of.

Pure. Model values stay the JSON text they were, so a long number keeps its digits.
"""

from __future__ import annotations

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
