"""`python -m loadtests.reloads`: reload after reload under load, and what each costs."""

from __future__ import annotations

import http.client
import json
import pickle
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click

from gateway.demo.repository import git
from loadtests.bench import wrk
from loadtests.bench.forms import INSTANCES
from loadtests.bench.places import data_rows, environment, own_place
from loadtests.bench.processes import Tree
from loadtests.bench.running import ask
from loadtests.ports import free_port

_ROOT = Path(".bench")
_WAIT_SECONDS = 120.0
#: Of a window, before the branch moves.
_LEAD_SECONDS = 0.3
#: Reloads before the first that counts, until caches are as full as they get.
_FIRST = 3
#: The kinds of processes that stay; git's come and go.
_LASTING = ("front", "monitor", "worker")
#: A late answer is one that p99 tells of.
_BRANCHES = {
    "prod": {"weight": 90, "timeout": "10s"},
    "exp": {"weight": 10, "timeout": "10s"},
}
_SERVE = """
import joblib
from sklearn.base import BaseEstimator

VERSION = {version}
ROW_WISE = True

def load(root):
    return joblib.load(root / "models" / "model.joblib")

def predict(model, rows):
    return {{"predictions": model.predict(rows), "probabilities": model.predict_proba(rows)}}
"""


class Trouble(Exception):
    """The run cannot go on, and why."""


@dataclass
class Figures:
    """What was seen: p99 of windows by what happened in them, in seconds, and what failed."""

    quiet: list[float] = field(default_factory=list)
    reload: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    requests: int = 0
    errors: int = 0
    spares: int = 0


@dataclass(frozen=True)
class Footprint:
    """What the gateway holds: bytes and number by kind of process, and the front's descriptors."""

    bytes: dict[str, int]
    processes: Counter[str]
    descriptors: int

    def __str__(self) -> str:
        kinds = (
            f"{count} {kind} {self.bytes[kind] / 1e6:.1f} MB"
            for kind, count in sorted(self.processes.items())
        )
        return f"{', '.join(kinds)}; {self.descriptors} descriptors in the front"


class Repository:
    """A bare repository whose commits to come are there already, on no branch."""

    def __init__(self, folder: Path, model: bytes, count: int, *, own: bool, megabytes: float):
        self.path, work = folder / "repository.git", folder / "work"
        git(folder, "init", "--quiet", "--initial-branch=prod", str(work))
        git(folder, "init", "--quiet", "--bare", "--initial-branch=prod", str(self.path))
        for name in ("models", "src"):
            (work / name).mkdir()
        loaded = pickle.loads(model)
        self.commits = []
        for version in range(count + 1):
            # What no compression makes smaller, and another in each.
            loaded.ballast = _noise(version, int(megabytes * 1e6))
            (work / "models" / "model.joblib").write_bytes(pickle.dumps(loaded))
            if own:
                (work / "src" / "serve.py").write_text(_SERVE.format(version=version))
            git(work, "add", "--all")
            git(work, "commit", "--quiet", "-m", f"Model {version}")
            self.commits.append(git(work, "rev-parse", "HEAD"))
        git(work, "push", "--quiet", str(self.path), "HEAD:refs/to-come/all")
        for branch in _BRANCHES:
            self.move(branch, 0)

    def move(self, branch: str, version: int) -> str:
        """A push is there; the commit's id."""
        git(self.path, "update-ref", f"refs/heads/{branch}", self.commits[version])
        return self.commits[version]


class Subject:
    """The gateway under load."""

    def __init__(self, folder: Path, repository: Repository, spares: int) -> None:
        self.port = free_port()
        settings = {
            "repository": str(repository.path),
            "baseline": "prod",
            "branches": _BRANCHES,
            "listen": f"127.0.0.1:{self.port}",
            "state_dir": "state",
            "poll": "300ms",
            "spare_workers": spares,
            "monitoring": {"target": "none", "journal_bytes": "16GiB"},
        }
        (folder / "gateway.yaml").write_text(json.dumps(settings))
        command = [sys.executable, "-m", "gateway", "serve", "gateway.yaml"]
        self.tree = Tree(
            command, environment=environment(), folder=folder, log=folder / "server.log"
        )
        self._spares = spares
        self._requests = folder / "requests"
        wrk.write_requests(self._requests, INSTANCES, [[row] for row in data_rows()])

    def until(self, condition: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + _WAIT_SECONDS
        while not condition():
            if self.tree.exit_code is not None or time.monotonic() > end:
                raise Trouble(f"not within {_WAIT_SECONDS:.0f} s: {what}\n{self.tree.words()}")
            time.sleep(0.1)

    def ready(self) -> bool:
        try:
            return ask(self.port, "GET", "/readyz", None)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def spare(self) -> int:
        """The pid of a spare that is ready; 1 where none is wanted."""
        if not self._spares:
            return 1
        found = json.loads(ask(self.port, "GET", "/branches", None)[1])["spare_workers"]
        return next((spare["pid"] for spare in found if spare["state"] == "ready"), 0)

    def workers(self, branch: str) -> list[int]:
        found = json.loads(ask(self.port, "GET", f"/branches/{branch}", None)[1])["workers"]
        return [worker["pid"] for worker in found]

    def load(self, connections: int, seconds: float, figures: Figures) -> float:
        """A window of load; its p99."""
        seen = wrk.run(self.port, self._requests, connections, seconds)
        figures.requests += seen.requests
        figures.errors += seen.errors
        return seen.p99

    def footprint(self) -> Footprint:
        labels, memory = self.tree.labels(), self.tree.memory()
        labels = {pid: name for pid, name in labels.items() if name in _LASTING}
        held: Counter[str] = Counter()
        for pid, name in labels.items():
            held[name] += (memory[pid].share or 0) if pid in memory else 0
        front = next(pid for pid, name in labels.items() if name == "front")
        descriptors = len(list(Path(f"/proc/{front}/fd").iterdir()))
        return Footprint(dict(held), Counter(labels.values()), descriptors)

    def until_alone(self) -> None:
        """Until what was replaced has ended and a spare is ready: nothing comes or goes."""
        wanted = len(_BRANCHES) + self._spares
        self.until(self.spare, "a spare is ready")
        self.until(
            lambda: self.footprint().processes["worker"] == wanted, f"there are {wanted} workers"
        )

    def until_served(self, commit: str) -> float:
        """Seconds between the look that saw the commit and its swap, by the gateway's own log."""
        moments: list[datetime] = []

        def told() -> bool:
            lines = self.tree.log.read_text(errors="replace").splitlines()
            said = [json.loads(line) for line in lines if commit in line]
            moments[:] = [
                datetime.fromisoformat(one["ts"])
                for one in said
                if one.get("branch") == "prod" and one["message"].startswith(("moved", "serving"))
            ]
            return len(moments) > 1

        self.until(told, f"{commit} serves")
        return (moments[-1] - moments[0]).total_seconds()


def run(
    subject: Subject, repository: Repository, versions: range, connections: int, seconds: float
) -> Figures:
    """One reload for each version: a quiet window, one it lands in, one in which a spare comes."""
    figures = Figures()
    for version in versions:
        subject.until(subject.spare, "a spare is ready")
        spare = subject.spare()
        figures.quiet.append(subject.load(connections, seconds, figures))
        push = threading.Timer(_LEAD_SECONDS, repository.move, ("prod", version))
        push.start()
        figures.reload.append(subject.load(connections, seconds, figures))
        push.join()
        figures.served.append(subject.until_served(repository.commits[version]))
        figures.spares += spare in subject.workers("prod")
        figures.after.append(subject.load(connections, seconds, figures))
        click.echo(
            f"{version:3}  p99 {figures.quiet[-1] * 1e3:6.1f} {figures.reload[-1] * 1e3:6.1f}"
            f" {figures.after[-1] * 1e3:6.1f} ms   served after {figures.served[-1]:.2f} s"
        )
    return figures


def report(figures: Figures, before: Footprint, after: Footprint) -> list[str]:
    """The figures in words, and at the end what failed."""
    ratios = [during / quiet for quiet, during in zip(figures.quiet, figures.reload, strict=True)]
    later = [during / quiet for quiet, during in zip(figures.quiet, figures.after, strict=True)]
    served = sorted(figures.served)
    worst = quantiles(served, n=20)[-1] if len(served) > 1 else served[-1]
    click.echo(
        f"\n{len(served)} reloads, {figures.spares} by a spare; {figures.requests} requests,"
        f" {figures.errors} failed\n"
        f"p99 (medians of windows)  quiet {median(figures.quiet) * 1e3:.1f} ms,"
        f" with a reload {median(figures.reload) * 1e3:.1f},"
        f" while a spare comes {median(figures.after) * 1e3:.1f}\n"
        f"ratio to the quiet window before (medians)  {median(ratios):.2f} with a reload,"
        f" {median(later):.2f} while a spare comes\n"
        f"seen to serving  median {median(served):.2f} s, 95 % within {worst:.2f},"
        f" slowest {served[-1]:.2f}\n"
        f"before  {before}\nafter   {after}"
    )
    problems = []
    if figures.errors:
        problems.append(f"{figures.errors} requests failed")
    if before.processes != after.processes:
        problems.append(f"{dict(before.processes)} processes became {dict(after.processes)}")
    return problems


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--reloads", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--connections", type=click.IntRange(1, 1000), default=32, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 60), default=2, show_default=True, help="Window.")
@click.option("--megabytes", type=float, default=1.0, show_default=True, help="Of the model.")
@click.option("--own", is_flag=True, help="A branch with its own src/serve.py.")
@click.option("--root", type=click.Path(path_type=Path), default=_ROOT, show_default=True)
@click.option("--spares", type=click.IntRange(0, 16), default=1, show_default=True)
def main(
    reloads: int,
    connections: int,
    seconds: int,
    megabytes: float,
    own: bool,
    root: Path,
    spares: int,
) -> None:
    """Reload the production branch under load again and again, and say what that costs.

    Exit codes: 0 no request failed and every process is gone that should be, 1 not so; 2 it could
    not begin.
    """
    if (reason := wrk.available()) is not None:
        click.echo(reason, err=True)
        sys.exit(2)
    folder = (root / "reloads").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = own_place(root.absolute()).model("lr")
    repository = Repository(folder, _pickled(model), _FIRST + reloads, own=own, megabytes=megabytes)
    subject = Subject(folder, repository, spares)
    try:
        subject.until(subject.ready, "the gateway is ready")
        subject.until(subject.spare, "a spare is ready")
        first, counted = range(1, _FIRST + 1), range(_FIRST + 1, _FIRST + reloads + 1)
        run(subject, repository, first, connections, seconds)
        subject.until_alone()
        before = subject.footprint()
        figures = run(subject, repository, counted, connections, seconds)
        subject.until_alone()
        problems = report(figures, before, subject.footprint())
    except (Trouble, wrk.LoadFailed) as error:
        problems = [str(error)]
    finally:
        subject.tree.stop()
    for problem in problems:
        click.echo(f"PROBLEM {problem}", err=True)
    sys.exit(1 if problems else 0)


def _noise(seed: int, size: int) -> bytes:
    """Bytes like a model's, of this size."""
    import numpy as np

    return np.random.default_rng(seed).bytes(size)


def _pickled(model: Path) -> bytes:
    import joblib

    return pickle.dumps(joblib.load(model))


if __name__ == "__main__":
    main()
