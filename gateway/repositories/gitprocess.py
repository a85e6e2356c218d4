"""How a git child process is started, bounded and ended, and how its words are made safe to show.

Owns the environment of every git child and the killing of its whole process group. Knows nothing
of what git is asked to do: `git.py` does.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gateway.config.addresses import NO_SECRETS, carries_secret
from gateway.errors import ConfigError, RemoteUnavailable
from gateway.repositories.advice import advice
from gateway.repositories.credentials import SSH, Credentials, Veil

_NOISE = re.compile(r"^(hint:|warning: redirecting|\s*$)")
_KILLED_CHILD_WAIT = 5.0
_LOCAL_SERVER = (
    "git -c safe.directory=* -c uploadpack.allowFilter=true -c uploadpack.allowAnySHA1InWant=true"
)
_FIXED_CONFIG = {
    "advice.detachedHead": "false",
    "advice.fetchShowForcedUpdates": "false",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "fetch.writeCommitGraph": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "safe.directory": "*",
    "submodule.recurse": "false",
}


@dataclass(frozen=True, slots=True)
class Done:
    """What a finished git child left: exit code, standard output, and its words without secrets."""

    code: int
    output: bytes
    words: str


class Address:
    """A remote's URL: `url` for git, `shown` for people, the http(s) `server` for passwords."""

    __slots__ = ("local", "server", "shown", "url")

    def __init__(self, remote: str) -> None:
        if carries_secret(remote):
            raise ConfigError([f"repository: {NO_SECRETS}"])
        parts = urlsplit(remote) if "://" in remote else None
        http = parts is not None and parts.scheme in ("http", "https")
        self.server = f"{parts.scheme}://{parts.netloc}" if parts is not None and http else None
        self.local = (parts is None and _is_path(remote)) or remote.startswith("file://")
        self.shown = remote
        self.url = str(Path(remote).absolute()) if self.local and parts is None else remote

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def _is_path(remote: str) -> bool:
    # `host:path` is ssh unless a slash comes before the colon, as git itself decides.
    head = remote.partition(":")[0]
    return ":" not in remote or "/" in head


class GitProcess:
    """Runs git children for one cache directory and one remote.

    `environment` is all a child inherits (PATH, HOME, SSH_AUTH_SOCK, GIT_ASKPASS, proxies ...);
    nothing is read from the gateway's own environment. `credentials` come above it.
    """

    def __init__(
        self,
        cache: Path,
        address: Address,
        environment: Mapping[str, str],
        credentials: Credentials,
        *,
        protocols: str = "file:git:http:https:ssh",
    ) -> None:
        self.cache = cache
        self.address = address
        self._environment = dict(environment)
        self._credentials = credentials
        self._veil = Veil(credentials)
        self._protocols = protocols
        self._running: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()
        self._interrupted = False

    def run(
        self, arguments: Sequence[str], *, stdin: bytes, deadline: float, network: bool
    ) -> Done:
        """Run git to its end; RemoteUnavailable if it takes longer than `deadline` seconds."""
        with self.spawn(arguments, network=network) as child:
            try:
                output, errors = child.communicate(stdin, timeout=deadline)
            except subprocess.TimeoutExpired:
                end_group(child)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.communicate(timeout=_KILLED_CHILD_WAIT)
                raise RemoteUnavailable(
                    f"git {arguments[0]} took longer than {deadline:g} s", where=self.address.shown
                ) from None
        return Done(child.returncode, output, self.words(errors))

    @contextlib.contextmanager
    def spawn(
        self, arguments: Sequence[str], *, network: bool
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A git child in a session of its own, ended with all its children when the block ends."""
        with self._guard:
            if self._interrupted:
                raise RemoteUnavailable("the gateway is stopping", where=self.address.shown)
            self._veil.look()
            child = subprocess.Popen(
                ["git", *arguments],
                cwd=self.cache.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._child_environment(network=network),
                pass_fds=self._credentials.descriptors,
                start_new_session=True,
            )
            self._running.add(child)
        try:
            yield child
        finally:
            if child.poll() is None:
                end_group(child)
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            child.wait()
            with self._guard:
                self._running.discard(child)

    def interrupt(self) -> None:
        """End every running child and refuse new ones: the gateway stops and waits for nobody."""
        with self._guard:
            self._interrupted = True
            for child in self._running:
                end_group(child)

    def resume(self) -> None:
        """Take new children again after `interrupt`."""
        with self._guard:
            self._interrupted = False

    def words(self, errors: bytes) -> str:
        """What git said, on one line, without hints and without credentials."""
        # It may have asked for the password after its file had changed.
        self._veil.look()
        lines = errors.decode(errors="replace").replace("\r", "\n").splitlines()
        kept = [line.strip() for line in lines if not _NOISE.match(line)]
        return self.hide("; ".join(kept))[-2000:]

    def hide(self, text: str) -> str:
        """The text without any credential."""
        return self._veil.hide(text)

    def advised(self, message: str) -> str:
        """A failure's message, and at its end what is to be done about it, if that is known."""
        told = advice(message, self.address.server, self._credentials)
        return f"{message} — {told}" if told else message

    def _child_environment(self, *, network: bool) -> dict[str, str]:
        server = self.address.server
        config = {
            **_FIXED_CONFIG,
            "remote.origin.url": self.address.url,
            **self._credentials.config(server),
        }
        if self.address.local:
            # The server side is a child too, and git gives it none of the configuration below.
            config["remote.origin.uploadpack"] = f"{_LOCAL_SERVER} upload-pack"
            config["remote.origin.receivepack"] = f"{_LOCAL_SERVER} receive-pack"
        if network:
            # Only fetches know the remote as a promisor, so that nothing local ever goes to the
            # network for a missing blob behind our back, and a push prefetches nothing.
            config["remote.origin.promisor"] = "true"
            config["remote.origin.partialclonefilter"] = "blob:none"
        environment = {
            "GIT_SSH_COMMAND": shlex.join(SSH),
            **self._environment,
            **self._credentials.environment(server),
            # Above any setting of the user's: ext:: would be a shell.
            "GIT_ALLOW_PROTOCOL": self._protocols,
            "GIT_DIR": str(self.cache),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": str(len(config)),
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "LANG": "C",
            "LC_ALL": "C",
        }
        for index, (key, value) in enumerate(config.items()):
            environment[f"GIT_CONFIG_KEY_{index}"] = key
            environment[f"GIT_CONFIG_VALUE_{index}"] = value
        return environment


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and everything it started (ssh, git-remote-https, a local upload-pack)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
