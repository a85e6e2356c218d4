"""From a snapshot to a model: `src/serve.py` where there is one, else the model file."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from . import formats, texts
from .formats import Rules
from .isolation import open_source
from .versions import Check


class NotLoadable(Exception):
    """What the snapshot holds is not what can be served; the message says what would be."""


class Loaded(NamedTuple):
    """A model (None only beside an own `predict`) and the branch's own `predict`, if any."""

    model: Any
    predict: Callable[[Any, list[Any]], Any] | None
    row_wise: bool


def load(root: Path, model: str | None, rules: Rules, check: Check) -> Loaded:
    """Run the branch's loading code. Whatever that raises passes through."""
    serve = _serving_code(root, rules)
    own_load = _function(serve, "load")
    own_predict = _function(serve, "predict")
    row_wise = getattr(serve, "ROW_WISE", False) is True
    if own_load is not None:
        return Loaded(own_load(root), own_predict, row_wise)
    path = _model_file(root, model, rules, needed=own_predict is None)
    if path is not None:
        return Loaded(_loaded(path, root, rules, check), own_predict, row_wise)
    if own_predict is not None:
        return Loaded(None, own_predict, row_wise)
    raise NotLoadable(
        "nothing to serve: expected one models/*.pkl or models/*.joblib, "
        "or a src/serve.py with load(root) or predict(model, instances)"
        if rules.formats is None
        else f"nothing to serve: expected one file in models/, of {formats.loadable(rules)}"
    )


def _serving_code(root: Path, rules: Rules) -> ModuleType | None:
    """The module serve; where code is not allowed nothing of src/ can be imported at all."""
    source = root / "src"
    there = (source / "serve.py").is_file()
    if not rules.allows(formats.CODE):
        if there:
            raise NotLoadable(
                "src/serve.py is code, which trust.formats of gateway.yaml does not allow: it"
                f" allows {formats.allowed(rules)}; leave src/serve.py out, or have `code` allowed"
            )
        return None
    open_source(source)
    return importlib.import_module("serve") if there else None


def _function(serve: ModuleType | None, name: str) -> Callable[..., Any] | None:
    found = getattr(serve, name, None)
    if found is None or callable(found):
        return found
    raise NotLoadable(f"src/serve.py: {name} must be a function. Given: {type(found).__name__}")


def _model_file(root: Path, model: str | None, rules: Rules, *, needed: bool) -> Path | None:
    """The file that is the model; None where there is none, and a predict may do without."""
    if model is not None:
        path = root / model
        if not path.is_file():
            raise NotLoadable(f"model: {model} is not a file of the commit")
        if formats.named(path.name) is None:
            raise NotLoadable(f"model: {_unknown(model, rules)}")
        return path
    there = [path for path in (root / "models").glob("*") if path.is_file()]
    found = {path: kind for path in sorted(there) if (kind := formats.format_of(path)) is not None}
    # Where some are not allowed, the others are what is meant.
    fit = [path for path, kind in found.items() if rules.allows(kind.name)] or list(found)
    if len(fit) > 1:
        names = ", ".join(str(path.relative_to(root)) for path in fit)
        raise NotLoadable(f"several model files: {names}; choose one with the branch's `model:`")
    if not fit and needed and there:
        raise NotLoadable(_unknown(formats.listed(there, root), rules))
    return fit[0] if fit else None


def _unknown(names: str, rules: Rules) -> str:
    code = rules.allows(formats.CODE)
    own = "; for any other, a src/serve.py with load(root)" if code else ""
    return f"{names}: no model in a format that is known here: {formats.loadable(rules)}{own}"


def _loaded(path: Path, root: Path, rules: Rules, check: Check) -> Any:
    name = path.relative_to(root)
    kind = formats.named(path.name)
    if kind is None or not rules.allows(kind.name):
        raise NotLoadable(
            f"{name} is of the format {kind.name if kind else path.suffix}, which trust.formats of"
            f" gateway.yaml does not allow: it allows {formats.allowed(rules)}"
        )
    if kind.loader is None:
        return _checked(path, root, check)
    return formats.loaded(kind, path, name, rules)


def _checked(path: Path, root: Path, check: Check) -> Any:
    """Unpickled where its versions allow it; else they are what its failure is told by."""
    mismatch = check.look(path).mismatch
    if mismatch is not None and check.strict:
        raise NotLoadable(f"{mismatch}; it is refused by the branch's `strict_versions`")
    try:
        return _unpickled(path, root)
    except NotLoadable as error:
        if mismatch is None:
            raise
        raise NotLoadable(f"{error}. {mismatch}") from error.__cause__


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
        ("onnxruntime", "onnxruntime"),
        ("skops", "skops"),
    ):
        version = getattr(sys.modules.get(module), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return found
