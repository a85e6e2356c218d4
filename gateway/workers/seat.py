"""The workers of a slot, each in its seat, and those of them that have nothing to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.workers.crew import Crew
from gateway.workers.jobs import Job, Serving
from gateway.workers.process import Worker


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

    @property
    def together(self) -> bool:
        """Whether rows of several requests may share a call of its model."""
        return self.most == 0

    @property
    def story(self) -> dict[str, Any]:
        """What status says of it."""
        state = "draining" if self.leaving else "busy" if self.worker.busy else "idle"
        return {"pid": self.worker.pid, "state": state, "commit": self.serving.commit}


class Idle(list[Seat]):
    """The seats without a frame. `pump` is called when there is one more."""

    def __init__(self, pump: Callable[[], None]) -> None:
        super().__init__()
        self._pump = pump
        self._borrower: asyncio.Future[Seat] | None = None

    def free(self, seat: Seat) -> None:
        """A worker has nothing to do any more: whoever waits to borrow one comes first."""
        if self._borrower is not None and not self._borrower.done():
            self._borrower.set_result(seat)
        else:
            self.append(seat)
            self._pump()

    async def borrow(self) -> Seat:
        """The next seat there is, taken out. One borrower at a time."""
        if self:
            return self.pop()
        borrower: asyncio.Future[Seat] = asyncio.get_running_loop().create_future()
        self._borrower = borrower
        try:
            return await borrower
        except asyncio.CancelledError:
            if not borrower.cancelled():  # lent in the same moment
                self.free(borrower.result())
            raise
        finally:
            self._borrower = None

    def emptied(self) -> list[Seat]:
        """All of them, taken out."""
        seats = list(self)
        self.clear()
        return seats
