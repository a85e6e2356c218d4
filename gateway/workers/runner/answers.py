"""What a model says to a matrix: predictions and, where it has them, probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from .estimator import Estimator
from .native import Native
from .own import as_list

#: Trees work in float32: beyond its range a number is as good as infinite.
_LARGEST = 3.0e38
_SQUARED = _LARGEST**2
#: Closer than this and the label is predict's, not ours. More than twice what a quick form's
#: scores may be off, so that it cannot turn a label.
_TIE = 1e-8

Answered = tuple[list[Any], Optional[list[Any]]]
#: What a quick form computes from a matrix, told whether it has missing values.
Scores = Callable[[Any, bool], Any]


class Unsuited(Exception):
    """The model has no faster form; the message says why."""


class Quick(NamedTuple):
    """A faster form of a model, checked against it.

    `scores` are a regressor's predictions, else a column for each class, whose largest is the
    label. They are answered as probabilities where the model has those.
    """

    name: str
    classes: Any
    scores: Scores
    #: Whether rows with missing values are answered too.
    missing: bool
    #: Whether equal scores are the model's own to the last bit, and so their first is its label.
    ties: bool


def by_model(estimator: Estimator, data: Any) -> Answered:
    """By the model's own methods."""
    model, count = estimator.model, len(data)
    if isinstance(model, Native):
        return model.answered(data)
    if not estimator.probabilities:
        return as_list(model.predict(data), count, "predictions"), None
    probabilities = model.predict_proba(data)
    if estimator.argmax and _decided(probabilities):
        predictions = model.classes_[probabilities.argmax(axis=1)]
    else:
        predictions = model.predict(data)
    if isinstance(probabilities, list):  # one array for each of several outputs
        probabilities = list(zip(*(part.tolist() for part in probabilities)))
    return (
        as_list(predictions, count, "predictions"),
        as_list(probabilities, count, "probabilities"),
    )


def by_quick(estimator: Estimator, quick: Quick, matrix: Any, missing: bool) -> Answered:
    """By the quick form; what it leaves undecided, by the model."""
    scores = quick.scores(matrix, missing)
    if quick.classes is None:
        return scores.tolist(), None
    if quick.ties or _decided(scores):
        predictions = quick.classes[scores.argmax(axis=1)]
    else:
        predictions = estimator.model.predict(matrix)
    return predictions.tolist(), scores.tolist() if estimator.probabilities else None


def finite(matrix: Any) -> bool:
    """Comparisons with NaN are false, so this is cheaper than asking each element."""
    # One call settles nearly every matrix: no number is larger than the root of all squares.
    if np.vdot(matrix, matrix) < _SQUARED:
        return True
    return bool(matrix.max() < _LARGEST and matrix.min() > -_LARGEST)


def within(matrix: Any) -> bool:
    """Whether everything is finite or missing."""
    return bool((np.isnan(matrix) | (np.abs(matrix) < _LARGEST)).all())


def _decided(scores: Any) -> bool:
    """Whether every row's two largest scores are apart; false for NaN."""
    if scores.shape[1] == 2:
        gaps = np.abs(scores[:, 0] - scores[:, 1])
    elif scores.shape[1] > 2:
        largest = np.partition(scores, -2, axis=1)
        gaps = largest[:, -1] - largest[:, -2]
    else:
        return False
    return bool(gaps.min() >= _TIE)


def difference(given: Answered, expected: Answered, *, labels: bool) -> float:
    """The largest of any number; infinite where a label differs.

    What a regressor answers has no scale of its own: its difference counts as it is or as a
    share of the number, whichever is more.
    """
    if labels:
        return _off(given[1], expected[1]) if given[0] == expected[0] else math.inf
    return _off(given[0], expected[0], shares=True)


def _off(
    given: Sequence[Any] | None, expected: Sequence[Any] | None, *, shares: bool = False
) -> float:
    if given is None or expected is None:
        return 0.0 if given is expected else math.inf
    one, other = np.asarray(given), np.asarray(expected)
    if one.shape != other.shape or one.dtype != other.dtype or one.dtype.kind != "f":
        return math.inf
    differ = ~((one == other) | (np.isnan(one) & np.isnan(other)))
    one, other = one[differ], other[differ]
    if not len(one):
        return 0.0
    off = np.abs(one - other)
    if shares:
        off = np.maximum(off, off / np.abs(other))
    most = float(off.max())
    return math.inf if math.isnan(most) else most
