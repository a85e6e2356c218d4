"""Rows to try a faster form of a model with: the branch's own, and random ones in its range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import texts
from .estimator import Estimator
from .rows import InvalidRows, Reader

_FILES = (("metrics/golden.json", "instances"), ("metrics/reference.json", "examples"))
_MOST_BYTES = 4 * 1024 * 1024
_MOST_EXAMPLES = 256
#: In this order, so that what has little time still tries more than one row at a time.
_SIZES = (64, 1, 256, 127)
_MOST_CELLS = 1 << 20
#: Beyond it some models refuse rows with missing values for another reason.
_LARGE = 1e15
#: Numbers that are read, rounded or compared in ways of their own.
_ODD = np.array([0.0, -0.0, 1.0, -1.0, 5e-324, -1e-310, 1e-38, 1e-45, 2.0**24 + 1, 1e15, -1e30])


#: Features and thresholds of the nodes that split.
Splits = tuple[Any, Any]


class Where(NamedTuple):
    """Where a model's answers change: the splits of trees, else nothing; after these scalers."""

    splits: Splits | None
    scalers: Sequence[Any]


def examples(root: Path, estimator: Estimator) -> Any:
    """The rows of golden.json and reference.json as one matrix; None without any.

    What is wrong with them is for the probe to say.
    """
    reader = Reader(
        estimator.columns,
        estimator.width,
        strict=False,
        withhold=True,
        takes_text=False,
        textual={},
    )
    rows: list[Any] = []
    for name, key in _FILES:
        path = root / name
        try:
            if path.stat().st_size > _MOST_BYTES:
                continue
            found = texts.decode(path.read_bytes())
            rows += reader.read(texts.encode(found[key][:_MOST_EXAMPLES])).rows
        except (OSError, ValueError, TypeError, LookupError, RecursionError, InvalidRows):
            continue
    return np.array(rows, dtype=np.float64) if rows else None


def batches(width: int, known: Any, where: Where) -> Iterator[Any]:
    """The known rows, then made ones of several sizes, the same each time."""
    if known is not None:
        yield known
    random = np.random.default_rng(0)
    most = max(1, _MOST_CELLS // width)
    for size in _SIZES:
        yield _made(random, min(size, most), width, known, where)


def holed(batch: Any) -> Any:
    """The first of the rows with a value in five missing, and a whole row of them."""
    batch = batch[: _SIZES[0]]
    random = np.random.default_rng(1)
    other = np.where(np.abs(batch) < _LARGE, batch, 0.0)
    other[random.random(other.shape) < 0.2] = np.nan
    other[0] = np.nan
    return other


def _made(random: Any, size: int, width: int, known: Any, where: Where) -> Any:
    rows = random.standard_normal((size, width)) * 3.0
    if where.splits is not None:
        _on_edges(random, rows, *where.splits)
    for scaler in reversed(where.scalers):
        rows = scaler.inverse_transform(rows)
    if known is not None:
        _among(random, rows, known)
    elif where.splits is None and not where.scalers:
        rows *= 10.0 ** random.integers(-2, 3, size=rows.shape)
    odd = random.random(rows.shape) < 0.02
    rows[odd] = random.choice(_ODD, size=int(odd.sum()))
    return np.ascontiguousarray(rows)


def _on_edges(random: Any, rows: Any, features: Any, thresholds: Any) -> None:
    """At thresholds, beside them by one float64 or float32, and anywhere between them."""
    order = np.argsort(features, kind="stable")
    sorted_, starts = features[order], thresholds[order]
    bounds = np.searchsorted(sorted_, np.arange(rows.shape[1] + 1))
    for feature in range(rows.shape[1]):
        found = starts[bounds[feature] : bounds[feature + 1]]
        found = found[np.isfinite(found)]
        if not len(found):
            continue
        at = random.choice(found, size=len(rows))
        single = at.astype(np.float32)
        low, high = found.min(), found.max()
        beyond = (high - low) * 0.1 + 1.0
        rows[:, feature] = np.choose(
            random.integers(0, 7, size=len(rows)),
            [
                at,
                np.nextafter(at, np.inf),
                np.nextafter(at, -np.inf),
                np.nextafter(single, np.float32(np.inf)).astype(np.float64),
                np.nextafter(single, np.float32(-np.inf)).astype(np.float64),
                # Not a float32, and rounded to the threshold if that is one.
                single.astype(np.float64) * (1.0 + 2.0**-26),
                random.uniform(low - beyond, high + beyond, size=len(rows)),
            ],
        )


def _among(random: Any, rows: Any, known: Any) -> None:
    """Every second row in the range of the known ones."""
    finite = np.where(np.isfinite(known), known, 0.0)
    low, high = finite.min(axis=0), finite.max(axis=0)
    half = len(rows[::2])
    rows[::2] = low + (high - low) * random.uniform(-0.1, 1.1, size=(half, rows.shape[1]))
