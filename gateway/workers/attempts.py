"""What a branch's workers tried though it is not allowed: counted, remembered and logged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from gateway.metrics import BranchMetrics
from gateway.timestamps import rfc3339
from gateway.workers.wire import Attempt, LogRecord, Ready, Told

#: Kinds that are remembered, and how much of what a worker says of one.
_MOST = 20
_LONGEST = 300


class Attempts:
    """Hears all that a branch's workers say beside their answers; records go on to `logged`."""

    def __init__(
        self,
        metrics: BranchMetrics,
        logged: Callable[[str, str, str, str], None],
        now: Callable[[], datetime],
    ) -> None:
        self._metrics = metrics
        self._logged = logged
        self._now = now
        self._known: deque[dict[str, Any]] = deque(maxlen=_MOST)

    def hear(self, commit: str, said: Told) -> None:
        """A record, or an attempt: the first of its kind at this commit is logged too."""
        if isinstance(said, LogRecord):
            self._logged(commit, said.level, said.logger, said.message)
        elif self._note(said, commit):
            text = f"tried what is not allowed: {said.what[:_LONGEST]}"
            self._logged(commit, "warning", "containment", text)

    def _note(self, attempt: Attempt, commit: str) -> bool:
        self._metrics.containment.attempts.inc(max(0, attempt.times))
        what, last = attempt.what[:_LONGEST], rfc3339(self._now().timestamp())
        for one in self._known:
            if (one["what"], one["commit"]) == (what, commit):
                one.update(times=one["times"] + attempt.times, last=last)
                return False
        self._known.append({"what": what, "times": attempt.times, "commit": commit, "last": last})
        return True

    def story(self, ready: Ready | None) -> dict[str, Any]:
        """What status says of the branch's containment; of its layers nothing before it serves."""
        said = ready.containment if ready is not None else None
        return {
            "sandbox": said.sandbox if said is not None else None,
            "holds": said.holds if said is not None else {},
            "lacks": said.lacks if said is not None else {},
            "attempts": [dict(one) for one in self._known],
        }
