"""The monitor of one replica of several: ships its rows always, and leads while it holds the lease.

Who leads does what a single gateway's monitor does, over the chunks of all replicas and one store.
What it decides counts once the store's state is in Redis under its lease; until then nothing of it
goes into git or to any front. Everything else here may be cut off at any moment and done again.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

from gateway.chunks import ChunkKey
from gateway.errors import GatewayError, StateError
from gateway.monitoring.exchange import Exchange
from gateway.monitoring.experiments.running import Running
from gateway.monitoring.monitor import Finishing, Monitor, Voice, tried
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.monitoring.only_one import locked
from gateway.monitoring.settings_file import SettingsFile
from gateway.monitoring.sharing import Sharing
from gateway.monitoring.shelves import doors_of
from gateway.shared.door import Door, SharedAway
from gateway.shared.held import Lease
from gateway.shared.lease import Leadership
from gateway.shared.mirroring import Mirror
from gateway.shared.state_copy import StateCopy
from gateway.store.ledger import PART
from gateway.store.sqlite import SqliteStore

log = logging.getLogger(__name__)

_EVERY = 0.5
_LAST_TURN = 3.0
_TROUBLED_WAIT = 2.0
#: A monitor's status before any holder has said one.
_NOTHING_YET: dict[str, Any] = {
    "waiting": {"chunks": 0, "bytes": 0, "unreadable": 0},
    "branches": {},
    "rows": {},
    "trouble": None,
    "cache": None,
    "drift": None,
    "experiments": {"trouble": None},
}


def run_replica(
    file: SettingsFile,
    settings: MonitorSettings,
    environ: Mapping[str, str],
    finishing: Finishing,
    stdout: BinaryIO,
) -> int:
    """The whole process, as `run_monitor`; raises GatewayError if it cannot work at all."""
    assert settings.redis is not None
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as opened:
        opened.enter_context(locked(settings.home / "monitor.lock", finishing))
        door = opened.enter_context(Door(settings.redis))
        copy = opened.enter_context(StateCopy(door, settings.state_dir / "store.sqlite"))
        sharing = Sharing(door, settings, copy, remote_looks=lambda: finishing.remote_looks)
        leadership = opened.enter_context(Leadership(door, sharing.replica))
        sharing.start(leadership)
        opened.callback(sharing.finish)
        voice = Voice(stdout, settings.home / "monitor.json")
        replica = _Replica(
            _Doors(door, copy, leadership, sharing), file, settings, environ, finishing
        )
        replica.run(voice)
    return 0


@dataclass(frozen=True, slots=True)
class _Doors:
    """All that reaches Redis."""

    door: Door
    copy: StateCopy
    leadership: Leadership
    sharing: Sharing


class _Replica:
    """The main thread: standing by or leading, and saying how it is."""

    def __init__(
        self,
        doors: _Doors,
        file: SettingsFile,
        settings: MonitorSettings,
        environ: Mapping[str, str],
        finishing: Finishing,
    ) -> None:
        self._doors = doors
        self._file = file
        self._settings = settings
        self._environ = environ
        self._finishing = finishing
        self._mirror = Mirror(
            doors.door,
            settings.state_dir / "journal",
            # Where no row goes into git, chunks stay on the disk until they are old.
            wanted=lambda key: self._settings.monitoring.target == "none",
        )
        self._trouble: str | None = None

    def run(self, voice: Voice) -> None:
        self._voice = voice
        while not self._finishing.asked:
            lease = self._doors.leadership.lease
            if lease is None:
                self._stand_by()
            else:
                self._lead(lease)
        self._say(None)

    def _again(self) -> MonitorSettings:
        self._file.check(self._settings)
        return self._file.again(self._settings)

    # Standing by

    def _stand_by(self) -> None:
        self._settings = self._again()
        self._trouble = None
        try:
            # Where nobody leads, whoever is to is waited for until it has the newest state.
            is_vacant = self._doors.leadership.holder is None
            self._doors.copy.pull(now=is_vacant, stop=lambda: self._finishing.asked)
            self._mirror.tidy(lambda: self._finishing.asked)
        except SharedAway as error:
            self._trouble = str(error)
        except (StateError, OSError) as error:
            self._trouble = f"the state cannot be kept here: {error}"
        self._doors.leadership.worked()
        self._say(None)
        self._finishing.wait(_EVERY)

    # Leading

    def _lead(self, lease: Lease) -> None:
        """Rounds until the lease is lost, or the end is near; one that fails is tried again."""
        log.info("this replica publishes from now on")
        shelf, files = doors_of(self._settings, self._environ)
        self._finishing.on_over = shelf.close
        store_path = self._settings.state_dir / "store.sqlite"
        exchange = Exchange(
            *(self._doors.door, self._doors.copy, self._doors.leadership, self._doors.sharing),
            self._mirror,
            is_over=lambda: self._finishing.over,
            say=lambda: self._say(exchange),
        )
        try:
            with SqliteStore(store_path) as store:
                shelf.open()
                experiments = Running(
                    store_path, lambda: self._settings, lambda: exchange.rows_until
                )
                monitor = Monitor(
                    self._settings,
                    shelf,
                    files,
                    store,
                    self._finishing,
                    clock=time.monotonic,
                    now=lambda: datetime.now(UTC),
                    jitter=random.random,
                    holds=lambda key: not store.has(key, PART),
                    until=lambda: exchange.rows_until,
                    writes=self._doors.sharing.writes,
                    may_go=lambda key: key in exchange.gone,
                    settling=exchange.disk,
                )
                self._work(lease, _Work(monitor, experiments, exchange))
        except GatewayError as error:
            log.error("this replica cannot publish: %s", error)
            self._trouble = str(error)
        finally:
            self._finishing.on_over = lambda: None
            shelf.close()
            self._doors.leadership.step_down(lease)

    def _work(self, lease: Lease, work: _Work) -> None:
        self._doors.sharing.leads()
        settled = work.monitor.settled
        work.exchange.start(lease, self._settings, settled.__contains__)
        try:
            self._mirror_first(lease, work.exchange)
            work.experiments.start()
            try:
                self._rounds(lease, work)
            finally:
                work.experiments.finish(_LAST_TURN)
            if self._finishing.asked and self._holds(lease):
                # So that what the front wrote at its end is in Redis.
                self._doors.sharing.finish()
                self._last_round(work)
        finally:
            work.exchange.finish()

    def _mirror_first(self, lease: Lease, exchange: Exchange) -> None:
        """All that Redis has, so that no time is taken to be over whose rows are there."""
        while self._holds(lease) and not exchange.is_all_here:
            self._doors.leadership.worked()
            if self._finishing.asked or not self._is_put(exchange):
                return

    def _is_put(self, exchange: Exchange) -> bool:
        try:
            return exchange.put()
        except (SharedAway, StateError, OSError) as error:
            self._trouble = str(error)
            return False

    def _rounds(self, lease: Lease, work: _Work) -> None:
        while self._holds(lease) and not self._finishing.asked:
            work.monitor.settings = self._settings = self._again()
            if not self._round(work):
                return
            self._finishing.wait(_EVERY if self._trouble is None else _TROUBLED_WAIT)

    def _round(self, work: _Work) -> bool:
        """False if this replica is to lead no more."""
        self._doors.leadership.worked()
        exchange, monitor = work.exchange, work.monitor
        trouble = None
        try:
            # Before the state is put: what is published is known to be whole by whoever leads next.
            monitor.look()
            if not exchange.put():
                return False
            monitor.trouble = tried(monitor.work)
            settled = frozenset(monitor.settled | self._mirror.aside)
            if self._settings.monitoring.target == "none":
                settled |= monitor.taken()
            if settled and not self._call_done(work, settled):
                return False
            exchange.status = work.status()
        except SharedAway as error:
            trouble = f"what was decided waits: {error}"
        except (StateError, OSError) as error:
            trouble = str(error)
        self._trouble = trouble
        return True

    def _call_done(self, work: _Work, settled: frozenset[ChunkKey]) -> bool:
        """Once what was counted of them is where the next holder finds it."""
        if not work.exchange.put():
            return False
        if work.exchange.call_done(settled):
            with work.exchange.disk:
                work.monitor.settled -= settled
        return True

    def _last_round(self, work: _Work) -> None:
        """What can be published before the end is."""
        if not self._round(work):
            return
        try:
            work.monitor.look()
            if work.exchange.put():
                work.monitor.trouble = tried(work.monitor.last_step)
                settled = frozenset(work.monitor.settled)
                if settled:
                    self._call_done(work, settled)
                work.exchange.status = work.status()
        except (SharedAway, StateError, OSError) as error:
            log.warning("the rest waits for another replica: %s", error)

    def _holds(self, lease: Lease) -> bool:
        return self._doors.leadership.lease == lease

    def _say(self, exchange: Exchange | None) -> None:
        """By one thread at a time: that of the exchange, where there is one."""
        told: dict[str, Any] = {**_NOTHING_YET, **self._doors.sharing.told}
        trouble = self._trouble
        if exchange is not None:
            told = exchange.status or told
            trouble = exchange.trouble or trouble
        shared = self._doors.sharing.status(is_leading=exchange is not None, trouble=trouble)
        if not self._voice.say({**told, "pid": os.getpid(), "shared": shared}):
            self._finishing.ask()


@dataclass(frozen=True, slots=True)
class _Work:
    """What a holder works with."""

    monitor: Monitor
    experiments: Running
    exchange: Exchange

    def status(self) -> dict[str, Any]:
        return {**self.monitor.status(), "experiments": {"trouble": self.experiments.trouble}}
