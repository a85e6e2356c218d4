"""What a shadow's figures are sums of, row by row, whatever the models answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.agreement import Agreement, Comparison, Pair, Said, compared
from gateway.names import Branch, Fingerprint
from gateway.scores import score_of, scores_of

DEV, PROD = Branch("dev"), Branch("prod")
OLD, NEW = Fingerprint("a" * 32), Fingerprint("b" * 32)


def text(value: object) -> bytes:
    return json.dumps(value).encode()


def said(predictions: list[Any], probabilities: Any = None, classes: Any = None) -> Said:
    return Said(text(predictions), b"" if probabilities is None else text(probabilities), classes)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (1, 2, False),
        (True, 1, False),
        (False, 0.0, False),
        (True, True, True),
        ("1", 1, False),
        (None, None, True),
        (None, 0, False),
        ([1, [2.0]], [1.0, [2]], True),
        ([1, True], [1, 1], False),
        ([1], [1, 2], False),
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"b": 1}, False),
        ("é", "é", True),
        ("", [], False),
    ],
)
def test_predictions_are_equal_as_json_values_are(one: Any, other: Any, same: bool) -> None:
    assert compared(1, said([one]), said([other])) == Comparison(1, same, 0, 0.0)
    assert compared(1, said([other]), said([one])).equal == same


def test_rows_are_compared_each_with_its_own() -> None:
    found = compared(3, said(["a", "b", "c"]), said(["a", "c", "b"]))
    assert found == Comparison(3, 1, 0, 0.0)


@pytest.mark.parametrize(("rows", "other"), [(2, [1]), (2, [1, 2, 3]), (3, [1, 3])])
def test_answers_of_different_lengths_are_not_compared(rows: int, other: list[int]) -> None:
    with pytest.raises(ValueError, match="predictions for"):
        compared(rows, said([1, 2]), said(other))


def test_scores_are_compared_where_both_have_one() -> None:
    served = said(["x", "y", "x"], [[0.9, 0.1], [0.2, 0.8], None], ("x", "y"))
    shadow = said(["x", "x", "x"], [[0.8, 0.2], [0.6, 0.4], [1, 0]], ("x", "y"))
    rows, equal, scored, difference = compared(3, served, shadow)
    assert (rows, equal, scored) == (3, 2, 2)
    assert difference == pytest.approx(0.1 + 0.4)


def test_a_side_without_probabilities_is_compared_by_its_predictions_alone() -> None:
    with_scores = said([1], [[0.5, 0.5]])
    assert compared(1, with_scores, said([1])) == Comparison(1, 1, 0, 0.0)
    assert compared(1, said([1]), with_scores) == Comparison(1, 1, 0, 0.0)


def test_of_more_than_two_classes_the_score_is_that_of_the_predicted_one() -> None:
    classes = ("a", "b", "c")
    served = said(["a"], [[0.5, 0.3, 0.2]], classes)
    shadow = said(["b"], [[0.1, 0.7, 0.2]], classes)
    assert compared(1, served, shadow).difference == pytest.approx(0.2)


SHARES = st.one_of(
    st.none(),
    st.floats(0, 1),
    st.lists(st.one_of(st.floats(0, 1), st.integers(0, 1)), max_size=4),
    st.lists(st.one_of(st.floats(0, 1), st.none()), max_size=4),
)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from("abc"))
CLASSES = st.one_of(st.none(), st.lists(VALUES, max_size=4).map(tuple))


@given(st.lists(st.tuples(VALUES, SHARES), max_size=6), CLASSES)
def test_the_scores_of_an_answer_are_those_of_its_rows(
    rows: list[tuple[Any, Any]], classes: Any
) -> None:
    """The rows are what goes into git, by `score_of`."""
    one_by_one = [score_of(text(value), text(shares), classes) for value, shares in rows]
    predictions, probabilities = text([row[0] for row in rows]), text([row[1] for row in rows])
    assert scores_of(predictions, probabilities, classes) == one_by_one


@given(st.lists(st.tuples(VALUES, VALUES, SHARES, SHARES), min_size=1, max_size=6), CLASSES)
def test_the_sums_of_an_answer_are_those_of_its_rows(rows: list[Any], classes: Any) -> None:
    mine, its, my_shares, its_shares = (list(column) for column in zip(*rows, strict=True))
    whole = compared(len(rows), said(mine, my_shares, classes), said(its, its_shares, classes))
    singly = [compared(1, said([a], [p], classes), said([b], [q], classes)) for a, b, p, q in rows]
    assert whole[:3] == tuple(sum(column) for column in list(zip(*singly, strict=True))[:3])
    assert whole.difference == pytest.approx(sum(one.difference for one in singly))


def test_a_push_begins_new_figures_and_a_revert_goes_on_with_the_old() -> None:
    agreement = Agreement()
    before, after = Pair(DEV, OLD, PROD, OLD), Pair(DEV, NEW, PROD, OLD)
    agreement.add(before, Comparison(2, 1, 2, 0.5), 10.0)
    agreement.add(after, Comparison(1, 1, 0, 0.0), 20.0)
    agreement.add(before, Comparison(2, 2, 2, 0.1), 30.0)
    old, new = agreement.of(before), agreement.of(after)
    assert old is not None
    assert new is not None
    assert (old.since, old.rows, old.equal_share) == (10.0, 4, 0.75)
    assert old.score_difference == pytest.approx(0.15)
    assert (new.since, new.equal_share, new.score_difference) == (20.0, 1.0, None)


def test_however_many_pushes_come_the_pair_in_use_is_kept_and_few_others() -> None:
    agreement = Agreement()
    used = Pair(DEV, NEW, PROD, OLD)
    pushes = [Pair(DEV, Fingerprint(f"{number:032x}"), PROD, OLD) for number in range(1000)]
    for pair in pushes:
        agreement.add(used, Comparison(1, 1, 0, 0.0), 0.0)
        agreement.add(pair, Comparison(1, 1, 0, 0.0), 0.0)
    figures = agreement.of(used)
    assert figures is not None
    assert figures.rows == 1000
    kept = [pair for pair in pushes if agreement.of(pair) is not None]
    assert kept == pushes[-len(kept) :]
    assert len(kept) < 300
