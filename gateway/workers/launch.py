"""Starting a child and burying it: one thread a child, from before its first breath to its last.

The thread that forks also waits, because the child asks the kernel to be killed with the thread
that made it: a kill -9 of the front then leaves no worker behind.
"""

from __future__ import annotations

import contextlib
import os
import platform
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import StateError
from gateway.workers.containment import Containment, Scratch

_RUNNER = Path(__file__).with_name("runner") / "__main__.py"
#: How much nicer than the front a process becomes that is to yield the processor.
_STEP_BACK = 10
#: Milliseconds between two looks at what a worker has written.
_LOOK = 500
_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "BLIS")


#: What a process did that the filter of calls ended.
FORBIDDEN_CALL = "it made a system call that no model needs and its containment forbids"


class NotStarted(StateError):
    """The machine would not start or keep a worker: nothing is known against the commit."""


def environment() -> dict[str, str]:
    """All that a child finds in its environment: nothing of the front's."""
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "HOME": "/tmp",  # noqa: S108 - a home that exists and is nobody's
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        **{f"{library}_NUM_THREADS": "1" for library in _THREADS},
    }


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that a worker runs on, and the folder that holds what it may import.

    `key` is None for the gateway's own. A branch's environment is opened by the runner itself
    (`-S`): what lies in its site-packages may run code as soon as it is looked at.
    """

    python: str = sys.executable
    folder: Path = Path(sys.prefix)
    key: str | None = None
    #: The file of the branch that asked for it, and the version of Python.
    lock: str | None = None
    version: str = platform.python_version()
    flags: tuple[str, ...] = ("-P",)

    @property
    def story(self) -> dict[str, str | None]:
        """What status says of it."""
        return {
            "kind": "gateway" if self.key is None else "branch",
            "lock": self.lock,
            "key": self.key,
            "python": self.version,
        }


@dataclass(frozen=True, slots=True)
class Launch:
    """How children are started. `grace` is the time a stopping one has at each step."""

    interpreter: Interpreter = field(default_factory=Interpreter)
    environment: Mapping[str, str] = field(default_factory=environment)
    containment: Containment = field(default_factory=Containment)
    hello_deadline: float = 60.0
    grace: float = 2.0


class Child:
    """One process and its group. `exited` is called once, from the child's own thread."""

    def __init__(
        self,
        launch: Launch,
        channel: socket.socket,
        output: int,
        started: Callable[[OSError | None], None],
        exited: Callable[[int], None],
    ) -> None:
        self._launch = launch
        self._channel = channel
        self._output = output
        self._started = started
        self._exited = exited
        self._guard = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._doomed = False
        self.pid = 0
        self.scratch = Scratch()
        #: Why it was ended from here, if it was.
        self.verdict: str | None = None

    def start(self) -> None:
        """Return at once; `started` tells. Raises NotStarted where not even a thread starts."""
        try:
            threading.Thread(target=self._tend, name="worker-child", daemon=True).start()
        except RuntimeError as error:
            self._close_ends()
            raise NotStarted(f"no thread to start a worker: {error}") from error

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal the whole group; a child not yet started is killed as soon as it is."""
        with self._guard:
            if self._process is None:
                self._doomed = True
            elif self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, number)

    def step_back(self) -> None:
        """Let every other process go first, from now on: only a privileged user could undo it."""
        with self._guard:
            if self._process is None or self._process.returncode is not None:
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                nice = os.getpriority(os.PRIO_PGRP, self.pid)
                os.setpriority(os.PRIO_PGRP, self.pid, nice + _STEP_BACK)
            # Where the kernel shares out the processor by session first, ours must say it too.
            with contextlib.suppress(OSError):
                Path(f"/proc/{self.pid}/autogroup").write_text(str(_STEP_BACK))

    def _close_ends(self) -> None:
        self._channel.close()
        os.close(self._output)

    def _tend(self) -> None:
        fd, launch = self._channel.fileno(), self._launch
        interpreter = launch.interpreter
        self.scratch = launch.containment.scratch()
        try:
            process = subprocess.Popen(
                [interpreter.python, *interpreter.flags, str(_RUNNER), str(fd)],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env={**launch.environment, **launch.containment.variables(self.scratch)},
                pass_fds=(fd,),
                start_new_session=True,
                cwd="/",
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._close_ends()
            self.scratch.remove()
            self._started(error if isinstance(error, OSError) else OSError(str(error)))
            return
        self._close_ends()
        with self._guard:
            self._process = process
            self.pid = process.pid
            if self._doomed:
                os.killpg(process.pid, signal.SIGKILL)
        self._started(None)
        self._watch(process.pid)
        # Seen dead but not yet reaped, its number cannot be another's: what it left behind in
        # its group is killed first.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._guard:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        self.scratch.remove()
        self._exited(code)

    def _watch(self, pid: int) -> None:
        """Until it ends: no file system bounds what a process writes, so it is looked at."""
        try:
            ended = os.pidfd_open(pid)
        except (AttributeError, OSError):  # another system, or an old kernel
            return
        try:
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            while not poll.poll(_LOOK):
                self.verdict = self.verdict or self.scratch.overfull(pid)
                if self.verdict is not None:
                    self.kill()
        finally:
            os.close(ended)


def said(code: int) -> str:
    """How a process ended, for people."""
    if code == -signal.SIGSYS:
        return f"was killed: {FORBIDDEN_CALL}"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
