"""The door to the certificate's files: a TLS context that takes them anew while it is in use."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import ssl
from pathlib import Path
from typing import Any

from gateway.access.audit import audit
from gateway.access.keys_file import LOCAL
from gateway.config import TlsConfig
from gateway.errors import StateError
from gateway.secret import DESCRIPTORS, held_open

log = logging.getLogger(__name__)

_MOST_BYTES = 1024**2


class Certificate:
    """`context` is for the server, for ever; each handshake shows what was last taken."""

    def __init__(self, config: TlsConfig) -> None:
        """StateError if there is no certificate to begin with."""
        self._config = config
        self._seen = b""
        self._candidate = b""
        self.trouble: str | None = None
        self.context = _context()
        parts = _read(config.cert_file), _read(config.key_file)
        self._seen = _digest(*parts)
        _load(self.context, config, *parts)

    def status(self) -> dict[str, Any]:
        return {
            "file": str(self._config.cert_file),
            "state": "refused" if self.trouble else "in_force",
            "reason": self.trouble,
        }

    async def look(self) -> None:
        """Take the files if they changed and go together; the old ones stay if not."""
        try:
            parts = await asyncio.to_thread(self._changed)
            if parts is None:
                return
            # Here, in the thread of the handshakes: OpenSSL's contexts are not for several.
            _load(self.context, self._config, *parts)
        except StateError as error:
            if self.trouble != str(error):
                self.trouble = str(error)
                log.error("the former certificate stays in force: %s", error)
                audit("certificate", who=LOCAL, address=LOCAL, result="refused")
            return
        self.trouble = None
        audit("certificate", who=LOCAL, address=LOCAL, result="in_force")

    def _changed(self) -> tuple[bytes, bytes] | None:
        """What the files hold, if that is news and two looks saw it: both are never written at
        once. StateError if they do not go together.
        """
        config = self._config
        try:
            parts = _read(config.cert_file), _read(config.key_file)
        except StateError:
            self._seen = self._candidate = b""
            raise
        found = _digest(*parts)
        settled, self._candidate = found == self._candidate, found
        if not settled or found == self._seen:
            return None
        self._seen = found
        # A pair that does not match would leave half of it in a context that is in use.
        _load(_context(), config, *parts)
        return parts


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 or newer
    context.set_alpn_protocols(["http/1.1"])
    return context


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"\0".join(parts)).digest()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise StateError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _load(context: ssl.SSLContext, config: TlsConfig, certificate: bytes, key: bytes) -> None:
    """Exactly these bytes, which the files may not hold any more; StateError says why not."""
    held: list[int] = []
    try:
        held += [held_open(certificate), held_open(key)]
        chain, private = (f"{DESCRIPTORS}{number}" for number in held)
        # Asked for a passphrase, OpenSSL would ask the terminal, and wait.
        context.load_cert_chain(chain, private, password=lambda: "")
    except ssl.SSLError as error:
        raise StateError(_words(error, config), where="tls") from None
    finally:
        for number in held:
            os.close(number)


def _words(error: ssl.SSLError, config: TlsConfig) -> str:
    reason = error.reason or ""
    if reason == "KEY_VALUES_MISMATCH":
        return f"{config.key_file} is not the key of the certificate in {config.cert_file}"
    return (
        f"{config.cert_file} must be a certificate and {config.key_file} its private key, as PEM"
        f" and without a passphrase ({reason.lower().replace('_', ' ') or 'OpenSSL refuses them'})"
    )
