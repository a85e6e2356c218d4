"""A faster form of a model where there is one, and only after it has answered as the model does."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import linear, texts, trees, trial
from .answers import (
    Answered,
    Quick,
    Scores,
    Unsuited,
    by_model,
    by_quick,
    difference,
    within,
)
from .estimator import Estimator

#: How far a probability or a number may be off.
TOLERANCE = 1e-9
#: After this much computing no more rows are tried than the branch's own and some made ones. Not by
#: the clock: a busy machine would weaken the proof.
_SECONDS = 0.1


def accelerated(
    estimator: Estimator, root: Path, *, wanted: bool, withhold: bool
) -> tuple[Quick | None, str]:
    """The form that answers, or None where the model itself does; and why."""
    itself = "scikit-learn" if _of_sklearn(estimator.model) else "the model itself"
    if not wanted:
        return None, f"{itself}: accelerate is off"
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            quick, where = _form(estimator)
            return _tried(estimator, quick, where, trial.examples(root, estimator))
    except Unsuited as error:
        return None, f"{itself}: {error}"
    except Exception as error:
        # It reads what scikit-learn keeps to itself, which another version may call otherwise.
        reason = texts.described(error, withhold=withhold)
        return None, f"{itself}: its faster form could not be made: {reason}"


def _tried(estimator: Estimator, quick: Quick, where: trial.Where, known: Any) -> tuple[Quick, str]:
    """The form with what the trial found out about it. Unsuited where it answers otherwise."""
    width, labels = estimator.width or 0, estimator.classes is not None
    begun, rows, most, ties, missing = time.thread_time(), 0, 0.0, quick.ties, quick.missing
    least = 1 if known is None else 2
    for number, batch in enumerate(trial.batches(width, known, where)):
        if number >= least and time.thread_time() - begun > _SECONDS:
            break
        for data in (batch, trial.holed(batch)) if missing and number < least else (batch,):
            holes = bool(np.isnan(data).any())
            try:
                expected = _models(estimator, data, finite=not holes)
            except ValueError:
                if not holes:
                    raise
                missing = False
                continue
            given = by_quick(estimator, quick, data, holes)
            most = max(most, difference(given, expected, labels=labels))
            if most > TOLERANCE:
                raise Unsuited("its faster form answered otherwise in a trial")
            ties = ties and given[1] == expected[1]
            rows += len(data)
    own = "" if known is None else f", {len(known)} of them the branch's own"
    return quick._replace(ties=ties, missing=missing), (
        f"answered {rows} rows{own}, as the model does: "
        f"{'the same labels, ' if labels else ''}numbers off by {most:.2g} at most"
    )


def _models(estimator: Estimator, data: Any, *, finite: bool) -> Answered:
    import sklearn

    with sklearn.config_context(assume_finite=finite):
        return by_model(estimator, data)


def _form(estimator: Estimator) -> tuple[Quick, trial.Where]:
    """A faster form of the model, untried. Raises Unsuited."""
    if not _of_sklearn(estimator.model):
        raise Unsuited(f"a {type(estimator.model).__name__} is not one of scikit-learn's own")
    *before, last = _parts(estimator.model)
    if not all(map(_of_sklearn, before)) or not _of_sklearn(last):
        raise Unsuited("a step of it is not one of scikit-learn's own")
    steps = [made for part in before if (made := linear.step(part)) is not None]
    name, scores, splits = _last(last, estimator)
    if estimator.frame or estimator.takes_text or not estimator.width:
        raise Unsuited("its columns are not plain numbers")
    classes = last.classes_ if estimator.classes is not None else None
    if classes is not None and getattr(classes, "ndim", 0) != 1:
        raise Unsuited("several outputs of a classifier have no faster form")
    scalers = [part for part in before if hasattr(part, "inverse_transform")]
    scalers = [part for part in scalers if type(part).__name__ != "SimpleImputer"]
    return (
        Quick(name, classes, _after(steps, scores), missing=True, ties=_is_mean(last)),
        trial.Where(splits, scalers),
    )


def _last(model: Any, estimator: Estimator) -> tuple[str, Scores, trial.Splits | None]:
    kind = type(model).__name__
    classes = estimator.classes is not None
    if kind in linear.CLASSIFIERS:
        return "numpy", linear.classifier(model, probabilities=estimator.probabilities), None
    if kind in linear.REGRESSORS:
        return "numpy", linear.regressor(model), None
    if kind in trees.FORESTS or kind in trees.SINGLE:
        return "compiled trees", *trees.forest(model)
    if kind in trees.BOOSTED:
        return "compiled trees", *trees.boosted(model, classes=classes)
    if kind in trees.BINNED:
        return "compiled trees", *trees.binned(model, classes=classes)
    raise Unsuited(f"a {kind} has no faster form")


def _is_mean(model: Any) -> bool:
    """Whether its labels are the first of the largest probabilities by definition."""
    kind = type(model).__name__
    return hasattr(model, "classes_") and (kind in trees.FORESTS or kind in trees.SINGLE)


def _after(steps: Sequence[linear.Step], scores: Scores) -> Scores:
    if not steps:
        return scores

    def whole(x: Any, missing: bool) -> Any:
        for step in steps:
            x = step(x, missing)
        if missing and not within(x):
            raise Unsuited("numbers this large are for the model to judge")
        return scores(x, missing)

    return whole


def _parts(model: Any) -> list[Any]:
    """The steps of pipelines, also of one in another; of a search, those of what it found."""
    kind = type(model).__name__
    if kind == "Pipeline":
        return [part for _, step in model.steps for part in _parts(step)]
    if kind in ("GridSearchCV", "RandomizedSearchCV"):
        return _parts(model.best_estimator_)
    return [model]


def _of_sklearn(part: Any) -> bool:
    return part is None or isinstance(part, str) or type(part).__module__.startswith("sklearn.")
