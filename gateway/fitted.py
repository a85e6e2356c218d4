"""The door to a fitted model in this very process, asked many rows at a time.

For whoever makes a reference, next to the training. Branches that are served run in workers, and
never here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from gateway.errors import GatewayError
from gateway.naming import few
from gateway.plain import plain_values
from gateway.scores import scores_of
from gateway.statistics.reference import PREDICTION, SCORE

if TYPE_CHECKING:
    from pandas import DataFrame


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

    @property
    def by_name(self) -> bool:
        return self.names is not None

    def answers(self, names: Sequence[str], rows: DataFrame) -> dict[str, list[Any]]:
        """`__prediction__` and, of a classifier that says it, `__score__` of each row."""
        given = rows[list(names)] if self.by_name else rows.to_numpy()
        try:
            predictions = plain_values(_one_each(self._model.predict(given), len(given)))
            answers = {PREDICTION: predictions}
            shares = self._model.predict_proba(given) if self._shares else None
            if shares is not None and not isinstance(shares, list):  # one for each of more outputs
                encode = msgspec.json.encode
                listed = encode(_one_each(shares, len(given)))
                answers[SCORE] = list(scores_of(encode(predictions), listed, self.classes))
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise does_not_answer(names, said, type(self._model).__name__) from error
        return answers


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


def _names(model: Any) -> tuple[str, ...] | None:
    """`feature_names_in_` of the model, or of the first step that has it."""
    steps = getattr(model, "steps", None)
    for part in (model, *([step for _, step in steps] if isinstance(steps, list) else ())):
        names = getattr(part, "feature_names_in_", None)
        if names is not None:
            return tuple(map(str, names))
    return None


def does_not_answer(names: Sequence[str], said: str, where: str) -> ModelUnusable:
    """`said` is what the model said when it was asked."""
    listed = few([repr(name) for name in names], 10)
    return ModelUnusable(f"does not answer rows of the columns {listed}: {said}", where=where)
