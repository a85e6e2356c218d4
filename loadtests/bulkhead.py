"""`python -m loadtests.bulkhead`: does one branch's overload or hang slow another branch's users?

Two branches in one gateway. The users of `ours` ask at a steady rate: alone, while `theirs` gets
more than it can answer, and while it hangs. All in one run, in rounds.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from statistics import median

import click
import joblib
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gateway.assignment import Split
from gateway.demo.repository import git
from gateway.errors import GatewayError
from gateway.experiments.metrics import BUILT_IN
from gateway.names import Branch
from loadtests.bench import wrk
from loadtests.bench.machine import machine
from loadtests.gateway_process import GatewayProcess
from loadtests.repository import Clone, DidNotLand

OURS, THEIRS = Branch("ours"), Branch("theirs")
WEIGHTS: dict[str, float] = {OURS: 1.0, THEIRS: 1.0}
#: Waits as for a database: with two cores, work of its own would slow everybody without any queue.
SECONDS = 0.005
_SERVE = f'''"""Takes {SECONDS * 1000:g} ms a request, or for ever."""

import time


def predict(model, instances):
    time.sleep({SECONDS} if instances[0][0] == "wait" else 3600)
    return instances
'''
#: Connections, and milliseconds that each waits before it asks again.
_STEADY = (4, 6)
_FLOOD = (256, 100)
_USERS = 500
_FILLING = 2.0


@dataclass(frozen=True)
class Round:
    """One turn: `ours` in each state, and `theirs` by itself and flooded."""

    alone: wrk.Load
    flooded: wrk.Load
    hanging: wrk.Load
    capacity: wrk.Load
    flood: wrk.Load


def users_of(branch: Branch, many: int) -> list[str]:
    """The first so many users that fall to the branch."""
    split = Split("gateway", {OURS: 1.0, THEIRS: 1.0})
    return list(islice((u for u in map(str, count()) if split.assign(u) == branch), many))


def write_requests(file: Path, users: Sequence[str], rows: Sequence[object]) -> None:
    """Whole HTTP requests, one row each, for wrk to send as they are."""
    with file.open("wb") as out:
        for number, user in enumerate(users):
            body = json.dumps({"instances": [rows[number % len(rows)]]}).encode()
            head = (
                f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nX-User-Id: {user}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode()
            out.write(b"%d\n" % (len(head) + len(body)) + head + body)


def verdict(rounds: Sequence[Round], seconds: float, bound: float) -> tuple[list[str], list[str]]:
    """What to print, and what is wrong. A multiple is the median of those within the rounds."""
    lines, wrong = [], []
    for state in ("alone", "flooded", "hanging"):
        loads: list[wrk.Load] = [getattr(turn, state) for turn in rounds]
        multiple = median(
            load.p99 / turn.alone.p99 for load, turn in zip(loads, rounds, strict=True)
        )
        errors = sum(load.errors for load in loads)
        lines.append(
            f"{OURS} while {THEIRS} is {'idle' if state == 'alone' else state:8} "
            f"p50 {median(load.p50 for load in loads) * 1000:6.2f} ms   "
            f"p99 {median(load.p99 for load in loads) * 1000:6.2f} ms   x {multiple:4.2f}   "
            f"{median(load.rate for load in loads):4.0f} answers/s"
        )
        if errors:
            wrong.append(f"{errors} requests of {OURS} failed ({state})")
        if multiple > bound:
            wrong.append(f"p99 of {OURS} was {multiple:.2f} times that alone ({state})")
    able = median(turn.capacity.rate for turn in rounds)
    good = median(turn.flood.rate for turn in rounds)
    asked = median(turn.flood.requests / seconds for turn in rounds)
    lines.append(
        f"{THEIRS} can answer {able:.0f}/s; asked {asked:.0f}/s it answered {good:.0f}/s in time, "
        f"{good / able:.0%} of what it can"
    )
    return lines, wrong


def settings(repository: Path) -> dict[str, object]:
    """Where the baseline answered for `theirs`, its overload would be work for `ours`."""
    return {
        "repository": str(repository),
        "baseline": OURS,
        "branches": {
            # A late answer is one that p99 tells of.
            OURS: {"weight": WEIGHTS[OURS], "timeout": "10s"},
            THEIRS: {"weight": WEIGHTS[THEIRS], "fallback": False, "timeout": "500ms"},
        },
        # The harm is on purpose: a guardrail would take `theirs` out, and with it what is measured.
        "metrics": {name: {"role": "off"} for name in BUILT_IN},
    }


def build(folder: Path) -> Path:
    """The repository of both branches."""
    repository = folder / "project.git"
    git(folder, "init", "--quiet", "--bare", f"--initial-branch={OURS}", str(repository))
    clone = Clone(folder / "clone", repository)
    data = load_breast_cancer()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    content = io.BytesIO()
    joblib.dump(model.fit(data.data, data.target), content)
    for branch, path, what in (
        (OURS, "models/model.joblib", content.getvalue()),
        (THEIRS, "src/serve.py", _SERVE.encode()),
    ):
        clone.git("checkout", "--quiet", "--orphan", branch)
        clone.git("rm", "-r", "--force", "--quiet", "--ignore-unmatch", ".")
        file = clone.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(what)
        clone.commit(f"Serve {branch}", ".")
        clone.git("push", "--quiet", "origin", branch)
    return repository


class Bulkhead:
    """A gateway with both branches, and what can be asked of it for some seconds."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.gateway = GatewayProcess(folder, settings(build(folder)))
        self._folder = folder
        self._seconds = seconds
        rows = load_breast_cancer().data.tolist()
        for name, users, sent in (
            ("ours", users_of(OURS, _USERS), rows),
            ("waits", users_of(THEIRS, _USERS), [["wait"]]),
            ("hangs", users_of(THEIRS, _USERS), [["hang"]]),
        ):
            write_requests(folder / name, users, sent)

    def round(self) -> Round:
        """The states in turn; after the hang, until `theirs` answers again."""
        capacity = self._ask("waits", 1, None, self._seconds)
        alone = self._steadily()
        with self._beside("waits") as flooding:
            flooded = self._steadily()
        with self._beside("hangs"):
            hanging = self._steadily()
        self._until_well()
        return Round(alone, flooded, hanging, capacity, flooding[0])

    def _steadily(self) -> wrk.Load:
        return self._ask("ours", *_STEADY, self._seconds)

    def _ask(self, what: str, connections: int, pause: int | None, seconds: float) -> wrk.Load:
        return wrk.run(self.gateway.port, self._folder / what, connections, seconds, pause)

    @contextmanager
    def _beside(self, what: str) -> Iterator[list[wrk.Load]]:
        """`theirs` under its flood, whose queue has had time to fill; the flood's figures."""
        found: list[wrk.Load] = []
        with ThreadPoolExecutor(1) as pool:
            flood = pool.submit(self._ask, what, *_FLOOD, self._seconds + _FILLING + 1)
            time.sleep(_FILLING)
            yield found
            found.append(flood.result())

    def _until_well(self) -> None:
        """A worker that hangs is killed after half a minute."""
        self.gateway.until(
            lambda: self._ask("waits", 1, None, 1).errors == 0, f"{THEIRS} is well", 120
        )


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--rounds", type=click.IntRange(1, 50), default=5, show_default=True)
@click.option(
    "--seconds", type=click.IntRange(1, 600), default=8, show_default=True, help="For each load."
)
@click.option(
    "--bound", type=float, default=1.5, show_default=True, help="Most that p99 may be multiplied."
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".bulkhead"),
    show_default=True,
    help="Where the repository, the state and the log are; made anew each time.",
)
def main(rounds: int, seconds: int, bound: float, root: Path) -> None:
    """Ask one branch while another is idle, flooded, or hangs.

    Exit codes: 0 within the bound, 1 not, 2 it could not be measured.
    """
    folder = root.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if reason := wrk.available():
        click.echo(reason, err=True)
        sys.exit(2)
    found, here = [], machine()
    click.echo(f"{here.processor}, {here.cores} cores, load before {here.load_before}")
    try:
        bulkhead = Bulkhead(folder, seconds)
        try:
            bulkhead.gateway.weigh(WEIGHTS)
            bulkhead.gateway.start()
            for turn in range(rounds):
                found.append(bulkhead.round())
                click.echo(f"round {turn + 1} of {rounds} is over", err=True)
        finally:
            bulkhead.gateway.stop()
    except (DidNotLand, GatewayError, wrk.LoadFailed) as error:
        click.echo(f"it could not be measured: {error}", err=True)
        sys.exit(2)
    lines, wrong = verdict(found, seconds + _FILLING + 1, bound)
    click.echo("\n".join((*lines, *wrong)))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
