"""The default rules of libraries, restated as formulas, each with the source it was read in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

Floats = npt.NDArray[np.float64]
#: Whether a window of numbers, the second, is said to have drifted from a reference.
Rule = Callable[[Floats, Floats], bool]


def ks_p(reference: Floats, window: Floats) -> float:
    """Two-sample Kolmogorov-Smirnov: alibi-detect 0.13 cd/ks.py, Evidently up to 1,000 rows."""
    return float(ks_2samp(reference, window, method="asymp").pvalue)


def psi_of_deciles(reference: Floats, window: Floats) -> float:
    """The rule of thumb's PSI: the reference's deciles, each count raised by a half."""
    inner = np.quantile(reference, np.arange(1, 10) / 10)
    places = (np.searchsorted(inner, x) for x in (reference, window))
    p, q = (np.bincount(one, minlength=10) + 0.5 for one in places)
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())


def binned_over_both(reference: Floats, window: Floats) -> tuple[Floats, Floats]:
    """Sturges' bins over both samples together, empty ones raised.

    Evidently 0.7.23, calculations/stattests/utils.py, get_binned_data.
    """
    edges = np.histogram_bin_edges(np.concatenate((reference, window)), bins="sturges")
    p, q = (np.histogram(x, edges)[0] / len(x) for x in (reference, window))
    return _raised(p), _raised(q)


def _raised(shares: Floats) -> Floats:
    least = float(shares[shares > 0].min())
    return np.where(shares == 0, least / 1e6 if least <= 1e-4 else 1e-4, shares)


def psi_over_both(reference: Floats, window: Floats) -> float:
    """Evidently 0.7.23, calculations/stattests/psi.py."""
    p, q = binned_over_both(reference, window)
    return float(((p - q) * np.log(p / q)).sum())


def js_over_both(reference: Floats, window: Floats) -> float:
    """Evidently 0.7.23, calculations/stattests/jensenshannon.py; base e."""
    return float(jensenshannon(*binned_over_both(reference, window)))


def distance_in_sd(reference: Floats, window: Floats) -> float:
    """Evidently 0.7.23, calculations/stattests/wasserstein_distance_norm.py."""
    return float(wasserstein_distance(reference, window) / max(float(np.std(reference)), 0.001))


RULES: Mapping[str, Rule] = {
    "KS p < .05": lambda a, b: ks_p(a, b) < 0.05,
    "PSI(10) > .1": lambda a, b: psi_of_deciles(a, b) > 0.1,
    "PSI(10) > .2": lambda a, b: psi_of_deciles(a, b) > 0.2,
    "Evidently PSI ≥ .1": lambda a, b: psi_over_both(a, b) >= 0.1,
    "Evidently W1 ≥ .1": lambda a, b: distance_in_sd(a, b) >= 0.1,
    "Evidently JS ≥ .1": lambda a, b: js_over_both(a, b) >= 0.1,
}
