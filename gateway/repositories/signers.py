"""Who may sign: the files of `trust.signed_by`, and what git is told so that it asks only them.

Read anew for each commit, so that a key that is added or taken away counts at once. Nothing of the
gateway's own user counts: neither a keyring of gpg nor what git is configured with.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

from gateway.config.trust import TrustConfig
from gateway.errors import ConfigError

_ARMOUR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL
)
_MOST_BYTES = 4 << 20
_KEPT = 4
_RIGHT = (
    "must hold allowed signers, a line each such as `ada@example.org ssh-ed25519 AAAA…`, or OpenPGP"
    " public keys"
)
_GPG = """\
no-default-keyring
keyring {keys}
trust-model always
no-auto-key-retrieve
no-autostart
batch
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """How git is asked about signatures: settings before its command, and variables."""

    settings: tuple[str, ...]
    environment: Mapping[str, str]


class Signers:
    """The files, and a folder made from them that git's helpers can use. Thread-safe."""

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self._files = files
        self._folder = folder
        self._guard = threading.Lock()

    def require(self, path: str | None) -> None:
        """ConfigError for what a person must set right first; `path` is where tools are found."""
        ssh, pgp = self._read()
        for name, needed in (("ssh-keygen", ssh), ("gpg", pgp)):
            if needed and shutil.which(name, path=path) is None:
                raise ConfigError(
                    [f"trust.signed_by: names keys that {name} checks, which is not installed here"]
                )

    def asked(self) -> Asked:
        """For one question; ConfigError if a file cannot be read any more."""
        ssh, pgp = self._read()
        folder = self._folder / sha256(ssh + b"\0" + pgp).hexdigest()[:16]
        with self._guard:
            if not folder.is_dir():
                self._write(folder, ssh, pgp)
        settings = {
            "gpg.ssh.allowedSignersFile": str(folder / "allowed_signers"),
            "gpg.ssh.program": "ssh-keygen",
            "gpg.program": "gpg",
            "gpg.openpgp.program": "gpg",
            "gpg.x509.program": "false",
            "gpg.minTrustLevel": "undefined",
        }
        pairs = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        environment = {"GNUPGHOME": str(folder / "gnupg"), "GIT_CONFIG_GLOBAL": os.devnull}
        return Asked(tuple(pairs), environment)

    def _read(self) -> tuple[bytes, bytes]:
        """All ssh's lines, and all OpenPGP keys without armour."""
        ssh, pgp = b"", b""
        for file in self._files:
            try:
                with file.open("rb") as opened:
                    content = opened.read(_MOST_BYTES)
            except OSError as error:
                reason = error.strerror or error
                raise ConfigError([f"trust.signed_by: {file}: cannot be read: {reason}"]) from None
            armoured = _ARMOUR.findall(content)
            if armoured:
                pgp += b"".join(_unarmoured(block, file) for block in armoured)
            elif content[:1] >= b"\x80":
                pgp += content
            elif b"ssh-" in content or b"ecdsa-" in content:
                ssh += content.rstrip(b"\n") + b"\n"
            else:
                raise ConfigError([f"trust.signed_by: {file}: {_RIGHT}"])
        return ssh, pgp

    def _write(self, folder: Path, ssh: bytes, pgp: bytes) -> None:
        """Built beside and renamed; what was made of files of long ago goes."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The newest may be in use at this moment.
        made = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for old in made[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        beside = Path(mkdtemp(prefix=".", dir=self._folder))
        (beside / "allowed_signers").write_bytes(ssh)
        home = beside / "gnupg"
        home.mkdir(mode=0o700)
        (home / "keys.gpg").write_bytes(pgp)
        (home / "gpg.conf").write_text(_GPG.format(keys=folder / "gnupg" / "keys.gpg"))
        (home / "common.conf").write_text("")
        with contextlib.suppress(FileExistsError):
            beside.rename(folder)


def told_of(trust: TrustConfig, path: str | None) -> list[str]:
    """The rule in words. ConfigError for a file that is here and says nothing that can be used."""
    whom = f"of {', '.join(trust.branches)}" if trust.branches else "of every branch"
    said = []
    if trust.signed_by is not None:
        here = [file for file in trust.signed_by if file.exists()]
        Signers(here, Path()).require(path)
        away = [f"{file}, which is not here" for file in trust.signed_by if file not in here]
        said.append(f"{whom} what is signed by keys in {', '.join([*map(str, here), *away])}")
    if trust.formats is not None:
        said.append(f"{whom} the formats {', '.join(trust.formats)}")
    return said


def _unarmoured(block: bytes, file: Path) -> bytes:
    lines = block.replace(b"\r\n", b"\n").partition(b"\n\n")[2] or block
    body = b"".join(line for line in lines.split(b"\n") if not line.startswith(b"="))
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise ConfigError(
            [f"trust.signed_by: {file}: holds a block of keys that is no base64"]
        ) from None
