"""A reference made of a file or a table: the columns, what the model says, and the examples."""

from __future__ import annotations

import asyncio
import json
import math
import stat
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from gateway.fitted import ModelUnusable
from gateway.profiling import NoReference, profile_table, write_profile
from gateway.served_model import ServedModel
from gateway.statistics import profiler
from gateway.statistics.profiler import reference_columns
from gateway.statistics.reference import Profile, ReferenceColumn, parse_profile
from gateway.tables import TableError

ROWS = 600


def table(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "height": random.normal(170, 10, rows).round(3),
            "rooms": random.integers(1, 6, rows),
            "plan": random.choice(["basic", "plus", "max"], rows),
            "open": random.random(rows) < 0.5,
            "since": [f"2021-03-{day:02}" for day in random.integers(1, 32, rows)],
            "always": 7,
        }
    )
    frame.loc[frame.index % 50 == 3, "height"] = math.nan
    return frame


def labels(frame: pd.DataFrame) -> pd.Series[Any]:
    tall = (frame["rooms"] * 10 + frame["height"].fillna(170) > 205).map({True: "a", False: "b"})
    return tall.where(frame["rooms"] != 1, "c")


def csv_of(folder: Path, frame: pd.DataFrame) -> Path:
    path = folder / "train.csv"
    frame.to_csv(path, index=False)
    return path


def profiled(path: Path, **options: Any) -> Profile:
    wanted: dict[str, Any] = {"target": None, "columns": None, "source": {}}
    return profile_table(path, **{**wanted, **options})


def served(path: Path, model: Any, **options: Any) -> Profile:
    """With the answers of a worker that loaded `model`."""
    file = Path("models") / "model.joblib"
    (path.parent / "models").mkdir(exist_ok=True)
    joblib.dump(model, path.parent / file)
    with asyncio.Runner() as runner, ServedModel(path.parent, file, (), runner) as answering:
        return profiled(path, answering=answering, **options)


def by_name(profile: Profile) -> dict[str, ReferenceColumn]:
    return {column.name: column for column in profile.columns}


def test_every_kind_of_column_of_a_file_is_told(tmp_path: Path) -> None:
    frame = table().assign(nothing=math.nan, y=1)
    profile = profiled(csv_of(tmp_path, frame), target="y", source={"type": "data"})
    assert profile.n == ROWS
    assert profile.source == {"type": "data"}
    assert {column.name: column.kind for column in profile.columns} == {
        "height": "numeric",
        "rooms": "discrete",
        "plan": "categorical",
        "open": "categorical",
        "since": "date",
        "always": "discrete",
        "nothing": "skipped",
    }
    height = by_name(profile)["height"]
    assert height.missing == ROWS // 50
    assert height.mean == pytest.approx(frame["height"].mean())
    assert height.sd == pytest.approx(frame["height"].std(ddof=0))
    assert by_name(profile)["always"].values == (7,)
    assert by_name(profile)["open"].values[0] in ("true", "false")


def test_parquet_a_csv_and_a_table_give_the_same_reference(tmp_path: Path) -> None:
    frame = table()
    parquet = tmp_path / "train.parquet"
    path = csv_of(tmp_path, frame)
    read = f"read_csv('{path}', types={{'since': 'VARCHAR'}})"
    duckdb.sql(f"COPY (FROM {read}) TO '{parquet}' (FORMAT parquet)")
    made = write_profile(tmp_path / "r.json", frame)
    assert profiled(parquet).columns == profiled(path).columns == made.columns
    assert profiled(path).id == made.id
    assert profiled(path).examples == made.examples


def test_nested_and_all_missing_columns_of_parquet_are_skipped_by_name(tmp_path: Path) -> None:
    path = tmp_path / "n.parquet"
    query = "SELECT [range] AS l, {'a': range} AS s, NULL::INT AS e, range AS x FROM range(90)"
    duckdb.sql(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    found = {column.name: column.reason for column in profiled(path).columns}
    assert found == {"l": "nested", "s": "nested", "e": "empty", "x": None}


def test_many_rows_are_counted_exactly_and_the_model_is_asked_in_portions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiler, "MOST_ROWS", 2_000)
    frame = table(20_000)[["rooms", "height"]].fillna(170)
    model = LogisticRegression(max_iter=1_000).fit(frame, labels(frame))
    asked: list[int] = []

    class Counting:
        """Says how many rows each call has."""

        classes_, feature_names_in_ = model.classes_, model.feature_names_in_
        predict_proba = staticmethod(model.predict_proba)

        def predict(self, rows: pd.DataFrame) -> Any:
            asked.append(len(rows))
            return model.predict(rows)

    made = write_profile(tmp_path / "r.json", frame, model=Counting())
    assert max(asked) <= 8_192
    # Once for all, and for those alone that the sample took: 2,000 (1 + ln 10) on average.
    assert 20_000 + 2_000 <= sum(asked) <= 20_000 + 8_500
    for profile in (made, served(csv_of(tmp_path, frame), model)):
        columns = by_name(profile)
        edges = np.array(columns["height"].edges)
        cells = np.searchsorted(edges, frame["height"], side="left")
        assert list(columns["height"].counts) == np.bincount(cells, minlength=20).tolist()
        prediction = columns["__prediction__"]
        answered = Counter(model.predict(frame).tolist())
        assert dict(zip(prediction.values, prediction.counts, strict=True)) == answered
        likely = model.predict_proba(frame).max(axis=1)
        assert columns["__score__"].mean == pytest.approx(likely.mean())
    assert parse_profile((tmp_path / "r.json").read_bytes()).n == 20_000


def test_a_short_file_is_the_same_as_its_columns_in_memory(tmp_path: Path) -> None:
    frame = table()
    columns: dict[str, list[Any]] = {str(name): frame[name].tolist() for name in frame}
    assert profiled(csv_of(tmp_path, frame)).columns == reference_columns(columns)


MEASURED = """
import resource, sys
from pathlib import Path
from gateway.profiling import profile_table, save_profile

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = peak()
profile = profile_table(Path(sys.argv[1]), target=None, columns=None, source={})
print(peak() - before)
save_profile(Path(sys.argv[2]), profile)
"""


def test_a_long_file_takes_no_more_memory_than_its_sample(tmp_path: Path) -> None:
    """Its rows would be 165 MB of Python's values: the texts are long, and no two the same."""
    path, rows = tmp_path / "long.csv", 300_000
    with path.open("w") as file:
        file.write("id,x,note\n")
        tail = "z" * 200
        file.writelines(f"{row},{row % 977}.5,{row:06}{tail}\n" for row in range(rows))
    command = [sys.executable, "-c", MEASURED, str(path), str(tmp_path / "r.json")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 100 * 1024
    profile = parse_profile((tmp_path / "r.json").read_bytes())
    columns = by_name(profile)
    assert profile.n == rows == columns["id"].rows == columns["note"].rows
    assert columns["note"].other == rows - 100
    assert (columns["id"].min, columns["id"].max) == (0, rows - 1)
    assert columns["x"].mean == pytest.approx(np.mean(np.arange(rows) % 977) + 0.5)
    shares = np.array(columns["x"].counts) / rows
    assert np.abs(shares - 0.05).max() < 0.01


@pytest.mark.parametrize("named", [True, False])
def test_a_score_is_that_of_the_second_class_or_of_the_predicted_one(
    tmp_path: Path, named: bool
) -> None:
    frame = table()[["rooms", "height"]].fillna(170)
    given = frame if named else frame.to_numpy()
    for wanted in (labels(frame), labels(frame) == "a"):
        model = LogisticRegression(max_iter=1_000).fit(given, wanted)
        shares = model.predict_proba(given)
        scores = shares[:, 1] if shares.shape[1] == 2 else shares.max(axis=1)
        for profile in (
            write_profile(tmp_path / "r.json", frame, model=model),
            served(csv_of(tmp_path, frame), model),
        ):
            assert by_name(profile)["__score__"].mean == pytest.approx(scores.mean())
            assert by_name(profile)["__prediction__"].kind == "categorical"
            example = profile.examples[0]
            assert (list(example) == ["rooms", "height"]) is named
            assert isinstance(example, dict) is named


def test_a_regressor_is_profiled_by_its_values_and_has_no_score(tmp_path: Path) -> None:
    frame = table()[["rooms", "height"]].fillna(170)
    model = LinearRegression().fit(frame, frame["rooms"] * 2 + frame["height"])
    profile = write_profile(tmp_path / "r.json", frame, model=model)
    assert [column.name for column in profile.columns] == ["rooms", "height", "__prediction__"]
    assert by_name(profile)["__prediction__"].kind == "numeric"


def test_labels_that_are_numbers_are_categories(tmp_path: Path) -> None:
    frame = table()[["rooms", "height"]].fillna(170)
    model = RandomForestClassifier(n_estimators=3, random_state=0).fit(frame, frame["rooms"])
    prediction = by_name(write_profile(tmp_path / "r.json", frame, model=model))["__prediction__"]
    assert (prediction.kind, set(prediction.values)) == ("categorical", set("12345"))


def test_several_outputs_are_skipped_by_name(tmp_path: Path) -> None:
    frame = table()[["rooms", "height"]].fillna(170)
    several = np.column_stack([frame["rooms"], labels(frame) == "a"]).astype(int)
    model = RandomForestClassifier(n_estimators=3, random_state=0).fit(frame, several)
    profile = write_profile(tmp_path / "r.json", frame, model=model)
    assert by_name(profile)["__prediction__"].reason == "nested"
    assert "__score__" not in by_name(profile)


def test_a_model_gets_its_own_columns_in_its_own_order(tmp_path: Path) -> None:
    frame = table()
    encoder = make_column_transformer((OneHotEncoder(), ["plan", "open"]), remainder="passthrough")
    inputs = frame[["plan", "rooms", "open"]].copy()
    inputs.loc[inputs.index % 7 == 0, "plan"] = None
    model = make_pipeline(encoder, LogisticRegression(max_iter=1_000)).fit(inputs, labels(frame))
    path = csv_of(tmp_path, frame.assign(plan=inputs["plan"]))
    profile = served(path, model)
    assert [column.name for column in profile.inputs] == ["plan", "rooms", "open"]
    assert by_name(profile)["plan"].missing == len(range(0, ROWS, 7))
    assert by_name(profile)["__score__"].rows == ROWS
    made = write_profile(tmp_path / "r.json", frame.assign(plan=inputs["plan"]), model=model)
    assert made.id == profile.id


def test_examples_are_spread_over_the_rows_and_hold_null_for_what_is_missing(
    tmp_path: Path,
) -> None:
    frame = table().assign(row=range(ROWS))
    profile = write_profile(tmp_path / "r.json", frame)
    written = json.loads((tmp_path / "r.json").read_text())["examples"]
    assert written == list(profile.examples)
    rows = [example["row"] for example in written]
    assert rows == sorted(rows)
    assert len(set(rows)) == 20
    assert rows[0] < ROWS / 3 < ROWS * 2 / 3 < rows[-1]
    for example in written:
        wanted = frame.iloc[example["row"]].to_dict()
        assert example == wanted | ({"height": None} if math.isnan(wanted["height"]) else {})
    assert write_profile(tmp_path / "r.json", frame, examples=0).examples == ()
    with pytest.raises(NoReference, match="examples must be 0 to 20"):
        write_profile(tmp_path / "r.json", frame, examples=21)
    few = write_profile(tmp_path / "r.json", frame.iloc[[3, 5]])
    assert [example["height"] for example in few.examples] == [None, frame["height"][5]]


def test_the_file_is_right_for_others_to_read_and_names_its_source(tmp_path: Path) -> None:
    frame = table()
    data = csv_of(tmp_path, frame)
    output = tmp_path / "metrics" / "reference.json"
    write_profile(str(output), frame, data=data)
    assert stat.S_IMODE(output.stat().st_mode) == 0o644
    assert [path.name for path in output.parent.iterdir()] == ["reference.json"]
    profile = parse_profile(output.read_bytes())
    digest = sha256(data.read_bytes()).hexdigest()
    assert profile.source == {"type": "training", "path": "train.csv", "sha256": digest}
    before = output.read_bytes()
    write_profile(output, frame, data=data)
    assert output.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "price"}, "train.csv: has no column 'price', the target"),
        ({"columns": ["rooms", "tower"]}, "train.csv: has no column 'tower'"),
    ],
)
def test_a_column_that_is_not_there_is_named(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(NoReference) as raised:
        profiled(csv_of(tmp_path, table()), **change)
    assert said in str(raised.value)


def test_tables_without_a_reference_in_them_are_refused(tmp_path: Path) -> None:
    frame = table()[["rooms", "height"]].fillna(170)
    model = LinearRegression().fit(frame, frame["rooms"])
    with pytest.raises(NoReference, match="has no column 'height', which the model needs"):
        write_profile(tmp_path / "r.json", frame[["rooms"]], model=model)
    with pytest.raises(NoReference, match=r"must be a pandas DataFrame\. Given: ndarray"):
        write_profile(tmp_path / "r.json", frame.to_numpy())  # type: ignore[arg-type]
    with pytest.raises(NoReference, match="the table: has no rows"):
        write_profile(tmp_path / "r.json", frame.iloc[:0])
    with pytest.raises(NoReference, match="must not be called '__score__'"):
        write_profile(tmp_path / "r.json", frame.assign(__score__=1))
    with pytest.raises(NoReference, match="'rooms' stands there twice"):
        write_profile(tmp_path / "r.json", frame[["rooms", "rooms"]])
    with pytest.raises(NoReference, match="has no column but the target"):
        profiled(csv_of(tmp_path, frame[["rooms"]]), target="rooms")
    with pytest.raises(NoReference, match="cannot be read: No such file"):
        write_profile(tmp_path / "r.json", frame, data=tmp_path / "away.csv")
    with pytest.raises(TableError, match=r"away\.csv: cannot be read"):
        profiled(tmp_path / "away.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(NoReference, match=r"file/r\.json: cannot be written"):
        write_profile(tmp_path / "file" / "r.json", frame)
    assert not (tmp_path / "r.json").exists()


class _Short:
    """Answers one row too few."""

    def predict(self, rows: Any) -> list[int]:
        return [0] * (len(rows) - 1)


def test_a_model_that_cannot_be_asked_says_why(tmp_path: Path) -> None:
    frame = table()[["rooms", "height"]]
    regressor = LinearRegression().fit(frame.fillna(170).to_numpy(), frame["rooms"])
    with pytest.raises(ModelUnusable, match=r"LinearRegression: does not answer .*'height'.* NaN"):
        write_profile(tmp_path / "r.json", frame, model=regressor)
    with pytest.raises(ModelUnusable, match=r"_Short: .* 599 answers to 600 rows"):
        write_profile(tmp_path / "r.json", frame, model=_Short())
    with pytest.raises(ModelUnusable, match=r"must have a method predict\. Given: a dict"):
        write_profile(tmp_path / "r.json", frame, model={})
