"""A file of LightGBM's own: .txt, written by `save_model` of a Booster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from . import texts
from .formats import Rules
from .native import Native, by_numbers, by_probabilities, imported
from .source import NotLoadable

_HEADER = 1 << 20
_UNNAMED = re.compile(r"Column_\d+")


def load(path: Path, name: Path, rules: Rules) -> Native:
    """The booster, answering as LGBMClassifier and LGBMRegressor would; classes are numbers."""
    lightgbm = imported("lightgbm", name)
    try:
        booster = lightgbm.Booster(model_file=str(path))
    except MemoryError:
        raise
    except Exception as error:
        reason = texts.described(error, withhold=False)
        raise NotLoadable(f"{name} cannot be loaded by lightgbm: {reason}") from error
    classes = _classes(path)

    def numbers(matrix: Any) -> Any:
        return booster.predict(matrix, num_threads=1)

    columns = booster.feature_name()
    return Native(
        booster,
        by_numbers(numbers) if classes is None else by_probabilities(numbers, classes),
        columns=None if all(map(_UNNAMED.fullmatch, columns)) else columns,
        width=booster.num_feature(),
        classes=classes,
        probabilities=classes is not None,
    )


def _classes(path: Path) -> list[int] | None:
    """By the objective, which stands above the trees."""
    with path.open("rb") as file:
        header = file.read(_HEADER).decode(errors="replace").partition("\nTree=")[0]
    found = re.search(r"^objective=(\w+)(?:.*\bnum_class:(\d+))?", header, re.MULTILINE)
    if found is None:
        return None
    if found[1] == "binary":
        return [0, 1]
    return list(range(int(found[2]))) if found[1].startswith("multiclass") else None
