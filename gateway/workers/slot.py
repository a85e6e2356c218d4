"""A branch's place in the front: a bounded queue, and the workers that empty it.

Natural micro-batching: an idle worker gets at once what waits, a busy one lets it gather. One
timer for all deadlines, and no frame for what cannot be in time any more. Swapping crews is a
change of which workers the next frame goes to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any

from gateway.errors import (
    DeadlineExceeded,
    InvalidInstances,
    ModelError,
    NeverTaken,
    NotReady,
    Overloaded,
)
from gateway.metrics import BranchMetrics
from gateway.names import Branch
from gateway.workers.crew import Crew
from gateway.workers.jobs import Answer, Job, Serving
from gateway.workers.pace import Pace
from gateway.workers.process import Worker
from gateway.workers.wire import INVALID, LATE, OK, RawAnswer

#: Deadlines this close together are looked at in one go.
_GRAIN = 0.005
#: A worker that takes requests one by one gets a frame of about this many seconds.
_FRAME_SECONDS = 0.005
_RECENT = 20
_RECENT_BYTES = 64 * 1024


class Seat:
    """A worker in a slot, with the frame it is computing."""

    __slots__ = ("crew", "flight", "leaving", "most", "serving", "since", "worker")

    def __init__(self, crew: Crew, worker: Worker, serving: Serving, *, together: bool) -> None:
        self.crew = crew
        self.worker = worker
        self.serving = serving
        self.flight: list[Job] = []
        self.since = 0.0
        self.leaving = False
        #: Most jobs in a frame; 0 is no bound.
        self.most = 0 if together else 1


class Slot:
    """One branch's queue and workers. Knows nothing of snapshots, loading or restarts.

    `died` and `released` hand a worker back: one has ended, the other has nothing to do any
    more and is to be stopped. Counting failures against the branch (ejection) would happen in
    `_settle`, the only place where an answer is looked at.
    """

    def __init__(
        self,
        branch: Branch,
        *,
        metrics: BranchMetrics,
        answered: Callable[[list[tuple[Job, Answer]]], None],
        died: Callable[[Crew, Worker], None],
        released: Callable[[Crew, Worker], None],
        story: Callable[[], dict[str, Any]],
    ) -> None:
        self.branch = branch
        self.serving: Serving | None = None
        self.queue_rows = 0
        #: When a replacement of dead workers is begun; the keeper tells.
        self.expected = inf
        self.recent: deque[bytes] = deque(maxlen=_RECENT)
        self._metrics = metrics
        self._answered = answered
        self._died = died
        self._released = released
        self._story = story
        self._most_queued = self._most_batched = 1
        self._patience = inf
        self._pace = Pace()
        self._queue: deque[Job] = deque()
        self._seats: list[Seat] = []
        self._leaving: list[Seat] = []
        self._idle: list[Seat] = []
        self._closed: str | None = None
        self._pumping = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self._emptied: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        #: The clock that deadlines are on.
        self.now = self._loop.time
        metrics.queue_rows.set_function(lambda: self.queue_rows)

    def bound(self, *, queue_rows: int, batch_rows: int, patience: float) -> None:
        """Set the limits; a worker that answers no frame for `patience` seconds is killed."""
        self._most_queued = queue_rows
        self._most_batched = batch_rows
        self._patience = patience

    # -- jobs -------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether a loaded worker is there to take a job."""
        return bool(self._seats) and self._closed is None

    @property
    def state(self) -> dict[str, Any]:
        """Everything status shows of this branch."""
        seats = [*self._seats, *self._leaving]
        return {
            **self._story(),
            "queue_rows": self.queue_rows,
            "workers": [
                {
                    "pid": seat.worker.pid,
                    "state": "draining" if seat.leaving else "busy" if seat.flight else "idle",
                    "commit": seat.serving.commit,
                }
                for seat in seats
            ],
        }

    def submit(self, job: Job, *, patient: bool = False) -> None:
        """Queue a job: NotReady or Overloaded at once, else its future settles by its deadline.

        A `patient` one, which nobody else can answer, waits for a dead worker's replacement.
        """
        if self._closed is not None:
            raise NotReady(self._closed, where=self.branch)
        if not self._seats and not (patient and self.expected < job.deadline):
            raise NotReady("no worker is loaded", where=self.branch)
        if self.queue_rows + job.rows > self._most_queued and self._queue:
            raise Overloaded(
                f"{self.queue_rows} rows are waiting; the bound is {self._most_queued}",
                where=self.branch,
            )
        self._queue.append(job)
        self.queue_rows += job.rows
        if job.deadline < self._alarm_at:
            self._arm(job.deadline)
        if self._idle and not self._pumping:
            # Not yet: what arrived together is read in one turn of the loop and goes together.
            self._pumping = True
            self._loop.call_soon(self._pump_soon)

    def _pump_soon(self) -> None:
        self._pumping = False
        self._pump()

    def _pump(self) -> None:
        while self._idle and self._queue:
            seat = self._idle[-1]
            batch = self._take(seat.most)
            if not batch:
                return
            self._idle.pop()
            serving = seat.crew.serving
            if serving is not None:
                seat.serving = serving
            seat.flight = batch
            seat.since = self._loop.time()
            if seat.since + self._patience < self._alarm_at:
                self._arm(seat.since + self._patience)
            seat.worker.predict(
                [job.payload for job in batch],
                [job.deadline for job in batch],
                partial(self._on_answers, seat),
            )

    def _take(self, most: int) -> list[Job]:
        """The next batch; what is cancelled, or would be late, is never computed."""
        batch: list[Job] = []
        queue, rows, now = self._queue, 0, self._loop.time()
        soonest = now + self._pace.need
        while queue:
            job = queue[0]
            if job.future.done() or job.deadline <= soonest:
                only = not batch and len(queue) == 1
                if job.future.done() or job.deadline <= now or not only:
                    queue.popleft()
                    self.queue_rows -= job.rows
                    self._give_up(job, now)
                    continue
            if batch and (job.alone or rows + job.rows > self._most_batched):
                break
            queue.popleft()
            batch.append(job)
            rows += job.rows
            if job.alone or len(batch) == most:
                break
        self.queue_rows -= rows
        if batch:
            self._metrics.batch_rows.observe(rows)
        return batch

    def _give_up(self, job: Job, now: float) -> None:
        """One that is late, or would be: work on it would only make those behind it late too."""
        if job.deadline <= now:
            self._expire(job)
        elif not job.future.done():
            job.future.set_exception(
                Overloaded("its turn comes too late for its deadline", where=self.branch)
            )

    # -- answers ----------------------------------------------------------------------------

    def _on_answers(self, seat: Seat, raw: Sequence[RawAnswer]) -> None:
        flight, seat.flight = seat.flight, []
        serving = seat.serving
        seat.crew.deaths = 0
        spent = self._loop.time() - seat.since
        self._pace.took(spent)
        if seat.most:
            computed = sum(status != LATE for status, *_ in raw)
            seat.most = max(1, int(_FRAME_SECONDS * computed / max(spent, 1e-6)))
        if seat.leaving:
            self._leaving.remove(seat)
            self._released(seat.crew, seat.worker)
        else:
            self._idle.append(seat)
            self._pump()  # before anything else: the worker waits
        self._settle(flight, raw, serving)
        self._maybe_empty()

    def _settle(self, flight: list[Job], raw: Sequence[RawAnswer], serving: Serving) -> None:
        good: list[tuple[Job, Answer]] = []
        for job, (status, ignored, first, second, third) in zip(flight, raw, strict=True):
            if job.future.done():
                continue  # cancelled, or past its deadline
            if status == OK:
                good.append((job, Answer(first, second, third, ignored, serving)))
                continue
            if status == LATE:
                self._expire(job)
                continue
            message = first.decode("utf-8", "replace")
            kind = InvalidInstances if status == INVALID else ModelError
            job.future.set_exception(kind(message, where=self.branch))
        if not good:
            return
        if len(payload := good[0][0].payload) <= _RECENT_BYTES:
            self.recent.append(payload)
        try:
            self._answered(good)
        except Exception as error:
            # The recorder's trouble is not the callers', nor this worker's.
            self._loop.call_exception_handler(
                {"message": "answers could not be recorded", "exception": error}
            )
        for job, answer in good:
            job.future.set_result(answer)

    # -- deadlines --------------------------------------------------------------------------

    def _arm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = None if at == inf else self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        now = self._loop.time()
        late = [job for job in self._queue if job.future.done() or job.deadline <= now]
        if late:
            kept = [job for job in self._queue if not job.future.done() and job.deadline > now]
            self._queue = deque(kept)
            self.queue_rows = sum(job.rows for job in kept)
        following = min((job.deadline for job in self._queue), default=inf)
        for seat in (*self._seats, *self._leaving):
            if not seat.flight:
                continue
            if now - seat.since >= self._patience:
                seat.worker.kill(too_slow=True)
            else:
                following = min(following, seat.since + self._patience)
            for job in seat.flight:
                if job.deadline <= now:
                    self._expire(job, taken=True)
                elif not job.future.done():
                    following = min(following, job.deadline)
        self._alarm = None
        self._arm(max(following, now + _GRAIN))
        for job in late:
            self._expire(job)
        self._maybe_empty()

    def _expire(self, job: Job, *, taken: bool = False) -> None:
        if job.future.done():
            return
        whose = "its caller's deadline" if job.hurried else "the branch's timeout"
        if taken or job.alone:  # a worker died on it before
            error = DeadlineExceeded(f"no answer within {whose}", where=self.branch)
        else:
            error = NeverTaken(f"no worker was free within {whose}", where=self.branch)
        job.future.set_exception(error)

    # -- workers ----------------------------------------------------------------------------

    def seat(self, crew: Crew, worker: Worker) -> None:
        """Give a loaded worker its place; it starts at once on what waits."""
        if crew.serving is None or crew.ready is None:
            raise ValueError("only a loaded crew can be seated")
        if worker.ended:  # between its loading and now
            self._died(crew, worker)
            return
        seat = Seat(crew, worker, crew.serving, together=crew.ready.together)
        worker.on_lost = partial(self._on_lost, seat)
        worker.on_end = partial(self._on_end, seat)
        self._seats.append(seat)
        self._idle.append(seat)
        self._show()
        self._pump()

    def swap(self, crew: Crew) -> None:
        """From now on every frame goes to this crew; the others finish theirs and are released."""
        old, self._seats = self._seats, []
        idle, self._idle = self._idle, []
        for seat in old:
            seat.leaving = True
        self._leaving += [seat for seat in old if seat.flight]
        self.serving = crew.serving
        for worker in list(crew.workers):
            self.seat(crew, worker)
        for seat in idle:
            self._released(seat.crew, seat.worker)
        self._show()

    def _on_lost(self, seat: Seat) -> None:
        """It cannot be spoken to; its end follows. Nothing more is given to it."""
        if seat in self._idle:
            self._idle.remove(seat)

    def _on_end(self, seat: Seat) -> None:
        """A worker ended by itself: only a job that it died on alone, and again, is to blame.

        A death may come from outside, so also a job that happened to be alone is run once more.
        """
        flight, seat.flight = seat.flight, []
        for seats in (self._seats, self._leaving, self._idle):
            if seat in seats:
                seats.remove(seat)
        waiting = [job for job in flight if not job.future.done()]
        for job in reversed(waiting):
            if job.alone:
                message = f"the worker died while answering it: {seat.worker.why}"
                job.future.set_exception(ModelError(message, where=self.branch))
            else:
                job.alone = True
                self._queue.appendleft(job)
                self.queue_rows += job.rows
        self._show()
        self._pump()
        self._died(seat.crew, seat.worker)
        self._maybe_empty()

    def _show(self) -> None:
        if self._closed is not None:
            return  # a slot of the same name may have taken over the metrics
        self._metrics.ready.set(bool(self._seats))
        self._metrics.workers.set(len(self._seats))

    # -- the end ----------------------------------------------------------------------------

    def close(self, reason: str) -> None:
        """Take no more jobs."""
        self._metrics.ready.set(0)
        self._metrics.workers.set(0)
        self._closed = reason

    async def drained(self) -> None:
        """Until nothing is queued or in flight; bounded by the jobs' own deadlines."""
        while not self._empty:
            self._emptied = self._loop.create_future()
            await self._emptied

    @property
    def _empty(self) -> bool:
        flying = [job for seat in (*self._seats, *self._leaving) for job in seat.flight]
        return all(job.future.done() for job in (*self._queue, *flying))

    def _maybe_empty(self) -> None:
        if self._emptied is not None and not self._emptied.done() and self._empty:
            self._emptied.set_result(None)

    def forget(self) -> None:
        """Everything has been stopped."""
        self._arm(inf)
        self._seats, self._idle, self._leaving = [], [], []
        self.serving = None
