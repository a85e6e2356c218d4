"""`gateway healthcheck`: does the gateway beside it answer? For what watches over a container.

It runs every few seconds beside the one that serves, so it imports little, reads nothing of the
file but where to ask, and never takes longer than its deadline.
"""

from __future__ import annotations

import http.client
import signal
import ssl
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlsplit

import click

from gateway.config.addresses import parse_listen
from gateway.config.document import read_text
from gateway.config.positions import NotYaml, read
from gateway.errors import ConfigError

DEADLINE = 2.0
_DEFAULT = "127.0.0.1:8080"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
_EXAMPLE = "such as http://127.0.0.1:8080"


class _Unhealthy(Exception):
    """Why the exit code is 1, in one line."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("gateway.yaml"))
@click.option("--url", help="The gateway, such as http://127.0.0.1:8080; else FILE says it.")
def healthcheck(file: Path, url: str | None) -> None:
    """Ask the gateway of FILE (default: gateway.yaml) on this machine whether it is alive.

    It asks /healthz where the file's `listen` is, over https where it has `tls`, whatever else the
    file says: a mistake in it leaves the running gateway alive.

    Exit codes: 0 it answered within 2 seconds, 1 it did not, and why.
    """
    signal.signal(signal.SIGALRM, _too_late)
    try:
        address = url or _address_in(file)
        signal.setitimer(signal.ITIMER_REAL, DEADLINE)
        try:
            _ask(address)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _Unhealthy as error:
        click.echo(error, err=True)
        sys.exit(1)
    click.echo(f"{address} answers")


def _too_late(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TimeoutError(f"no answer within {DEADLINE:g} s")


def _address_in(file: Path) -> str:
    """Where the gateway of a file listens, as this machine reaches it."""
    try:
        said = read(read_text(file)).value
    except ConfigError as error:
        raise _Unhealthy(str(error)) from None
    except NotYaml as error:
        line, column = error.mistake.position
        what = error.mistake.message
        raise _Unhealthy(f"{file}:{line}:{column}: {what}; or give --url, {_EXAMPLE}") from None
    settings: dict[str, Any] = said if isinstance(said, dict) else {}
    given = settings.get("listen", _DEFAULT)
    try:
        listen = parse_listen(given)
    except ValueError as error:
        raise _Unhealthy(f"{file}: listen: {error}. Given: {given!r}") from None
    if listen.port == 0:
        raise _Unhealthy(f"{file}: listen: takes any free port; give --url, {_EXAMPLE}")
    host = _EVERYWHERE.get(listen.host, listen.host)
    scheme = "https" if settings.get("tls") else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listen.port}"


def _ask(address: str) -> None:
    """Return if it answers that it is alive."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in ("http", "https"):
        raise _Unhealthy(f"--url must be an address, {_EXAMPLE}. Given: {address!r}")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        # What is asked is whether it lives: its certificate is for the names that others know.
        unverified = ssl.create_default_context()
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=DEADLINE, context=unverified)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=DEADLINE)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise _Unhealthy(f"{address}: {reason}") from None
    finally:
        connection.close()
    if status != 200:
        raise _Unhealthy(f"{address}/healthz: must answer 200. Given: {status}")
