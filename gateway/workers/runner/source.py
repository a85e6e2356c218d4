"""From a snapshot to a model: `src/serve.py` where there is one, else the model file."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from . import texts
from .isolation import open_source

SUFFIXES = (".pkl", ".joblib")


class NotLoadable(Exception):
    """What the snapshot holds is not what can be served; the message says what would be."""


class Loaded(NamedTuple):
    """A model (None only beside an own `predict`) and the branch's own `predict`, if any."""

    model: Any
    predict: Callable[[Any, list[Any]], Any] | None
    row_wise: bool


def load(root: Path, model: str | None) -> Loaded:
    """Run the branch's loading code. Whatever that raises passes through."""
    source = root / "src"
    open_source(source)
    serve = importlib.import_module("serve") if (source / "serve.py").is_file() else None
    own_load = _function(serve, "load")
    own_predict = _function(serve, "predict")
    row_wise = getattr(serve, "ROW_WISE", False) is True
    if own_load is not None:
        return Loaded(own_load(root), own_predict, row_wise)
    path = _model_file(root, model)
    if path is not None:
        return Loaded(_unpickled(path, root), own_predict, row_wise)
    if own_predict is not None:
        return Loaded(None, own_predict, row_wise)
    raise NotLoadable(
        "nothing to serve: expected one models/*.pkl or models/*.joblib, "
        "or a src/serve.py with load(root) or predict(model, instances)"
    )


def _function(serve: ModuleType | None, name: str) -> Callable[..., Any] | None:
    found = getattr(serve, name, None)
    if found is None or callable(found):
        return found
    raise NotLoadable(f"src/serve.py: {name} must be a function. Given: {type(found).__name__}")


def _model_file(root: Path, model: str | None) -> Path | None:
    if model is not None:
        path = root / model
        if not path.is_file():
            raise NotLoadable(f"model: {model} is not a file of the commit")
        if path.suffix not in SUFFIXES:
            raise NotLoadable(f"model: {model} must end in {' or '.join(SUFFIXES)}")
        return path
    folder = root / "models"
    found = sorted(p for p in folder.glob("*") if p.suffix in SUFFIXES and p.is_file())
    if len(found) > 1:
        names = ", ".join(f"models/{path.name}" for path in found)
        raise NotLoadable(f"several model files: {names}; choose one with the branch's `model:`")
    return found[0] if found else None


def _unpickled(path: Path, root: Path) -> Any:
    name = path.relative_to(root)
    try:
        joblib = importlib.import_module("joblib")
    except ImportError:
        raise NotLoadable(f"{name}: joblib is not installed in this environment") from None
    try:
        return joblib.load(path)
    except ModuleNotFoundError as error:
        raise NotLoadable(
            f"{name} needs the module {error.name!r}, which is neither installed "
            "nor in the branch's src/"
        ) from error
    except MemoryError:
        raise  # the machine's, not the file's
    except Exception as error:
        reason = texts.described(error, withhold=False)
        raise NotLoadable(f"{name} cannot be unpickled: {reason}") from error


def inside(model: Any) -> Iterator[Any]:
    """The model and every estimator in it, each once."""
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (list, tuple)):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif _is_estimator(value) and id(value) not in seen:
            seen.add(id(value))
            yield value
            waiting.extend(getattr(value, "__dict__", {}).values())


def _is_estimator(value: Any) -> bool:
    kind = type(value)
    return not isinstance(value, type) and (
        kind.__module__.startswith("sklearn.") or hasattr(kind, "get_params")
    )


def versions() -> dict[str, str]:
    """Of Python and of what the model brought along."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for module, name in (
        ("sklearn", "scikit-learn"),
        ("numpy", "numpy"),
        ("joblib", "joblib"),
        ("pandas", "pandas"),
        ("xgboost", "xgboost"),
        ("lightgbm", "lightgbm"),
    ):
        version = getattr(sys.modules.get(module), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return found
