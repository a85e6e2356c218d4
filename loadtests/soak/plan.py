"""What happens when: a pure function of a seed and a length."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Deed(StrEnum):
    """What is done to the gateway, its repository or its machine while users ask."""

    TRAIN = "train a candidate"
    MERGE = "merge a candidate"
    REWRITE = "push code of a branch"
    BREAK = "push a broken candidate"
    WEIGH = "change weights"
    BURST = "overload"
    KILL_WORKER = "kill -9 a worker"
    KILL_MONITOR = "kill -9 the monitor"
    KILL_FRONT = "kill -9 the front"


@dataclass(frozen=True)
class Event:
    """A deed, so many seconds after the start; `chance` seeds whatever is left to choose in it.

    A `sparing` one leaves the worker of the branch that nobody pushes to alone.
    """

    at: float
    deed: Deed
    chance: int
    sparing: bool


#: The first half has everything, the second spares the front, the monitor, and one branch's
#: worker: what lives long is what can be seen to grow.
STORM = (
    *(Deed.TRAIN, Deed.MERGE, Deed.REWRITE, Deed.BREAK, Deed.WEIGH, Deed.WEIGH, Deed.BURST),
    *(Deed.BURST, Deed.KILL_WORKER, Deed.KILL_WORKER, Deed.KILL_WORKER, Deed.KILL_MONITOR),
)
CALMER = (
    *(Deed.TRAIN, Deed.MERGE, Deed.BREAK, Deed.WEIGH, Deed.WEIGH, Deed.BURST, Deed.BURST),
    *(Deed.KILL_WORKER, Deed.KILL_WORKER),
)
_PACE = 4.0
_FRONT_KILLS: tuple[float, ...] = (0.25, 0.55, 0.85)
#: Of a half, for what is under way at its end.
_USED = 0.95
#: A shorter one shows that all works, and measures nothing.
_LONG = 60.0


def plan(seed: int, seconds: float) -> list[Event]:
    """Whole decks, shuffled, in each half; a short one is one deck."""
    chance = random.Random(seed)
    if seconds < _LONG:
        events, half, kills = _dealt(chance, STORM, 0.0, seconds), seconds, _FRONT_KILLS[1:2]
    else:
        half, kills = seconds / 2, _FRONT_KILLS
        events = [*_dealt(chance, STORM, 0.0, half), *_dealt(chance, CALMER, half, half)]
    events += [Event(half * share, Deed.KILL_FRONT, _seed(chance), False) for share in kills]
    return sorted(events, key=lambda event: event.at)


def _dealt(
    chance: random.Random, deck: Sequence[Deed], begin: float, seconds: float
) -> list[Event]:
    decks = max(1, int(seconds / (_PACE * len(deck))))
    deeds = [deed for _ in range(decks) for deed in chance.sample(deck, len(deck))]
    pace = seconds * _USED / len(deeds)
    # Anywhere within its turn: what is close together is close in other ways each time.
    return [
        Event(begin + (turn + chance.random()) * pace, deed, _seed(chance), begin > 0)
        for turn, deed in enumerate(deeds)
    ]


def _seed(chance: random.Random) -> int:
    return chance.getrandbits(32)
