"""The demonstration repository: what a person finds in it, and that it is what it says."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
from gitrepo import git
from workers.fleets import running, snapshot

from gateway.config import load_config
from gateway.demo import build_repository, run_demo
from gateway.demo import repository as building
from gateway.demo.run import write_config
from gateway.demo.traffic import rows_of
from gateway.errors import GatewayError, StateError
from gateway.statistics.reference import parse_profile

BRANCHES = ("prod", "ab-test-210323")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_repository(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module", params=BRANCHES)
def checkout(
    repository: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A person's clone of the repository with one branch checked out."""
    folder = tmp_path_factory.mktemp("checkout") / "project"
    git(repository, "clone", "--quiet", "--branch", request.param, str(repository), str(folder))
    return folder


def golden_of(checkout: Path) -> tuple[pd.DataFrame, list[str]]:
    golden = json.loads((checkout / "metrics" / "golden.json").read_text())
    return pd.DataFrame(golden["instances"]), golden["predictions"]


def test_the_repository_is_bare_and_has_the_two_branches(repository: Path) -> None:
    assert git(repository, "rev-parse", "--is-bare-repository") == "true"
    listed = git(repository, "branch", "--format=%(refname:short)").split()
    assert sorted(listed) == sorted(BRANCHES)
    assert git(repository, "symbolic-ref", "HEAD") == "refs/heads/prod"
    assert git(repository, "remote") == ""


def test_each_branch_has_the_layout_the_gateway_reads(checkout: Path) -> None:
    files = set(git(checkout, "ls-files").splitlines())
    assert files == {
        ".gitignore",
        "README.md",
        "data/test.csv",
        "data/train.csv",
        "metrics/golden.json",
        "metrics/model.json",
        "metrics/reference.json",
        "models/model.joblib",
        "requirements.txt",
        "src/estimator.py",
        "src/train.py",
    }


def test_training_again_leaves_every_committed_byte_as_it_was(checkout: Path) -> None:
    metrics = [f"metrics/{name}.json" for name in ("model", "golden", "reference")]
    for path in ("models/model.joblib", *metrics):
        (checkout / path).unlink()
    subprocess.run([sys.executable, "src/train.py"], cwd=checkout, check=True)
    assert git(checkout, "status", "--porcelain") == ""


def test_the_model_gives_its_golden_answers_and_knows_its_columns(checkout: Path) -> None:
    model = joblib.load(checkout / "models" / "model.joblib")
    instances, predictions = golden_of(checkout)
    assert list(model.feature_names_in_) == list(instances.columns)
    assert len(instances.columns) == 30
    assert list(model.classes_) == ["benign", "malignant"]
    assert model.predict(instances).tolist() == predictions


def test_the_reference_is_of_the_training_rows_and_the_model(checkout: Path) -> None:
    model = joblib.load(checkout / "models" / "model.joblib")
    file = checkout / "data" / "train.csv"
    train = pd.read_csv(file).drop(columns="diagnosis")
    written = (checkout / "metrics" / "reference.json").read_bytes()
    profile = parse_profile(written, list(model.feature_names_in_))
    assert profile.n == len(train)
    digest = sha256(file.read_bytes()).hexdigest()
    assert profile.source == {"type": "training", "path": "data/train.csv", "sha256": digest}
    by_name = {column.name: column for column in profile.columns}
    assert list(by_name) == [*train.columns, "__prediction__", "__score__"]
    for name in train.columns:
        assert by_name[name].mean == pytest.approx(train[name].mean())
        assert len(by_name[name].edges) == 19
    answered = Counter(model.predict(train).tolist())
    prediction = by_name["__prediction__"]
    assert dict(zip(prediction.values, prediction.counts, strict=True)) == answered
    score = model.predict_proba(train)[:, 1]
    assert by_name["__score__"].mean == pytest.approx(score.mean())
    rows = train.to_dict(orient="records")
    assert len(profile.examples) == 20
    assert all(example in rows for example in profile.examples)


def same_but_for_rounding(one: Any, other: Any) -> bool:
    """Apart from the last digits of scores, which depend on how many rows a call has."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            key == "id" or same_but_for_rounding(one[key], other[key]) for key in one
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_but_for_rounding, one, other))
    return bool(one == (pytest.approx(other, rel=1e-12) if isinstance(other, float) else other))


def test_the_command_makes_the_same_reference(checkout: Path) -> None:
    """What train.py writes is what `gateway profile` writes of the same file and model."""
    arguments = "--data data/train.csv --target diagnosis --model models/model.joblib"
    command = [sys.executable, "-m", "gateway", "profile", *arguments.split()]
    written = checkout / "metrics" / "reference.json"
    before = json.loads(written.read_text())
    written.unlink()
    done = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True)
    assert same_but_for_rounding(json.loads(written.read_text()), before)
    assert done.stdout == "metrics/reference.json: 426 rows; 31 numeric, 1 categorical\n"
    assert done.stderr == ""


def test_the_examples_of_the_reference_are_answered(checkout: Path, tmp_path: Path) -> None:
    """Golden rows are asked first: here they are left out."""
    model = (checkout / "models" / "model.joblib").read_bytes()
    reference = (checkout / "metrics" / "reference.json").read_bytes()
    files = {"models/model.joblib": model, "metrics/reference.json": reference}

    async def story() -> None:
        async with running(tmp_path) as world:
            state = await world.settled(snapshot(tmp_path, {**files}))
            assert state["serving"]["probed"] == "examples"

    asyncio.run(story())


def test_the_golden_rows_have_both_answers(checkout: Path) -> None:
    assert set(golden_of(checkout)[1]) == {"benign", "malignant"}


def test_the_stated_accuracy_is_that_on_rows_the_model_has_not_seen(checkout: Path) -> None:
    stated = json.loads((checkout / "metrics" / "model.json").read_text())
    train, test = (pd.read_csv(checkout / "data" / f"{part}.csv") for part in ("train", "test"))
    model = joblib.load(checkout / "models" / "model.joblib")
    accuracy = (model.predict(test.drop(columns="diagnosis")) == test["diagnosis"]).mean()
    assert stated["accuracy"] == round(accuracy, 4)
    assert stated["n"] == len(test)
    assert pd.concat([train, test]).duplicated().sum() == 0
    assert set(stated["trained_with"]) == {"python", "numpy", "pandas", "scikit-learn"}


def test_the_challenger_is_better_and_differs_in_its_estimator_only(repository: Path) -> None:
    changed = git(repository, "diff", "--name-only", *BRANCHES).splitlines()
    assert [path for path in changed if path.startswith("src/")] == ["src/estimator.py"]
    prod, challenger = (
        json.loads(git(repository, "show", f"{branch}:metrics/model.json")) for branch in BRANCHES
    )
    assert challenger["accuracy"] > prod["accuracy"]
    assert challenger["roc_auc"] > prod["roc_auc"]


def test_the_challenger_merges_into_prod_without_a_conflict(
    repository: Path, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "--quiet", str(repository), "project")
    project = tmp_path / "project"
    # As after a while of serving: monitoring commits on either branch.
    for branch in BRANCHES:
        git(project, "checkout", "--quiet", branch)
        segment = project / "monitoring" / "predictions" / branch / "segment.csv"
        segment.parent.mkdir(parents=True)
        segment.write_text("ts\n")
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "-m", "monitoring")
    git(project, "checkout", "--quiet", "prod")
    git(project, "merge", "--quiet", "--no-edit", "ab-test-210323")
    assert git(project, "diff", "--name-only", "ab-test-210323", "HEAD").splitlines() == [
        "monitoring/predictions/prod/segment.csv"
    ]


def test_building_twice_gives_the_same_commits(repository: Path, tmp_path: Path) -> None:
    again = build_repository(tmp_path)
    for branch in BRANCHES:
        assert git(again, "rev-parse", branch) == git(repository, "rev-parse", branch)
    assert [path.name for path in tmp_path.iterdir()] == ["repository.git"]


def test_a_repository_that_is_there_is_left_as_it_is(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(building, "_train", refuse)
    assert build_repository(repository.parent) == repository


def test_a_training_that_fails_says_why_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_the_estimator(data: Path) -> None:
        (data.parent / "src" / "estimator.py").write_text(
            "raise SystemExit('no estimator today')\n"
        )

    monkeypatch.setattr(building, "_write_data", break_the_estimator)
    with pytest.raises(GatewayError, match="no estimator today"):
        build_repository(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_rows_sent_are_the_held_out_ones_without_the_diagnosis(repository: Path) -> None:
    rows = rows_of(repository)
    assert len(rows) == 143
    assert all(len(row) == 30 and "diagnosis" not in row for row, _ in rows)
    assert {diagnosis for _, diagnosis in rows} == {"benign", "malignant"}
    instances = json.loads(git(repository, "show", "prod:metrics/golden.json"))["instances"]
    assert [row for row, _ in rows[:5]] == instances


def test_the_configuration_of_the_demonstration_is_right(tmp_path: Path) -> None:
    write_config(tmp_path / "gateway.yaml", 18080)
    config = load_config(tmp_path / "gateway.yaml")
    assert (config.listen.host, config.listen.port) == ("127.0.0.1", 18080)
    assert config.weights == {"prod": 60.0, "ab-test-210323": 40.0}
    assert config.repository == str(tmp_path / "repository.git")
    assert config.monitoring.sample_rows == "all"


def test_a_taken_port_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StateError, match=f"port {port} .* gateway demo --port"):
            run_demo(tmp_path, port)
    assert list(tmp_path.iterdir()) == []


def test_a_repository_around_the_demonstration_is_never_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make demo` runs in a clone of the project, with a folder that is named relative to it."""
    around = tmp_path / "clone"
    around.mkdir()
    git(around, "init", "--quiet", "--initial-branch=main")
    (around / "kept.txt").write_text("committed")
    git(around, "add", "--all")
    git(around, "commit", "--quiet", "-m", "theirs")
    before = git(around, "rev-parse", "HEAD")
    (around / "kept.txt").write_text("changed, not committed")
    monkeypatch.chdir(around)
    build_repository(Path(".demo"))
    assert git(around, "rev-parse", "HEAD") == before
    assert git(around, "symbolic-ref", "--short", "HEAD") == "main"
    assert (around / ".demo/repository.git").is_dir()
