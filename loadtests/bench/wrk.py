"""One run of wrk: the load of every measurement, and what it says about it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench.forms import Form, Row

_SCRIPT = Path(__file__).with_name("wrk.lua")
_MARK = "FIGURES "
#: wrk counts an answer that takes longer as a timeout, and a timeout is an error here.
_PATIENCE = 10
#: Further seconds before a wrk that does not end is ended.
_GRACE = 30
USERS = 1000


class LoadFailed(Exception):
    """wrk could not be run, or said nothing that can be read."""


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw; times in seconds."""

    rate: float
    p50: float
    p99: float
    slowest: float
    requests: int
    errors: int


def available() -> str | None:
    """Why wrk cannot be run here, if it cannot."""
    if shutil.which("wrk") is None:
        return "wrk is not installed; on Debian and Ubuntu: apt-get install wrk"
    return None


def write_requests(
    file: Path, form: Form, bodies: Iterable[Sequence[Row]], *, encoded: Iterable[bytes] = ()
) -> None:
    """Whole HTTP requests of different users, for wrk to send as they are.

    `encoded` are further bodies that are in the form already.
    """
    everything = [*(form.encoded(rows) for rows in bodies), *encoded]
    with file.open("wb") as out:
        for number, body in enumerate(everything):
            head = (
                f"POST {form.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Content-Type: application/json\r\nX-User-Id: user-{number % USERS}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode()
            out.write(b"%d\n" % (len(head) + len(body)) + head + body)


def command(
    port: int, requests: Path, connections: int, seconds: float, pause: int | None = None
) -> list[str]:
    """The command line; `pause` is in milliseconds, before each request of each connection."""
    more = [str(pause)] if pause is not None else []
    return [
        *("wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"),
        *("--timeout", f"{_PATIENCE}s", "-s", str(_SCRIPT)),
        *(f"http://127.0.0.1:{port}/", "--", str(requests), *more),
    ]


def run(
    port: int, requests: Path, connections: int, seconds: float, pause: int | None = None
) -> Load:
    """Load the server at the port for some whole seconds."""
    line = command(port, requests, connections, seconds, pause)
    try:
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=seconds + _GRACE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoadFailed(f"{' '.join(line[:4])}: {error}") from None
    if done.returncode != 0:
        raise LoadFailed(f"{' '.join(line)}: {(done.stderr or done.stdout).strip()}")
    return parse(done.stdout)


def parse(output: str) -> Load:
    """The figures in wrk's output; LoadFailed where there are none."""
    lines = [line for line in output.splitlines() if line.startswith(_MARK)]
    if len(lines) != 1:
        raise LoadFailed(f"wrk gave {len(lines)} lines of figures, not one: {output[-500:]!r}")
    try:
        said = json.loads(lines[0].removeprefix(_MARK))
        seconds = said["microseconds"] / 1e6
        return Load(
            rate=(said["requests"] - said["refused"]) / seconds,
            p50=said["p50"] / 1e6,
            p99=said["p99"] / 1e6,
            slowest=said["most"] / 1e6,
            requests=said["requests"],
            errors=said["refused"] + said["timeouts"] + said["connection_errors"],
        )
    except (ValueError, KeyError, ZeroDivisionError) as error:
        raise LoadFailed(f"wrk's figures cannot be read ({error!r}): {lines[0]!r}") from None
