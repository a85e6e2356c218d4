"""`access` and `tls` in gateway.yaml: whose requests are answered, and over what."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from gateway.access.scopes import Scope
from gateway.config.addresses import PathText
from gateway.config.mapping import Section

OPEN_TO_ALL = (
    "must be of this machine, such as 127.0.0.1:8080, while anybody may come in: give keys by"
    " `access: {keys_file: PATH}` (`gateway key` makes them), or say aloud what may be done without"
    " one, as in `access: {anonymous: [predict, feedback, read]}`"
)


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class AccessConfig(Section):
    """Who may do what."""

    keys_file: PathText | None = Field(
        default=None,
        description="File of API keys, by their hashes; read again when it changes. `gateway key`"
        " makes its entries.",
    )
    anonymous: Annotated[tuple[Scope, ...], BeforeValidator(_listed)] | None = Field(
        default=None,
        description="What may be done without a key: some of predict, feedback, operate, override,"
        " read. Left out: nothing, but on a loopback address without `keys_file` all except"
        " override.",
    )
    rate: float | None = Field(
        default=None,
        ge=0.01,
        le=1_000_000,
        description="Most requests a second from one address without a key; a key has its own.",
    )
    page_rate: float = Field(
        default=100.0,
        ge=0.01,
        le=1_000_000,
        description="Most pages a second (`/branches`, `/metrics`, everything but predictions and"
        " outcomes) of one key, or of one address without.",
    )


class TlsConfig(Section):
    """The certificate that the gateway shows; its files are read again when they change."""

    cert_file: PathText = Field(
        description="The certificate and those that vouch for it, as PEM, its own first."
    )
    key_file: PathText = Field(description="Its private key, as PEM, without a passphrase.")
