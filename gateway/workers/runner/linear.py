"""Scalers, imputers and linear models as the few numpy operations that they are.

The operations are scikit-learn's own, in its order, so that the same bits come out; what is saved
is its looking at every argument of every call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .answers import Scores, Unsuited

Step = Callable[[Any, bool], Any]

REGRESSORS = frozenset(
    {
        "LinearRegression",
        "Ridge",
        "RidgeCV",
        "Lasso",
        "LassoCV",
        "ElasticNet",
        "ElasticNetCV",
        "BayesianRidge",
        "HuberRegressor",
        "SGDRegressor",
        "LinearSVR",
    }
)
CLASSIFIERS = frozenset(
    {
        "LogisticRegression",
        "LogisticRegressionCV",
        "RidgeClassifier",
        "RidgeClassifierCV",
        "SGDClassifier",
        "Perceptron",
        "LinearSVC",
    }
)


def step(part: Any) -> Step | None:
    """What a fitted transformer does to a matrix; None for nothing. Raises Unsuited."""
    if part is None or part == "passthrough":
        return None
    make = _STEPS.get(type(part).__name__)
    if make is None:
        raise Unsuited(f"a {type(part).__name__} has no faster form")
    made: Step | None = make(part)
    return made


def _standard(scaler: Any) -> Step | None:
    return _shifted(
        scaler.mean_ if scaler.with_mean else None, scaler.scale_ if scaler.with_std else None
    )


def _robust(scaler: Any) -> Step | None:
    return _shifted(
        scaler.center_ if scaler.with_centering else None,
        scaler.scale_ if scaler.with_scaling else None,
    )


def _max_abs(scaler: Any) -> Step:
    scale = scaler.scale_
    return _clipped(scaler, lambda x, _: x / scale, -1.0, 1.0)


def _shifted(shift: Any, scale: Any) -> Step | None:
    if scale is None:
        return None if shift is None else lambda x, _: x - shift
    if shift is None:
        return lambda x, _: x / scale
    return lambda x, _: (x - shift) / scale


def _min_max(scaler: Any) -> Step:
    scale, shift = scaler.scale_, scaler.min_
    return _clipped(scaler, lambda x, _: x * scale + shift, *scaler.feature_range)


def _clipped(scaler: Any, step: Step, low: float, high: float) -> Step:
    if not getattr(scaler, "clip", False):
        return step
    return lambda x, missing: np.clip(step(x, missing), low, high)


def _imputer(imputer: Any) -> Step:
    fill = np.asarray(imputer.statistics_)
    marked = imputer.missing_values
    if imputer.add_indicator or not (isinstance(marked, float) and np.isnan(marked)):
        raise Unsuited("a SimpleImputer with other marks or indicators has no faster form")
    if fill.dtype.kind != "f" or np.isnan(fill).any():
        raise Unsuited("a SimpleImputer that drops columns or fills in text has no faster form")
    return lambda x, missing: np.where(np.isnan(x), fill, x) if missing else x


_STEPS: dict[str, Callable[[Any], Step | None]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "RobustScaler": _robust,
    "SimpleImputer": _imputer,
}


def regressor(model: Any) -> Scores:
    """What `predict` of a linear regressor answers."""
    weights, intercept = model.coef_.T, model.intercept_
    flat = type(model).__name__ in ("SGDRegressor", "LinearSVR")
    if flat:
        return lambda x, _: (x @ weights + intercept).ravel()
    return lambda x, _: x @ weights + intercept


def classifier(model: Any, *, probabilities: bool) -> Scores:
    """A column for each class: probabilities, or the decisions whose largest is the label."""
    weights, intercept = np.atleast_2d(model.coef_).T, model.intercept_
    classes = len(model.classes_)
    if weights.shape[1] != (classes if classes > 2 else 1):
        raise Unsuited("its classes are not one decision each")
    binary = classes == 2
    score = _probability(model, binary) if probabilities else None

    def scores(x: Any, _: bool) -> Any:
        decisions = x @ weights + intercept
        if score is not None:
            decisions = score(decisions)
        if not binary:
            return decisions
        both = np.empty((len(x), 2))
        second = decisions[:, 0]
        both[:, 1] = second
        np.subtract(0.0 if score is None else 1.0, second, out=both[:, 0])
        return both

    return scores


def _probability(model: Any, binary: bool) -> Callable[[Any], Any]:
    """From decisions to probabilities; of two classes, to that of the second."""
    from scipy.special import expit

    if getattr(model, "loss", None) == "modified_huber":

        def single(decisions: Any) -> Any:
            return (np.clip(decisions, -1.0, 1.0) + 1.0) / 2.0

    elif binary or _one_by_one(model):
        single = expit
    else:
        return _softmax
    return single if binary else lambda decisions: _shares(single(decisions))


def _one_by_one(model: Any) -> bool:
    """One class against the others at a time: a sigmoid each, then shares of their sum."""
    return (
        type(model).__name__ == "SGDClassifier"
        or getattr(model, "solver", None) == "liblinear"
        or getattr(model, "multi_class", None) == "ovr"
    )


def _softmax(decisions: Any) -> Any:
    exponents = np.exp(decisions - decisions.max(axis=1, keepdims=True))
    exponents /= exponents.sum(axis=1, keepdims=True)
    return exponents


def _shares(scores: Any) -> Any:
    sums = scores.sum(axis=1, keepdims=True)
    nothing = sums[:, 0] == 0
    if nothing.any():
        scores[nothing] = 1.0
        sums[nothing] = scores.shape[1]
    return scores / sums
