"""Special loads on the gateway: many rows in a request, and large bodies beside small ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from loadtests.bench import wrk
from loadtests.bench.forms import Form, Row
from loadtests.bench.places import data_rows
from loadtests.bench.records import Extra
from loadtests.bench.running import Running

MANY = 64
LARGE_BYTES = 1_000_000
#: The gateway's default bound of rows in one request.
MOST_ROWS = 1024
#: Milliseconds between the large bodies of a considerate sender: ten a second.
_PAUSE = 100
_SMALL_CONNECTIONS = 8

ONE_ROW, MANY_ROWS = "1 row, 1 connection", f"{MANY} rows, 1 connection"
SMALL_ALONE = "small bodies alone"
SMALL_BESIDE = "small bodies beside ten of 1 MB a second"
SMALL_UNDER = "small bodies beside 1 MB without pause"


def large_body(limit: int = LARGE_BYTES) -> bytes:
    """Rows written out at length, as many as the size allows: just below `limit` bytes."""
    texts: list[bytes] = []
    size = len(b'{"instances":[]}')
    for row in data_rows() * 2:
        text = ("[" + ",".join(f"{value:.26e}" for value in row) + "]").encode()
        if size + len(text) + 1 > limit or len(texts) == MOST_ROWS:
            break
        texts.append(text)
        size += len(text) + 1
    return b'{"instances":[' + b",".join(texts) + b"]}"


def several(rows: list[Row], count: int) -> list[list[Row]]:
    """Requests of `count` rows each, all rows in turn."""
    twice = rows + rows[:count]
    return [twice[start : start + count] for start in range(0, len(rows), count)]


def measure(
    running: Running, scratch: Path, turn: int, seconds: float, say: Callable[[str], None]
) -> tuple[list[Extra], list[str]]:
    """Every special load once, and what went wrong."""
    found: list[Extra] = []
    problems: list[str] = []
    one, many, large = (scratch / name for name in ("one", "many", "large"))
    form: Form = running.server.form
    rows = data_rows()
    wrk.write_requests(one, form, [[row] for row in rows])
    wrk.write_requests(many, form, several(rows, MANY))
    wrk.write_requests(large, form, (), encoded=[large_body()])

    def note(what: str, load: wrk.Load) -> None:
        server = running.server.name
        say(f"  {server}: {what}: p50 {load.p50 * 1e3:.2f} ms, p99 {load.p99 * 1e3:.2f} ms")
        found.append(Extra(what, server, turn, load.rate, load.p50, load.p99))
        if load.errors:
            problems.append(f"{server}: {what}: {load.errors} errors")

    port = running.port
    note(ONE_ROW, wrk.run(port, one, 1, seconds))
    note(MANY_ROWS, wrk.run(port, many, 1, seconds))
    note(SMALL_ALONE, wrk.run(port, one, _SMALL_CONNECTIONS, seconds))
    for what, pause in ((SMALL_BESIDE, _PAUSE), (SMALL_UNDER, None)):
        with _Beside(port, large, seconds + 1, pause) as beside:
            note(what, wrk.run(port, one, _SMALL_CONNECTIONS, seconds))
        note(f"{what}: the large ones", beside.load())
    return found, problems


class _Beside:
    """A second wrk in a thread, for as long as the first one takes and a little more."""

    def __init__(self, port: int, requests: Path, seconds: float, pause: int | None) -> None:
        self._arguments = (port, requests, 1, seconds, pause)
        self._load: wrk.Load | wrk.LoadFailed
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._load = wrk.run(*self._arguments)
        except wrk.LoadFailed as error:
            self._load = error

    def __enter__(self) -> _Beside:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def load(self) -> wrk.Load:
        if isinstance(self._load, wrk.LoadFailed):
            raise self._load
        return self._load
