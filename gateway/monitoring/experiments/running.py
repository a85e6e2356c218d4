"""The thread of experiments inside the monitor's process: its rhythm, and its end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from math import inf
from pathlib import Path

from gateway.errors import StateError
from gateway.monitoring.experiments.keeper import Experiments
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.store.ledger import Ledger

log = logging.getLogger(__name__)

_EVERY = 0.5
_TROUBLED_WAIT = 5.0


class Running:
    """Runs the keeper from `start` to `finish`. Whatever fails there fails nothing else."""

    def __init__(
        self,
        store: Path,
        settings: Callable[[], MonitorSettings],
        until: Callable[[], float] = lambda: inf,
    ) -> None:
        """`settings` are asked for at each turn; rows before `until` are all in the journal."""
        self._until = until
        self._store = store
        self._settings = settings
        self._finishing = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="experiments", daemon=True)
        #: Why experiments stand still, in words.
        self.trouble: str | None = None

    def start(self) -> None:
        self._thread.start()

    def finish(self, within: float) -> None:
        """Have it take its last turn; what is not done in `within` seconds is left for later."""
        self._finishing.set()
        self._thread.join(within)
        self._over.set()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with Ledger(self._store) as ledger:
                    keeper = Experiments(
                        ledger, now=time.time, clock=time.monotonic, until=self._until
                    )
                    self._turns(keeper)
                return
            except (StateError, OSError) as error:
                self._stands_still(str(error))
            except Exception as error:
                # A defect of ours: rows must go on into git.
                self._stands_still(repr(error), error)
            if self._finishing.wait(_TROUBLED_WAIT):
                return

    def _stands_still(self, why: str, defect: Exception | None = None) -> None:
        """Said once, however often it is tried again."""
        if self.trouble != why:
            log.error("experiments stand still: %s", why, exc_info=defect)
        self.trouble = why

    def _turns(self, keeper: Experiments) -> None:
        while not self._finishing.is_set():
            is_all = keeper.step(self._settings(), self._finishing.is_set)
            self.trouble = None
            if is_all:
                self._finishing.wait(_EVERY)
        keeper.finish(self._settings(), self._over.is_set)
