"""Tree ensembles through one compiled call for all their trees.

scikit-learn calls its trees one at a time, through layers of Python that cost more than the walk.
The kernel of its gradient boosting (`predict_stages`) walks any number of trees in one call and
adds their leaves up, column by column, in scikit-learn's order. It knows numbers of float32 and
no missing values, so trees that need more are put into a form that asks for neither:

- A feature stands in the matrix twice. Where a value is missing the first is below every
  threshold and the second not, and a node asks the one that goes where it sends missing values.
- HistGradientBoosting compares in float64: a number becomes its rank among all thresholds.
- The trees of a classifier hold shares of classes: their leaves become places in a table.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from .answers import Scores, Unsuited
from .trial import Splits

FORESTS = frozenset(
    {
        "RandomForestClassifier",
        "RandomForestRegressor",
        "ExtraTreesClassifier",
        "ExtraTreesRegressor",
    }
)
SINGLE = frozenset(
    {
        "DecisionTreeClassifier",
        "DecisionTreeRegressor",
        "ExtraTreeClassifier",
        "ExtraTreeRegressor",
    }
)
BOOSTED = frozenset({"GradientBoostingClassifier", "GradientBoostingRegressor"})
BINNED = frozenset({"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"})

#: A second form of the trees may take this many bytes.
_MOST_BYTES = 24 * 1024 * 1024
#: Leaves looked up at once.
_MOST_LEAVES = 1 << 17
#: Up to here float32 counts without gaps.
_MOST_RANKS = 1 << 24
_FIELDS = (
    "left_child",
    "right_child",
    "feature",
    "threshold",
    "impurity",
    "n_node_samples",
    "weighted_n_node_samples",
    "missing_go_to_left",
)
_LEAF = -1


class Walk:
    """One sum of leaves a column, over the rows of `trees`."""

    def __init__(
        self, trees: Any, start: Any, *, scale: float = 1.0, doubled: bool, ranks: Any = None
    ) -> None:
        from sklearn.ensemble._gradient_boosting import predict_stages

        self._walk = predict_stages
        self._trees = trees
        self._start = start
        self._scale = scale
        self._doubled = doubled
        self._ranks = ranks

    def __call__(self, x: Any, missing: bool) -> Any:
        values = x if self._ranks is None else self._ranks.searchsorted(x)
        if self._doubled:
            count, width = x.shape
            inputs = np.empty((count, 2 * width), dtype=np.float32)
            inputs[:, :width] = inputs[:, width:] = values
            if missing:
                holes = np.isnan(x)
                inputs[:, :width][holes] = -np.inf
                inputs[:, width:][holes] = np.nan
        else:
            inputs = values.astype(np.float32, order="C")
        sums = np.empty((len(x), self._trees.shape[1]))
        sums[:] = self._start
        self._walk(self._trees, inputs, self._scale, sums)
        return sums


def forest(model: Any) -> tuple[Scores, Splits]:
    """Means of the leaves of a forest, or of one tree."""
    form = _node_form()
    trees = [part.tree_ for part in getattr(model, "estimators_", [model])]
    nodes = sum(tree.node_count for tree in trees)
    outputs = model.n_outputs_
    classes = len(model.classes_) if outputs == 1 and hasattr(model, "classes_") else 0
    if hasattr(model, "classes_") and not classes:
        raise Unsuited("several outputs of a classifier have no faster form")
    splits = _splits(trees)
    if nodes * (form.itemsize + 8 * (1 + max(classes, outputs))) > _MOST_BYTES:
        return _one_by_one(trees, flat=outputs == 1 and not classes), splits
    if not classes and outputs == 1:
        walk = Walk(_column([_doubled(tree) for tree in trees]), 0.0, doubled=True)
        return lambda x, missing: walk(x, missing)[:, 0] / len(trees), splits
    return _tabled(trees), splits


def _tabled(trees: list[Any]) -> Scores:
    """Each tree's leaf in a column of its own, as a place in one table of what leaves hold."""
    rebuilt, tables, place = [], [], 0
    for tree in trees:
        rebuilt.append(_doubled(tree, place + np.arange(tree.node_count)))
        tables.append(tree.value[:, 0, :] if tree.n_outputs == 1 else tree.value[:, :, 0])
        place += tree.node_count
    table = np.concatenate(tables)
    walk = Walk(_column(rebuilt).reshape(1, -1), 0.0, doubled=True)
    most = max(1, _MOST_LEAVES // (len(trees) * table.shape[1]))

    def scores(x: Any, missing: bool) -> Any:
        if len(x) > most:
            parts = [x[start : start + most] for start in range(0, len(x), most)]
            return np.concatenate([scores(part, missing) for part in parts])
        places = walk(x, missing).T.astype(np.intp, order="C")
        # Added up tree by tree, as scikit-learn does: the last bit decides ties.
        sums = table.take(places, axis=0).sum(axis=0)
        sums /= len(trees)
        return sums

    return scores


def _one_by_one(trees: list[Any], *, flat: bool) -> Scores:
    """Without a second form: the compiled call of each tree, without the layers around it."""

    def scores(x: Any, missing: bool) -> Any:
        inputs = x.astype(np.float32, order="C")
        sums = trees[0].predict(inputs)
        sums = np.array(sums, dtype=np.float64)
        for tree in trees[1:]:
            sums += tree.predict(inputs)
        sums /= len(trees)
        return sums.reshape(len(x), -1)[:, 0] if flat else sums.reshape(len(x), -1)

    return scores


def boosted(model: Any, *, classes: bool) -> tuple[Scores, Splits]:
    """GradientBoosting: its own trees, as they are."""
    if model.init is not None and model.init_ != "zero":
        raise Unsuited(f"its init is a {type(model.init).__name__}")
    start = model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32))  # noqa: SLF001
    walk = Walk(model.estimators_, start, scale=model.learning_rate, doubled=False)
    splits = _splits([part.tree_ for part in model.estimators_.ravel()])
    if not classes:
        return lambda x, missing: walk(x, missing)[:, 0], splits
    answer = model._loss.predict_proba  # noqa: SLF001
    single = model.estimators_.shape[1] == 1
    return lambda x, missing: answer(walk(x, missing)[:, 0] if single else walk(x, missing)), splits


def binned(model: Any, *, classes: bool) -> tuple[Scores, Splits]:
    """HistGradientBoosting, by the ranks of its numbers."""
    if getattr(model, "is_categorical_", None) is not None:
        raise Unsuited("categorical features have no faster form")
    stages = [[part.nodes for part in stage] for stage in model._predictors]  # noqa: SLF001
    every = np.concatenate([nodes for stage in stages for nodes in stage])
    if len(every) * (_node_form().itemsize + 8) > _MOST_BYTES:
        raise Unsuited(f"a second form of its {len(every)} nodes would be too large")
    inner = every[every["is_leaf"] == 0]
    ranks = np.unique(inner["num_threshold"])
    if len(ranks) > _MOST_RANKS:
        raise Unsuited(f"its {len(ranks)} thresholds are too many")
    width = model.n_features_in_
    rebuilt = np.empty((len(stages), len(stages[0])), dtype=object)
    for index, stage in enumerate(stages):
        for column, nodes in enumerate(stage):
            rebuilt[index, column] = _ranked(nodes, ranks, width)
    walk = Walk(rebuilt, model._baseline_prediction, doubled=True, ranks=ranks)  # noqa: SLF001
    splits = inner["feature_idx"], inner["num_threshold"]
    loss = model._loss  # noqa: SLF001
    if classes:
        return lambda x, missing: loss.predict_proba(walk(x, missing)), splits
    return lambda x, missing: loss.link.inverse(walk(x, missing)[:, 0]), splits


def _node_form() -> Any:
    """The node of a tree in memory. Unsuited where it is not the one that is known here."""
    from sklearn.tree._tree import NODE_DTYPE

    form = np.dtype(NODE_DTYPE)
    if form.names != _FIELDS:
        raise Unsuited("this scikit-learn's trees have a form that is not known")
    return form


def _doubled(tree: Any, values: Any = None) -> Any:
    """A tree over features that stand twice in the matrix; `values` in place of its own."""
    nodes = tree.__getstate__()["nodes"].astype(_node_form())
    nodes["feature"] += np.where(nodes["missing_go_to_left"] == 1, 0, tree.n_features)
    return _tree(tree.n_features, nodes, tree.value if values is None else values, tree.max_depth)


def _ranked(nodes: Any, ranks: Any, width: int) -> Any:
    """A tree of HistGradientBoosting over the ranks of features that stand twice."""
    leaf = nodes["is_leaf"] == 1
    other = np.zeros(len(nodes), dtype=_node_form())
    for child, theirs in (("left_child", "left"), ("right_child", "right")):
        other[child] = np.where(leaf, _LEAF, nodes[theirs].astype(np.int64))
    beside = np.where(nodes["missing_go_to_left"] == 1, 0, width)
    other["feature"] = np.where(leaf, 0, nodes["feature_idx"]) + beside
    other["threshold"] = ranks.searchsorted(nodes["num_threshold"])
    return _tree(width, other, nodes["value"], int(nodes["depth"].max()))


def _tree(width: int, nodes: Any, values: Any, depth: int) -> Any:
    from sklearn.tree._tree import Tree

    tree = Tree(2 * width, np.ones(1, dtype=np.intp), 1)
    values = np.ascontiguousarray(values, dtype=np.float64).reshape(-1, 1, 1)
    tree.__setstate__(
        {"max_depth": depth, "node_count": len(nodes), "nodes": nodes, "values": values}
    )
    return SimpleNamespace(tree_=tree)


def _column(trees: list[Any]) -> Any:
    column = np.empty((len(trees), 1), dtype=object)
    column[:, 0] = trees
    return column


def _splits(trees: list[Any]) -> Splits:
    """Of at most a hundred trees, which is enough to try a form with."""
    features = np.concatenate([tree.feature for tree in trees[:100]])
    thresholds = np.concatenate([tree.threshold for tree in trees[:100]])
    inner = features >= 0
    return features[inner], thresholds[inner]
