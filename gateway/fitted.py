"""The door to a fitted model in this very process, asked many rows at a time.

For whoever makes a reference, next to the training. Branches that are served run in workers, and
never here. pandas is needed only for models that name their columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from gateway.errors import GatewayError
from gateway.naming import few
from gateway.plain import plain_values
from gateway.scores import scores_of
from gateway.statistics.reference import PREDICTION, SCORE


class ModelUnusable(GatewayError):
    """Another model, or another table: this one cannot be asked with these rows."""


class Fitted:
    """A model with `predict`, and `predict_proba` and `classes_` where it has them."""

    def __init__(self, model: Any) -> None:
        if not callable(getattr(model, "predict", None)):
            raise ModelUnusable(f"must have a method predict. Given: a {type(model).__name__}")
        self._model = model
        classes = getattr(model, "classes_", None)
        #: As JSON has them.
        self.classes = None if classes is None else tuple(_plain_classes(classes))
        self.names = _names(model)
        self._shares = self.classes is not None and hasattr(model, "predict_proba")

    def answers(
        self, names: Sequence[str], rows: Any | Mapping[str, Sequence[Any]], textual: frozenset[str]
    ) -> dict[str, list[Any]]:
        """`__prediction__` and, of a classifier that says it, `__score__` of each row.

        `rows` is a DataFrame, or the columns `names`, of which `textual` are not plain numbers.
        """
        given = self._given(names, rows, textual)
        try:
            predictions = plain_values(_one_each(self._model.predict(given), len(given)))
            answers = {PREDICTION: predictions}
            shares = self._model.predict_proba(given) if self._shares else None
            if shares is not None and not isinstance(shares, list):  # one for each of more outputs
                encode = msgspec.json.encode
                listed = encode(_one_each(shares, len(given)))
                answers[SCORE] = list(scores_of(encode(predictions), listed, self.classes))
        except Exception as error:
            raise ModelUnusable(
                f"does not answer rows of the columns {_listed(names)}: "
                f"{type(error).__name__}: {error}",
                where=type(self._model).__name__,
            ) from error
        return answers

    def _given(
        self, names: Sequence[str], rows: Any | Mapping[str, Sequence[Any]], textual: frozenset[str]
    ) -> Any:
        if not isinstance(rows, Mapping):
            return rows[list(names)] if self.names is not None else rows.to_numpy()
        if self.names is not None:
            return _frame(names, rows, textual)
        # As a worker has them: numbers, or where there are texts, objects.
        kind = object if textual.intersection(names) else np.float64
        table = np.empty((len(rows[names[0]]), len(names)), dtype=kind)
        for place, name in enumerate(names):
            table[:, place] = _floats(rows[name]) if kind is np.float64 else rows[name]
        return table


def _one_each(answer: Any, rows: int) -> list[Any]:
    listed: list[Any] = np.asarray(answer).tolist()
    if len(listed) != rows:
        raise ValueError(f"{len(listed)} answers to {rows} rows")
    return listed


def _plain_classes(classes: Any) -> list[Any]:
    if isinstance(classes, list):  # of several outputs
        return [np.asarray(one).tolist() for one in classes]
    listed: list[Any] = np.asarray(classes).tolist()
    return listed


def _frame(names: Sequence[str], rows: Mapping[str, Sequence[Any]], textual: frozenset[str]) -> Any:
    try:
        import pandas as pd
    except ImportError:
        raise ModelUnusable(
            "the model knows its columns by name, which needs pandas: "
            "pip install 'branch-gateway[pandas]'"
        ) from None
    series = {
        # What is missing is NaN in texts too, as in a file that pandas read.
        name: pd.Series(
            [math.nan if value is None else value for value in rows[name]], dtype=object
        )
        if name in textual
        else pd.Series(_floats(rows[name]), dtype=np.float64)
        for name in names
    }
    return pd.DataFrame(series, columns=list(names))


def _floats(values: Sequence[Any]) -> Any:
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        return np.array([_float(value) for value in values], dtype=np.float64)


def _float(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except OverflowError:
        return math.inf


def _names(model: Any) -> tuple[str, ...] | None:
    """`feature_names_in_` of the model, or of the first step that has it."""
    steps = getattr(model, "steps", None)
    for part in (model, *([step for _, step in steps] if isinstance(steps, list) else ())):
        names = getattr(part, "feature_names_in_", None)
        if names is not None:
            return tuple(map(str, names))
    return None


def _listed(names: Sequence[str]) -> str:
    return few([repr(name) for name in names], 10)
