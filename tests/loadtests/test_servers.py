"""Servers under measurement: their answers are compared, all their processes seen and ended."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from waiting import wait_until

from loadtests.bench import forms
from loadtests.bench.lineup import SERVERS
from loadtests.bench.places import HERE, Missing, environment, peer_place
from loadtests.bench.processes import Tree, label
from loadtests.bench.running import Wrong, by_label, compare

EXPECTED = [[0.25, 0.75], [0.5, 0.5]]

#: Starts a grandchild that leaves the session and outlives its parent, and one that stays.
FAMILY = """
import subprocess, sys, time
wait = "import time; time.sleep(600)"
middle = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {wait!r}])"
subprocess.run([sys.executable, "-c", middle], start_new_session=True)
subprocess.Popen([sys.executable, "-c", wait])
sum(range(3_000_000))
print("started", flush=True)
time.sleep(600)
"""


def test_the_same_probabilities_are_right_in_every_form() -> None:
    flat = {"name": "predict_proba", "shape": [2, 2], "data": [0.25, 0.75, 0.5, 0.5]}
    for form, answer in (
        (forms.INSTANCES, b'{"probabilities": [[0.25, 0.75], [0.5, 0.5]]}'),
        (forms.MLFLOW, b'{"predictions": [[0.25, 0.75], [0.5, 0.5]]}'),
        (forms.BENTOML, b"[[0.25, 0.75], [0.5, 0.5]]"),
        (forms.OPEN_INFERENCE, json.dumps({"outputs": [flat]}).encode()),
    ):
        compare(form, answer, EXPECTED)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b'{"probabilities": [[0.25, 0.75], [0.5, 0.500001]]}', "the model itself says"),
        (b'{"probabilities": [[0.25, 0.75]]}', "the model itself says"),
        (b'{"predictions": [0, 1]}', "another form"),
        (b"Internal Server Error", "Expecting value"),
        (b"[]", "another form"),
    ],
)
def test_another_answer_than_the_models_is_wrong(answer: bytes, words: str) -> None:
    with pytest.raises(Wrong, match=words):
        compare(forms.INSTANCES, answer, EXPECTED)


def test_every_process_of_a_server_is_measured_and_ended(tmp_path: Path) -> None:
    """A server's helpers may leave its session or lose their parent: they are still its cost."""
    tree = Tree(
        [sys.executable, "-c", FAMILY],
        environment=environment(),
        folder=tmp_path,
        log=tmp_path / "log",
    )
    try:
        wait_until(lambda: "started" in tree.words(), describe=tree.words)
        wait_until(lambda: len(tree.members()) == 3, describe=tree.members)
        members = tree.members()
        assert sum(tree.cpu().values()) > 0
        # One that has only just become its program has hardly any yet.
        wait_until(
            lambda: all(found.peak > 1_000_000 for found in tree.memory().values()),
            describe=tree.memory,
        )
        assert set(tree.labels().values()) == {"python"}
    finally:
        tree.stop()
    assert tree.members() == []
    assert [pid for pid in members if Path(f"/proc/{pid}").exists() and not _dead(pid)] == []


def _dead(pid: int) -> bool:
    """A zombie whose new parent has not looked yet, or gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_cpu_of_processes_that_came_or_went_is_added_up_by_kind() -> None:
    before, after = {1: 1.0, 2: 5.0}, {1: 3.0, 3: 0.5, 4: 0.25}
    labels = {1: "front", 2: "worker", 3: "worker", 4: "worker"}
    assert by_label(before, after, labels) == {"front": 2.0, "worker": 0.75}


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["/v/python", "-m", "gateway", "serve", "gateway.yaml"], "front"),
        (["/v/python", "-m", "gateway", "monitor", "--settings", "s"], "monitor"),
        (["/v/python", "-P", "/x/gateway/workers/runner", "7"], "worker"),
        (["/v/python", "-m", "uvicorn", "app:app"], "uvicorn"),
        (["/v/python", "/v/bin/mlserver", "start", "."], "mlserver"),
        (["/v/python", "-c", "from multiprocessing.spawn import spawn_main"], "spawned worker"),
        (["ray::ServeReplica:default:Classifier"], "ray::ServeReplica:default:Classifier"),
    ],
)
def test_processes_are_named_by_what_they_are(command: list[str], name: str) -> None:
    assert label(command) == name


@pytest.mark.timeout(600)
def test_a_peer_that_cannot_be_installed_is_missing_with_the_reason(tmp_path: Path) -> None:
    required = tmp_path / "required.txt"
    required.write_text("--no-index\nnot-to-be-had-anywhere==1.0\n")
    with pytest.raises(Missing, match="not-to-be-had-anywhere"):
        peer_place(tmp_path, "fastapi", required=required)
    assert not (tmp_path / "fastapi" / "installed").exists(), "it would be taken for installed"


def test_every_peer_has_an_environment_with_every_version_pinned() -> None:
    for server in SERVERS:
        file = HERE / "requirements" / f"{server.name}.txt"
        assert file.exists() == server.peer, server.name
        if server.peer:
            required = [line for line in file.read_text().splitlines() if line[:1] != "#"]
            names = {line.partition("==")[0].lower() for line in required}
            assert [line for line in required if line.count("==") != 1] == []
            assert {*server.distributions, "scikit-learn"} <= names, server.name


def test_a_server_sees_little_of_the_environment_and_one_thread() -> None:
    os.environ["BENCH_TEST_SECRET"] = "x"
    try:
        seen = environment({"MORE": "1"})
    finally:
        del os.environ["BENCH_TEST_SECRET"]
    assert "BENCH_TEST_SECRET" not in seen
    assert (seen["OMP_NUM_THREADS"], seen["MORE"]) == ("1", "1")
