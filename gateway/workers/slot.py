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

from gateway.errors import InvalidInstances, ModelError, NotReady
from gateway.metrics import BranchMetrics
from gateway.names import Branch
from gateway.workers.bounds import Bounds
from gateway.workers.crew import Crew
from gateway.workers.failures import Failures
from gateway.workers.jobs import Answer, Job, Serving
from gateway.workers.pieces import Pieces, is_large
from gateway.workers.process import Worker
from gateway.workers.queue import AT_ONCE, Queue, expire
from gateway.workers.seat import Idle, Seat
from gateway.workers.wire import INVALID, LATE, OK, RawAnswer

#: Deadlines this close together are looked at in one go.
_GRAIN = 0.005
#: Where more are late than are told in one turn, the next turn for them.
_SOON = 0.001
#: A worker that takes requests one by one gets a frame of about this many seconds.
_FRAME_SECONDS = 0.005
_RECENT = 20
_RECENT_BYTES = 64 * 1024


class Slot:
    """One branch's queue and workers. Knows nothing of snapshots, loading or restarts.

    `died` and `released` hand a worker back: one has ended, the other has nothing to do any
    more and is to be stopped. `failures` is told of all that may be held against the branch.
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
        failures: Failures,
    ) -> None:
        self.branch = branch
        self.serving: Serving | None = None
        self.failures = failures
        self.bounds = Bounds()
        #: When a replacement of dead workers is begun; the keeper tells.
        self.expected = inf
        self.recent: deque[bytes] = deque(maxlen=_RECENT)
        self._metrics = metrics
        self._answered = answered
        self._died = died
        self._released = released
        self._story = story
        self._queue = Queue(branch)
        self._seats: list[Seat] = []
        self._leaving: list[Seat] = []
        self._idle = Idle(self._pump)
        self._closed: str | None = None
        self._left_out: str | None = None
        self._pumping = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self._emptied: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        #: The clock that deadlines are on.
        self.now = self._loop.time
        metrics.queue_rows.set_function(lambda: self.queue_rows)

    def bound(self, bounds: Bounds) -> None:
        """Put these in force, also for what waits and flies."""
        self.bounds = self.failures.bounds = bounds
        self._queue.most = bounds.queue_rows

    # -- jobs -------------------------------------------------------------------------------

    @property
    def queue_rows(self) -> int:
        return self._queue.rows

    @property
    def ready(self) -> bool:
        """Whether a loaded worker is there to take a job."""
        return bool(self._seats) and self._closed is None

    @property
    def pids(self) -> list[int]:
        """Of its worker processes."""
        return [seat.worker.pid for seat in (*self._seats, *self._leaving)]

    @property
    def state(self) -> dict[str, Any]:
        """Everything status shows of this branch."""
        return {
            **self._story(),
            "queue_rows": self.queue_rows,
            "workers": [seat.story for seat in (*self._seats, *self._leaving)],
        }

    def submit(self, job: Job, *, patient: bool = False) -> None:
        """Queue a job: NotReady or Overloaded at once, else its future settles by its deadline.

        A `patient` one, which nobody else can answer, waits for a dead worker's replacement and
        is taken also while the branch is left out.
        """
        refusal = self._closed if patient else self._closed or self._left_out
        if refusal is not None:
            raise NotReady(refusal, where=self.branch)
        if not self._seats and not (patient and self.expected < job.deadline):
            raise NotReady("no worker is loaded", where=self.branch)
        job.patient = patient
        self._queue.check(job)
        if is_large(job) and self._seats and self._seats[0].together:
            Pieces(job, self._put, self._tell)
        else:
            self._put(job)

    def _put(self, job: Job) -> None:
        self._queue.add(job)
        if job.deadline < self._alarm_at:
            self._arm(job.deadline)
        if self._idle and not self._pumping:
            # Not yet: what arrived together is read in one turn of the loop and goes together.
            self._pump_later()

    def _pump_later(self) -> None:
        if self._queue and not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump_soon)

    def _pump_soon(self) -> None:
        self._pumping = False
        self._pump()

    def _pump(self) -> None:
        while self._idle and self._queue:
            seat = self._idle[-1]
            batch, rows = self._queue.take(seat.most, self.bounds.batch_rows, self._loop.time())
            if not batch:
                self._pump_later()
                return
            self._metrics.batch_rows.observe(rows)
            self._idle.pop()
            serving = seat.crew.serving
            if serving is not None:
                seat.serving = serving
            seat.flight = batch
            seat.since = self._loop.time()
            if seat.since + self.bounds.patience < self._alarm_at:
                self._arm(seat.since + self.bounds.patience)
            seat.worker.predict(
                [job.payload for job in batch],
                [job.deadline for job in batch],
                partial(self._on_answers, seat),
            )

    # -- answers ----------------------------------------------------------------------------

    def _on_answers(self, seat: Seat, raw: Sequence[RawAnswer]) -> None:
        flight, seat.flight = seat.flight, []
        serving = seat.serving
        seat.crew.deaths = 0
        spent = self._loop.time() - seat.since
        self._queue.pace.took(spent)
        if seat.most:
            computed = sum(status != LATE for status, *_ in raw)
            seat.most = max(1, int(_FRAME_SECONDS * computed / max(spent, 1e-6)))
        if seat.leaving:
            self._leaving.remove(seat)
            self._released(seat.crew, seat.worker)
        else:
            self._idle.free(seat)  # before anything else: the worker waits
        self._settle(flight, raw, serving)
        self._maybe_empty()

    def _settle(self, flight: list[Job], raw: Sequence[RawAnswer], serving: Serving) -> None:
        good: list[tuple[Job, Answer]] = []
        parts: list[tuple[Job, Answer]] = []
        bad: list[tuple[Job, int, bytes]] = []
        for job, (status, ignored, first, second, third) in zip(flight, raw, strict=True):
            if job.future.done():
                continue  # cancelled, or past its deadline
            if status == OK:
                answered = parts if job.is_piece else good
                answered.append((job, Answer(first, second, third, ignored, serving)))
            elif status == LATE:
                expire(job, self.branch)
            else:
                bad.append((job, status, first))
        if good:
            self._tell(good)
        for job, answer in parts:
            job.future.set_result(answer)
        for job, status, text in bad:
            message = text.decode("utf-8", "replace")
            if status == INVALID:
                job.future.set_exception(InvalidInstances(message, where=self.branch))
                continue
            job.future.set_exception(ModelError(message, where=self.branch))
            if not good and not parts:  # beside a good answer it is the request's own trouble
                self.failures.failed(job, message)

    def _tell(self, good: list[tuple[Job, Answer]]) -> None:
        self.failures.good(self._loop.time())
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

    # -- left out ---------------------------------------------------------------------------

    def leave_out(self, why: str) -> None:
        """Refuse from now on what somebody else can answer, also where it waits already."""
        self._left_out = why
        self._turn_away()

    def _turn_away(self) -> None:
        if self._left_out is not None and self._queue.turn_away(self._left_out):
            self._loop.call_soon(self._turn_away)
        self._maybe_empty()

    def take_back(self) -> None:
        """The end of `leave_out`."""
        self._left_out = None

    async def borrow(self) -> Seat:
        """A seat whose worker has nothing to do, and is given nothing until `give_back`."""
        return await self._idle.borrow()

    def give_back(self, seat: Seat) -> None:
        """Return what was borrowed; a worker that is still at it is stuck, and killed."""
        if seat.worker.ended:
            return
        if seat.leaving:
            self._released(seat.crew, seat.worker)
        elif seat.worker.busy:
            seat.worker.kill(too_slow=True)
        else:
            self._idle.free(seat)

    # -- deadlines --------------------------------------------------------------------------

    def _arm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = None if at == inf else self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        """Tell those whose time is over; where there are many, the rest in a later turn."""
        self._alarm, now = None, self._loop.time()
        flying = [seat for seat in (*self._seats, *self._leaving) if seat.flight]
        try:
            for seat in flying:
                if now - seat.since >= self.bounds.patience:
                    seat.worker.kill(too_slow=True)
                late = [j for j in seat.flight if j.deadline <= now and not j.future.done()]
                self._unanswered(late[:AT_ONCE], seat.flight, taken=True)
            late = self._queue.late(now, AT_ONCE)
            self._unanswered(late, [job for seat in flying for job in seat.flight])
        finally:
            times = [
                job.deadline for seat in flying for job in seat.flight if not job.future.done()
            ]
            ends = (seat.since + self.bounds.patience for seat in flying)
            times += [end for end in ends if end > now]
            following = min([self._queue.next_deadline, *times])
            self._arm(max(following, self._loop.time() + (_SOON if following <= now else _GRAIN)))
        self._maybe_empty()

    def _unanswered(
        self, late: Sequence[Job], flight: Sequence[Job], *, taken: bool = False
    ) -> None:
        for job in late:
            expire(job, self.branch, taken=taken)
            self.failures.unanswered(job, flight)

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
        self._show()
        self._idle.free(seat)

    def swap(self, crew: Crew) -> None:
        """From now on every frame goes to this crew; the others finish theirs and are released."""
        old, self._seats = self._seats, []
        idle = self._idle.emptied()
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
        if len(waiting) == 1 and waiting[0].alone:
            message = f"the worker died while answering it: {seat.worker.why}"
            waiting[0].future.set_exception(ModelError(message, where=self.branch))
            self.failures.failed(waiting[0], message)
        else:
            for job in waiting:
                job.alone = True
            self._queue.put_back(waiting)
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
        self._seats, self._leaving = [], []
        self._idle.clear()
        self.serving = None
