"""argmax(predict_proba) stands in for predict only where it is predict, ties included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from gateway.workers.runner.estimator import examined
from gateway.workers.runner.standard import Standard


@pytest.fixture(autouse=True)
def _same_sklearn() -> Iterator[None]:
    """Looking at a model sets scikit-learn up for a worker; here it is shared with other tests."""
    before = sklearn.get_config()
    yield
    sklearn.set_config(**before)


def answered(model: Any, rows: Any) -> list[Any]:
    served = Standard(examined(model), strict=False, redact=frozenset(), withhold=False)
    predictions: list[Any] = []
    for start in range(0, len(rows), 50):
        payloads = [json.dumps([row]).encode() for row in rows[start : start + 50].tolist()]
        for reply in served.answer(payloads):
            assert reply.status == 0, reply
            predictions += json.loads(reply.predictions)
    return predictions


MODELS = [
    LogisticRegression(max_iter=50),
    make_pipeline(StandardScaler(), LogisticRegression(max_iter=50, C=1e6)),
    RandomForestClassifier(4, max_depth=3, random_state=0),
    ExtraTreesClassifier(2, max_depth=2, random_state=0),
    DecisionTreeClassifier(max_depth=2, random_state=0),
    HistGradientBoostingClassifier(max_iter=5, random_state=0),
    GradientBoostingClassifier(n_estimators=4, random_state=0),
    GaussianNB(),
    MLPClassifier((4,), max_iter=400, random_state=0, tol=1e-2),
    make_pipeline(StandardScaler(), SVC()),
    RidgeClassifier(),
]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_labels_are_exactly_those_of_predict(model: Any, classes: int) -> None:
    x, y = make_classification(
        400, 6, n_informative=4, n_classes=classes, flip_y=0.3, random_state=classes
    )
    x = np.round(x, 1)  # so that trees meet ties
    fitted = model.fit(x[:200], np.array(["a", "b", "c", "d"])[y[:200]])
    assert answered(fitted, x) == fitted.predict(x).tolist()


def test_ties_are_decided_by_predict() -> None:
    """Two leaves of one half: the argmax of equal numbers would be ours, not predict's."""
    x = np.array([[0.0], [0.0], [1.0], [1.0]])
    tree = DecisionTreeClassifier(max_depth=1).fit(x, ["a", "b", "b", "b"])
    asked: list[int] = []
    real = tree.predict

    def predict(rows: Any) -> Any:
        asked.append(len(rows))
        return real(rows)

    tree.predict = predict
    assert answered(tree, np.array([[1.0]])) == ["b"]
    assert asked == []
    assert answered(tree, np.array([[0.0]])) == real([[0.0]]).tolist()
    assert asked == [1]


@pytest.mark.parametrize(
    ("model", "alone"),
    [
        (LogisticRegression(), True),
        (RandomForestClassifier(2), True),
        (DummyClassifier(), False),
        (make_pipeline(StandardScaler(), LogisticRegression()), True),
        (type("Mine", (LogisticRegression,), {"__module__": "mine"})(), False),
    ],
    ids=["logistic", "forest", "dummy", "pipeline", "subclass"],
)
def test_only_known_classifiers_skip_predict(model: Any, alone: bool) -> None:
    x, y = make_classification(40, random_state=0)
    assert examined(model.fit(x, y)).argmax is alone


def test_several_outputs_do_not_skip_predict() -> None:
    x, y = make_classification(40, random_state=0)
    forest = RandomForestClassifier(2, random_state=0).fit(x, np.column_stack([y, 1 - y]))
    assert not examined(forest).argmax
    assert answered(forest, x) == forest.predict(x).tolist()


@pytest.mark.filterwarnings("ignore:overflow")  # numpy says so too, first
def test_a_number_too_large_for_trees_is_refused_as_scikit_learn_would() -> None:
    x, y = make_classification(40, 4, random_state=0)
    served = Standard(
        examined(RandomForestClassifier(2).fit(x, y)),
        strict=False,
        redact=frozenset(),
        withhold=False,
    )
    good, bad = served.answer([b"[[1,1,1,1]]", b"[[1e39,1,1,1]]"])
    assert (good.status, bad.status) == (0, 1)
    assert b"too large" in bad.predictions


def test_a_model_that_is_broken_is_not_the_requests_fault() -> None:
    x, y = make_classification(40, 4, random_state=0)
    model = LogisticRegression().fit(x, y)
    served = Standard(examined(model), strict=False, redact=frozenset(), withhold=False)
    assert served.answer([b"[[1,1,1,1]]"])[0].status == 0
    model.coef_ = model.coef_[:, :2]
    assert [reply.status for reply in served.answer([b"[[1,1,1,1]]"] * 3)] == [2, 2, 2]
