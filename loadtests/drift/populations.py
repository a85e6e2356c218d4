"""The populations of the simulations: values made of normal numbers, alone or many of one unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from gateway.statistics.profiler import reference_columns
from gateway.statistics.reference import Profile
from gateway.statistics.window import Bins, Window

Floats = npt.NDArray[np.float64]

#: Correlation of the rows of one unit.
ICC = 0.8
_NAMES = np.array([f"c{k:03}" for k in range(500)])


def _ends(categories: int) -> Floats:
    """Where the categories of Zipf's law end among normal numbers."""
    shares = 1 / np.arange(1, categories + 1)
    ends: Floats = norm.ppf(np.cumsum(shares / shares.sum())[:-1])
    return ends


def _categories(ends: Floats) -> Callable[[Floats], Any]:
    return lambda z: _NAMES[np.searchsorted(ends, z)]


POPULATIONS: Mapping[str, Callable[[Floats], Any]] = {
    "normal": lambda z: z,
    "lognormal": np.exp,
    "heavy tail": lambda z: np.exp(4 * z),
    "zero-inflated": lambda z: np.maximum(z, 0.0),
    "3 categories": _categories(norm.ppf([0.5, 0.8])),
    "80 categories": _categories(_ends(80)),
    "500 categories": _categories(_ends(500)),
}


def latent(rng: np.random.Generator, rows: int, each: int = 1) -> Floats:
    """Normal numbers, `each` of a unit, whose own share of the variance is ICC."""
    if each == 1:
        return rng.normal(size=rows)
    of_unit = np.repeat(rng.normal(size=rows // each), each)
    return float(np.sqrt(ICC)) * of_unit + float(np.sqrt(1 - ICC)) * rng.normal(size=rows)


def bins_of(values: Any) -> Bins:
    """The bins of a reference of one column with these values."""
    columns = reference_columns({"x": values.tolist()})
    return Bins(Profile(len(values), columns).identified())


def window_of(bins: Bins, values: Any, each: int = 1, *, scaled: bool = True) -> Window:
    """One window of these values. Not `scaled`: as if every row were of a unit of its own."""
    window = Window(bins)
    units = range(len(values)) if each == 1 or not scaled else np.arange(len(values)) // each
    # Hashes are uniform; so are these, by Knuth's multiplication.
    hashes = np.asarray(units, dtype=np.uint64) * np.uint64(11400714819323198485)
    window.add(len(values), {"x": values.tolist()}, hashes.tolist(), "simulation")
    return window
