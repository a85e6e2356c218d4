"""The two frames of the hot path: requests in, replies out. Layout in the package's docstring."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

OK, INVALID, ERROR, LATE = 0, 1, 2, 3
_HEAD = struct.Struct(">BIIII")
_COUNT = struct.Struct(">I")


class Reply(NamedTuple):
    """One request's answer, or the message of its refusal in `predictions`."""

    status: int
    ignored: int
    predictions: bytes
    probabilities: bytes = b""
    normalised: bytes = b""


def refusal(status: int, message: str) -> Reply:
    return Reply(status, 0, message.encode("utf-8", "replace"))


def requests(message: bytes) -> tuple[list[bytes], Sequence[float]]:
    """The payloads of a predict frame, and when each comes too late."""
    (count,) = _COUNT.unpack_from(message, 1)
    numbers = struct.unpack_from(f">{count}I{count}d", message, 5)
    start = 5 + 12 * count
    payloads = []
    for length in numbers[:count]:
        payloads.append(message[start : start + length])
        start += length
    return payloads, numbers[count:]


def answers(replies: Sequence[Reply]) -> list[bytes]:
    """The parts of an answer frame."""
    parts = [b"A"]
    bodies: list[bytes] = []
    pack = _HEAD.pack
    for status, ignored, predictions, probabilities, normalised in replies:
        parts.append(pack(status, ignored, len(predictions), len(probabilities), len(normalised)))
        bodies += (predictions, probabilities, normalised)
    return parts + bodies
