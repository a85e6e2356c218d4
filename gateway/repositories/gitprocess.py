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

#: What git may see of the gateway's environment. A branch's processes see nothing of it.
_SEEN = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_CONFIG_HOME"),
    *("SSH_AUTH_SOCK", "GIT_ASKPASS", "GIT_SSH_COMMAND"),
    *("GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"),
)
_NOISE = re.compile(r"^(hint:|warning: redirecting|\s*$)")
_FULL = re.compile(r"No space left on device|[Dd]isk quota exceeded")
_KILLED_CHILD_WAIT = 5.0
#: Both ends are on this machine: to compress for the way between costs more than the way.
_LOCAL_SERVER = (
    "git -c safe.directory=* -c uploadpack.allowFilter=true -c uploadpack.allowAnySHA1InWant=true"
    " -c pack.compression=0"
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
#: What a child keeps of the environment where the credentials are nobody's business.
_WITHOUT_CREDENTIALS = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_CONFIG_HOME"),
    *("GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"),
)


def environment_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of a process's environment that git may see."""
    return {name: environ[name] for name in _SEEN if name in environ}


@dataclass(frozen=True, slots=True)
class Done:
    """What a finished git child left: exit code, standard output, and its words without secrets."""

    code: int
    output: bytes
    words: str

    @property
    def disk_full(self) -> bool:
        """Whether it says so of ours: the disk of the remote speaks through lines of its own."""
        ours = (part for part in self.words.split("; ") if not part.startswith("remote:"))
        return any(_FULL.search(part) for part in ours)


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

    def same_server(self, other: Address) -> bool:
        """Whether what proves to one who the gateway is may be shown to the other."""
        if self.local or other.local:
            return self.local and other.local
        ours, theirs = _server(self.url), _server(other.url)
        encrypted = {ours[0], theirs[0]} == {"https", "ssh"}
        return ours == theirs or (encrypted and ours[1:] == theirs[1:] == (ours[1], None))

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def _is_path(remote: str) -> bool:
    # `host:path` is ssh unless a slash comes before the colon, as git itself decides.
    head = remote.partition(":")[0]
    return ":" not in remote or "/" in head


def _server(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port; no port where it is the scheme's own."""
    if "://" not in url:
        return "ssh", url.partition(":")[0].rpartition("@")[2].lower(), None
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443, "ssh": 22, "git": 9418}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", parts.port if parts.port != usual else None


class Children:
    """Running git children that are ended, and new ones refused, all at once."""

    __slots__ = ("guard", "interrupted", "running")

    def __init__(self) -> None:
        self.running: set[subprocess.Popen[bytes]] = set()
        self.guard = threading.Lock()
        self.interrupted = False


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
        children: Children | None = None,
    ) -> None:
        self.cache = cache
        self.address = address
        self._environment = dict(environment)
        self._credentials = credentials
        self._veil = Veil(credentials)
        self._protocols = protocols
        self._children = children or Children()

    def beside(self, cache: Path, address: Address) -> GitProcess:
        """The children of another cache: ended with these, credentials only for the same server."""
        environment, credentials = self._environment, self._credentials
        if not self.address.same_server(address):
            environment = {k: v for k, v in environment.items() if k in _WITHOUT_CREDENTIALS}
            credentials = Credentials(ca_file=credentials.ca_file)
        return GitProcess(cache, address, environment, credentials, children=self._children)

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
        self,
        arguments: Sequence[str],
        *,
        network: bool,
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A git child in a session of its own, ended with all its children when the block ends."""
        with self._children.guard:
            if self._children.interrupted:
                raise RemoteUnavailable("the gateway is stopping", where=self.address.shown)
            self._veil.look()
            child = subprocess.Popen(
                ["git", *arguments],
                cwd=self.cache.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**self._child_environment(network=network), **(environment or {})},
                pass_fds=self._credentials.descriptors,
                start_new_session=True,
            )
            self._children.running.add(child)
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
            with self._children.guard:
                self._children.running.discard(child)

    def interrupt(self) -> None:
        """End every running child and refuse new ones: the gateway stops and waits for nobody."""
        with self._children.guard:
            self._children.interrupted = True
            for child in self._children.running:
                end_group(child)

    def resume(self) -> None:
        """Take new children again after `interrupt`."""
        with self._children.guard:
            self._children.interrupted = False

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
