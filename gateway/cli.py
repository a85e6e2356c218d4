"""The commands. The only place that reads the environment, and where an error becomes words."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NoReturn

import click
import prometheus_client
import uvicorn
import uvloop

from gateway import __version__
from gateway.app import Front
from gateway.config import Config
from gateway.config.document import load_config
from gateway.errors import GatewayError, StateError
from gateway.monitoring.export import export as read_segments
from gateway.monitoring.layout import Kind
from gateway.names import Branch, InvalidName
from gateway.state import StateDirectory
from gateway.structured_log import configure

log = logging.getLogger("gateway")

#: What git may see of the environment. A branch's processes see nothing of it.
_FOR_GIT = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_CONFIG_HOME"),
    *("SSH_AUTH_SOCK", "GIT_ASKPASS", "GIT_SSH_COMMAND"),
    *("GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"),
)

#: Seconds between saying that connections end and ending them.
_FAREWELL = 1.0

_file = click.argument(
    "file", type=click.Path(path_type=Path), default=Path("gateway.yaml"), required=False
)
_log_format = click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    help="Form of the log on standard error; auto is text on a terminal, else JSON lines.",
)
_log_level = click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="The least important lines that are logged.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="gateway")
def main() -> None:
    """Serve the models of a git repository's branches, split between users.

    \b
    First steps:
      gateway demo                   a demonstration repository, served and explained
      gateway check gateway.yaml     is the file right? (for CI)
      gateway serve gateway.yaml     serve it
      curl localhost:8080/branches   what serves, and why

    A whole gateway.yaml:

    \b
      repository: https://git.example.org/team/project.git
      baseline: prod
      branches:
        prod:           {weight: 90}
        ab-test-210323: {weight: 10}
    """


@main.command()
@_file
@_log_format
@_log_level
def serve(file: Path, log_format: str, log_level: str) -> None:
    """Serve the branches of FILE (default: gateway.yaml) until SIGTERM or Ctrl-C.

    FILE is read again when it changes. Exit codes: 0 stopped in order, 1 a part of the gateway
    could not be kept running, 2 it could not start.
    """
    configure(log_format, log_level)
    # A second series for each one, of no use to anybody here.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    config = _load(file)
    state = StateDirectory(config.state_dir)
    try:
        state.open()
        unit_key = state.unit_key(config, os.environ)
        listener = _bind(config)
    except GatewayError as error:
        _fail(str(error))
    # Until the server listens to signals itself, and again after it has raised them once more.
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            sys.exit(runner.run(_serve(config, file, unit_key, listener, asked)))
    finally:
        state.close()


class _Server(uvicorn.Server):
    """Tells every caller that the connection ends before it closes one.

    Else a caller that has just been answered may send its next request into a closing connection.
    """

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce: Callable[[], None] | None = announce
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        announce, self._announce = self._announce, None
        if announce is None:  # the second signal does not wait
            super().handle_exit(sig, frame)
            return
        announce()
        end = partial(super().handle_exit, sig, frame)
        self._loop.call_soon_threadsafe(self._loop.call_later, _FAREWELL, end)


async def _serve(
    config: Config, file: Path, unit_key: bytes, listener: socket.socket, asked: threading.Event
) -> int:
    """Run the front until it is told to stop; the process' exit code."""
    front = Front(config, file, unit_key, git_environment=_environment(_FOR_GIT))
    server = _Server(
        uvicorn.Config(
            front.app(),
            http="httptools",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=30,
        ),
        front.closing.set,
    )
    front.on_give_up = lambda: setattr(server, "should_exit", True)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("listening on http://%s:%d", shown, port)
    server.should_exit = asked.is_set()
    await server.serve(sockets=[listener])
    return 1 if front.gave_up or not server.started else 0


@main.command()
@_file
def check(file: Path) -> None:
    """Say every mistake in FILE (default: gateway.yaml); exit code 2 if there is one.

    It does not look into the repository: whether the branches exist shows in /branches.
    """
    config = _load(file)
    total = sum(config.weights.values())
    click.echo(f"{file} is right: {config.repository}")
    for name, branch in config.branches.items():
        role = ", the baseline" if name == config.baseline else ""
        click.echo(f"  {name}: {branch.weight / total:.1%} of the users{role}")


@main.command()
@click.option("--settings", type=click.Path(path_type=Path), required=True)
@_log_format
@_log_level
def monitor(settings: Path, log_format: str, log_level: str) -> None:
    """Publish the journal of a state directory. Started by `gateway serve`."""
    from gateway.monitoring.monitor import run_monitor

    configure(log_format, log_level)
    sys.exit(run_monitor(settings, sys.stdin.buffer, sys.stdout.buffer, _environment(_FOR_GIT)))


@main.command()
@click.argument("branch")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    default=Path("gateway.yaml"),
    show_default=True,
    help="The file that names the repository.",
)
@click.option(
    "--kind",
    type=click.Choice(["predictions", "decisions"]),
    default="predictions",
    show_default=True,
    help="Which segments.",
)
@click.option("-o", "--output", type=click.File("wb"), default="-", help="A file; - is stdout.")
def export(branch: str, file: Path, kind: Kind, output: BinaryIO) -> None:
    """Write one BRANCH's published rows as one CSV file, read from the repository."""
    config = _load(file)
    try:
        name = Branch(branch)
        for part in read_segments(config.repository, name, kind, _environment(_FOR_GIT)):
            output.write(part)
    except BrokenPipeError:
        # The reader has what it wanted (`… | head`); nothing may be flushed at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (InvalidName, GatewayError) as error:
        _fail(str(error))


@main.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(".demo"),
    show_default=True,
    help="Where the demonstration lives; remove it to begin anew.",
)
@click.option("--port", default=8080, show_default=True, help="The port to listen on.")
def demo(folder: Path, port: int) -> None:
    """Make a demonstration repository with two branches, serve it, and say what to try."""
    from gateway.demo.run import run_demo

    try:
        sys.exit(run_demo(folder, port))
    except GatewayError as error:
        _fail(str(error))


def _load(file: Path) -> Config:
    try:
        return load_config(file)
    except GatewayError as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(2)


def _bind(config: Config) -> socket.socket:
    """A listening socket, so that the port is known, and refused, before anything starts."""
    host, port = config.listen.host, config.listen.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise StateError(f"cannot listen: {error.strerror}", where=config.listen) from error
    listener.setblocking(False)
    return listener


def _environment(names: tuple[str, ...]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}
