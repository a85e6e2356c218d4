"""The front's file of settings as a monitor follows it: read anew at each turn.

Owns what a running monitor cannot change, and what a monitor that is no child of the front knows
better than the file: where its own secrets are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from gateway.errors import StateError
from gateway.monitoring.monitor_settings import MonitorSettings, load_settings
from gateway.repositories.credentials import Credentials
from gateway.shared.place import RedisSettings

log = logging.getLogger(__name__)

_WAIT = 0.5


class Own(NamedTuple):
    """Places of a process of its own: those in the file may be descriptors of the front's."""

    credentials: Credentials
    redis: RedisSettings | None


class SettingsFile:
    """One file; `own` is None for the front's child."""

    def __init__(self, path: Path, own: Own | None = None) -> None:
        self._path = path
        self._own = own

    def first(
        self, is_over: Callable[[], bool], wait: Callable[[float], None]
    ) -> MonitorSettings | None:
        """The settings to begin with; StateError if they are not right.

        A process of its own waits for a front that writes them; None if it is over before. Where
        they are there it begins even so: what waits on the disk is its to publish at the end, also
        if that was asked for while it started.
        """
        told = ""
        while True:
            try:
                return self._load()
            except StateError as error:
                if self._own is None:
                    raise
                if str(error) != told:
                    log.info("waiting for `gateway serve --no-monitor`: %s", error)
                told = str(error)
            if is_over():
                return None
            wait(_WAIT)

    def again(self, settings: MonitorSettings) -> MonitorSettings:
        """The settings as they are now; those that cannot change in a running process stay."""
        try:
            changed = self._load()
        except StateError as error:
            log.warning("the former settings stay in force: %s", error)
            return settings
        same = (settings.repository, settings.state_dir)
        return changed if (changed.repository, changed.state_dir) == same else settings

    def check(self, settings: MonitorSettings) -> None:
        """StateError if a front was started on something else than this process was.

        The front's child ends with it; a process of its own would publish one repository's rows
        into another.
        """
        if self._own is None:
            return
        try:
            found = load_settings(self._path)
        except StateError:
            return
        if _built_around(found) != _built_around(settings):
            text = "the front was started with another repository, state_dir or redis: start anew"
            raise StateError(text, where=str(self._path))

    def _load(self) -> MonitorSettings:
        found = load_settings(self._path)
        if self._own is None:
            return found
        return replace(found, credentials=self._own.credentials, redis=self._redis(found.redis))

    def _redis(self, said: RedisSettings | None) -> RedisSettings | None:
        """All that the replica's front and monitor must agree on is the front's."""
        own = self._own.redis if self._own else None
        if said is None or own is None:
            if said is own:
                return None
            having = "without" if said is None else "with"
            text = f"the front was started {having} `redis`, unlike what gateway.yaml says now"
            raise StateError(text, where=str(self._path))
        return replace(said, url_at=own.url_at, url_from=own.url_from, ca_file=own.ca_file)


def _built_around(settings: MonitorSettings) -> tuple[object, ...]:
    redis = settings.redis
    shared = redis and (redis.prefix, redis.replica, redis.key)
    return settings.repository, settings.state_dir, settings.home, shared
