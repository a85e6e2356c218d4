"""An .onnx file, run by onnxruntime: no Python of the model's own.

Its inputs are one matrix, or one column each. What it answers is told by the types of its outputs:
texts or whole numbers are labels, other numbers are scores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import texts
from .formats import Rules
from .native import Native, imported
from .onnx_labels import class_labels
from .source import NotLoadable

_CURE = "give src/serve.py a predict(model, instances), with the session in model.native"
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
_LABELS = ("tensor(int64)", "tensor(int32)", "tensor(string)")
_SCORES = ("tensor(float)", "tensor(double)", "tensor(float16)")


def load(path: Path, name: Path, rules: Rules) -> Native:
    """The graph in a session of one thread."""
    onnxruntime = imported("onnxruntime", name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except MemoryError:
        raise
    except Exception as error:
        reason = texts.described(error, withhold=False)
        raise NotLoadable(f"{name} cannot be loaded by onnxruntime: {reason}") from error
    told = session.get_modelmeta().custom_metadata_map
    feed, columns, width, text = _inputs(session.get_inputs(), name)
    columns = _listed(told, "columns", name) or columns
    if columns is not None and width is not None and len(columns) != width:
        raise NotLoadable(f"{name}: its metadata name {len(columns)} columns. It takes {width}")
    label, score = _outputs(session.get_outputs(), name)
    classes = _listed(told, "classes", name)
    if score is not None and (label is not None or classes is not None):
        classes = classes or class_labels(path)
        if classes is None:
            raise NotLoadable(
                f"{name}: nothing says which class each of its probabilities is of; name them in"
                ' its metadata, as in classes = ["no", "yes"]'
            )
    wanted = [one for one in (label, score) if one is not None]
    one_by_one = session.get_inputs()[0].shape[:1] == [1]

    def run(matrix: Any) -> list[Any]:
        if one_by_one and len(matrix) > 1:
            rows = [session.run(wanted, feed(matrix[i : i + 1])) for i in range(len(matrix))]
            return [_joined([row[i] for row in rows]) for i in range(len(wanted))]
        found: list[Any] = session.run(wanted, feed(matrix))
        return found

    return Native(
        session,
        _answering(run, label is not None, score is not None, classes),
        columns=columns,
        width=width if columns is None else len(columns),
        classes=classes if score is not None else None,
        probabilities=classes is not None and score is not None,
        text=text,
    )


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], list):
        return [row for part in parts for row in part]
    return np.concatenate(parts)


# What goes in

Feed = Callable[[Any], dict[str, Any]]


def _inputs(
    given: Sequence[Any], name: Path
) -> tuple[Feed, list[str] | None, int | None, dict[int, Any]]:
    for one in given:
        if one.type not in _TYPES or len(one.shape) not in (1, 2) or _batch(one) not in (None, 1):
            raise NotLoadable(
                f"{name}: its input {one.name} is {one.type} of shape {one.shape}, which no rows"
                f" of plain values make; {_CURE}"
            )
    if len(given) == 1 and len(given[0].shape) == 2 and given[0].type != "tensor(string)":
        only = given[0]
        width = only.shape[1] if isinstance(only.shape[1], int) else None
        return lambda matrix: {only.name: _typed(matrix, only)}, None, width, {}
    if wide := [one.name for one in given if one.shape[1:] not in ([], [1])]:
        raise NotLoadable(
            f"{name}: of several inputs each must be one column. Given: {', '.join(wide)}; {_CURE}"
        )

    def feed(matrix: Any) -> dict[str, Any]:
        taken = {}
        for index, one in enumerate(given):
            column = matrix[:, index : index + 1] if len(one.shape) == 2 else matrix[:, index]
            taken[one.name] = _typed(column, one)
        return taken

    text = {i: "" for i, one in enumerate(given) if one.type == "tensor(string)"}
    return feed, [one.name for one in given], len(given), text


def _batch(one: Any) -> int | None:
    return one.shape[0] if isinstance(one.shape[0], int) else None


def _typed(values: Any, one: Any) -> Any:
    wanted = _TYPES[one.type]
    if wanted is np.object_:
        if not all(isinstance(value, str) for value in values.flat):
            raise ValueError(f"{one.name}: must be a text or null")
        return values
    numbers = np.asarray(values, dtype=np.float64)
    if np.issubdtype(wanted, np.floating):
        with np.errstate(over="ignore"):
            return numbers.astype(wanted)
    if not (np.isfinite(numbers).all() and (numbers == np.rint(numbers)).all()):
        raise ValueError(f"{one.name}: must be a whole number")
    return numbers.astype(wanted)


# What comes out


def _outputs(given: Sequence[Any], name: Path) -> tuple[str | None, str | None]:
    labels = [one.name for one in given if one.type in _LABELS]
    scores = [one.name for one in given if one.type in _SCORES or one.type.startswith("seq(map(")]
    if len(labels) > 1 or len(scores) > 1 or not (labels or scores):
        listed = ", ".join(f"{one.name} ({one.type})" for one in given)
        raise NotLoadable(
            f"{name}: must answer labels, scores, or one of each. Given: {listed}; {_CURE}"
        )
    return labels[0] if labels else None, scores[0] if scores else None


def _answering(
    run: Callable[[Any], list[Any]], labels: bool, scores: bool, classes: list[Any] | None
) -> Callable[[Any], tuple[Any, Any]]:
    if not scores:
        return lambda matrix: (_flat(run(matrix)[0]), None)
    if classes is None:
        return lambda matrix: (_flat(run(matrix)[0]), None)
    known = classes

    def answered(matrix: Any) -> tuple[Any, Any]:
        *first, found = run(matrix)
        probabilities = _by_class(found, known)
        if labels:
            return _flat(first[0]), probabilities
        return [known[index] for index in probabilities.argmax(axis=1)], probabilities

    return answered


def _by_class(found: Any, classes: list[Any]) -> Any:
    """A column for each class, from an array or from a mapping for each row."""
    if isinstance(found, list):
        return np.array([[row[name] for name in classes] for row in found], dtype=np.float64)
    array = np.asarray(found, dtype=np.float64)
    if len(classes) == 2 and (array.ndim == 1 or array.shape[1:] == (1,)):
        second = array.reshape(len(array))
        return np.stack([1.0 - second, second], axis=1)
    if array.shape[1:] != (len(classes),):
        raise ValueError(f"{len(classes)} classes are named. Given: {array.shape[1:]} scores")
    return array


def _flat(found: Any) -> Any:
    array = np.asarray(found)
    return array.reshape(len(array)) if array.shape[1:] == (1,) else array


def _listed(told: dict[str, str], key: str, name: Path) -> list[Any] | None:
    """What the file's metadata say under a name: a list as JSON."""
    if key not in told:
        return None
    try:
        found = json.loads(told[key])
    except ValueError:
        found = None
    if (
        not isinstance(found, list)
        or not found
        or not all(isinstance(x, (str, int)) for x in found)
    ):
        raise NotLoadable(f"{name}: its metadata's {key} must be a JSON list of names")
    return found
