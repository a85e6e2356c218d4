"""The door to uv: one call at a time, in a thread, niced, bounded, and gone when the front is."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.errors import LoadError, StateError

#: What uv may see of the gateway's environment.
_SEEN = (
    *("PATH", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"),
    *("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"),
)
#: Dies with the thread that started it, as a worker does, and lets all that serves go first.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the gateway ended")
os.nice(10)
os.execv(sys.argv[2], sys.argv[2:])
"""
_MOST_WORDS = 2000
_USERINFO = re.compile(r"(?<=//)[^/\s@]+@")
#: What another try may find otherwise: the network, the index, our right to it, or the disk.
_AWAY = re.compile(
    r"error sending request|dns error|timed out|[Cc]onnection (refused|reset|closed)"
    r"|HTTP status server error|\b(401|403|408|429) [A-Z]|tcp connect error|body from connection"
    r"|No space left on device|[Dd]isk quota exceeded|Read-only file system|Permission denied"
)


class NotBuilt(LoadError):
    """The branch's environment cannot be built as its commit asks for it."""


class BuildAway(StateError):
    """It could not be built now: the index, the network or the disk; nothing against the commit."""


class Ended(BuildAway):
    """The gateway wants it no more."""


def seen_by_uv(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of a process's environment that uv may see."""
    return {name: environ[name] for name in _SEEN if name in environ}


def find_uv() -> str | None:
    """The program: beside this Python, else on the PATH."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")


class Uv:
    """One build's calls of uv; `end` from any thread ends the one under way and all that follow.

    `environ` is what `seen_by_uv` leaves of the process's own.
    """

    def __init__(self, cache: Path, environ: Mapping[str, str], python: str = sys.executable):
        self._environ = {
            **environ,
            "HOME": str(cache),
            # The first of the Pythons that fit is taken: where it fits, the gateway's own.
            "PATH": f"{Path(python).parent}{os.pathsep}{environ.get('PATH', os.defpath)}",
            **({"VIRTUAL_ENV": sys.prefix} if sys.prefix != sys.base_prefix else {}),
            "UV_CACHE_DIR": str(cache),
            "UV_NO_CONFIG": "1",
            "UV_NO_ENV_FILE": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_PYTHON_INSTALL_DIR": str(cache / "pythons"),
            "UV_NO_PROGRESS": "1",
            "UV_LINK_MODE": "hardlink",
            "NO_COLOR": "1",
        }
        self._guard = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._ended = False

    def end(self) -> None:
        """Kill what runs."""
        with self._guard:
            self._ended = True
            if self._process is not None and self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def run(self, *arguments: str, what: str, seconds: float) -> str:
        """Its standard output. NotBuilt with uv's own words, BuildAway where waiting may help."""
        program = find_uv()
        if program is None:
            raise BuildAway(
                "uv, which builds the environments of branches, is neither beside the gateway's "
                "Python nor on the PATH: pip install uv"
            )
        code, output, words = self._done([program, *arguments], what, seconds)
        if code == 0:
            return output
        said = _USERINFO.sub("***@", " ".join(words.split()))
        if len(said) > _MOST_WORDS:
            said = f"{said[: _MOST_WORDS // 2]} … {said[-_MOST_WORDS // 2 :]}"
        if code < 0:
            raise BuildAway(f"{what}: uv was killed by signal {-code}; {said}")
        if _AWAY.search(said):
            raise BuildAway(f"{what}: uv says: {said}")
        raise NotBuilt(f"{what}: uv says: {said}")

    def compile(self, python: Path, seconds: float) -> None:
        """Spare workers the compiling of what they import; nothing in the environment is run.

        What is no Python of this version stays as it is, and tests are not what is served.
        """
        packages = python.parents[1] / "lib"
        told = ["-q", "-q", "-j", "0", "-x", "/tests?/", str(packages)]
        command = [str(python), "-I", "-S", "-m", "compileall", *told]
        self._done(command, "compiling an environment", seconds)

    def _done(self, command: Sequence[str], what: str, seconds: float) -> tuple[int, str, str]:
        """Its exit code, what it said, and its words."""
        with self._started(command) as process:
            try:
                output, words = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                raise BuildAway(f"{what}: it was not done within {seconds:g} s") from None
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
        if self._ended:
            raise Ended(f"{what}: it is wanted no more")
        return process.returncode, output, words

    def _started(self, command: Sequence[str]) -> subprocess.Popen[str]:
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
        with self._guard:
            if self._ended:
                raise Ended("it is wanted no more")
            try:
                self._process = subprocess.Popen(
                    [*launcher, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=self._environ,
                    start_new_session=True,
                    cwd="/",
                    text=True,
                    errors="replace",
                )
            except OSError as error:
                raise BuildAway(f"uv could not be started: {error}") from error
            return self._process
