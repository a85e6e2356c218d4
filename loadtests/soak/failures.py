"""Which requests failed, and whether the gateway had an excuse at that time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from loadtests.soak.ledger import CUT_OFF, NOT_CONNECTED, Excuse, Outcome, Window

#: What an excuse is good for, by status and cause; an answer that is wrong never has one.
EXCUSED: dict[Excuse, frozenset[tuple[int, str]]] = {
    Excuse.FRONT_KILLED: frozenset({(0, NOT_CONNECTED), (0, CUT_OFF), (503, "unavailable")}),
    Excuse.OVERLOAD: frozenset({(503, "unavailable")}),
}


@dataclass
class Failures:
    """Counts by status and cause, of those with an excuse by the excuse too."""

    excused: Counter[tuple[Excuse, int, str]] = field(default_factory=Counter)
    others: Counter[tuple[int, str]] = field(default_factory=Counter)

    def problems(self) -> list[str]:
        return [
            f"{count} requests failed without an excuse: status {status}, {cause}"
            for (status, cause), count in self.others.most_common()
        ]


def failures(outcomes: Iterable[Outcome], windows: Sequence[Window]) -> Failures:
    found = Failures()
    for outcome in outcomes:
        if outcome.status == 200 and not outcome.cause:
            continue
        key = (outcome.status, outcome.cause)
        excuse = next(
            (w.excuse for w in windows if w.touches(outcome) and key in EXCUSED[w.excuse]), None
        )
        if excuse is None:
            found.others[key] += 1
        else:
            found.excused[excuse, *key] += 1
    return found
