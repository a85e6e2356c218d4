"""What is held against a branch: which of a slot's failures count, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.workers.bounds import Bounds
from gateway.workers.ejection import Ejection, Suspicion
from gateway.workers.jobs import Job


class Failures:
    """Tells `ejection` what counts; `suspected` and `recovered` act on what that says.

    `recovered` is called when an ejected branch answers well after all.
    """

    def __init__(
        self, suspected: Callable[[Suspicion], None], recovered: Callable[[], None]
    ) -> None:
        self.ejection = Ejection()
        self.bounds = Bounds()
        self._suspected = suspected
        self._recovered = recovered

    def good(self, now: float) -> None:
        """Requests were answered well and in time."""
        if self.ejection.good(now):
            self._recovered()

    def failed(self, job: Job, why: str) -> None:
        """The model failed on this request by itself."""
        if self._counts(job):
            self._hear(self.ejection.failed({job.unit}, why))

    def unanswered(self, job: Job, flight: Sequence[Job]) -> None:
        """Its time is over; the workers may be stuck with any of the flight."""
        if flight and not job.hurried and self._counts(job):
            timeout = self.bounds.timeout
            since, why = job.deadline - timeout, f"no answer within {timeout:g} s"
            self._hear(self.ejection.unanswered(since, {one.unit for one in flight}, why))

    def _counts(self, job: Job) -> bool:
        """Whether the branch could be left out for it: somebody else would answer."""
        return self.bounds.ejectable and not job.patient

    def _hear(self, suspicion: Suspicion | None) -> None:
        if suspicion is not None:
            self._suspected(suspicion)
