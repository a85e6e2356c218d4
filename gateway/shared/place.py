"""Where the Redis of the replicas is: the address, which holds a password, and where it is kept.

Owns how the address is read, checked and handed on to the monitor's process: as the password of
git, in an anonymous file whose descriptor it inherits. The address itself stands in no argument,
environment of a child, file of ours, log or repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from gateway.config.sections import RedisConfig
from gateway.errors import StateError
from gateway.secret import DESCRIPTORS, held_open, named_secret

_RIGHT = (
    "must be redis://HOST:PORT/DB, rediss://… for TLS, or unix:///PATH, with user and password"
    " before an @ and percent signs for their marks"
)


@dataclass(frozen=True, slots=True)
class Address:
    """One Redis, as its URL says."""

    scheme: str
    host: str = ""
    port: int = 6379
    path: str = ""
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


class RedisSettings(msgspec.Struct, frozen=True):
    """All that a monitor needs to share; names of places only, harmless in a file.

    `url_at` is the file with the address, or `/dev/fd/N` for one that is inherited; `url_from`
    names its setting. `replica` is this replica's id, `key` that of its unit key. Without `front`
    it serves nobody, and leads before those that do.
    """

    url_at: str
    url_from: str
    prefix: str
    chunk_bytes: int
    replica: str
    key: str
    ca_file: str | None = None
    #: Seconds without a word of a replica after which the chunk that it had open is ended.
    gone_after: float = 3600.0
    front: bool = True

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the monitor must inherit."""
        if not self.url_at.startswith(DESCRIPTORS):
            return ()
        return (int(self.url_at.removeprefix(DESCRIPTORS)),)

    def address(self) -> Address:
        """As it is now; StateError names the setting, never what stands there."""
        try:
            url = Path(self.url_at).read_bytes().strip()
        except OSError as error:
            raise StateError(f"cannot be read: {error.strerror}", where=self.url_from) from error
        return parsed(url, self.url_from)


def open_redis(
    config: RedisConfig, environ: Mapping[str, str], *, repository: str, replica: str, key: str
) -> RedisSettings:
    """The settings of a process, checked; `repository` is its address.

    An address taken from `environ` stays open, for the monitor to inherit, until the process ends.
    """
    url = named_secret("redis.url", environ, env=config.url_env, file=config.url_file)
    if config.url_file is not None:
        source, at = f"redis.url_file {config.url_file}", str(config.url_file.absolute())
        parsed(url, source)
    else:
        source = f"redis.url_env {config.url_env}"
        parsed(url, source)
        at = f"{DESCRIPTORS}{held_open(url)}"
    return RedisSettings(
        url_at=at,
        url_from=source,
        prefix=config.prefix or prefix_of(repository),
        chunk_bytes=config.chunk_bytes,
        replica=replica,
        key=key,
        ca_file=_readable(config.ca_file),
        gone_after=config.gone_after,
    )


def prefix_of(repository: str) -> str:
    """What the keys of a repository's replicas begin with."""
    return f"gateway:{sha256(repository.encode()).hexdigest()[:12]}"


def parsed(url: bytes, where: str) -> Address:
    """The parts of a URL; StateError without any of them, since each may be a password."""
    try:
        parts = urlsplit(url.decode())
        options = parse_qs(parts.query, keep_blank_values=True)
        is_path = parts.scheme == "unix"
        said = options.pop("db", ["" if is_path else parts.path.strip("/")])[0]
        port, db = parts.port or 6379, int(said or 0)
    except ValueError:
        raise StateError(_RIGHT, where=where) from None
    place = parts.path.strip("/") if is_path else parts.hostname
    if parts.scheme not in ("redis", "rediss", "unix") or not place or db < 0:
        raise StateError(_RIGHT, where=where)
    if options or parts.fragment:
        text = "must have no options but db: deadlines are the gateway's, certificates are ca_file"
        raise StateError(text, where=where)
    return Address(
        parts.scheme,
        unquote(parts.hostname or ""),
        port,
        unquote(parts.path) if is_path else "",
        db,
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
    )


def _readable(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        with path.open("rb"):
            return str(path.absolute())
    except OSError as error:
        where = f"redis.ca_file {path}"
        raise StateError(f"cannot be read: {error.strerror}", where=where) from error
