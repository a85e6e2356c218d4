"""`gateway profile` as a person runs it, in the folder of a branch."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from gateway.statistics.reference import parse_profile

TRAIN = """
import joblib, numpy as np
from own import Doubling
joblib.dump(Doubling(["x", "plan"]), "models/model.pkl")
"""
OWN = """
import numpy as np
from sklearn.base import BaseEstimator

class Doubling(BaseEstimator):
    classes_ = np.array([0, 1])

    def __init__(self, names):
        self.names = names
        self.feature_names_in_ = np.array(names)

    def predict(self, rows):
        assert list(rows.columns) == ["x", "plan"]
        return (rows["x"] > 10).astype(int).to_numpy()

    def predict_proba(self, rows):
        share = rows["x"].to_numpy() / 40
        return np.column_stack([1 - share, share])
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A branch's folder, whose model has a class of its own."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("data", "models", "src"):
        (folder / name).mkdir()
    (folder / "src" / "own.py").write_text(OWN)
    (folder / "src" / "train.py").write_text(TRAIN)
    rows = "".join(f"{'ab'[x % 2]},{x},1,\n" for x in range(40))
    (folder / "data" / "train.csv").write_text("plan,x,y,note\n" + rows)
    subprocess.run([sys.executable, "src/train.py"], cwd=folder, check=True)
    return folder


@pytest.fixture
def project(tmp_path: Path, trained: Path) -> Path:
    """One of the test's own."""
    return Path(shutil.copytree(trained, tmp_path, dirs_exist_ok=True))


def profile(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "profile", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_model_with_classes_of_its_own_is_asked_as_where_it_is_served(project: Path) -> None:
    done = profile(
        project,
        *("--data", "data/train.csv", "--target", "y"),
        *("--model", "models/model.pkl", "--output", "metrics/reference.json"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "metrics/reference.json: 40 rows; 2 numeric, 2 categorical\n"
    made = parse_profile((project / "metrics" / "reference.json").read_bytes(), ["x", "plan"])
    assert [column.name for column in made.columns] == ["x", "plan", "__prediction__", "__score__"]
    assert made.columns[2].counts == (29, 11)
    assert (made.columns[3].min, made.columns[3].max) == (0, 39 / 40)
    assert made.source["path"] == "data/train.csv"


def test_without_a_model_every_column_but_the_target_is_told_and_the_skipped_ones_named(
    project: Path,
) -> None:
    done = profile(project, "--data", "data/train.csv", "--target", "y")
    assert done.stdout == (
        "metrics/reference.json: 40 rows; 1 categorical, 1 numeric\n"
        "  note is skipped: it holds no usable value\n"
    )
    made = parse_profile((project / "metrics" / "reference.json").read_bytes())
    assert [column.name for column in made.columns] == ["plan", "x", "note"]


def test_parquet_is_read_as_well(project: Path) -> None:
    path = project / "data" / "train.parquet"
    duckdb.sql(f"COPY (SELECT range AS x, [1] AS deep FROM range(9)) TO '{path}' (FORMAT parquet)")
    done = profile(project, "--data", "data/train.parquet", "-o", "r.json", "--examples", "3")
    assert len(parse_profile((project / "r.json").read_bytes()).examples) == 3
    assert done.stdout == (
        "r.json: 9 rows; 1 discrete\n  deep is skipped: it holds nested values\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--data data/no.csv", "data/no.csv: cannot be read: No such file or directory"),
        ("--data data/ragged.csv", "data/ragged.csv, line 3: must have 2 fields"),
        ("--data data/train.csv --target z", "data/train.csv: has no column 'z', the target"),
        (
            "--data data/ragged.csv --model models/model.pkl",
            "data/ragged.csv, line 3: must have 2 fields",
        ),
        (
            "--data data/narrow.csv --model models/model.pkl",
            "data/narrow.csv: has no column 'plan', which the model needs",
        ),
        (
            "--data data/train.csv --model models/no.pkl",
            "models/no.pkl: is not a file",
        ),
        (
            "--data data/train.csv --model data/train.csv",
            "--model: data/train.csv: no model in a format that is known here: .pkl",
        ),
        (
            "--data data/train.csv --model data/train.pkl",
            "--model: data/train.pkl cannot be unpickled",
        ),
        (
            "--data data/train.csv --model /dev/../etc/hostname",
            "/dev/../etc/hostname: must lie in the folder of its branch",
        ),
        (
            "--data data/other.csv --model models/model.pkl",
            "models/model.pkl: does not answer rows of the columns 'x', 'plan': ",
        ),
        (
            "--data data/train.csv -o src/own.py/r.json",
            "src/own.py/r.json: cannot be written: ",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(project: Path, arguments: str, said: str) -> None:
    (project / "data" / "ragged.csv").write_text("a,b\n1,2\n3\n")
    (project / "data" / "narrow.csv").write_text("x\n1\n")
    (project / "data" / "other.csv").write_text("x,plan\ntall,a\n")
    (project / "data" / "train.pkl").write_text("x")
    done = profile(project, *arguments.split())
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert "Traceback" not in done.stderr
    assert not (project / "metrics" / "reference.json").exists()


def test_a_model_without_its_source_is_told_what_it_needs(project: Path, tmp_path: Path) -> None:
    (project / "src" / "own.py").unlink()
    done = profile(project, "--data", "data/train.csv", "--model", "models/model.pkl")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "--model: models/model.pkl needs the module 'own', which is neither"
    )


SERVE = """
def predict(model, instances):
    if len(instances) > 256:
        raise ValueError(f"{len(instances)} rows at once")
    return {
        "predictions": ["none" if row["plan"] is None else row["plan"] for row in instances],
        "probabilities": [[1 - row["x"] / 1000, row["x"] / 1000] for row in instances],
    }
"""


def test_a_branch_of_code_alone_is_asked_as_its_users_would(project: Path) -> None:
    (project / "src" / "serve.py").write_text(SERVE)
    rows = "".join(f"{x},{('a', '', 'b')[x % 3]}\n" for x in range(600))
    (project / "data" / "long.csv").write_text("x,plan\n" + rows)
    done = profile(project, "--data", "data/long.csv", "--model", "src/serve.py")
    assert (done.returncode, done.stderr) == (0, "")
    made = parse_profile((project / "metrics" / "reference.json").read_bytes(), None)
    columns = {column.name: column for column in made.columns}
    told = columns["__prediction__"]
    assert dict(zip(told.values, told.counts, strict=True)) == {"a": 200, "b": 200, "none": 200}
    assert columns["__score__"].max == 0.599
    assert isinstance(made.examples[0], dict)


@pytest.mark.parametrize("first", [0, 29_696], ids=["begins", "ends"])
def test_scores_that_code_says_of_some_rows_only_stay_those_rows(project: Path, first: int) -> None:
    code = """
def predict(model, instances):
    shares = [[1 - row["x"] / 1e5, row["x"] / 1e5] for row in instances]
    found = {"predictions": [row["x"] > 300 for row in instances]}
    return {**found, "probabilities": shares} if instances[0]["x"] // 256 * 256 == FIRST else found
""".replace("FIRST", str(first))
    (project / "src" / "serve.py").write_text(code)
    rows = "".join(f"{x},a\n" for x in range(30_000))
    (project / "data" / "long.csv").write_text("x,plan\n" + rows)
    done = profile(project, "--data", "data/long.csv", "--model", "src/serve.py")
    assert (done.returncode, done.stderr) == (0, "")
    made = parse_profile((project / "metrics" / "reference.json").read_bytes())
    score = {column.name: column for column in made.columns}["__score__"]
    assert (score.rows, score.missing, score.max) == (30_000, 30_000 - 256, (first + 255) / 1e5)


def test_a_model_in_another_format_is_asked_too(project: Path) -> None:
    rows = np.array([[x, x % 7] for x in range(40)], dtype=np.float32)
    fitted = LogisticRegression().fit(rows, rows[:, 0] > 20)
    graph = to_onnx(fitted, rows[:1], options={"zipmap": False})
    (project / "models" / "model.onnx").write_bytes(graph.SerializeToString())
    (project / "data" / "numbers.csv").write_text(
        "x,y\n" + "".join(f"{x:.0f},{y:.0f}\n" for x, y in rows)
    )
    done = profile(project, "--data", "data/numbers.csv", "--model", "models/model.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    made = parse_profile((project / "metrics" / "reference.json").read_bytes())
    shares = fitted.predict_proba(rows)[:, 1]
    assert made.columns[3].mean == pytest.approx(shares.mean(), abs=1e-6)
    assert made.columns[2].counts == tuple(np.bincount(fitted.predict(rows)).tolist())


def test_a_skops_file_is_asked_once_its_types_are_trusted(project: Path) -> None:
    code = """
import copy, numpy as np, skops.io
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.linear_model import LinearRegression
rows = np.arange(40.0)[:, None]
model = make_pipeline(FunctionTransformer(copy.copy), LinearRegression()).fit(rows, rows[:, 0])
skops.io.dump(model, "models/m.skops")
"""
    subprocess.run([sys.executable, "-c", code], cwd=project, check=True)
    (project / "data" / "one.csv").write_text("x\n" + "".join(f"{x}\n" for x in range(40)))
    asked = ("--data", "data/one.csv", "--model", "models/m.skops")
    refused = profile(project, *asked)
    assert refused.returncode == 2
    assert "copy.copy" in refused.stderr
    assert profile(project, *asked, "--skops-type", "copy.copy").returncode == 0


def test_a_person_who_watches_sees_how_far_it_is(project: Path) -> None:
    with (project / "data" / "long.csv").open("w") as file:
        file.write("x\n")
        file.writelines(f"{row}\n" for row in range(50_000))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gateway", "profile", "--data", "data/long.csv"]
    try:
        done = subprocess.run(command, cwd=project, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        shown = os.read(ours, 65_536).decode()
    finally:
        os.close(ours)
    assert done.stdout == b"metrics/reference.json: 50,000 rows; 1 numeric\n"
    assert "Reading data/long.csv" in shown
    assert "100%" in shown
    assert any(f" {part}%" in shown for part in range(20, 60))


def test_the_help_warns_that_a_model_is_code(project: Path) -> None:
    said = " ".join(profile(project, "--help").stdout.split())
    assert "Loading it runs its code" in said


def test_other_commands_wait_for_no_library_of_numbers() -> None:
    code = "import sys, gateway.cli; print([m for m in ('numpy', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_documented_reference_is_one() -> None:
    page = (Path(__file__).parent.parent / "deploy" / "drift.md").read_text()
    section = page.split("## A reference for drift")[1]
    example = section.split("```json\n")[1].split("```")[0]
    made = parse_profile(example.encode(), ["age", "rooms", "plan", "notes"])
    assert {column.kind for column in made.columns} == {
        "numeric",
        "discrete",
        "categorical",
        "skipped",
    }
    assert set(made.examples[0]) == {column.name for column in made.inputs}
