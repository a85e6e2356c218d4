"""scikit-learn models in a real worker: columns, records, nulls, and answers that are predict's."""

from __future__ import annotations

import asyncio
import json
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris, make_regression
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from workers.fleets import PROD, running, snapshot

from gateway.config.sections import BranchConfig, Privacy
from gateway.errors import InvalidInstances
from gateway.workers.jobs import Answer


@cache
def iris() -> tuple[Any, Any]:
    data = load_iris(as_frame=True)
    return data.data, data.target_names[data.target]


@cache
def named_model() -> bytes:
    return pickle.dumps(make_pipeline(StandardScaler(), LogisticRegression()).fit(*iris()))


@cache
def unnamed_model() -> bytes:
    features, labels = iris()
    return pickle.dumps(HistGradientBoostingClassifier(max_iter=5).fit(features.to_numpy(), labels))


def ask(folder: Path, model: bytes, *rows: object, **fleet: Any) -> list[Any]:
    """What each request gets, all sent at once behind a first one."""

    async def story() -> list[Any]:
        async with running(folder, **fleet) as world:
            state = await world.settled(snapshot(folder, {"models/model.pkl": model}))
            assert state["state"] == "ready", state
            futures = [world.submit(row) for row in rows]
            answers = await asyncio.gather(*futures, return_exceptions=True)
            assert world.exits("died") == 0  # a rerun after a death would hide a wrong frame
            return answers

    return asyncio.run(story())


def test_arrays_and_records_in_any_order_get_the_same_answers(tmp_path: Path) -> None:
    features, _ = iris()
    record = features.iloc[60].to_dict()
    shuffled = dict(reversed(record.items()))
    answers: list[Answer] = ask(
        tmp_path, named_model(), [list(record.values())], [record], [shuffled], [shuffled, record]
    )
    model = pickle.loads(named_model())
    label = model.predict(features[60:61])[0]
    assert [json.loads(a.predictions) for a in answers] == [[label], [label], [label], [label] * 2]
    expected = model.predict_proba(features[60:61])[0]
    for answer in answers:
        for row in json.loads(answer.probabilities):
            assert row == pytest.approx(expected, abs=1e-12)
    assert answers[0].serving.columns == tuple(features.columns)
    assert answers[0].serving.classes == ("setosa", "versicolor", "virginica")
    assert {answer.normalised for answer in answers} == {b""}


def test_more_columns_than_the_model_uses_are_ignored_and_counted(tmp_path: Path) -> None:
    record = iris()[0].iloc[3].to_dict()
    more = {**record, "age": 3, "city": "Ulm"}
    plain, wide, mixed = ask(tmp_path, named_model(), [record], [more], [record, {**more, "x": 1}])
    assert [a.ignored for a in (plain, wide, mixed)] == [0, 2, 3]
    assert plain.predictions == wide.predictions


def test_strict_columns_refuse_what_the_model_does_not_use(tmp_path: Path) -> None:
    record = iris()[0].iloc[3].to_dict()
    branches = {PROD: BranchConfig(strict_columns=True)}
    wide, plain = ask(tmp_path, named_model(), [{**record, "age": 3}], [record], branches=branches)
    assert isinstance(wide, InvalidInstances)
    assert "unknown columns 'age'" in wide.message
    assert isinstance(plain, Answer)


ROW = [5.1, 3.5, 1.4, 0.2]


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        ([ROW[:3]], "instance 0 must have 4 values. Given: 3"),
        ([ROW, ROW[:2]], "instance 1 must have 4 values. Given: 2"),
        ([{"sepal length (cm)": 1}], "lacks the columns 'sepal width (cm)'"),
        ([dict.fromkeys(range(4))], "lacks the columns"),
        ([ROW, {"a": 1}], "not a mixture"),
        (
            [[*ROW[:3], "wide"]],
            "column 'petal width (cm)': must be a number or null. Given: 'wide'",
        ),
        ([[*ROW[:3], [1]]], "column 'petal width (cm)': must be a number"),
        ([[*ROW[:3], {"a": 1}]], "column 'petal width (cm)': must be a number"),
        ([[*ROW[:3], 10**400]], "not JSON|beyond the range"),
        ([3], "must be an array or an object. Given: 3"),
        ([], "at least one row"),
        ({"a": 1}, "must be an array"),
        ([[*ROW[:3], None]], "NaN"),
    ],
)
def test_instances_the_model_cannot_use_are_the_requests_fault(
    tmp_path: Path, instances: object, words: str
) -> None:
    good, bad, also_good = ask(tmp_path, named_model(), [ROW], instances, [ROW])
    assert isinstance(good, Answer)
    assert isinstance(also_good, Answer)
    assert isinstance(bad, InvalidInstances), bad
    assert any(word in bad.message for word in words.split("|")), bad.message


def test_missing_names_are_listed_up_to_ten(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(15)]
    frame = pd.DataFrame(np.eye(15), columns=names)
    model = pickle.dumps(LinearRegression().fit(frame, np.arange(15)))
    (bad,) = ask(tmp_path, model, [{"c0": 1}])
    assert "'c10' and 4 more" in bad.message
    assert "'c11'" not in bad.message


def test_null_is_a_missing_value_where_the_model_takes_one(tmp_path: Path) -> None:
    rows = [[[5.1, None, 1.4, 0.2]], [[None] * 4], [[True, False, 1, 2]], [ROW]]
    answers = ask(tmp_path, unnamed_model(), *rows)
    model = pickle.loads(unnamed_model())
    for row, answer in zip(rows, answers, strict=True):
        assert json.loads(answer.predictions) == model.predict(np.array(row, float)).tolist()


def test_records_need_a_model_that_names_its_columns(tmp_path: Path) -> None:
    (bad,) = ask(tmp_path, unnamed_model(), [{"a": 1}])
    assert "does not name its columns; send arrays of 4 values" in bad.message


def test_under_redaction_rows_come_back_without_the_redacted_columns(tmp_path: Path) -> None:
    record = iris()[0].iloc[3].to_dict()
    secret = "petal width (cm)"
    answers = ask(
        tmp_path,
        named_model(),
        [record],
        [list(record.values())],
        [{**record, "more": 1}],
        [[*ROW[:3], "4711-secret"]],
        privacy=Privacy((secret,), withhold=True),
    )
    kept = {name: value for name, value in record.items() if name != secret}
    assert [json.loads(a.normalised) for a in answers[:3]] == [[kept]] * 3
    assert "4711" not in str(answers[3])
    assert "petal width (cm)" in str(answers[3])


def test_under_redaction_arrays_of_a_model_without_names_are_left_out(tmp_path: Path) -> None:
    (answer,) = ask(tmp_path, unnamed_model(), [ROW], privacy=Privacy(("ssn",), withhold=True))
    assert answer.normalised == b"[{}]"


def test_regressors_answer_numbers_or_rows_of_them(tmp_path: Path) -> None:
    x, y = make_regression(40, 3, n_targets=2, random_state=1)
    model = LinearRegression(n_jobs=2).fit(x, y)
    (answer,) = ask(tmp_path, pickle.dumps(model), x[:2].tolist())
    assert np.allclose(json.loads(answer.predictions), model.predict(x[:2]))
    assert answer.probabilities == b""
    assert answer.serving.classes is None


def mixed() -> tuple[Any, pd.DataFrame]:
    """A pipeline that selects columns by name, with text and gaps in both kinds of column."""
    frame = pd.DataFrame(
        {
            "age": [20.0, 30.0, np.nan, 50.0, 60.0, 70.0],
            "city": pd.Series(["Ulm", "Bonn", "Ulm", None, "Bonn", "Ulm"], dtype=object),
        }
    )
    columns = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
            ("c", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ]
    )
    model = make_pipeline(columns, LogisticRegression())
    return model.fit(frame, [0, 1, 0, 1, 1, 0]), frame


def test_text_columns_selected_by_name_are_answered_as_predict_would(tmp_path: Path) -> None:
    model, frame = mixed()
    rows = [
        [{"city": city if isinstance(city, str) else None, "age": None if age != age else age}]
        for age, city in zip(frame["age"], frame["city"], strict=True)
    ]
    answers = ask(tmp_path, pickle.dumps(model), *rows, [r[0] for r in rows])
    expected = model.predict_proba(frame)
    got = [json.loads(answer.probabilities)[0] for answer in answers[:-1]]
    assert np.allclose(got, expected, atol=1e-12)
    assert np.allclose(json.loads(answers[-1].probabilities), expected, atol=1e-12)


def test_text_columns_without_names_go_as_objects(tmp_path: Path) -> None:
    rows = [["Ulm", "a"], ["Bonn", "b"], ["Ulm", "b"]]
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    model.fit(np.array(rows, dtype=object), ["x", "y", "y"])
    answers = ask(tmp_path, pickle.dumps(model), *[[row] for row in rows], [["Rom", 3]])
    expected = model.predict(np.array(rows, dtype=object)).tolist()
    assert [json.loads(a.predictions)[0] for a in answers[:-1]] == expected
    assert isinstance(answers[-1], Answer)


def test_a_compressed_joblib_file_and_an_own_load_are_served_alike(tmp_path: Path) -> None:
    joblib.dump(pickle.loads(named_model()), tmp_path / "m.joblib", compress=3)
    dumped = (tmp_path / "m.joblib").read_bytes()
    code = "import joblib\ndef load(root): return joblib.load(root / 'models' / 'a.bin')\n"

    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(snapshot(tmp_path, {"models/m.joblib": dumped}))
            plain = await world.submit([ROW])
            own = snapshot(tmp_path, {"models/a.bin": dumped, "src/serve.py": code})
            await world.settled(own)
            answer = await world.submit([ROW])
            assert answer.serving.fingerprint == own.fingerprint
            assert (answer.predictions, answer.probabilities) == (
                plain.predictions,
                plain.probabilities,
            )

    asyncio.run(story())


def test_a_model_with_classes_from_the_branchs_src_is_unpickled(tmp_path: Path) -> None:
    code = "class Doubler:\n    def predict(self, rows): return rows[:, 0] * 2\n"
    files: dict[str, str | bytes] = {
        "src/estimator.py": code,
        "models/m.pkl": b"cestimator\nDoubler\n)R.",
    }

    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(snapshot(tmp_path, files))
            assert await world.ask([[1.5, 2]]) == [3.0]

    asyncio.run(story())


def test_a_forest_on_many_cores_is_served_on_one(tmp_path: Path) -> None:
    """Its own threads would cost one row more than they save; the answer tells what it has."""
    code = (
        "from sklearn.ensemble import RandomForestClassifier\n"
        "class Nosy(RandomForestClassifier):\n"
        "    def predict(self, rows):\n"
        "        return [self.n_jobs for _ in rows]\n"
        "def load(root):\n"
        "    return Nosy(2, n_jobs=4).fit([[0, 0, 0, 0], [1, 1, 1, 1]], [0, 1])\n"
    )

    async def story() -> None:
        async with running(tmp_path) as world:
            await world.settled(snapshot(tmp_path, {"src/serve.py": code}))
            answer = await world.submit([ROW])
            assert json.loads(answer.predictions) == [1]

    asyncio.run(story())
