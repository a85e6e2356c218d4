"""A server while it runs: ready, checked for right answers, loaded, measured, stopped."""

from __future__ import annotations

import http.client
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from loadtests.bench import wrk
from loadtests.bench.forms import Form, Row, Table
from loadtests.bench.lineup import Server
from loadtests.bench.places import Place, data_rows, environment
from loadtests.bench.processes import Memory, Tree

_READY_SECONDS = 120.0
#: The models are the same numbers in every server; JSON carries a float whole.
TOLERANCE = 1e-9
_CHECKED = 12


class NotStarted(Exception):
    """A server that did not come up, with the end of its log."""


class Wrong(Exception):
    """An answer that is not the model's."""


class Running:
    """A started server. `expected` are the model's own probabilities for the rows of the data."""

    def __init__(
        self, server: Server, setting: str, tree: Tree, port: int, requests: Path, expected: Table
    ) -> None:
        self.server = server
        self.setting = setting
        self.tree = tree
        self.port = port
        self._requests = requests
        self._expected = expected
        self._said = "nothing"

    def wait(self) -> None:
        """Until it answers; NotStarted where it ends or takes too long."""
        end = time.monotonic() + _READY_SECONDS
        while time.monotonic() < end:
            if self.tree.exit_code is not None:
                raise NotStarted(f"it ended with {self.tree.exit_code}: {self.tree.words()}")
            if self._is_ready():
                return
            time.sleep(0.1)
        raise NotStarted(
            f"not ready within {_READY_SECONDS:.0f} s; it answers {self._said}; its log: "
            f"{self.tree.words()}"
        )

    def _is_ready(self) -> bool:
        try:
            if self.server.ready is not None:
                status, said = ask(self.port, "GET", self.server.ready, None)
            else:
                body = self.server.form.encoded(data_rows()[:1])
                status, said = ask(self.port, "POST", self.server.form.path, body)
        except (OSError, http.client.HTTPException) as error:
            self._said = repr(error)
            return False
        self._said = f"{status}: {said[:300]!r}"
        return status == 200

    def check(self) -> None:
        """Ask single rows and three at once; Wrong where an answer is not the model's."""
        rows = data_rows()
        step = max(1, len(rows) // _CHECKED)
        for number in range(0, len(rows), step):
            self._compare([rows[number]], [self._expected[number]])
        self._compare(rows[:3], self._expected[:3])

    def _compare(self, rows: Sequence[Row], expected: Table) -> None:
        form = self.server.form
        try:
            status, answer = ask(self.port, "POST", form.path, form.encoded(rows))
        except (OSError, http.client.HTTPException) as error:
            raise Wrong(f"no answer: {error!r}") from None
        if status != 200:
            raise Wrong(f"status {status}: {answer[:300]!r}")
        compare(form, answer, expected)

    def load(self, connections: int, seconds: float) -> tuple[wrk.Load, dict[str, float]]:
        """The load, and the CPU seconds that each kind of process used for it."""
        labels, before = self.tree.labels(), self.tree.cpu()
        load = wrk.run(self.port, self._requests, connections, seconds)
        return load, by_label(before, self.tree.cpu(), {**self.tree.labels(), **labels})

    def idle(self, seconds: float) -> float:
        """Cores that it uses while nobody asks."""
        before = self.tree.cpu()
        time.sleep(seconds)
        return sum(by_label(before, self.tree.cpu(), {}).values()) / seconds

    def memory(self) -> list[tuple[str, Memory]]:
        labels = self.tree.labels()
        return [(labels.get(pid, "?"), memory) for pid, memory in self.tree.memory().items()]


@contextmanager
def running(
    server: Server, setting: str, place: Place, model: str, scratch: Path
) -> Iterator[Running]:
    """Start, wait, check; stop whatever happens. NotStarted or Wrong where it cannot race."""
    scratch.mkdir(parents=True, exist_ok=True)
    launch = server.start(place, model, scratch, setting)
    requests = scratch / "requests"
    wrk.write_requests(requests, server.form, [[row] for row in data_rows()])
    tree = Tree(
        launch.command,
        environment=environment(launch.environment),
        folder=launch.folder or scratch,
        log=scratch / "server.log",
    )
    try:
        expected = place.expected(model)
        found = Running(server, setting, tree, launch.port, requests, expected)
        found.wait()
        found.check()
        yield found
    finally:
        tree.stop()
        if launch.temporary is not None:
            shutil.rmtree(launch.temporary, ignore_errors=True)


def ask(port: int, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    """Status and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"Content-Type": "application/json", "X-User-Id": "bench"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def compare(form: Form, answer: bytes, expected: Table) -> None:
    """Wrong where the probabilities in the answer are not those expected."""
    try:
        given = form.probabilities(answer)
    except ValueError as error:
        raise Wrong(str(error)) from None
    if given is None:
        return
    if [len(row) for row in given] != [len(row) for row in expected]:
        raise Wrong(f"answered {given}, the model itself says {expected}")
    for ours, theirs in zip(expected, given, strict=True):
        if any(abs(a - b) > TOLERANCE for a, b in zip(ours, theirs, strict=True)):
            raise Wrong(f"answered {theirs}, the model itself says {ours}")


def by_label(
    before: Mapping[int, float], after: Mapping[int, float], labels: Mapping[int, str]
) -> dict[str, float]:
    """Seconds used between two looks, added up over processes of one kind."""
    used: dict[str, float] = defaultdict(float)
    for pid, seconds in after.items():
        used[labels.get(pid, "?")] += seconds - before.get(pid, 0.0)
    return {name: round(seconds, 3) for name, seconds in sorted(used.items())}
