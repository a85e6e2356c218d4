"""`gateway monitor`: the front's child, or a process of its own beside `serve --no-monitor`.

The latter takes from gateway.yaml only what a process must know by itself: where the state
directory is, and where its secrets are. All else the front tells it, through that directory.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from gateway.config.document import load_operators_part
from gateway.errors import GatewayError, StateError
from gateway.log_options import log_format, log_level
from gateway.monitoring.ear import EAR_FILE, open_ear
from gateway.monitoring.monitor_settings import SETTINGS_FILE
from gateway.monitoring.settings_file import Own, SettingsFile
from gateway.reporting.commands import fail
from gateway.repositories.credentials import open_credentials
from gateway.repositories.gitprocess import environment_of
from gateway.shared.place import open_redis
from gateway.structured_log import configure

log = logging.getLogger(__name__)


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("gateway.yaml"))
@click.option(
    "--for-replicas",
    is_flag=True,
    help="Stand alone, beside no gateway: publish what all gateways share over `redis`.",
)
@click.option("--settings", type=click.Path(path_type=Path), hidden=True)
@log_format
@log_level
@click.pass_obj
def monitor(
    environ: Mapping[str, str],
    file: Path,
    for_replicas: bool,
    settings: Path | None,
    log_format: str,
    log_level: str,
) -> None:
    """Publish what the gateway of FILE (default: gateway.yaml) records, until SIGTERM or Ctrl-C.

    `gateway serve` starts one by itself, unless it is told --no-monitor: then this one runs beside
    it, on the same state_dir. Either may be restarted without the other. With --for-replicas it has
    a state_dir of its own, and leads before the monitors of the gateways do.

    Exit codes: 0 stopped in order, 1 it could not go on and is to be started anew, 2 it could not
    start.
    """
    configure(log_format, log_level)
    try:
        if for_replicas:
            from gateway.monitor_for_replicas import run_for_replicas

            sys.exit(run_for_replicas(file, environ))
        sys.exit(_run_child(settings, environ) if settings else _run_beside(file, environ))
    except GatewayError as error:
        fail(error)


def _run_child(settings: Path, environ: Mapping[str, str]) -> int:
    """As `gateway serve` starts it, which speaks to it and listens."""
    from gateway.monitoring.monitor import run_monitor

    front = (sys.stdin.buffer, sys.stdout.buffer)
    return run_monitor(SettingsFile(settings), *front, environment_of(environ))


def _run_beside(file: Path, environ: Mapping[str, str]) -> int:
    """Whether a front runs or not."""
    from gateway.monitoring.monitor import run_monitor

    operator = load_operators_part(file)
    state = operator.state_dir
    credentials = open_credentials(operator.credentials, environ)
    redis = None
    if operator.redis is not None:
        # Who shares with whom is the front's to say.
        repository = operator.repository
        redis = open_redis(operator.redis, environ, repository=repository, replica="", key="")
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"cannot be used: {error.strerror}", where=str(state)) from error
    settings = SettingsFile(state / SETTINGS_FILE, Own(credentials, redis))
    ear = open_ear(state / EAR_FILE)  # to the end of the process: a thread is inside it
    log.info("the monitor of %s runs as process %d", state, os.getpid())
    with Path(os.devnull).open("wb") as nowhere:
        return run_monitor(settings, ear, nowhere, environment_of(environ))
