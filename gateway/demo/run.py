"""The demonstration from end to end: build, serve, send traffic, say what to try, stop in order."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from threading import Event
from types import FrameType

import click

from gateway.demo.repository import CHALLENGER, PROD, build_repository, git
from gateway.demo.traffic import Labelled, ask, is_ready, rows_of, send
from gateway.errors import GatewayError, StateError

_TEMPLATES = Path(__file__).parent
#: Enough for a first word on the challenger. With more users, that the rows are always the same few
#: would be seen as drift.
_REQUESTS, _USERS = 600, 300
_START_SECONDS = 90.0
_STOP_SECONDS = 60.0


def run_demo(
    folder: Path,
    port: int,
    *,
    say: Callable[[str], None] = click.echo,
    command: Sequence[str] = (sys.executable, "-m", "gateway"),
) -> int:
    """Serve the demonstration in `folder` until SIGINT or SIGTERM; the gateway's exit code.

    Port 0 takes a free one. GatewayError where it cannot be built or started.
    """
    port = _free(port)
    address = f"http://127.0.0.1:{port}"
    folder.mkdir(parents=True, exist_ok=True)
    say(f"The demonstration lives in {folder}/; delete the folder to begin anew.")
    if not (folder / "repository.git").exists():
        say("Building its repository and training two models (some seconds) ...")
    repository = build_repository(folder)
    rows = rows_of(repository)
    write_config(folder / "gateway.yaml", port)
    (folder / "request.json").write_text(json.dumps({"instances": [rows[0][0]]}) + "\n")
    _clone(repository, folder / "project")
    serve = [*command, "serve", str(folder / "gateway.yaml")]
    return _Served(serve, folder, address, say).run(rows)


class _Served:
    """The gateway as a child process, from its start to its orderly end."""

    def __init__(
        self, command: list[str], folder: Path, address: str, say: Callable[[str], None]
    ) -> None:
        self._command = command
        self._folder = folder
        self._address = address
        self._say = say
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = Event()

    def run(self, rows: list[Labelled]) -> int:
        # Before the child is there: a signal in between would leave it without a parent.
        former = {
            number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)
        }
        child = self._child = self._start()
        if self._stopping.is_set():
            child.terminate()
        try:
            self._wait_until_ready(child)
            self._show(rows)
            code = child.wait()
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
            _end(child)
        if not self._stopping.is_set():
            raise GatewayError(f"the gateway ended by itself with exit code {code}:\n{self._log()}")
        self._say("Stopped; everything answered is recorded.")
        return code

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "gateway.log").open("wb") as output:
            # A session of its own: Ctrl-C reaches this process, which passes it on, once.
            return subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping.set()
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()

    def _wait_until_ready(self, child: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _START_SECONDS
        while not self._stopping.is_set() and not is_ready(self._address):
            if child.poll() is not None:
                # Whoever said that it should stop has ended it.
                if self._stopping.is_set():
                    return
                raise GatewayError(f"the gateway did not start:\n{self._log()}")
            if time.monotonic() > end:
                raise GatewayError(
                    f"the gateway was not ready after {_START_SECONDS:.0f} s:\n{self._log()}"
                )
            time.sleep(0.1)

    def _show(self, rows: list[Labelled]) -> None:
        if self._stopping.is_set():
            return
        try:
            answered = send(self._address, rows, requests=_REQUESTS, users=_USERS)
            example = ask(self._address, rows[0][0], "ada")
        except (OSError, HTTPException) as error:
            if self._stopping.is_set():
                return
            raise GatewayError(f"the gateway did not answer: {error}\n{self._log()}") from None
        self._say(_guide(self._folder, self._address, answered, example))

    def _log(self) -> str:
        lines = (self._folder / "gateway.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-20:])


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _free(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StateError(
                f"port {port} of 127.0.0.1 cannot be had ({error.strerror}); choose another: "
                f"gateway demo --port {port + 1 if port < 65535 else 8080}"
            ) from None
        free: int = probe.getsockname()[1]
        return free


def write_config(file: Path, port: int) -> None:
    """gateway.yaml of the demonstration, listening on that port of this machine alone."""
    template = (_TEMPLATES / "gateway.yaml").read_text()
    file.write_text(template.replace("127.0.0.1:8080", f"127.0.0.1:{port}"))


def _clone(repository: Path, project: Path) -> None:
    """A clone to work in, with a name to commit under on machines where git knows none."""
    if not project.exists():
        git(
            repository.parent,
            "clone",
            "--quiet",
            str(repository.absolute()),
            str(project.absolute()),
        )
        git(project, "config", "user.name", "Mira Castellan")
        git(project, "config", "user.email", "mira@example.org")
        git(project, "config", "pull.rebase", "false")


def _command() -> str:
    """How the one who looks on runs the gateway's other commands."""
    script = Path(sys.argv[0])
    if script.name != "gateway":
        return f"{shlex.quote(sys.executable)} -m gateway"
    here = Path.cwd()
    script = script.absolute()
    return shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))


def _guide(folder: Path, address: str, answered: Counter[str], example: dict[str, object]) -> str:
    shares = ", ".join(f"{count} by {branch}" for branch, count in answered.most_common())
    return (
        (_TEMPLATES / "guide.txt")
        .read_text()
        .format(
            folder=folder,
            address=address,
            gateway=_command(),
            shares=shares,
            requests=f"{_REQUESTS:,}",
            users=f"{_USERS:,}",
            answer=json.dumps(example),
            prod=PROD,
            challenger=CHALLENGER,
        )
        .rstrip()
    )
