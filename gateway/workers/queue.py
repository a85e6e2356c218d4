"""The jobs that wait for a worker of one branch: in order of arrival, bounded in rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from math import inf

from gateway.errors import DeadlineExceeded, NeverTaken, NotReady, Overloaded
from gateway.names import Branch
from gateway.workers.jobs import Job
from gateway.workers.pace import Pace

#: So many are told in one turn of the loop that they are not to be computed: a branch that hangs
#: with a full queue must not hold up the others' answers when all of it is late at once.
AT_ONCE = 32


class Queue:
    """Owns what waits, and gives up what would not be answered in time. Times are arguments."""

    __slots__ = ("_branch", "_jobs", "most", "pace", "rows")

    def __init__(self, branch: Branch) -> None:
        #: With those that wait behind a piece of a large job.
        self.rows = 0
        #: The bound; one job alone may have more rows.
        self.most = 1
        self.pace = Pace()
        self._branch = branch
        self._jobs: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs)

    def check(self, job: Job) -> None:
        """Overloaded where it is one too many."""
        if self.rows + job.rows > self.most and self._jobs:
            raise Overloaded(
                f"{self.rows} rows are waiting; the bound is {self.most}", where=self._branch
            )

    def add(self, job: Job) -> None:
        """To its end."""
        self._jobs.append(job)
        self.rows += job.rows + job.behind

    def put_back(self, jobs: Iterable[Job]) -> None:
        """To its front, in this order, whatever the bound: they were in it before."""
        given = list(jobs)
        self._jobs.extendleft(reversed(given))
        self.rows += _rows(given)

    def take(self, most_jobs: int, most_rows: int, now: float) -> tuple[list[Job], int]:
        """The next batch and its rows; what is cancelled, or would be late, is never computed.

        `most_jobs` of 0 is no bound. Empty is also what is returned when many had to be told
        that they are not computed: then there may be a batch in a later turn.
        """
        batch: list[Job] = []
        jobs, rows, told = self._jobs, 0, 0
        soonest = now + self.pace.need
        while jobs and told < AT_ONCE:
            job = jobs[0]
            if job.future.done() or job.deadline <= soonest:
                only = not batch and len(jobs) == 1
                if job.future.done() or job.deadline <= now or not only:
                    jobs.popleft()
                    self.rows -= job.rows + job.behind
                    self._give_up(job, now)
                    told += 1
                    continue
            if batch and (job.alone or rows + job.rows > most_rows):
                break
            jobs.popleft()
            batch.append(job)
            rows += job.rows
            if job.alone or len(batch) == most_jobs:
                break
        self.rows -= _rows(batch)
        return batch, rows

    def _give_up(self, job: Job, now: float) -> None:
        """One that is late, or would be: work on it would only make those behind it late too."""
        if job.deadline <= now:
            expire(job, self._branch)
        elif not job.future.done():
            job.future.set_exception(
                Overloaded("its turn comes too late for its deadline", where=self._branch)
            )

    def late(self, now: float, most: int) -> list[Job]:
        """Take out those whose time is over, at most so many; they are still to be told."""
        late: list[Job] = []
        kept: deque[Job] = deque()
        for job in self._jobs:
            if job.future.done():
                self.rows -= job.rows + job.behind
            elif job.deadline <= now and len(late) < most:
                self.rows -= job.rows + job.behind
                late.append(job)
            else:
                kept.append(job)
        self._jobs = kept
        return late

    def turn_away(self, why: str) -> bool:
        """Take out those that somebody else can answer, and tell them; whether there are more."""
        away = [job for job in self._jobs if not job.patient]
        told = set(away[:AT_ONCE])
        self._jobs = deque(job for job in self._jobs if job not in told)
        self.rows -= _rows(told)
        for job in away[:AT_ONCE]:
            if not job.future.done():
                job.future.set_exception(NotReady(why, where=self._branch))
        return len(away) > AT_ONCE

    @property
    def next_deadline(self) -> float:
        return min((job.deadline for job in self._jobs), default=inf)


def _rows(jobs: Iterable[Job]) -> int:
    return sum(job.rows + job.behind for job in jobs)


def expire(job: Job, branch: Branch, *, taken: bool = False) -> None:
    """Tell it that its time is over, unless it was told anything before."""
    if job.future.done():
        return
    whose = "its caller's deadline" if job.hurried else "the branch's timeout"
    if taken or job.alone:  # a worker died on it before
        error = DeadlineExceeded(f"no answer within {whose}", where=branch)
    else:
        error = NeverTaken(f"no worker was free within {whose}", where=branch)
    job.future.set_exception(error)
