"""Models in every format, in a real worker: they answer as their libraries do, or are refused."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from workers.fleets import DEV, PROD, running, snapshot

from gateway.config.sections import BranchConfig
from gateway.config.trust import TrustConfig
from gateway.errors import InvalidInstances

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import onnx
    import onnxruntime
    import skl2onnx

Files = Mapping[str, str | bytes]


@cache
def iris() -> tuple[Any, Any]:
    data = load_iris(as_frame=True)
    frame = data.data.set_axis(["sl", "sw", "pl", "pw"], axis=1)
    return frame, data.target_names[data.target]


@cache
def model() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(*iris())


@cache
def numbered() -> tuple[Any, Any]:
    frame, _ = iris()
    return frame, load_iris().target


def served(folder: Path, *stages: tuple[Files, Sequence[Any]], **fleet: Any) -> list[Any]:
    """One worker's answers after another: of each snapshot, the state and what its rows got."""

    async def story() -> list[Any]:
        found = []
        async with running(folder, **fleet) as world:
            for files, requests in stages:
                state = await world.settled(snapshot(folder, dict(files)))
                answers = []
                if state["quarantined"] is None:
                    waiting = [world.submit(rows) for rows in requests]
                    answers = await asyncio.gather(*waiting, return_exceptions=True)
                found.append((state, answers))
        return found

    return asyncio.run(story())


def said(answer: Any) -> tuple[list[Any], Any]:
    probabilities = answer.probabilities
    return json.loads(answer.predictions), json.loads(probabilities) if probabilities else None


def refusal(folder: Path, files: Files, **fleet: Any) -> str:
    ((state, _),) = served(folder, (files, []), **fleet)
    assert state["quarantined"] is not None, state
    return str(state["reason"])


def written(folder: Path, name: str, write: Callable[[str], object]) -> bytes:
    """What a library writes to a file."""
    path = folder / "written" / name
    path.parent.mkdir(exist_ok=True)
    write(str(path))
    return path.read_bytes()


ROWS = [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5], [5.9, 3.0, 4.2, 1.5]]


def records() -> list[dict[str, float]]:
    frame, _ = iris()
    return [dict(zip(frame.columns, row, strict=True)) for row in ROWS]


# .skops


def test_a_skops_file_answers_as_the_model_that_it_was(tmp_path: Path) -> None:
    frame, labels = iris()
    several = [
        ("linear", model()),
        ("forest", RandomForestClassifier(3)),
        ("boosted", GradientBoostingClassifier(n_estimators=3)),
        ("neighbours", KNeighborsClassifier()),
    ]
    kind = VotingClassifier(several, voting="soft").fit(frame, labels)
    ((state, answers),) = served(
        tmp_path, ({"models/model.skops": skops.io.dumps(kind)}, [records()])
    )
    assert state["state"] == "ready", state["reason"]
    predictions, probabilities = said(answers[0])
    data = pd.DataFrame(ROWS, columns=frame.columns)
    assert predictions == kind.predict(data).tolist()
    assert probabilities == pytest.approx(kind.predict_proba(data), abs=1e-9)
    assert state["versions"]["skops"] == skops.__version__


def hostile(target: Path) -> bytes:
    """A .skops file that would touch a file were its function called."""
    step = FunctionTransformer(os.system, kw_args={"command": f"touch {target}"})
    return bytes(skops.io.dumps(make_pipeline(step, LogisticRegression())))


def test_a_skops_file_of_a_type_that_nobody_trusts_is_refused_by_its_name(tmp_path: Path) -> None:
    reason = refusal(tmp_path, {"models/model.skops": hostile(tmp_path / "touched")})
    assert "models/model.skops holds types that are not trusted: posix.system" in reason
    assert "trust.skops_types" in reason
    assert not (tmp_path / "touched").exists()


def test_the_operator_may_trust_types_of_the_branchs_own(tmp_path: Path) -> None:
    code = (
        "from sklearn.base import BaseEstimator\n"
        "class Doubler(BaseEstimator):\n"
        "    def predict(self, rows): return rows[:, 0] * 2\n"
    )
    source = tmp_path / "mine"
    source.mkdir()
    (source / "doubling.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(source))
        doubling = __import__("doubling")
        dumped = skops.io.dumps(doubling.Doubler())
    files: Files = {"models/model.skops": dumped, "src/doubling.py": code}
    trust = TrustConfig(skops_types=("doubling.Doubler",))
    ((_, answers),) = served(tmp_path, (files, [[[2.0, 1.0]]]), trust=trust)
    assert said(answers[0])[0] == [4.0]


# .onnx


def converted(kind: Any, like: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return skl2onnx.to_onnx(kind, like, options={id(kind): options} if options else None)


def by_onnxruntime(data: bytes, **inputs: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def test_an_onnx_graph_answers_labels_and_probabilities_by_class(tmp_path: Path) -> None:
    """As arrays and as mappings: the classes stand in the nodes that the converter wrote."""
    frame, labels = iris()
    matrix = frame.to_numpy(np.float32)
    plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(matrix, labels)
    forest = RandomForestClassifier(3).fit(matrix, load_iris().target + 5)
    files = [
        converted(plain, matrix[:1]).SerializeToString(),
        converted(plain, matrix[:1], zipmap=False).SerializeToString(),
        converted(forest, matrix[:1], zipmap=False).SerializeToString(),
    ]
    found = served(tmp_path, *[({"models/m.onnx": data}, [ROWS]) for data in files])
    names = [["setosa", "versicolor", "virginica"]] * 2 + [[5, 6, 7]]
    for data, classes, (state, answers) in zip(files, names, found, strict=True):
        assert list(state["classes"] or ()) == classes, state["reason"]
        expected, scores = by_onnxruntime(data, X=np.array(ROWS, np.float32))
        if isinstance(scores, list):
            scores = [[row[name] for name in classes] for row in scores]
        predictions, probabilities = said(answers[0])
        assert predictions == expected.tolist()
        assert probabilities == pytest.approx(np.array(scores), abs=1e-7)
        assert state["versions"]["onnxruntime"] == onnxruntime.__version__


def test_an_onnx_graph_of_one_input_a_column_is_asked_by_name(tmp_path: Path) -> None:
    """Numbers and texts, whichever way a pipeline that selects columns was converted."""
    inputs = [
        onnx.helper.make_tensor_value_info("age", onnx.TensorProto.FLOAT, [None, 1]),
        onnx.helper.make_tensor_value_info("city", onnx.TensorProto.STRING, [None, 1]),
        onnx.helper.make_tensor_value_info("rooms", onnx.TensorProto.INT64, [None, 1]),
    ]
    encode = onnx.helper.make_node(
        *("LabelEncoder", ["city"], ["code"]),
        domain="ai.onnx.ml",
        keys_strings=["Ulm", "Bonn", ""],
        values_floats=[10.0, 20.0, 30.0],
        default_float=0.0,
    )
    cast = onnx.helper.make_node("Cast", ["rooms"], ["number"], to=onnx.TensorProto.FLOAT)
    total = onnx.helper.make_node("Sum", ["age", "code", "number"], ["price"])
    output = onnx.helper.make_tensor_value_info("price", onnx.TensorProto.FLOAT, [None, 1])
    graph = onnx.helper.make_graph([encode, cast, total], "prices", inputs, [output])
    data = _model_of(graph, **{"ai.onnx.ml": 2})
    rows = [
        [{"city": "Ulm", "age": 1, "rooms": 2}, {"city": None, "age": 2.5, "rooms": 1}],
        [{"city": "Rom", "age": 1, "rooms": 2}],
        [{"city": "Ulm", "age": 1, "rooms": 2.5}],
        [{"city": 7, "age": 1, "rooms": 2}],
        [{"city": "Ulm", "age": "old", "rooms": 2}],
    ]
    ((state, answers),) = served(tmp_path, ({"models/m.onnx": data}, rows))
    assert (state["columns"], state["kind"]) == (("age", "city", "rooms"), "regressor")
    assert [said(answer)[0] for answer in answers[:2]] == [[13.0, 33.5], [3.0]]
    assert all(isinstance(answer, InvalidInstances) for answer in answers[2:]), answers
    assert "rooms: must be a whole number" in str(answers[2])
    assert "city: must be a text or null" in str(answers[3])


def _model_of(graph: Any, batch: int | None = None, **domains: int) -> bytes:
    opsets = [onnx.helper.make_opsetid(name, number) for name, number in domains.items()]
    made = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17), *opsets], ir_version=8
    )
    return bytes(made.SerializeToString())


def softmax(batch: int | None, **metadata: list[str]) -> bytes:
    """What neural networks are exported as: one matrix in, one out, with no names at all."""
    node = onnx.helper.make_node("Softmax", ["x"], ["p"])
    made = onnx.helper.make_graph(
        [node],
        "net",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, 2])],
        [onnx.helper.make_tensor_value_info("p", onnx.TensorProto.FLOAT, [batch, 2])],
    )
    whole = onnx.load_model_from_string(_model_of(made))
    for key, names in metadata.items():
        whole.metadata_props.add(key=key, value=json.dumps(names))
    return bytes(whole.SerializeToString())


def test_an_onnx_file_may_name_columns_and_classes_in_its_metadata(tmp_path: Path) -> None:
    named = softmax(None, columns=["a", "b"], classes=["no", "yes"])
    stages: list[tuple[Files, Sequence[Any]]] = [
        ({"models/m.onnx": named}, [[{"b": 1, "a": 0}], [[3, 0]]]),
        ({"models/m.onnx": softmax(None)}, [[[0, 1], [3, 0]]]),
    ]
    (state, answers), (nameless, numbers) = served(tmp_path, *stages)
    assert (state["columns"], state["classes"]) == (("a", "b"), ("no", "yes"))
    assert [said(answer)[0] for answer in answers] == [["yes"], ["no"]]
    assert said(answers[0])[1][0][1] == pytest.approx(0.7310586, abs=1e-6)
    assert (nameless["columns"], nameless["classes"]) == (None, None)
    assert said(numbers[0])[0][0] == pytest.approx([0.2689414, 0.7310586], abs=1e-6)


def test_an_onnx_graph_of_one_row_at_a_time_answers_several(tmp_path: Path) -> None:
    file = {"models/m.onnx": softmax(1, classes=["no", "yes"])}
    ((_, answers),) = served(tmp_path, (file, [[[0, 1], [3, 0], [0, 9]]]))
    assert said(answers[0])[0] == ["yes", "no", "yes"]


def test_an_onnx_graph_that_rows_cannot_feed_is_refused_with_what_would_do(tmp_path: Path) -> None:
    image = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "image",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, 3, 8, 8])],
    )
    reason = refusal(tmp_path, {"models/m.onnx": _model_of(image)})
    assert "its input x is tensor(float) of shape [None, 3, 8, 8]" in reason
    assert "give src/serve.py a predict" in reason
    assert "cannot be loaded by onnxruntime" in refusal(tmp_path, {"models/m.onnx": b"no graph"})


def test_an_own_predict_gets_the_session_of_an_onnx_file(tmp_path: Path) -> None:
    code = "def predict(model, rows):\n    return [i.name for i in model.native.get_inputs()]\n"
    files: Files = {"models/m.onnx": softmax(None), "src/serve.py": code}
    ((_, answers),) = served(tmp_path, (files, [[[1, 2]]]))
    assert said(answers[0])[0] == ["x"]


# XGBoost and LightGBM


def test_files_of_xgboost_answer_as_its_scikit_learn_forms_do(tmp_path: Path) -> None:
    frame, three = numbered()
    two = (three == 1).astype(int)
    rows = frame.to_numpy()
    stopped = xgboost.XGBClassifier(n_estimators=40, early_stopping_rounds=1, learning_rate=1.0)
    kinds = [
        xgboost.XGBClassifier(n_estimators=4).fit(frame, three),
        xgboost.XGBRegressor(n_estimators=4, booster="gblinear").fit(frame, three),
        xgboost.XGBRegressor(n_estimators=4).fit(rows, np.stack([three, two], axis=1)),
        stopped.fit(frame[::2], two[::2], eval_set=[(frame[1::2], two[1::2])], verbose=False),
    ]
    stages = []
    for number, kind in enumerate(kinds):
        ending = ("ubj", "json")[number % 2]
        file = written(tmp_path, f"m.{ending}", kind.save_model)
        stages.append(({f"models/m.{ending}": file}, [ROWS, [[None, 3.0, None, 0.5]]]))
    for kind, (state, answers) in zip(kinds, served(tmp_path, *stages), strict=True):
        assert state["state"] == "ready", state["reason"]
        assert state["versions"]["xgboost"] == xgboost.__version__
        for rows_, answer in zip((ROWS, [[np.nan, 3.0, np.nan, 0.5]]), answers, strict=True):
            named = pd.DataFrame(rows_, columns=frame.columns)
            data = named if state["columns"] else named.to_numpy()
            predictions, probabilities = said(answer)
            assert np.array(predictions) == pytest.approx(kind.predict(data), abs=1e-6)
            if isinstance(kind, xgboost.XGBClassifier):
                assert probabilities == pytest.approx(kind.predict_proba(data), abs=1e-6)
                assert list(state["classes"]) == kind.classes_.tolist()
            else:
                assert (probabilities, state["classes"]) == (None, None)
    assert stopped.best_iteration < 39


def lightgbm() -> ModuleType:
    try:
        import lightgbm
    except OSError as error:  # it wants libgomp of the system
        if os.environ.get("CI"):
            pytest.fail(f"lightgbm cannot be imported, and under CI that is a failure: {error}")
        pytest.skip(f"lightgbm cannot be imported: {error}")
    return lightgbm


def test_files_of_lightgbm_answer_as_its_scikit_learn_forms_do(tmp_path: Path) -> None:
    library = lightgbm()
    frame, three = numbered()
    few: dict[str, Any] = {"n_estimators": 4, "verbose": -1, "min_child_samples": 5, "n_jobs": 1}
    kinds = [
        library.LGBMClassifier(**few).fit(frame, three),
        library.LGBMClassifier(**few).fit(frame.to_numpy(), three == 1),
        library.LGBMRegressor(**few).fit(frame, three),
    ]
    stages = [
        ({"models/m.txt": written(tmp_path, "m.txt", kind.booster_.save_model)}, [ROWS])
        for kind in kinds
    ]
    for kind, (state, answers) in zip(kinds, served(tmp_path, *stages), strict=True):
        assert state["state"] == "ready", state["reason"]
        named = pd.DataFrame(ROWS, columns=frame.columns)
        data = named if state["columns"] else named.to_numpy()
        predictions, probabilities = said(answers[0])
        assert np.array(predictions, float) == pytest.approx(kind.predict(data).astype(float))
        if isinstance(kind, library.LGBMClassifier):
            assert probabilities == pytest.approx(kind.predict_proba(data), abs=1e-9)
    assert stages[0][0]["models/m.txt"].startswith(b"tree")


# Which file is the model, and which is none


def test_notes_beside_a_packed_pickle_are_no_models(tmp_path: Path) -> None:
    files: Files = {
        "models/model.pkl.gz": gzip.compress(b"cestimator\nDoubler\n)R."),
        "src/estimator.py": "class Doubler:\n    def predict(self, rows): return rows[:, 0] * 2\n",
        "models/notes.json": '{"trained": "2026-11-01"}',
        "models/README.txt": "tree of decisions\n",
        "models/columns.csv": "a,b\n",
    }
    ((state, answers),) = served(tmp_path, (files, [[[1.5, 2]]]))
    assert state["state"] == "ready", state["reason"]
    assert said(answers[0])[0] == [3.0]


def test_an_unknown_file_is_refused_by_name_with_what_would_work(tmp_path: Path) -> None:
    reason = refusal(tmp_path, {"models/model.h5": b"\x89HDF", "models/notes.json": "{}"})
    assert "models/model.h5, models/notes.json: no model in a format that is known" in reason
    assert ".pkl .joblib, .skops, .onnx, .ubj, .json, .txt" in reason
    assert "src/serve.py with load(root)" in reason
    named = {PROD: BranchConfig(model="models/model.h5")}
    assert "model: models/model.h5: no model in" in refusal(
        tmp_path, {"models/model.h5": b"\x89HDF"}, branches=named
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("ModuleNotFoundError('none', name='onnxruntime')", "which is not installed in this"),
        ("OSError('libgomp.so.1: cannot open')", "cannot be imported: libgomp.so.1: cannot open"),
    ],
)
def test_a_file_whose_library_is_away_says_which_it_needs(
    tmp_path: Path, error: str, words: str
) -> None:
    """As the library's import fails; here that is one of the branch's own."""
    files: Files = {"models/m.onnx": softmax(None), "src/onnxruntime.py": f"raise {error}\n"}
    reason = refusal(tmp_path, files)
    assert "models/m.onnx needs onnxruntime, " in reason
    assert words in reason


def test_a_pickle_that_is_called_otherwise_is_not_unpickled(tmp_path: Path) -> None:
    touched = tmp_path / "touched"

    class Touches:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (touched,))

    payload = pickle.dumps(Touches())
    for name in ("model.onnx", "model.ubj"):
        assert f"models/{name} cannot be loaded by" in refusal(
            tmp_path, {f"models/{name}": payload}
        )
    assert not touched.exists()


# What the operator allows


def test_a_format_that_is_not_allowed_is_refused_before_it_is_read(tmp_path: Path) -> None:
    touched = tmp_path / "touched"

    class Touches:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (touched,))

    trust = TrustConfig(formats=("skops", "onnx"))
    for name in ("model.pkl", "model.joblib", "model.joblib.gz"):
        files: Files = {f"models/{name}": pickle.dumps(Touches())}
        reason = refusal(tmp_path, files, trust=trust)
        assert f"models/{name} is of the format pickle, which trust.formats" in reason
        assert "it allows skops, onnx" in reason
    assert not touched.exists()
    with_both: Files = {
        "models/model.pkl": pickle.dumps(Touches()),
        "models/model.onnx": softmax(None),
    }
    ((state, _),) = served(tmp_path, (with_both, []), trust=trust)
    assert state["state"] == "ready", state["reason"]
    assert not touched.exists()


def test_where_code_is_not_allowed_nothing_of_src_runs(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    code = f"from pathlib import Path\nPath({str(touched)!r}).touch()\n"
    trust = TrustConfig(formats=("onnx",))
    serving: Files = {"models/m.onnx": softmax(None), "src/serve.py": code}
    reason = refusal(tmp_path, serving, trust=trust)
    assert "src/serve.py is code, which trust.formats" in reason
    # Each of these would be imported in place of the library, were src/ on the path.
    shadows: Files = {f"src/{name}.py": code for name in ("flatbuffers", "numpy", "onnxruntime")}
    files: Files = {"models/m.onnx": softmax(None), "src/train.py": code, **shadows}
    ((state, answers),) = served(tmp_path, (files, [[[0, 1]]]), trust=trust)
    assert state["state"] == "ready", state["reason"]
    assert len(said(answers[0])[0]) == 1
    assert not touched.exists()


def test_a_branch_that_trust_is_not_for_loads_everything(tmp_path: Path) -> None:
    trust = TrustConfig(formats=("skops",), branches=(PROD,))
    graph: Files = {"models/model.onnx": softmax(None)}
    assert "format onnx" in refusal(tmp_path, graph, trust=trust)
    elsewhere = TrustConfig(formats=("skops",), branches=(DEV,))
    ((state, _),) = served(tmp_path, (graph, []), trust=elsewhere)
    assert state["state"] == "ready", state["reason"]
