"""A faster form answers as the model does, to the label and to 1e-9, or it does not answer."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import pickle
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
import sklearn.ensemble._gradient_boosting
import sklearn.tree._tree
from gitrepo import Remote, git
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import Gateway
from sklearn.datasets import make_classification, make_regression
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from threadpoolctl import threadpool_limits
from waiting import wait_until, wait_until_async
from workers.fleets import PROD, running, sin, snapshot

from gateway.config.sections import BranchConfig, LimitsConfig, Privacy
from gateway.workers.runner import accelerated as module
from gateway.workers.runner import answers, linear, trees
from gateway.workers.runner.accelerated import accelerated
from gateway.workers.runner.answers import Quick
from gateway.workers.runner.estimator import examined
from gateway.workers.runner.frames import Reply
from gateway.workers.runner.standard import Standard

WIDTH = 5
NOWHERE = Path("/nowhere")


@pytest.fixture(autouse=True, scope="module")
def _same_sklearn() -> Iterator[None]:
    """Looking at a model sets scikit-learn up for a worker; here it is shared with other tests."""
    before = sklearn.get_config()
    # As in a worker. On a busy machine several threads mostly wait for one another.
    with threadpool_limits(1, user_api="openmp"):
        yield
    sklearn.set_config(**before)


def standard(model: Any, root: Path = NOWHERE, *, wanted: bool = True) -> Standard:
    estimator = examined(model)
    quick, said = accelerated(estimator, root, wanted=wanted, withhold=False)
    return Standard(
        estimator,
        strict=False,
        redact=frozenset(),
        withhold=False,
        quick=quick,
        why=said,
    )


def quick_of(model: Any) -> Quick:
    quick, said = accelerated(examined(model), NOWHERE, wanted=True, withhold=False)
    assert quick is not None, said
    return quick


@cache
def data(kind: str) -> tuple[Any, Any]:
    """Rows rounded so that trees meet ties and equal values; the labels are texts."""
    if kind == "numbers":
        x, y = make_regression(120, WIDTH, noise=5.0, random_state=0)
        return np.round(x, 1), y
    if kind == "pairs":
        x, y = make_regression(120, WIDTH, n_targets=2, random_state=0)
        return np.round(x, 1), y
    classes = {"two": 2, "four": 4}[kind]
    x, y = make_classification(
        160, WIDTH, n_informative=4, n_redundant=1, n_classes=classes, flip_y=0.2, random_state=0
    )
    return np.round(x, 1), np.array(["d", "b", "c", "a"])[y]


def fitted(model: Any, kind: str, *, holes: bool = False) -> Any:
    x, y = data(kind)
    if holes:
        x = x.copy()
        x[np.random.default_rng(0).random(x.shape) < 0.1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence is not what is tested
        return model.fit(x, y)


def scaled(model: Any) -> Any:
    return make_pipeline(StandardScaler(), model)


CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "forest": lambda: RandomForestClassifier(7, random_state=0),
    "forest of few": lambda: RandomForestClassifier(2, max_depth=3, random_state=0),
    "extra trees": lambda: ExtraTreesClassifier(7, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=9, random_state=0),
    "binned boosting": lambda: HistGradientBoostingClassifier(
        max_iter=9, min_samples_leaf=3, random_state=0
    ),
    "tree": lambda: DecisionTreeClassifier(random_state=0),
    "scaled forest": lambda: scaled(RandomForestClassifier(7, random_state=0)),
    "scaled binned boosting": lambda: scaled(
        HistGradientBoostingClassifier(max_iter=9, min_samples_leaf=3, random_state=0)
    ),
    "logistic": lambda: scaled(LogisticRegression()),
    "logistic alone": lambda: LogisticRegression(),
    "imputed logistic": lambda: make_pipeline(
        SimpleImputer(), MinMaxScaler(), LogisticRegression()
    ),
    "clipped logistic": lambda: make_pipeline(
        MinMaxScaler((-1, 2), clip=True), MaxAbsScaler(), LogisticRegression()
    ),
    "imputed forest": lambda: make_pipeline(
        SimpleImputer(strategy="median"), RandomForestClassifier(7, random_state=0)
    ),
    "ridge": lambda: make_pipeline(RobustScaler(), RidgeClassifier()),
    "hinge": lambda: make_pipeline(MaxAbsScaler(), SGDClassifier(random_state=0)),
    "log loss": lambda: scaled(SGDClassifier(loss="log_loss", random_state=0)),
    "huber": lambda: scaled(SGDClassifier(loss="modified_huber", random_state=0)),
    "perceptron": lambda: Perceptron(random_state=0),
    "support vectors": lambda: scaled(LinearSVC(random_state=0)),
    "searched": lambda: GridSearchCV(scaled(LogisticRegression()), {}, cv=2),
    "pipeline in a pipeline": lambda: make_pipeline(
        "passthrough", make_pipeline(StandardScaler(with_mean=False), LogisticRegression())
    ),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "forest": lambda: RandomForestRegressor(7, random_state=0),
    "extra trees": lambda: ExtraTreesRegressor(7, random_state=0),
    "boosting": lambda: GradientBoostingRegressor(n_estimators=9, random_state=0),
    "boosting from zero": lambda: GradientBoostingRegressor(
        n_estimators=9, init="zero", loss="huber", random_state=0
    ),
    "binned boosting": lambda: HistGradientBoostingRegressor(max_iter=9, min_samples_leaf=3),
    "tree": lambda: DecisionTreeRegressor(random_state=0),
    "least squares": lambda: scaled(LinearRegression()),
    "ridge": lambda: make_pipeline(SimpleImputer(), StandardScaler(with_std=False), Ridge()),
    "descent": lambda: scaled(SGDRegressor(random_state=0)),
    "support vectors": lambda: LinearSVR(random_state=0),
}
CASES = [
    *(
        (f"{kind} {name}", make, kind)
        for name, make in CLASSIFIERS.items()
        for kind in ("two", "four")
    ),
    *((f"numbers {name}", make, "numbers") for name, make in REGRESSORS.items()),
    *(
        (f"pairs {name}", REGRESSORS[name], "pairs")
        for name in ("forest", "extra trees", "tree", "least squares", "ridge")
    ),
    *(
        (f"{kind} {name} with gaps", make[name], kind)
        for kind, make in (("two", CLASSIFIERS), ("four", CLASSIFIERS), ("numbers", REGRESSORS))
        for name in ("forest", "extra trees", "binned boosting", "tree")
    ),
]


@cache
def served(name: str) -> tuple[Any, Standard, tuple[float, ...]]:
    """A fitted model, what serves it in its faster form, and numbers that matter to it."""
    make, kind = next((make, kind) for case, make, kind in CASES if case == name)
    model = fitted(make(), kind, holes="gaps" in name)
    parts = [model, *(step for _, step in getattr(model, "steps", ()))]
    numbers = {float(value) for value in np.unique(data(kind)[0])[::5]}
    for part in parts:
        if hasattr(part, "estimators_"):
            numbers.update(np.ravel(part.estimators_)[0].tree_.threshold[:20].tolist())
        elif hasattr(part, "tree_"):
            numbers.update(part.tree_.threshold[:20].tolist())
        elif hasattr(part, "_predictors"):
            numbers.update(part._predictors[0][0].nodes["num_threshold"][:20].tolist())
    edges = set()
    for number in numbers:
        edges |= {number, float(np.nextafter(number, 9e9)), float(np.nextafter(number, -9e9))}
        edges |= {float(np.float32(number)), float(np.float32(number)) * (1 + 2**-26)}
    return model, standard(model), tuple(sorted(edge for edge in edges if abs(edge) < 1e38))


ODD = (0.0, -0.0, 5e-324, -1e-310, 1e-45, 2.0**24 + 1, 1e15, -1e30, 2.9e38)


@st.composite
def rows(draw: Any, edges: tuple[float, ...], *, missing: bool) -> list[list[float | None]]:
    cells: Any = st.one_of(
        st.sampled_from(edges), st.floats(-20, 20), st.floats(-1e30, 1e30), st.sampled_from(ODD)
    )
    if missing:
        cells = st.one_of(cells, cells, st.none())
    row = st.lists(cells, min_size=WIDTH, max_size=WIDTH)
    found: list[list[float | None]] = draw(st.lists(row, min_size=1, max_size=12))
    return found


def of(reply: Reply) -> tuple[list[Any], list[Any] | None]:
    assert reply.status == 0, reply
    texts = reply.predictions, reply.probabilities
    return json.loads(texts[0]), json.loads(texts[1]) if texts[1] else None


@pytest.mark.parametrize("name", [case[0] for case in CASES])
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(drawn=st.data())
def test_a_faster_form_answers_as_predict_does(name: str, drawn: Any) -> None:
    model, fast, edges = served(name)
    assert fast._quick is not None, fast.why
    given_rows = drawn.draw(rows(edges, missing=fast._quick.missing))
    replies = fast.answer([json.dumps([row]).encode() for row in given_rows])
    predictions = [of(reply)[0][0] for reply in replies]
    matrix = np.array(given_rows, dtype=np.float64)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = model.predict(matrix)
        together = fast._quick.scores(matrix, bool(np.isnan(matrix).any()))
    if expected.dtype.kind != "f":
        assert predictions == expected.tolist()
    else:
        np.testing.assert_allclose(predictions, expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(together, expected, rtol=0, atol=1e-9)
    if hasattr(model, "predict_proba"):
        with np.errstate(all="ignore"):
            expected = model.predict_proba(matrix)
        probabilities = [(of(reply)[1] or [])[0] for reply in replies]
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(together, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["two forest of few", "four forest of few", "two tree"])
def test_ties_of_a_forest_are_predicts_however_the_rows_are_batched(name: str) -> None:
    model, fast, _ = served(name)
    x = np.random.default_rng(0).integers(-3, 4, size=(400, WIDTH)).astype(float)
    expected = model.predict(x).tolist()
    assert fast._quick is not None
    assert fast._quick.ties
    for size in (1, 7, 64, 400):
        payloads = [json.dumps(x[at : at + size].tolist()).encode() for at in range(0, 400, size)]
        answered = [label for reply in fast.answer(payloads) for label in of(reply)[0]]
        assert answered == expected


def test_a_forest_is_tabled_in_parts_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(RandomForestClassifier(7, random_state=0), "four")
    x = data("four")[0]
    monkeypatch.setattr(trees, "_MOST_LEAVES", 100)
    assert quick_of(model).scores(x, False).tolist() == model.predict_proba(x).tolist()


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (RandomForestClassifier(7, random_state=0), "four"),
        (RandomForestRegressor(7, random_state=0), "numbers"),
        (RandomForestRegressor(7, random_state=0), "pairs"),
    ],
)
def test_a_forest_too_large_for_a_second_form_keeps_its_own_trees(
    monkeypatch: pytest.MonkeyPatch, model: Any, kind: str
) -> None:
    monkeypatch.setattr(trees, "_MOST_BYTES", 0)
    model = fitted(model, kind, holes=True)
    monkeypatch.setattr(trees.Walk, "__call__", None)
    quick = quick_of(model)
    x = data(kind)[0].copy()
    x[::2, 1] = np.nan
    ask = model.predict_proba if kind == "four" else model.predict
    with sklearn.config_context(assume_finite=False):
        assert quick.scores(x, True).tolist() == ask(x).tolist()


def test_binned_boosting_too_large_for_a_second_form_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trees, "_MOST_BYTES", 0)
    said = standard(fitted(HistGradientBoostingRegressor(max_iter=2), "numbers")).why
    assert said.startswith("scikit-learn: a second form of its")


def dropped(real: Any) -> Any:
    return lambda forest, *rest: real(forest[:-1], *rest)


def swapped(real: Any) -> Any:
    def doubled(tree: Any, values: Any = None) -> Any:
        state = tree.__getstate__()
        state["nodes"] = state["nodes"].copy()
        state["nodes"]["missing_go_to_left"] ^= 1
        other = type(tree)(tree.n_features, tree.n_classes, tree.n_outputs)
        other.__setstate__(state)
        return real(other, values)

    return doubled


def rounded(real: Any) -> Any:
    def tree(width: int, nodes: Any, *rest: Any) -> Any:
        nodes["threshold"] = np.nextafter(nodes["threshold"].astype(np.float32), np.float32(-9e9))
        return real(width, nodes, *rest)

    return tree


def off_by_one(real: Any) -> Any:
    def ranked(nodes: Any, ranks: Any, width: int) -> Any:
        return real(nodes, ranks[1:], width)

    return ranked


def slightly_off(real: Any) -> Any:
    return lambda decisions: real(decisions) + 2e-9


def unordered(real: Any) -> Any:
    return lambda *given, **named: lambda x, m: real(*given, **named)(x, m)[:, ::-1]


SABOTAGE = [
    (trees, "_tabled", dropped, CLASSIFIERS["forest"], "two", False),
    (trees, "_doubled", swapped, CLASSIFIERS["forest"], "two", True),
    (trees, "_doubled", swapped, CLASSIFIERS["tree"], "four", True),
    (trees, "_tree", rounded, CLASSIFIERS["forest"], "four", False),
    (trees, "_tree", rounded, REGRESSORS["forest"], "numbers", False),
    (trees, "_ranked", off_by_one, CLASSIFIERS["binned boosting"], "two", False),
    (linear, "_softmax", slightly_off, CLASSIFIERS["logistic"], "four", False),
    (linear, "classifier", unordered, CLASSIFIERS["ridge"], "four", False),
    (linear, "classifier", unordered, CLASSIFIERS["hinge"], "two", False),
]


@pytest.mark.parametrize(
    ("where", "what", "how", "make", "kind", "holes"),
    SABOTAGE,
    ids=[f"{case[1]} {case[2].__name__} {case[4]}" for case in SABOTAGE],
)
def test_a_form_that_answers_otherwise_is_found_out_and_the_model_itself_serves(
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    what: str,
    how: Any,
    make: Any,
    kind: str,
    holes: bool,
) -> None:
    model = fitted(make(), kind, holes=holes)
    monkeypatch.setattr(where, what, how(getattr(where, what)))
    served = standard(model)
    assert served.why == "scikit-learn: its faster form answered otherwise in a trial"
    x = data(kind)[0]
    assert of(served.answer([json.dumps(x.tolist()).encode()])[0])[0] == model.predict(x).tolist()


def test_numbers_of_a_regressor_are_compared_on_their_own_scale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wrong in the third digit is wrong, also where the numbers are smaller than the tolerance."""
    x, y = data("numbers")
    model = LinearRegression().fit(x, y * 1e-13)
    assert standard(model).form == "numpy"
    real = linear.regressor
    monkeypatch.setattr(linear, "regressor", lambda of: lambda x, m: real(of)(x, m) + 1e-14)
    assert "answered otherwise" in standard(model).why


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1.0, -2.0], True),
        ([2.9e38] * 30, True),  # whose squares add up to more than that of the largest
        ([1.0, 3.1e38], False),
        ([-3.1e38, 0.0], False),
        ([1e300, 1.0], False),
        ([np.inf, 1.0], False),
        ([-np.inf, np.inf], False),
        ([np.nan, 1.0], False),
    ],
)
def test_rows_count_as_finite_where_each_number_is_one_in_float32(
    row: list[float], expected: bool
) -> None:
    assert answers.finite(np.array([row, row])) is expected


@pytest.mark.parametrize("name", ["golden", "reference"])
def test_the_branchs_own_rows_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A form that errs for one row only, which no made row would be."""
    model = fitted(LinearRegression(), "numbers")
    real = linear.regressor

    def odd(of: Any) -> Any:
        return lambda x, m: real(of)(x, m) + (x == 4711.0).any(axis=1)

    monkeypatch.setattr(linear, "regressor", odd)
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    assert standard(model, tmp_path).form == "numpy"
    key = {"golden": "instances", "reference": "examples"}[name]
    (metrics / f"{name}.json").write_text(json.dumps({key: [[1] * WIDTH, [4711] * WIDTH]}))
    assert "answered otherwise" in standard(model, tmp_path).why


@pytest.mark.parametrize(
    "text", ["", "[]", '{"instances": 3}', '{"instances": [["a"]]}', '{"instances": []}']
)
def test_rows_that_cannot_be_used_are_left_to_the_probe(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "golden.json").write_text(text)
    assert standard(fitted(LinearRegression(), "numbers"), tmp_path).form == "numpy"


def test_a_slow_model_is_tried_with_fewer_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = answers.by_model

    def by_model(estimator: Any, batch: Any) -> Any:
        asked.append(len(batch))
        return real(estimator, batch)

    monkeypatch.setattr(module, "by_model", by_model)
    model = fitted(LogisticRegression(), "two")
    monkeypatch.setattr(module, "_SECONDS", 60.0)
    assert standard(model).form == "numpy"
    usual, asked[:] = list(asked), []
    monkeypatch.setattr(module, "_SECONDS", -1.0)
    assert standard(model).form == "numpy"
    assert usual == [64, 64, 1, 256, 127]  # the second: the first with gaps, which it refuses
    assert asked == [64, 64]
    asked.clear()
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "golden.json").write_text(json.dumps({"instances": [[1] * WIDTH] * 3}))
    why = standard(model, tmp_path).why
    assert asked == [3, 3, 64]  # made ones are tried however long the branch's own took
    assert why.startswith("answered 67 rows, 3 of them the branch's own, as the model does")


class Strange(LogisticRegression):  # type: ignore[misc]
    """As one that comes from a branch's own code."""


REASONS = [
    (scaled(SVC()), "scikit-learn: a SVC has no faster form"),
    (AdaBoostClassifier(n_estimators=2), "scikit-learn: a AdaBoostClassifier has no faster form"),
    (DummyClassifier(), "scikit-learn: a DummyClassifier has no faster form"),
    (
        make_pipeline(PolynomialFeatures(), LogisticRegression()),
        "scikit-learn: a PolynomialFeatures has no faster form",
    ),
    (
        make_pipeline(SimpleImputer(add_indicator=True), LogisticRegression()),
        "scikit-learn: a SimpleImputer with other marks or indicators has no faster form",
    ),
    (
        GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()),
        "scikit-learn: its init is a LogisticRegression",
    ),
    (
        HistGradientBoostingClassifier(max_iter=2, categorical_features=[0], max_bins=200),
        "scikit-learn: categorical features have no faster form",
    ),
    (Strange(), "the model itself: a Strange is not one of scikit-learn's own"),
    (
        make_pipeline(StandardScaler(), Strange()),
        "scikit-learn: a step of it is not one of scikit-learn's own",
    ),
]


@pytest.mark.parametrize(("model", "reason"), REASONS, ids=[case[1][:60] for case in REASONS])
def test_what_has_no_faster_form_says_why_and_is_served(model: Any, reason: str) -> None:
    x, y = data("two")
    x = np.abs(np.round(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y)
    served = standard(model)
    assert served.why == reason
    assert of(served.answer([json.dumps(x.tolist()).encode()])[0])[0] == model.predict(x).tolist()


def test_several_outputs_of_a_classifier_are_left_to_it() -> None:
    x, y = data("two")
    model = RandomForestClassifier(2, random_state=0).fit(x, np.column_stack([y, y[::-1]]))
    assert standard(model).why == (
        "scikit-learn: several outputs of a classifier have no faster form"
    )


def test_another_scikit_learn_serves_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not public may be gone, or be otherwise, in a branch's own environment."""
    model = fitted(RandomForestClassifier(2), "two")
    with monkeypatch.context() as patched:
        patched.setattr(sklearn.tree._tree, "NODE_DTYPE", np.dtype([("left", "i8")]))
        assert standard(model).why == (
            "scikit-learn: this scikit-learn's trees have a form that is not known"
        )
    monkeypatch.delattr(sklearn.ensemble._gradient_boosting, "predict_stages")
    said = standard(model).why
    assert said.startswith("scikit-learn: its faster form could not be made: ImportError")


@pytest.mark.filterwarnings("ignore")  # of numpy, about overflow
@pytest.mark.parametrize("name", ["two forest", "two boosting", "two logistic", "numbers tree"])
def test_refusals_are_those_of_the_model_itself(name: str) -> None:
    model, fast, _ = served(name)
    slow = standard(model, wanted=False)
    assert slow.why == "scikit-learn: accelerate is off"
    row = [0.0] * WIDTH
    for odd in (
        [[None, *row[1:]]],
        [[1e39, *row[1:]]],
        [[1e308, None, *row[2:]]],
        [[True, 2, *row[2:]]],
        [row[1:]],
        [["a", *row[1:]]],
        [{"a": 1}],
        [],
        [10**400],
    ):
        payloads = [json.dumps([row]).encode(), json.dumps(odd).encode()]
        assert fast.answer(payloads) == slow.answer(payloads)


def test_the_setting_reaches_the_worker_and_a_change_loads_beside(tmp_path: Path) -> None:
    model = pickle.dumps(fitted(scaled(LogisticRegression()), "two"))
    row = data("two")[0][0].tolist()

    async def story() -> None:
        async with running(tmp_path) as world:
            move = snapshot(tmp_path, {"models/model.pkl": model})
            state = await world.settled(move)
            assert state["accelerated"]["form"] == "numpy"
            said = [await world.ask([row])]
            branches = {PROD: BranchConfig(accelerate="off")}
            await world.fleet.configure(branches, LimitsConfig(), Privacy())
            itself = {"form": None, "reason": "scikit-learn: accelerate is off"}
            await wait_until_async(lambda: world.state()["accelerated"] == itself)
            said.append(await world.ask([row]))
            assert said == [[pickle.loads(model).predict([row])[0]]] * 2
            assert world.state()["workers"][0]["pid"] != state["workers"][0]["pid"]

    asyncio.run(story())


def test_a_predict_of_the_branchs_own_is_left_alone(tmp_path: Path) -> None:
    model = pickle.dumps(fitted(scaled(LogisticRegression()), "two"))
    files: dict[str, str | bytes] = {"models/m.pkl": model, "src/serve.py": sin("answers_zero")}

    async def story() -> None:
        async with running(tmp_path) as world:
            state = await world.settled(snapshot(tmp_path, files))
            reason = "src/serve.py: its own predict answers"
            assert state["accelerated"] == {"form": None, "reason": reason}
            assert await world.ask([[1, 2, 3, 4, 5]]) == [0]

    asyncio.run(story())


def test_status_and_the_decision_say_what_answers(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    forest = fitted(RandomForestClassifier(9, random_state=0), "two")
    vectors = fitted(scaled(SVC()), "two")
    remote.commit("prod", {"models/model.pkl": pickle.dumps(forest)})
    remote.commit("exp", {"models/model.pkl": pickle.dumps(vectors)}, start="prod")
    branches = {"prod": {"weight": 1}, "exp": {"weight": 0}}
    gateway = Gateway(tmp_path / "g", remote, branches)
    gateways.append(gateway)
    gateway.start()
    wait_until(lambda: gateway.serving("exp"))
    said = gateway.branch("prod")["accelerated"]
    assert said["form"] == "compiled trees"
    assert "as the model does: the same labels, numbers off by 0 at most" in said["reason"]
    reason = "scikit-learn: a SVC has no faster form"
    assert gateway.branch("exp")["accelerated"] == {"form": None, "reason": reason}
    assert gateway.metric('gateway_branch_accelerated{branch="prod"}') == 1.0
    assert gateway.metric('gateway_branch_accelerated{branch="exp"}') == 0.0
    x = data("two")[0][:20]
    body = gateway.predict(x.tolist()).json()
    assert body["predictions"] == forest.predict(x).tolist()
    assert body["probabilities"] == forest.predict_proba(x).tolist()
    paths = wait_until(lambda: remote.files("prod", "monitoring/decisions/"), 60.0, gateway.words)
    assert isinstance(paths, list)
    text = git(remote.path, "show", f"refs/heads/prod:{paths[0]}")
    evidence = [json.loads(row["evidence"]) for row in csv.DictReader(io.StringIO(text))]
    assert evidence[0]["accelerated"] == said
