"""What `steering` remembers from one turn to the next: JSON in the monitor's store.

Everything is about a branch as it was `configured`; edited, it is forgotten. Times are Unix time.
"""

from __future__ import annotations

import msgspec


class Ejection(msgspec.Struct, frozen=True):
    """A content that nobody gets: a guardrail said that it does harm."""

    since: float
    reason: str
    #: The share that its branch had, for which the others leave room; None: as its weight says.
    before: float | None = None
    #: ln of the e-value of each guardrail that said so, by `evidence_key`.
    evidence: dict[str, float | None] = {}


class Hold(msgspec.Struct, frozen=True):
    """An operator's word: stay where it is, or, `out`, have no users."""

    since: float
    out: bool
    reason: str
    #: The share that it had, as of an `Ejection`.
    share: float | None = None


class Climb(msgspec.Struct, frozen=True):
    """Where a content is on its branch's ramp."""

    fingerprint: str
    step: int
    #: When the step began.
    since: float
    #: Why it may not go on, in words by kind, and since when there is a reason.
    held: dict[str, str] = {}
    held_since: float = 0.0
    ready_since: float | None = None
    #: On the last step: what is still to be shown before it is ready.
    unready: str = ""


class Released(msgspec.Struct, frozen=True):
    """What an operator knew when they released a content: it does not hold it again."""

    fingerprint: str
    #: ln of the e-values of guardrails that were breached, by `evidence_key`.
    evidence: dict[str, float | None] = {}
    #: Kinds of reasons that held its ramp.
    excused: tuple[str, ...] = ()


class Adapted(msgspec.Struct, frozen=True):
    """What the bandit gave a content at its last update, and the mature units that it had then."""

    fingerprint: str
    share: float
    units: int
    since: float
    number: int


class BranchMemory(msgspec.Struct, frozen=True):
    """Of one candidate."""

    configured: str
    #: What it served when last known.
    serving: str = ""
    #: By fingerprint, oldest first.
    ejections: dict[str, Ejection] = {}
    hold: Hold | None = None
    ramp: Climb | None = None
    released: Released | None = None
    adapted: Adapted | None = None


class Bandit(msgspec.Struct, frozen=True):
    """Of all arms together."""

    #: Updates so far: a seed, so that none draws the numbers of another.
    number: int = 0
    #: When the last update was, or the first look at this content of the baseline.
    since: float = 0.0
    baseline_fingerprint: str = ""
    #: The baseline's mature units at the last update.
    units: int = 0


class Memory(msgspec.Struct, frozen=True):
    """The whole of it."""

    version: int = 1
    branches: dict[str, BranchMemory] = {}
    bandit: Bandit = Bandit()


def evidence_key(contrast: str, guardrail: str) -> str:
    """Evidence is of one contrast: a new baseline's begins at nothing."""
    return f"{contrast} {guardrail}"


def encode(memory: Memory) -> bytes:
    return msgspec.json.encode(memory)


def decode(data: bytes) -> Memory:
    """ValueError if it is none of this version's."""
    found = msgspec.json.decode(data, type=Memory)
    if found.version != Memory().version:
        raise ValueError(f"memory of steering: version must be 1. Given: {found.version}")
    return found
