"""What a loaded model is: its columns, its classes, and how it may be called."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import texts
from .native import Native
from .source import NotLoadable, inside

#: scikit-learn's classifiers whose `predict` is classes_[argmax(predict_proba)] by definition.
_ARGMAX = frozenset(
    {
        "LogisticRegression",
        "LogisticRegressionCV",
        "RandomForestClassifier",
        "ExtraTreesClassifier",
        "DecisionTreeClassifier",
        "ExtraTreeClassifier",
        "HistGradientBoostingClassifier",
        "GradientBoostingClassifier",
        "MLPClassifier",
        "GaussianNB",
        "BernoulliNB",
        "MultinomialNB",
        "ComplementNB",
        "CategoricalNB",
    }
)


class Estimator(NamedTuple):
    """A model and what follows from looking at it once."""

    model: Any
    columns: list[str] | None
    width: int | None
    classes: list[Any] | None
    probabilities: bool
    argmax: bool
    frame: bool
    takes_text: bool
    textual: Mapping[int, Any]

    @property
    def kind(self) -> str:
        return "classifier" if self.classes is not None else "regressor"


def examined(model: Any) -> Estimator:
    """Raises NotLoadable when it cannot be served without a `predict` in serve.py."""
    if not callable(getattr(model, "predict", None)):
        raise NotLoadable(
            f"the model is a {type(model).__name__} without predict; "
            "give src/serve.py a predict(model, instances)"
        )
    if isinstance(model, Native):
        return _native(model)
    parts = list(inside(model))
    _calm(parts)
    columns, classes = names_of(model), classes_of(model)
    frame = columns is not None and any(map(_wants_names, parts))
    if frame:
        try:
            import pandas  # noqa: F401
        except ImportError:
            raise NotLoadable(
                "the model selects its columns by name, which needs pandas in this environment"
            ) from None
    elif columns is not None:
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
    probabilities = classes is not None and hasattr(model, "predict_proba")
    return Estimator(
        model,
        columns,
        _width_of(model) if columns is None else len(columns),
        classes,
        probabilities,
        probabilities and _is_argmax(model),
        frame,
        any(map(_takes_text, parts)),
        _textual_columns(parts, columns) if frame else {},
    )


def _native(model: Native) -> Estimator:
    return Estimator(
        model,
        names_of(model),
        model.n_features_in_,
        classes_of(model),
        model.gives_probabilities,
        argmax=False,
        frame=False,
        takes_text=bool(model.text),
        textual=model.text,
    )


def _calm(parts: Sequence[Any]) -> None:
    """One thread an estimator: workers are the parallelism. No checks done twice."""
    for part in parts:
        if getattr(part, "n_jobs", None) not in (None, 1):
            part.n_jobs = 1
    if "sklearn" in sys.modules:
        sys.modules["sklearn"].set_config(assume_finite=True, skip_parameter_validation=True)


def _steps(model: Any) -> list[Any]:
    steps = getattr(model, "steps", None)
    return [step for _, step in steps] if isinstance(steps, list) else [model]


def names_of(model: Any) -> list[str] | None:
    """`feature_names_in_` of the model or of the first step that has it."""
    for part in (model, *_steps(model)):
        names = getattr(part, "feature_names_in_", None)
        if names is not None:
            return [str(name) for name in names]
    return None


def classes_of(model: Any) -> list[Any] | None:
    """`classes_` as JSON would have it, where the model has them."""
    classes = getattr(model, "classes_", None)
    if classes is None:
        return None
    listed: list[Any] = texts.decode(texts.encode(classes))
    return listed


def _width_of(model: Any) -> int | None:
    for part in (model, *_steps(model)):
        width = getattr(part, "n_features_in_", None)
        if width is not None:
            return int(width)
    return None


def _of_sklearn(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] == "sklearn"


def _wants_names(part: Any) -> bool:
    return not _of_sklearn(part) or type(part).__name__ in (
        "ColumnTransformer",
        "FunctionTransformer",
    )


def _takes_text(part: Any) -> bool:
    if not _of_sklearn(part) or hasattr(part, "categories_") or hasattr(part, "vocabulary_"):
        return True
    if type(part).__name__ == "SimpleImputer":
        return _holds_objects(getattr(part, "statistics_", None))
    return type(part).__name__ in ("FunctionTransformer", "HashingVectorizer", "FeatureHasher")


def _is_argmax(model: Any) -> bool:
    last = _steps(model)[-1]
    if (last is not model and type(model).__name__ != "Pipeline") or not _of_sklearn(model):
        return False
    if not _of_sklearn(last) or type(last).__name__ not in _ARGMAX:
        return False
    # Several outputs, or several labels at once, are not one argmax.
    flat = getattr(getattr(last, "classes_", None), "ndim", 0) == 1
    labels = getattr(last, "out_activation_", None) == "logistic" and last.n_outputs_ > 1
    return flat and getattr(last, "n_outputs_", 1) >= 1 and not labels


def _textual_columns(parts: Sequence[Any], columns: Sequence[str] | None) -> dict[int, Any]:
    """Columns that fitted encoders know as text, each with their form of a missing value."""
    found: dict[int, Any] = {}
    position = {name: index for index, name in enumerate(columns or ())}
    for part in parts:
        for _, transformer, selected in getattr(part, "transformers_", None) or ():
            encoders = [p for p in inside(transformer) if hasattr(p, "categories_")]
            if not encoders or isinstance(selected, (str, slice)):
                continue
            for name, known in zip(selected, encoders[0].categories_):
                if name in position and _holds_objects(known):
                    found[position[name]] = _missing_in(known)
    return found


def _missing_in(known: Any) -> Any:
    holds_none = any(value is None for value in known)
    holds_nan = any(isinstance(value, float) and math.isnan(value) for value in known)
    return math.nan if holds_nan and not holds_none else None


def _holds_objects(array: Any) -> bool:
    return getattr(getattr(array, "dtype", None), "kind", "") in ("O", "U", "T")
