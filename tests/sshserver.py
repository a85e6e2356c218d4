"""A real sshd on 127.0.0.1 for tests, with keys of its own; it lets one key in."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self

from ports import free_port
from waiting import wait_until


class SshServer:
    """Serves this machine's files to who holds `key_file`; all it needs is below `folder`."""

    def __init__(self, folder: Path) -> None:
        # A space and a percent sign: a mounted secret may be anywhere.
        self.folder = folder / "100% ssh"
        self.folder.mkdir(parents=True)
        self.key_file = self.folder / "key"
        self.known_hosts_file = self.folder / "known hosts"
        host_key = self.folder / "host"
        for key in (self.key_file, host_key):
            new_key(key)
        self.port = free_port()
        public = host_key.with_suffix(".pub").read_text()
        self.known_hosts_file.write_text(f"[127.0.0.1]:{self.port} {public}")
        # sshd's own configuration has no way to quote a percent sign.
        plain = folder / "sshd"
        plain.mkdir()
        shutil.copy(self.key_file.with_suffix(".pub"), plain / "authorized_keys")
        shutil.copy(host_key, plain / "host")
        (plain / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {plain}/host\n"
            f"AuthorizedKeysFile {plain}/authorized_keys\nPidFile none\n"
            "UsePAM no\nStrictModes no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
            "AcceptEnv GIT_PROTOCOL\n"
        )
        self._config = plain / "config"
        self._words = plain / "words"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, repository: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{repository}"

    def __enter__(self) -> Self:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        # By its whole path: it starts itself anew for every caller.
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        assert program is not None
        with self._words.open("wb") as words:
            self._process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(self._config)],
                stderr=words,
                start_new_session=True,
            )
        wait_until(self._answers, describe=self._words.read_text)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(20)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._words.read_text()
        with socket.socket() as caller:
            return caller.connect_ex(("127.0.0.1", self.port)) == 0


def new_key(file: Path) -> None:
    """A pair of keys: `file` and `file`.pub."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", file], check=True
    )
