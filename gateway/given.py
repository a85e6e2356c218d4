"""What a front is given besides its configuration: what files, the environment and Redis hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.access.certificate import Certificate
from gateway.access.keys_file import Key
from gateway.repositories.credentials import Credentials
from gateway.shared.place import RedisSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Read and opened once, before anything starts; secrets are in no repr of it."""

    git_environment: Mapping[str, str]
    credentials: Credentials
    #: What uv may see of the process's environment.
    uv_environment: Mapping[str, str]
    webhook_secret: bytes | None = None
    redis: RedisSettings | None = None
    #: What the file of keys says; None without one.
    keys: tuple[Key, ...] | None = None
    certificate: Certificate | None = None

    def __repr__(self) -> str:
        return "Given(…)"

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The files that git's children and the monitor inherit: they hold secrets."""
        shared = self.redis.descriptors if self.redis else ()
        return (*self.credentials.descriptors, *shared)
