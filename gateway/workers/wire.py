"""The parent's half of the worker protocol: frames as bytes, nothing that moves them.

The layout is in the docstring of `workers/runner`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.config.sections import Privacy
from gateway.config.trust import LoadRules
from gateway.errors import GatewayError

OK, INVALID, ERROR, LATE = 0, 1, 2, 3
#: No frame of a healthy worker comes near; a length beyond it means bytes that are no frame.
LONGEST = 512 * 1024 * 1024

_HEAD = struct.Struct(">BIIII")

#: Status, ignored columns, predictions (or the message), probabilities, normalised instances.
RawAnswer = tuple[int, int, bytes, bytes, bytes]


class BrokenFrame(GatewayError):
    """Bytes on the channel that are not a message of the protocol."""


class Confinement(msgspec.Struct, frozen=True):
    """How a worker is to contain itself; `runner/confinement` says what of it is what."""

    sandbox: str
    network: bool
    scratch: str | None
    room: int
    user: int | None
    group: int | None


class LoadOrder(msgspec.Struct, frozen=True):
    """What a worker is told to load."""

    root: str
    model: str | None
    strict_columns: bool
    redact: tuple[str, ...]
    withhold: bool
    accelerate: str
    memory: int | None
    formats: tuple[str, ...] | None
    skops_types: tuple[str, ...]
    confinement: Confinement
    #: The file that the branch's own environment was built from; None in the gateway's.
    lock: str | None = None
    strict_versions: bool = False


class Imports(msgspec.Struct, frozen=True):
    """What a spare is told to import."""

    modules: Sequence[str]


class Imported(msgspec.Struct, frozen=True):
    """A spare is done; importing `broken` raised something, and may have left half of it."""

    broken: tuple[str, ...]


class Unfit(msgspec.Struct, frozen=True):
    """Why a spare must not serve this content: what it imported already would show."""

    reason: str


class Hello(msgspec.Struct, frozen=True):
    """A started child, before it knows its branch."""

    pid: int
    python: str


class Containment(msgspec.Struct, frozen=True):
    """The layers that hold, with what each does, and those that lack, with the reason."""

    sandbox: str
    holds: dict[str, str]
    lacks: dict[str, str]


class Ready(msgspec.Struct, frozen=True):
    """What a loaded model says of itself.

    `together`: whether requests share a call; `accelerated`: the `form` that answers in the
    model's place, None where none does, and the `reason`.
    `modules` is what its spares may import ahead, in order.
    """

    columns: tuple[str, ...] | None
    classes: tuple[Any, ...] | None
    kind: str
    versions: dict[str, str]
    together: bool
    accelerated: dict[str, str | None]
    containment: Containment
    modules: tuple[str, ...]
    #: What the model was saved with, and what is to be said where that is not what is here.
    saved_with: dict[str, str] = {}
    mismatch: str | None = None


class Failed(msgspec.Struct, frozen=True):
    """Why nothing was loaded."""

    type: str
    message: str
    traceback: str


class LogRecord(msgspec.Struct, frozen=True):
    """A warning or error that branch code logged."""

    level: str
    logger: str
    message: str


class Attempt(msgspec.Struct, frozen=True):
    """Branch code tried what its containment does not allow, so many times since it was said."""

    what: str
    times: int


#: What a worker says beside its answers.
Told = LogRecord | Attempt

#: Messages of a worker by their first byte, besides its answers.
KINDS: dict[bytes, type[msgspec.Struct]] = {
    b"H": Hello,
    b"R": Ready,
    b"F": Failed,
    b"W": Imported,
    b"C": Unfit,
    b"G": LogRecord,
    b"X": Attempt,
}


def order(
    root: Path,
    model: str | None,
    *,
    strict: bool,
    privacy: Privacy,
    accelerate: str,
    memory: int | None,
    rules: LoadRules,
    confinement: Confinement,
    lock: str | None = None,
    strict_versions: bool = False,
) -> LoadOrder:
    return LoadOrder(
        str(root),
        model,
        strict,
        privacy.redact,
        privacy.withhold,
        accelerate,
        memory,
        rules.formats,
        rules.skops_types,
        confinement,
        lock,
        strict_versions,
    )


def load_frame(what: LoadOrder) -> bytes:
    return _framed(b"L" + msgspec.json.encode(what))


def imports_frame(what: Imports) -> bytes:
    return _framed(b"W" + msgspec.json.encode(what))


def predict_frame(payloads: Sequence[bytes], deadlines: Sequence[float]) -> bytes:
    """One frame for all the payloads; deadlines are on the clock that all processes share."""
    count = len(payloads)
    lengths = [*map(len, payloads)]
    size = 5 + 12 * count + sum(lengths)
    head = struct.pack(f">IcI{count}I{count}d", size, b"P", count, *lengths, *deadlines)
    return b"".join((head, *payloads))


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


def answers(message: bytes, count: int) -> list[RawAnswer]:
    """The `count` answers of an answer message; BrokenFrame if it holds anything else."""
    at = 1 + _HEAD.size * count
    found: list[RawAnswer] = []
    if len(message) < at:
        raise BrokenFrame(f"an answer frame of {len(message)} bytes for {count} requests")
    for status, ignored, first, second, third in _HEAD.iter_unpack(message[1:at]):
        middle = at + first
        last = middle + second
        end = last + third
        found.append((status, ignored, message[at:middle], message[middle:last], message[last:end]))
        at = end
    if at != len(message):
        raise BrokenFrame(f"an answer frame of {len(message)} bytes that announces {at}")
    return found
