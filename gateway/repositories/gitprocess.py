"""How a git child process is started, bounded and ended, and how its words are made safe to show.

Owns the environment of every git child and the killing of its whole process group. Knows nothing
of what git is asked to do: `git.py` does.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from gateway.errors import RemoteUnavailable

_USERINFO = re.compile(r"(?<=://)[^/\s'\"]*@")
_NOISE = re.compile(r"^(hint:|warning: redirecting|\s*$)")
_KILLED_CHILD_WAIT = 5.0
_LOCAL_SERVER = (
    "git -c safe.directory=* -c uploadpack.allowFilter=true -c uploadpack.allowAnySHA1InWant=true"
)
_FIXED_CONFIG = {
    "advice.detachedHead": "false",
    "advice.fetchShowForcedUpdates": "false",
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
    """A remote's URL with what is secret in it taken out: `url` for git, `shown` for people."""

    __slots__ = ("_secrets", "config", "local", "shown", "url")

    def __init__(self, remote: str) -> None:
        parts = urlsplit(remote) if "://" in remote else None
        self._secrets: tuple[str, ...] = ()
        self.url = remote
        self.config: dict[str, str] = {}
        self.local = (parts is None and _is_path(remote)) or remote.startswith("file://")
        if parts is not None and "@" in parts.netloc:
            userinfo, _, host = parts.netloc.rpartition("@")
            self._keep_secret(userinfo)
            if parts.scheme in ("http", "https"):
                # git hands its URL to git-remote-https as an argument, which any user of the
                # machine can list; a header given by environment stays between the processes.
                self.url = urlunsplit(parts._replace(netloc=host))
                pair = ":".join(unquote(part) for part in [*userinfo.split(":", 1), ""][:2])
                token = base64.b64encode(pair.encode()).decode()
                self._secrets += (token,)
                origin = f"{parts.scheme}://{host}/"
                self.config[f"http.{origin}.extraHeader"] = f"Authorization: Basic {token}"
        self.shown = self.hide(remote)
        if self.local and parts is None:
            self.url = str(Path(remote).absolute())

    def _keep_secret(self, userinfo: str) -> None:
        user, colon, password = userinfo.partition(":")
        if not colon and user == "git":
            return
        token = password if colon else user
        self._secrets += tuple(text for text in (userinfo, token, unquote(token)) if len(text) > 3)

    def hide(self, text: str) -> str:
        """The text without any credential of this address or of any URL in it."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _USERINFO.sub("***@", text)

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def _is_path(remote: str) -> bool:
    # `host:path` is ssh unless a slash comes before the colon, as git itself decides.
    head = remote.partition(":")[0]
    return ":" not in remote or "/" in head


class GitProcess:
    """Runs git children for one cache directory and one remote.

    `environment` is all a child inherits (PATH, HOME, SSH_AUTH_SOCK, GIT_ASKPASS, proxies ...);
    nothing is read from the gateway's own environment.
    """

    def __init__(self, cache: Path, address: Address, environment: Mapping[str, str]) -> None:
        self.cache = cache
        self.address = address
        self._environment = dict(environment)
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
            child = subprocess.Popen(
                ["git", *arguments],
                cwd=self.cache.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._child_environment(network=network),
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
        lines = errors.decode(errors="replace").replace("\r", "\n").splitlines()
        kept = [line.strip() for line in lines if not _NOISE.match(line)]
        return self.address.hide("; ".join(kept))[-2000:]

    def _child_environment(self, *, network: bool) -> dict[str, str]:
        config = {**_FIXED_CONFIG, "remote.origin.url": self.address.url, **self.address.config}
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
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=15",
            **self._environment,
            # Above any setting of the user's: ext:: would be a shell.
            "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
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
