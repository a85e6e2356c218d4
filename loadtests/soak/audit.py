"""Holds what callers were told against what was recorded: every request once, and the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from loadtests.soak.ledger import Outcome, digest

_ANSWERED = "ok"
_FALLBACK = "fallback_"
FALLBACK_OVERLOAD = "fallback_overload"


class Record:
    """All rows of one request id."""

    __slots__ = ("branch", "commit", "doubled", "predictions", "rows", "status")

    def __init__(self, row: Mapping[str, str]) -> None:
        self.branch = row["branch"]
        self.commit = row["commit"]
        self.status = row["status"]
        self.predictions = 0
        self.doubled = False
        self.rows = 0  # a bit for each

    def add(self, row: Mapping[str, str]) -> None:
        bit = 1 << int(row["row"])
        self.doubled |= bool(self.rows & bit)
        self.rows |= bit
        self.predictions += digest(int(row["row"]), row["prediction"].encode())

    @property
    def was_answered(self) -> bool:
        return self.status == _ANSWERED or self.status.startswith(_FALLBACK)


@dataclass
class Findings:
    """What is wrong, by kind; and the counts of a page."""

    lost: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    two_arms: list[str] = field(default_factory=list)
    strangers: int = 0
    strangers_allowed: int = 0
    answered: int = 0
    refused: int = 0
    rows: int = 0
    #: Of the answered, by what befell the branch that should have answered.
    fallbacks: Counter[str] = field(default_factory=Counter)

    def problems(self) -> list[str]:
        kinds = {
            "answered, and not recorded": self.lost,
            "recorded with other rows than were answered": self.incomplete,
            "recorded twice": self.doubled,
            "recorded as another answer than the caller got": self.different,
            "users with two arms in one epoch": self.two_arms,
        }
        found = [
            f"{len(listed)} {what}: {', '.join(listed[:3])}" + (" ..." if len(listed) > 3 else "")
            for what, listed in kinds.items()
            if listed
        ]
        if self.strangers > self.strangers_allowed:
            found.append(
                f"{self.strangers} requests are recorded that nobody was answered; only"
                f" {self.strangers_allowed} were sent and not answered"
            )
        return found


def audit(
    rows: Iterable[Mapping[str, str]], outcomes: Sequence[Outcome], unanswered: int
) -> Findings:
    """`unanswered` requests may be recorded though no caller knows their ids."""
    found = Findings(strangers_allowed=unanswered)
    records: dict[str, Record] = {}
    arms: dict[tuple[str, str], str] = {}
    for row in rows:
        found.rows += 1
        identity = row["request_id"]
        if identity not in records:
            records[identity] = Record(row)
        records[identity].add(row)
        if row["reason"] == "split":
            key = (row["epoch"], row["unit"])
            if arms.setdefault(key, row["assigned"]) != row["assigned"]:
                found.two_arms.append(f"{row['unit']} in {row['epoch']}")
    for outcome in outcomes:
        if outcome.request_id:
            _hold(outcome, records.pop(outcome.request_id, None), found)
    found.doubled += [identity for identity, record in records.items() if record.doubled]
    found.strangers = len(records)
    return found


def _hold(outcome: Outcome, record: Record | None, found: Findings) -> None:
    """One answer against its record."""
    if outcome.status == 200:
        found.answered += 1
    else:
        found.refused += 1
    if record is None:
        found.lost.append(outcome.request_id)
        return
    if record.doubled:
        found.doubled.append(outcome.request_id)
    if record.rows != (1 << outcome.rows) - 1:
        found.incomplete.append(outcome.request_id)
    if record.was_answered != (outcome.status == 200):
        found.different.append(f"{outcome.request_id} ({outcome.status}, {record.status})")
    elif outcome.status == 200:
        if record.status != _ANSWERED:
            found.fallbacks[record.status] += 1
        told = (outcome.branch, outcome.commit, outcome.predictions)
        if told != (record.branch, record.commit, record.predictions):
            found.different.append(outcome.request_id)
