"""The keeper of keys and certificate: files that are looked at, and taken anew when they changed.

A file that is wrong, or is being written, keeps what is in force, and that is said: in the log, in
`/branches` and in a metric. Nothing here is on the way of a request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

from gateway.access.audit import audit
from gateway.access.certificate import Certificate
from gateway.access.guard import Guard
from gateway.access.keys_file import LOCAL, Key, parse_keys, read_keys
from gateway.config import Config, OperatorConfig
from gateway.config.document import read_text
from gateway.errors import ConfigError
from gateway.metrics import Metrics
from gateway.timestamps import rfc3339

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.5


def keys_of(config: OperatorConfig) -> tuple[Key, ...] | None:
    """The keys to begin with; None where there are to be none. ConfigError with every mistake."""
    file = config.access.keys_file
    return None if file is None else read_keys(file)


class Keeping:
    """Follows the files that the configuration in force names."""

    def __init__(
        self,
        config: OperatorConfig,
        guard: Guard,
        metrics: Metrics,
        keys: tuple[Key, ...] | None,
        certificate: Certificate | None,
    ) -> None:
        """`keys` are those that the file said when it was first read."""
        self._guard = guard
        self._metrics = metrics
        self._certificate = certificate
        self._path = config.access.keys_file
        self._keys = keys
        #: What the file said when it was last taken or refused, and what it said a look ago.
        self._seen: str | None = None
        self._candidate: str | None = None
        self._trouble: str | None = None
        self._since = time.time()
        metrics.keys_up.set(1)
        metrics.certificate_up.set(1)
        guard.use(keys)

    def configure(self, config: Config) -> None:
        """Another gateway.yaml is in force; until another file of keys is read, the former hold."""
        self._guard.configure(config)
        path = config.access.keys_file
        if path == self._path:
            return
        self._path, self._seen, self._candidate = path, None, None
        if path is None:
            self._take(None)

    def status(self) -> dict[str, Any]:
        """For the status page: are the files in force, and if not, why."""
        return {
            "keys": None if self._keys is None else len(self._keys),
            "state": "refused" if self._trouble else "in_force",
            "reason": self._trouble,
            "since": rfc3339(self._since),
            "certificate": self._certificate and self._certificate.status(),
        }

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            if (path := self._path) is not None:
                found = await asyncio.to_thread(_looked, path)
                if path == self._path:
                    await self._see(path, *found)
            if self._certificate is not None:
                await self._certificate.look()
                self._metrics.certificate_up.set(self._certificate.trouble is None)

    async def _see(self, path: Path, text: str, trouble: str | None) -> None:
        """Take what was the same at two looks: who writes it may not be at its end yet."""
        settled, self._candidate = text == self._candidate, text
        if not settled or text == self._seen:
            return
        self._seen = text
        if trouble is None:
            try:
                keys = await asyncio.to_thread(parse_keys, text, str(path))
            except ConfigError as error:
                trouble = error.message
            else:
                self._take(keys)
                return
        if trouble != self._trouble:
            self._trouble = trouble
            log.error("refused, the former keys stay in force:\n%s", trouble)
            audit("keys", who=LOCAL, address=LOCAL, result="refused", say=str(path))
        self._metrics.keys_up.set(0)

    def _take(self, keys: tuple[Key, ...] | None) -> None:
        before, self._keys = self._keys, keys
        recovered, self._trouble = self._trouble is not None, None
        self._metrics.keys_up.set(1)
        if keys == before:
            if recovered:
                log.info("the file of keys is right again")
            return
        self._guard.use(keys)
        self._since = time.time()
        audit("keys", who=LOCAL, address=LOCAL, result="in_force", say=_changes(before, keys))


def _looked(path: Path) -> tuple[str, str | None]:
    """The file's text; where there is none, what is wrong stands for it."""
    try:
        return read_text(path), None
    except ConfigError as error:
        return f"\0{error.message}", error.message


def _changes(before: tuple[Key, ...] | None, after: tuple[Key, ...] | None) -> str:
    """Who came, went or was changed, by name."""
    old = {key.sha256: key for key in before or ()}
    new = {key.sha256: key for key in after or ()}
    parts = {
        "added": [key.name for digest, key in new.items() if digest not in old],
        "removed": [key.name for digest, key in old.items() if digest not in new],
        "changed": [key.name for digest, key in new.items() if old.get(digest, key) != key],
    }
    said = [f"{word} {', '.join(names)}" for word, names in parts.items() if names]
    return "; ".join(said) or "the same"
