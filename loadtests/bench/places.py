"""Where the benchmark keeps what it makes: environments, models, requests, state, logs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from loadtests.bench.forms import Row, Table

HERE = Path(__file__).parent
APPS = HERE / "apps"
MODELS = {
    "lr": "logistic regression",
    "forest": "forest of 100 trees",
    "hgb": "histogram gradient boosting",
}
_INSTALL_SECONDS = 1800
_PREPARE_SECONDS = 900

#: What a server's processes see of this one's environment.
_PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")


_SAY = """
import sys, json, importlib.metadata
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))
"""


class Missing(Exception):
    """A server that cannot take part, and why."""


@dataclass(frozen=True)
class Place:
    """An environment with its trained models: `python` runs in it, `folder` is its own."""

    python: Path
    folder: Path

    @property
    def bin(self) -> Path:
        return self.python.parent

    def model(self, name: str) -> Path:
        return self.folder / "models" / f"{name}.joblib"

    def expected(self, name: str) -> Table:
        """What the model answers, row by row of the data set, computed in this environment."""
        said = json.loads((self.folder / "models" / "expected.json").read_text())
        found: Table = said["probabilities"][name]
        return found

    def versions(self, distributions: Sequence[str]) -> dict[str, str]:
        """Of these and of scikit-learn, as installed here."""
        wanted = [*distributions, "scikit-learn"]
        if self.python == Path(sys.executable):
            return {name: version(name) for name in wanted}
        found: dict[str, str] = json.loads(run([self.python, "-c", _SAY, *wanted], self.folder))
        return found


def own_place(root: Path) -> Place:
    """The project's environment: for the gateway, the floors and the model inline."""
    folder = root / "project"
    folder.mkdir(parents=True, exist_ok=True)
    place = Place(Path(sys.executable), folder)
    _train(place)
    return place


def peer_place(root: Path, name: str, *, required: Path | None = None) -> Place:
    """The environment of a peer with its trained models; Missing where that fails."""
    place = installed(root, name, required or HERE / "requirements" / f"{name}.txt")
    _train(place)
    return place


def installed(root: Path, name: str, requirements: Path) -> Place:
    """An environment of its own, built from its requirements; Missing where that fails."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    place = Place(folder / "venv" / "bin" / "python", folder)
    mark = folder / "installed"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if not mark.exists() or mark.read_text() != wanted:
        mark.unlink(missing_ok=True)
        shutil.rmtree(folder / "venv", ignore_errors=True)
        shutil.rmtree(folder / "models", ignore_errors=True)
        run([sys.executable, "-m", "venv", folder / "venv"], folder)
        pip = ["-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        run([place.python, *pip, "--requirement", requirements], folder, _INSTALL_SECONDS)
        mark.write_text(wanted)
    return place


def _train(place: Place) -> None:
    """Train where that has not been done with this very script."""
    script = APPS / "train.py"
    models, mark = place.folder / "models", place.folder / "models" / "trained"
    wanted = hashlib.sha256(script.read_bytes()).hexdigest()
    if mark.exists() and mark.read_text() == wanted:
        return
    run([place.python, script, models], place.folder, _PREPARE_SECONDS)
    mark.write_text(wanted)


def run(command: Sequence[str | Path], folder: Path, seconds: float = _PREPARE_SECONDS) -> str:
    """Standard output of a command; Missing, with its last words, where it fails."""
    line = [str(part) for part in command]
    try:
        done = subprocess.run(
            line,
            cwd=folder,
            env=environment(installing=True),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"{_short(line)} took more than {seconds:.0f} s") from None
    if done.returncode != 0:
        said = [text for text in (done.stderr or done.stdout).splitlines() if text.strip()]
        errors = [text for text in said if text.startswith(("ERROR", "error"))]
        words = (errors or said or [f"exit code {done.returncode}"])[-1]
        raise Missing(f"{_short(line)}: {words.strip()}")
    return done.stdout


def _short(line: list[str]) -> str:
    return " ".join(Path(part).name if "/" in part else part for part in line[:4])


def environment(
    more: Mapping[str, str] | None = None, *, installing: bool = False
) -> dict[str, str]:
    """A child's: little of this one's, and one thread for each numeric library.

    With more threads than one, servers of several processes fight over the cores: each is slower.
    """
    if installing:
        return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"}
    kept = {name: os.environ[name] for name in _PASSED if name in os.environ}
    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    return {**kept, **one_thread, "PYTHONUNBUFFERED": "1", **(more or {})}


def alone(folder: Path) -> bool:
    """Whether no other run has this folder; none can begin in it until this process ends."""
    # Open until the end: closing it would give the lock up. Not inherited by the servers.
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def data_rows() -> list[Row]:
    """The rows of the data set that ships with scikit-learn, in its order."""
    from sklearn.datasets import load_breast_cancer

    rows: list[Row] = load_breast_cancer().data.tolist()
    return rows
