"""Keys of people, and commits signed with them: real ones of ssh and of gpg."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gitrepo import Remote, git


class SshKey:
    """A key pair of ssh, and the line that allows it."""

    def __init__(self, folder: Path, person: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.person = person
        self.file = folder / person.partition("@")[0]
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", self.file],
            check=True,
        )

    @property
    def allowed(self) -> str:
        """Its line in a file of allowed signers."""
        kind, key = self.file.with_suffix(".pub").read_text().split()[:2]
        return f'{self.person} namespaces="git" {kind} {key}\n'

    def signs(self, remote: Remote) -> None:
        """From now on what the person of this remote commits is signed with it."""
        _configure(remote, format="ssh", program="ssh-keygen", key=str(self.file))


class GpgKey:
    """A key of gpg in a home of its own."""

    def __init__(self, home: Path) -> None:
        self._home = home
        made = ["--batch", "--quiet", "--passphrase", "", "--quick-gen-key"]
        self._gpg(*made, "Grace <grace@example.org>", "ed25519", "sign")
        program = home / "sign"
        program.write_text(f'#!/bin/sh\nexec gpg --homedir "{home}" "$@"\n')
        program.chmod(0o755)
        self._program = str(program)

    def exported(self, *, armoured: bool) -> bytes:
        """The public key, as text or as bytes."""
        return self._gpg(*(["--armor"] if armoured else []), "--export")

    def _gpg(self, *arguments: str) -> bytes:
        command = ["gpg", "--homedir", str(self._home), *arguments]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def signs(self, remote: Remote) -> None:
        """From now on what the person of this remote commits is signed with it."""
        _configure(remote, format="openpgp", program=self._program, key="grace@example.org")

    def end(self) -> None:
        """Its agent ends with it."""
        command = ["gpgconf", "--homedir", str(self._home), "--kill", "all"]
        subprocess.run(command, check=True, capture_output=True)


@contextmanager
def gpg_key() -> Iterator[GpgKey]:
    """In a folder of a short name: its agent listens in there."""
    home = Path(tempfile.mkdtemp(prefix="g"))
    try:
        key = GpgKey(home)
        yield key
        key.end()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def nobody_signs(remote: Remote) -> None:
    """From now on nothing is signed."""
    git(remote.person, "config", "commit.gpgsign", "false")


def _configure(remote: Remote, *, format: str, program: str, key: str) -> None:  # noqa: A002
    settings = {
        "commit.gpgsign": "true",
        "gpg.format": format,
        f"gpg.{format}.program": program,
        "user.signingkey": key,
    }
    for name, value in settings.items():
        git(remote.person, "config", name, value)


#: What a gateway may see of the environment, when it looks for ssh-keygen and gpg.
SEEN = {"PATH": os.environ["PATH"]}
