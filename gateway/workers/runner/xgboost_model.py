"""A file of XGBoost's own: .ubj or .json, written by `save_model`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import texts
from .formats import Rules
from .native import Native, by_numbers, by_probabilities, imported
from .source import NotLoadable

_BINARY = ("binary:logistic", "reg:logistic")


def load(path: Path, name: Path, rules: Rules) -> Native:
    """The booster, answering as XGBClassifier and XGBRegressor would."""
    xgboost = imported("xgboost", name)
    # Workers are the parallelism.
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(str(path))
        learner = json.loads(booster.save_config())["learner"]
    except MemoryError:
        raise
    except Exception as error:
        reason = texts.described(error, withhold=False).partition("\n")[0]
        raise NotLoadable(f"{name} cannot be loaded by xgboost: {reason}") from error
    objective = learner["objective"]["name"]
    classes = None
    if objective.startswith("multi:"):
        booster.set_param({"objective": "multi:softprob"})
        classes = list(range(int(learner["learner_model_param"]["num_class"])))
    elif objective in _BINARY and _is_classifier(booster, objective):
        classes = [0, 1]
    best = booster.attr("best_iteration")
    trees = (0, 0 if best is None else int(best) + 1)
    linear = learner["gradient_booster"]["name"] == "gblinear"

    def numbers(matrix: Any) -> Any:
        if linear:  # knows no other way
            data = xgboost.DMatrix(matrix, feature_names=booster.feature_names, nthread=1)
            return booster.predict(data)
        return booster.inplace_predict(matrix, iteration_range=trees, validate_features=False)

    return Native(
        booster,
        by_numbers(numbers) if classes is None else by_probabilities(numbers, classes),
        columns=booster.feature_names,
        width=booster.num_features(),
        classes=classes,
        probabilities=classes is not None,
    )


def _is_classifier(booster: Any, objective: str) -> bool:
    """As its scikit-learn form said, where that wrote the file."""
    said = booster.attr("scikit_learn")
    if said is None:
        return objective == "binary:logistic"
    return bool(json.loads(said).get("_estimator_type") != "regressor")
