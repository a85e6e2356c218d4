"""Where bins of both samples, or of equal width, see nothing: an outlier, and a heavy tail."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from drifting import judged, numbers, profile_of
from scipy.stats import ks_2samp

Floats = npt.NDArray[np.float64]


def psi_over_both(reference: Floats, current: Floats) -> float:
    """Evidently's: Sturges' bins over both samples together, empty ones raised to 0.0001."""
    edges = np.histogram_bin_edges(np.concatenate((reference, current)), bins="sturges")
    p, q = (np.histogram(one, edges)[0] / len(one) for one in (reference, current))
    p, q = (np.where(one == 0, 0.0001, one) for one in (p, q))
    return float(((p - q) * np.log(p / q)).sum())


def ks_of_equal_widths(reference: Floats, current: Floats, bins: int = 10_000) -> float:
    """NannyML's estimate for large references: bins of equal width between the extremes."""
    edges = np.linspace(reference.min(), reference.max(), bins + 1)
    p, q = (np.cumsum(np.histogram(one, edges)[0]) / len(one) for one in (reference, current))
    return float(np.abs(p - q).max())


def test_one_outlier_hides_a_drift_from_bins_over_both_samples_and_not_from_ours() -> None:
    rng = np.random.default_rng(0)
    reference, current = rng.normal(size=20_000), rng.normal(1, 1, 5_000)
    with_outlier = np.append(current[:-1], 1e6)
    assert psi_over_both(reference, current) == pytest.approx(1.025, abs=0.05)
    assert psi_over_both(reference, with_outlier) == pytest.approx(0.001, abs=0.001)
    profile = profile_of({"x": numbers(reference)})
    ours, beside = (judged(profile, {"x": numbers(one)})["x"] for one in (current, with_outlier))
    assert ours.psi == pytest.approx(0.95, abs=0.05)
    assert beside.psi == pytest.approx(ours.psi, abs=0.005)
    assert ours.severity == beside.severity == "critical"
    assert beside.out_of_range_rate == pytest.approx(ours.out_of_range_rate, abs=1 / 4_000)


def test_one_outlier_among_rows_without_drift_is_none() -> None:
    """What it does move is the mean, which is told and not judged."""
    rng = np.random.default_rng(1)
    profile = profile_of({"x": numbers(rng.normal(size=20_000))})
    window = rng.normal(size=1_000)
    window[0] = 1e6
    drift = judged(profile, {"x": numbers(window)})["x"]
    assert drift.severity == "ok"
    assert drift.mean_shift_sd is not None
    assert drift.mean_shift_sd > 900


def test_a_heavy_tail_hides_a_shift_from_bins_of_equal_width_and_not_from_ours() -> None:
    rng = np.random.default_rng(0)
    reference = rng.lognormal(0, 4, 50_000)
    current = rng.lognormal(0, 4, 50_000) * 1.5
    exact = ks_2samp(reference, current, method="asymp").statistic
    drift = judged(profile_of({"x": numbers(reference)}), {"x": numbers(current)})["x"]
    assert exact > 0.03
    assert ks_of_equal_widths(reference, current) < exact / 3
    assert drift.ks is not None
    assert exact - 0.005 <= drift.ks <= exact + 1e-12
