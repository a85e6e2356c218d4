"""The figures of STATISTICS §1.3, beside which those of a run are shown."""

from __future__ import annotations

from collections.abc import Mapping

#: By population, rows and rule; where a population has none of its own it is the normal one's.
FALSE_ALARMS: Mapping[tuple[str, int], Mapping[str, float]] = {
    ("normal", 50): {
        "KS p < .05": 0.05,
        "PSI(10) > .1": 0.76,
        "PSI(10) > .2": 0.27,
        "Evidently PSI ≥ .1": 1.0,
        "Evidently W1 ≥ .1": 0.96,
        "Evidently JS ≥ .1": 1.0,
        "ours": 0.0,
    },
    ("normal", 100): {
        "KS p < .05": 0.04,
        "PSI(10) > .1": 0.31,
        "PSI(10) > .2": 0.01,
        "Evidently PSI ≥ .1": 0.78,
        "Evidently W1 ≥ .1": 0.78,
        "Evidently JS ≥ .1": 0.88,
        "ours": 0.0,
    },
    ("normal", 200): {
        "KS p < .05": 0.06,
        "PSI(10) > .1": 0.03,
        "PSI(10) > .2": 0.0,
        "Evidently PSI ≥ .1": 0.21,
        "Evidently W1 ≥ .1": 0.33,
        "Evidently JS ≥ .1": 0.30,
        "ours": 0.0,
    },
    ("normal", 500): {
        "KS p < .05": 0.06,
        "PSI(10) > .1": 0.0,
        "PSI(10) > .2": 0.0,
        "Evidently PSI ≥ .1": 0.0,
        "Evidently W1 ≥ .1": 0.05,
        "Evidently JS ≥ .1": 0.0,
        "ours": 0.0,
    },
    ("normal", 1000): {
        "KS p < .05": 0.05,
        "PSI(10) > .1": 0.0,
        "PSI(10) > .2": 0.0,
        "Evidently PSI ≥ .1": 0.0,
        "Evidently W1 ≥ .1": 0.0,
        "Evidently JS ≥ .1": 0.0,
        "ours": 0.0,
    },
    ("lognormal", 50): {"Evidently PSI ≥ .1": 0.54, "Evidently JS ≥ .1": 0.61},
    ("lognormal", 100): {
        "Evidently PSI ≥ .1": 0.07,
        "Evidently W1 ≥ .1": 0.69,
        "Evidently JS ≥ .1": 0.05,
    },
    ("lognormal", 200): {"Evidently PSI ≥ .1": 0.05, "Evidently JS ≥ .1": 0.01},
}
REPEATED: Mapping[tuple[str, int], Mapping[str, float]] = {
    ("10 requests a user", 1_000): {"chi² p < .01": 0.44, "ours, rows as units": 0.003, "ours": 0},
    ("100 requests a user", 2_000): {"ours, rows as units": 0.343, "ours": 0},
    ("100 requests a user", 5_000): {"chi² p < .01": 0.96, "ours, rows as units": 0.075, "ours": 0},
}
_ALL, _NONE = (1.0,) * 4, (0.0,) * 4
#: By shift and rows, for tolerances of 0, .02, .05 and .1.
POWER: Mapping[tuple[str, int], tuple[float, ...]] = {
    **{("none", rows): _NONE for rows in (100, 300, 1_000, 10_000)},
    ("mean +0.1 sd", 100): _NONE,
    ("mean +0.1 sd", 300): _NONE,
    ("mean +0.1 sd", 1_000): (0.06, 0, 0, 0),
    ("mean +0.1 sd", 10_000): (1, 0, 0, 0),
    ("mean +0.2 sd", 100): (0.02, 0, 0, 0),
    ("mean +0.2 sd", 300): (0.12, 0.01, 0, 0),
    ("mean +0.2 sd", 1_000): (0.92, 0.04, 0, 0),
    ("mean +0.2 sd", 10_000): (1, 0.84, 0, 0),
    ("mean +0.3 sd", 100): (0.05, 0.02, 0.01, 0),
    ("mean +0.3 sd", 300): (0.64, 0.18, 0.01, 0),
    ("mean +0.3 sd", 1_000): (1, 0.88, 0.11, 0),
    ("mean +0.3 sd", 10_000): (1, 1, 0.97, 0),
    ("mean +0.5 sd", 100): (0.56, 0.37, 0.19, 0.07),
    ("mean +0.5 sd", 300): (1, 0.98, 0.85, 0.35),
    ("mean +0.5 sd", 1_000): (1, 1, 1, 0.98),
    ("mean +0.5 sd", 10_000): _ALL,
    **{("mean +1 sd", rows): _ALL for rows in (100, 300, 1_000, 10_000)},
    ("sd x1.3", 100): (0.08, 0.04, 0.01, 0),
    ("sd x1.3", 300): (0.69, 0.23, 0.04, 0),
    ("sd x1.3", 1_000): (1, 0.93, 0.28, 0),
    ("sd x1.3", 10_000): (1, 1, 1, 0),
    ("sd x1.5", 100): (0.49, 0.29, 0.16, 0.06),
    ("sd x1.5", 300): (0.99, 0.96, 0.77, 0.33),
    ("sd x1.5", 1_000): (1, 1, 1, 0.90),
    ("sd x1.5", 10_000): _ALL,
}
