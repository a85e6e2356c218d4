"""A model in a format of its own, with the manners of scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from .own import as_list
from .source import NotLoadable

Numbers = Callable[[Any], Any]


class Native:
    """Owns what was loaded, as `native`; its form answers labels and probabilities in one call.

    `text` are the columns that are texts, and what a missing one is.
    """

    def __init__(
        self,
        native: Any,
        answered: Callable[[Any], tuple[Any, Any]],
        *,
        columns: Sequence[str] | None,
        width: int | None,
        classes: list[Any] | None,
        probabilities: bool,
        text: Mapping[int, Any] | None = None,
    ) -> None:
        self.native = native
        self.n_features_in_ = width
        self.text = dict(text or {})
        self.gives_probabilities = probabilities
        if columns is not None:
            self.feature_names_in_ = list(columns)
        if classes is not None:
            self.classes_ = list(classes)
        self._answered = answered

    def answered(self, matrix: Any) -> tuple[list[Any], list[Any] | None]:
        """Predictions and, where there are some, probabilities; one of each for each row."""
        predictions, probabilities = self._answered(matrix)
        count = len(matrix)
        return (
            as_list(predictions, count, "predictions"),
            None if probabilities is None else as_list(probabilities, count, "probabilities"),
        )

    def predict(self, matrix: Any) -> Any:
        """Labels of a classifier, else numbers."""
        return self._answered(matrix)[0]

    def predict_proba(self, matrix: Any) -> Any:
        """A column for each class."""
        if not self.gives_probabilities:
            raise AttributeError("this model has no probabilities")
        return self._answered(matrix)[1]


def by_probabilities(numbers: Numbers, classes: list[Any]) -> Callable[[Any], tuple[Any, Any]]:
    """For what answers a column for each class, or, of two, the second alone."""
    import numpy as np

    names = np.empty(len(classes), dtype=object)
    names[:] = classes

    def answered(matrix: Any) -> tuple[Any, Any]:
        found = np.asarray(numbers(matrix))
        if len(classes) == 2 and found.ndim == 1:
            found = np.stack([1.0 - found, found], axis=1)
        return names[found.argmax(axis=1)], found

    return answered


def by_numbers(numbers: Numbers) -> Callable[[Any], tuple[Any, Any]]:
    """For what answers one number for each row, or one row of them."""
    return lambda matrix: (numbers(matrix), None)


def imported(library: str, name: Path) -> ModuleType:
    """The library that a file needs; NotLoadable where it is not, or cannot be imported."""
    try:
        return import_module(library)
    except ModuleNotFoundError as error:
        raise NotLoadable(
            f"{name} needs {error.name}, which is not installed in this environment"
        ) from None
    except (ImportError, OSError) as error:  # a library of the system that is missing
        raise NotLoadable(f"{name} needs {library}, which cannot be imported: {error}") from None
