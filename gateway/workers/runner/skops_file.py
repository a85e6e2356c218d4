"""A .skops file: no code but that of types that skops, this list, or the operator names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import texts
from .formats import Rules
from .native import imported
from .source import NotLoadable

#: What scikit-learn's own models are made of and skops leaves to others to trust. Each one holds
#: numbers, and runs nothing that a file could choose.
OURS = (
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
)


def load(path: Path, name: Path, rules: Rules) -> Any:
    """The object in the file. NotLoadable names the types that nobody trusts."""
    skops = imported("skops.io", name)
    try:
        unknown = skops.get_untrusted_types(file=path)
        strange = sorted(set(unknown) - {*OURS, *rules.types})
        if not strange:
            return skops.load(path, trusted=unknown)
    except MemoryError:
        raise
    except Exception as error:
        reason = texts.described(error, withhold=False)
        raise NotLoadable(f"{name} cannot be loaded by skops: {reason}") from error
    raise NotLoadable(
        f"{name} holds types that are not trusted: {', '.join(strange)}; whoever runs the gateway"
        " may name those that are in trust.skops_types of gateway.yaml"
    )
