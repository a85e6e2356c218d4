"""`gateway monitor --for-replicas`: the monitor of several gateways, with no front beside it.

It leads before the monitors of the gateways do: counts and publishes what they ship to Redis. Who
is served, and what is asked of it, it reads from gateway.yaml, and what serves from what they say.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from gateway.config import Config
from gateway.config.settings import RESTART_ONLY
from gateway.errors import GatewayError, StateError
from gateway.monitoring.ear import EAR_FILE, open_ear
from gateway.monitoring.monitor_settings import SETTINGS_FILE, write_settings
from gateway.monitoring.settings_file import Own, SettingsFile
from gateway.repositories.credentials import Credentials, open_credentials
from gateway.repositories.gitprocess import environment_of
from gateway.repositories.kind import former_address, located
from gateway.shared.joining import join
from gateway.shared.place import RedisSettings, open_redis
from gateway.sources import FileSource
from gateway.state import StateDirectory, key_id

log = logging.getLogger(__name__)

_LOOK_EVERY = 1.0


def run_for_replicas(file: Path, environ: Mapping[str, str]) -> int:
    """The whole process; the exit code. GatewayError if it cannot start."""
    from gateway.monitoring.monitor import run_monitor

    source = FileSource(file)
    content, config = source.content(), source.load()
    with contextlib.closing(StateDirectory(config.state_dir)) as state:
        state.open()
        settings = config.state_dir / SETTINGS_FILE
        address = located(config.repository, config.branches, former_address(settings))
        credentials = open_credentials(config.credentials, environ)
        redis = _redis(config, address, state, environ)
        following = _Following(source, config, settings, address, credentials, redis)
        following.write(config)
        following.start(content)
        ear = open_ear(config.state_dir / EAR_FILE)  # to the end of the process
        log.info("the monitor of all replicas runs as process %d", os.getpid())
        try:
            with Path(os.devnull).open("wb") as nowhere:
                known = SettingsFile(settings, Own(credentials, redis))
                return run_monitor(known, ear, nowhere, environment_of(environ))
        finally:
            following.finish()


def _redis(
    config: Config, address: str, state: StateDirectory, environ: Mapping[str, str]
) -> RedisSettings:
    if config.redis is None:
        raise StateError(
            "must be given: a monitor for several replicas reads from Redis what they record; one"
            " gateway's monitor is started without --for-replicas",
            where="redis",
        )
    replica, key = state.replica_id(), key_id(state.unit_key(config, environ))
    found = open_redis(config.redis, environ, repository=address, replica=replica, key=key)
    join(found)
    return replace(found, front=False)


class _Following:
    """Writes down what gateway.yaml says, as a front would, whenever it changes."""

    def __init__(
        self,
        source: FileSource,
        config: Config,
        settings: Path,
        address: str,
        credentials: Credentials,
        redis: RedisSettings,
    ) -> None:
        self._source = source
        self._begun_with = config
        self._settings = settings
        self._address = address
        self._credentials = credentials
        self._redis = redis
        self._finishing = threading.Event()

    def write(self, config: Config) -> None:
        write_settings(self._settings, config, self._address, self._credentials, self._redis)

    def start(self, content: bytes) -> None:
        threading.Thread(target=self._run, args=(content,), daemon=True).start()

    def finish(self) -> None:
        self._finishing.set()

    def _run(self, seen: bytes) -> None:
        while not self._finishing.wait(_LOOK_EVERY):
            content = self._source.content()
            if content == seen:
                continue
            try:
                self._take(self._source.load())
            except (GatewayError, OSError) as error:
                log.error("the former settings stay in force: %s", error)
            seen = content

    def _take(self, config: Config) -> None:
        changed = sorted(
            name
            for name in RESTART_ONLY
            if getattr(config, name) != getattr(self._begun_with, name)
        )
        if changed:
            log.warning("takes effect at a restart: %s", ", ".join(changed))
        same = {name: getattr(self._begun_with, name) for name in RESTART_ONLY}
        self.write(config.model_copy(update=same))
        log.info("gateway.yaml is in force as it is now")
