"""Follows the monitor's orders: what it makes of the weights is in force within a second.

The orders stand in a file, so that a restart begins with them: what was ejected gets not a single
user back by it. A file that cannot be read changes nothing, and is told of.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gateway.experiments.allocation import ALLOCATION_FILE, STATES, Order, parse_orders
from gateway.metrics import Metrics
from gateway.names import Branch
from gateway.routing import Routing

log = logging.getLogger(__name__)

LOOK_EVERY = 0.5
MOST_BYTES = 1024**2


class _Found(NamedTuple):
    """A look at the file: which one it is, and what it says or what is wrong with it."""

    mark: tuple[int, int, int] | None
    orders: Mapping[str, Order] | None = None
    trouble: str | None = None


class Allocations:
    """The keeper of the file; says in log, metrics and status what is in force."""

    def __init__(self, state_dir: Path, routing: Routing, metrics: Metrics) -> None:
        self._path = state_dir / ALLOCATION_FILE
        self._routing = routing
        self._metrics = metrics
        self._mark: tuple[int, int, int] | None = None
        self._trouble: str | None = None
        self._shown: Mapping[Branch, Order] = {}
        #: Called with each change: the branch, its state or None where gateway.yaml holds, words.
        self.told: Callable[[Branch, str | None, str], None] = lambda branch, state, text: None

    def begin(self) -> None:
        """What was ordered before a restart, in force before the first request."""
        self._routing.changed = self._show
        self._take(self._look())
        self._show()

    async def run(self) -> None:
        """The keeper's body."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self._take(await asyncio.to_thread(self._look))

    def status(self) -> dict[str, Any]:
        """Of the file as a whole; each branch's order is shown with it."""
        return {"trouble": self._trouble}

    def _look(self) -> _Found:
        """Only what differs from the last look is read."""
        try:
            with self._path.open("rb") as file:
                stat = os.fstat(file.fileno())
                mark = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
                if mark == self._mark:
                    return _Found(mark, trouble=self._trouble)
                data = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            # Nothing was ever ordered, or somebody took the file away.
            return _Found(None, trouble="is gone" if self._mark or self._trouble else None)
        except OSError as error:
            return _Found(None, trouble=f"cannot be read: {error.strerror}")
        if len(data) > MOST_BYTES:
            return _Found(mark, trouble=f"holds more than {MOST_BYTES} bytes")
        try:
            return _Found(mark, parse_orders(data).branches)
        except (ValueError, RecursionError) as error:
            return _Found(mark, trouble=f"holds no orders: {error}")

    def _take(self, found: _Found) -> None:
        self._mark = found.mark
        if found.trouble != self._trouble:
            self._trouble = found.trouble
            if found.trouble is not None:
                text = "%s %s; the weights stay as they are"
                log.warning(text, self._path, found.trouble)
        if found.orders is not None:
            self._routing.follow(found.orders)

    def _show(self) -> None:
        """The split may be another one: say what is new."""
        orders, shares = self._routing.orders, self._routing.split.propensities
        for branch, share in shares.items():
            order, before = orders.get(branch), self._shown.get(branch)
            children = self._metrics.branch(branch)
            children.weight.set(share)
            for state in STATES:
                children.held[state].set(order is not None and order.state == state)
            if order is not None and _told(order) != _told(before):
                text = f"{order.state}, {share * 100:.3g} % of the users: {order.reason}"
                level = logging.WARNING if order.state == "ejected" else logging.INFO
                log.log(level, "%s: %s", branch, text, extra={"branch": branch})
                self.told(branch, order.state, text)
            elif order is None and before is not None:
                text = (
                    f"no longer {before.state}; by gateway.yaml, {share * 100:.3g} % of the users"
                )
                log.info("%s: %s", branch, text, extra={"branch": branch})
                self.told(branch, None, text)
        self._shown = orders


def _told(order: Order | None) -> tuple[object, ...]:
    return (order.state, order.share, order.reason) if order is not None else ()
