"""The demonstration repository: bare, with a production branch and a challenger, really trained.

The branches' files lie in `repository-files/` (`prod/`; `challenger/` holds what differs). The
data set comes from scikit-learn, the models from running the branches' own src/train.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from gateway.errors import GatewayError

PROD = "prod"
CHALLENGER = "ab-test-210323"

_TEMPLATES = Path(__file__).parent / "repository-files"
_PINNED = ("joblib", "numpy", "pandas", "scikit-learn")
_TEST_SHARE, _SEED = 0.25, 2


def build_repository(folder: Path) -> Path:
    """The bare repository `folder`/repository.git; made if it is not there, else left as it is."""
    folder = folder.absolute()  # git runs in other folders than this process
    repository = folder / "repository.git"
    if repository.exists():
        return repository
    if find_spec("pandas") is None:
        raise GatewayError("the demonstration needs pandas: pip install 'branch-gateway[pandas]'")
    folder.mkdir(parents=True, exist_ok=True)
    # Built beside and renamed, so that one that was interrupted is never taken for whole.
    with TemporaryDirectory(prefix=".building-", dir=folder) as building:
        work, bare = Path(building, "work"), Path(building, "repository.git")
        git(work.parent, "init", "--quiet", f"--initial-branch={PROD}", str(work))
        _write_project(work)
        _train(work)
        _commit(work, "Tell malignant from benign: scaled logistic regression", day=8)
        git(work, "checkout", "--quiet", "-b", CHALLENGER)
        shutil.copytree(_TEMPLATES / "challenger", work, dirs_exist_ok=True, ignore=_CACHES)
        _train(work)
        _commit(work, "Try a random forest", day=23)
        git(work.parent, "clone", "--quiet", "--bare", "--no-local", str(work), str(bare))
        git(bare, "symbolic-ref", "HEAD", f"refs/heads/{PROD}")
        git(bare, "remote", "remove", "origin")
        git(bare, "config", "uploadpack.allowFilter", "true")
        git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")
        bare.rename(repository)
    return repository


def git(folder: Path, *arguments: str, day: int = 8) -> str:
    """Run git as the demonstration's person, on a day of March 2021, by nobody's settings."""
    date = f"2021-03-{day:02}T10:00:00+00:00"
    person = {"NAME": "Mira Castellan", "EMAIL": "mira@example.org", "DATE": date}
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    environment |= {f"GIT_AUTHOR_{key}": text for key, text in person.items()}
    environment |= {f"GIT_COMMITTER_{key}": text for key, text in person.items()}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    # Where a repository is missing, git must not find one further up: it is the user's own.
    environment["GIT_CEILING_DIRECTORIES"] = str(folder.parent)
    return _run(["git", *arguments], folder, environment)


def _commit(work: Path, message: str, day: int) -> None:
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "-m", message, day=day)


_CACHES = shutil.ignore_patterns("__pycache__")


def _write_project(work: Path) -> None:
    shutil.copytree(_TEMPLATES / "prod", work, dirs_exist_ok=True, ignore=_CACHES)
    pins = "".join(f"{name}=={version(name)}\n" for name in _PINNED)
    (work / "requirements.txt").write_text(pins)
    (work / ".gitignore").write_text("__pycache__/\n")
    _write_data(work / "data")


def _write_data(folder: Path) -> None:
    # Here, not above: what only the first demonstration needs should not slow every command.
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    loaded = load_breast_cancer(as_frame=True)
    table = loaded.data.assign(diagnosis=loaded.target_names[loaded.target])
    train, test = train_test_split(
        table, test_size=_TEST_SHARE, random_state=_SEED, stratify=table["diagnosis"]
    )
    folder.mkdir()
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)


def _train(work: Path) -> None:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    _run([sys.executable, "src/train.py"], work, environment)


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip() or f"exit code {done.returncode}"
        raise GatewayError(said, where=" ".join(command[:2]))
    return done.stdout.strip()
