"""What replaying says, as one JSON document; terminal and Markdown are made of it alone."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

#: same: within the tolerance. different. failed: it was answered, and now is not.
#: unknown: it cannot be computed, and `why` says the reason.
Word = Literal["same", "different", "failed", "unknown"]


class Answered(msgspec.Struct, frozen=True):
    """One row's answer; `prediction` is None too where a model answered null."""

    prediction: Any = None
    score: float | None = None


class ReplayedRow(msgspec.Struct, frozen=True):
    """One row: what was answered, and what is now.

    `exact`: not even the last bit differs. `difference` is now less then, of numbers alone.
    """

    request_id: str
    row: int
    ts: str
    branch: str
    commit: str
    fingerprint: str
    assigned: str
    reason: str
    status: str
    word: Word
    why: str = ""
    exact: bool = False
    recorded: Answered | None = None
    computed: Answered | None = None
    difference: Answered | None = None


class Computer(msgspec.Struct, frozen=True):
    """What computed: a content of a branch, where it was found, and the libraries it ran on."""

    branch: str
    commit: str
    fingerprint: str
    found: str
    versions: dict[str, str]
    #: The faster form of the model that answered in its place, if one did.
    form: str | None = None


class Replay(msgspec.Struct, frozen=True):
    """One request, computed again by what answered it."""

    request_id: str
    tolerance: float
    rows: tuple[ReplayedRow, ...]
    computers: tuple[Computer, ...]
    warnings: tuple[str, ...] = ()

    @property
    def word(self) -> Word:
        """Of the whole request: the worst of its rows'."""
        words: tuple[Word, ...] = ("failed", "different", "unknown", "same")
        return next(word for word in words if any(row.word == word for row in self.rows))


class Moves(msgspec.Struct, frozen=True):
    """How far numbers moved, over rows that have them before and after; each by its weight."""

    rows: int
    mean: float
    mean_size: float
    half: float
    nine_in_ten: float
    most: float


class Turn(msgspec.Struct, frozen=True):
    """How often one prediction became another."""

    recorded: Any
    computed: Any
    rows: int


class Part(msgspec.Struct, frozen=True):
    """The rows with one value of a column, or values in one span."""

    value: str
    rows: int
    changed: int
    changed_share: float
    moved: float | None = None


class Segmented(msgspec.Struct, frozen=True):
    """The rows by a column. `explains`: which part of what changed goes with it, from 0 to 1."""

    column: str
    explains: float
    parts: tuple[Part, ...]
    #: Whether it was asked for, or found to explain something.
    asked: bool = False


class Counted(msgspec.Struct, frozen=True):
    """A reason, and the rows that it is of."""

    reason: str
    rows: int


class Comparison(msgspec.Struct, frozen=True):
    """Many rows, computed again by one branch, or each by what answered it (`candidate` None).

    Of `rows` that were taken up, `compared` have an answer then and now; `failed` ones none now,
    and of the others it is not known. `changed` rows have another prediction, `moved` ones only
    another score. Shares are of the compared rows, each by its weight.
    """

    written: str
    tolerance: float
    candidate: str | None
    rows: int
    requests: int
    since: str
    until: str
    answered_by: dict[str, int]
    compared: int
    same: int
    exact: int
    changed: int
    moved: int
    failed: int
    unknown: int
    changed_share: float | None
    weighted: bool
    prediction: Moves | None
    score: Moves | None
    turns: tuple[Turn, ...]
    largest: tuple[ReplayedRow, ...]
    segments: tuple[Segmented, ...]
    failures: tuple[Counted, ...]
    left_out: tuple[Counted, ...]
    computers: tuple[Computer, ...]
    warnings: tuple[str, ...] = ()
