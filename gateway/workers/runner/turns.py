"""Whose turn still comes in time: what is past its deadline is never computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from math import inf
from time import monotonic
from typing import TypeVar

from .frames import LATE, Reply

Request = TypeVar("Request")

#: In place of an answer that nobody waits for any more.
TOO_LATE = Reply(LATE, 0, b"")

Answer = Callable[[Sequence[bytes], Sequence[float]], list[Reply]]


def together(answer: Answer, payloads: Sequence[bytes], deadlines: Sequence[float]) -> list[Reply]:
    """`answer` for those that are in time, in one call."""
    now = monotonic()
    if min(deadlines) > now:
        return answer(payloads, deadlines)
    timely = [place for place, deadline in enumerate(deadlines) if deadline > now]
    replies = [TOO_LATE] * len(payloads)
    if timely:
        found = answer([payloads[i] for i in timely], [deadlines[i] for i in timely])
        for place, reply in zip(timely, found):
            replies[place] = reply
    return replies


def singly(
    answer: Callable[[Request], Reply], requests: Sequence[Request], deadlines: Sequence[float]
) -> list[Reply]:
    """`answer` for one after the other, each if its turn comes in time; all if none has a time."""
    return [
        answer(request) if deadline > monotonic() else TOO_LATE
        for request, deadline in zip(requests, deadlines or repeat(inf))
    ]
