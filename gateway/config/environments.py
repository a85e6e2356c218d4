"""Where branches' own environments come from, and what is demanded of what goes into them."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from gateway.config.addresses import PathText, carries_secret
from gateway.config.mapping import Section
from gateway.config.quantities import ByteSize, Seconds

_NO_SECRETS = "must not carry a user or password; name a file with them in netrc_file"


def _index(value: str) -> str:
    scheme = value.partition("://")[0]
    if scheme not in ("https", "http", "file"):
        raise ValueError("must be the address of an index, such as https://pypi.org/simple")
    if carries_secret(value):
        raise ValueError(_NO_SECRETS)
    return value


class EnvironmentsConfig(Section):
    """How uv builds the environment of a branch that says `environment: branch`."""

    index: str | None = Field(
        default=None, description="The package index to install from; without one, uv's own."
    )
    extra_indexes: tuple[str, ...] = Field(
        default=(), description="Further indexes, looked into first, in this order."
    )
    find_links: PathText | None = Field(
        default=None,
        description="A folder with wheels; where no index is named, the only place they come from.",
    )
    netrc_file: PathText | None = Field(
        default=None, description="File with users and passwords of indexes, in netrc's form."
    )
    hashes: bool = Field(
        default=True,
        description="Refuse a requirement that has no sha256 beside it; a lock has them.",
    )
    wheels_only: bool = Field(
        default=True,
        description="Refuse what would have to be built from source, which runs its code as the"
        " gateway.",
    )
    build_time: Seconds = Field(
        default=1800.0, description="How long a build may take, its downloads included."
    )
    keep: int = Field(
        default=3, ge=0, description="Environments kept though no branch uses them, last used."
    )
    cache_bytes: ByteSize = Field(
        default=4 * 1024**3,
        description="Most bytes of uv's cache that no environment shares; beyond it the cache is"
        " begun anew.",
    )

    @field_validator("extra_indexes", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("index")
    @classmethod
    def _is_index(cls, value: str | None) -> str | None:
        return None if value is None else _index(value)

    @field_validator("extra_indexes")
    @classmethod
    def _are_indexes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_index, value))
