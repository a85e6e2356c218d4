"""What moves a unit is told exactly: a float less and the split decides as before."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.assignment import Split
from gateway.explaining import Explanation, explain
from gateway.names import Branch
from gateway.reporting.explained import Explained, words
from gateway.reporting.standing import Standing

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors/assignment.json").read_text()
)
LEAST = math.ulp(0.0)
ARMS = ("prod", "cand", "ab-test-210323", "feature/deep")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
any_weight = st.one_of(
    st.floats(0, 100), st.sampled_from([0.0, 10.0, 90.0]), st.floats(0, 1e308), st.floats(0, 1e-300)
)
any_weights = st.dictionaries(
    st.sampled_from(ARMS), any_weight, min_size=1, max_size=len(ARMS)
).filter(lambda shares: any(shares.values()))
usual_weights = st.dictionaries(
    st.sampled_from(ARMS), st.sampled_from([0, 0.5, 1, 5, 10, 33.3, 90, 100]), min_size=2
).filter(lambda shares: any(shares.values()))


def split(salt: str, shares: dict[str, float]) -> Split:
    # The vectors also hold names that no branch has.
    return Split(salt, cast(dict[Branch, float], shares))


@pytest.mark.parametrize("vector", VECTORS["splits"], ids=lambda vector: ascii(vector["weights"]))
def test_the_arm_is_that_of_the_vector_and_has_the_highest_score(vector: dict[str, Any]) -> None:
    shares = split(vector["salt"], vector["weights"])
    found = [explain(shares, unit) for unit in vector["arms"]]
    assert {one.unit: one.winner.branch for one in found} == vector["arms"]
    for one in found:
        assert one.winner.score == max(arm.score for arm in one.arms)
        assert {arm.branch: arm.weight for arm in one.arms} == vector["weights"]


@pytest.mark.parametrize("vector", VECTORS["uniform"], ids=lambda one: ascii(one["unit"])[:20])
def test_u_is_the_number_of_the_vector(vector: dict[str, Any]) -> None:
    (arm,) = explain(split(vector["salt"], {vector["arm"]: 1}), vector["unit"]).arms
    assert arm.u == vector["u"]
    assert arm.score == 1 / -math.log(vector["u"])


@given(texts, any_weights, texts)
@example("s", {"prod": 1e308, "cand": 1.0}, "u")
@example("s", {"prod": LEAST, "cand": LEAST, "feature/deep": 0.0}, "u")
def test_the_turning_weight_is_exact_to_the_float(
    salt: str, shares: dict[str, float], unit: str
) -> None:
    found = explain(split(salt, shares), unit)
    assert {arm.branch for arm in found.arms} == shares.keys()
    assert found.winner.branch == split(salt, shares).assign(unit)
    for arm in found.arms:
        rest = {name: weight for name, weight in shares.items() if name != arm.branch}

        def has_it(weight: float, branch: str = arm.branch, rest: dict[str, float] = rest) -> bool:
            return split(salt, {**rest, branch: weight}).assign(unit) == branch

        if arm.wins_from is None:
            assert not has_it(1.7976931348623157e308)
            continue
        assert has_it(max(arm.wins_from, LEAST))
        below = math.nextafter(arm.wins_from, 0.0)
        assert arm.wins_from == 0 or below == 0 or not has_it(below)
        assert (arm.wins_from <= arm.weight) == (arm is found.winner) or arm.weight == 0


@pytest.mark.parametrize("rivals", [["a"], ["a", "c"], ["c"]])
def test_an_exact_tie_falls_to_the_first_name_and_so_does_its_turning_weight(
    rivals: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.explaining.uniform", lambda *_: 0.5)
    monkeypatch.setattr("gateway.assignment._as_uniform", lambda _: 0.5)
    shares = {**dict.fromkeys(rivals, 4.0), "b": 1.0}
    found = explain(split("s", shares), "u")
    (turn,) = (one.wins_from for one in found.arms if one.branch == "b")
    assert turn is not None
    assert turn == pytest.approx(4.0, rel=1e-15)  # to the rounding of the score's division
    assert (turn > 4.0) == ("a" in rivals)
    assert split("s", {**shares, "b": turn}).assign("u") == "b"
    below = {**shares, "b": math.nextafter(turn, 0.0)}
    assert split("s", below).assign("u") == rivals[0]


def said(shares: dict[str, float], found: Explanation) -> str:
    standing = Standing("a file", Branch("prod"), split("s", shares), {}, frozenset())
    return " ".join(words(Explained("u", standing, found, None, "?", None), 100).split())


@given(usual_weights, texts)
def test_a_weight_that_is_named_in_words_moves_the_user_as_they_say(
    shares: dict[str, float], unit: str
) -> None:
    """It is rounded, but never to the wrong side."""
    found = explain(split("s", shares), unit)
    text = said(shares, found)
    for arm in found.others:
        reached = re.search(rf"the weight of {arm.branch} reaches (\S+) \(now", text)
        if reached is None:
            assert re.search(rf"No weight up to 100 would bring it to [^.]*{arm.branch}", text)
            assert split("s", {**shares, arm.branch: 100}).assign(unit) != arm.branch
            continue
        weight = float(reached[1])
        assert weight <= 100  # the most that a file may say
        assert split("s", {**shares, arm.branch: weight}).assign(unit) == arm.branch
        assert split("s", {**shares, arm.branch: weight * 0.998}).assign(unit) != arm.branch
    falls = re.search(
        r"its own weight falls below (\S+) \(now .*\), which would give it to (\S+);", text
    )
    assert (falls is not None) == any(arm.weight > 0 for arm in found.others)
    if falls is not None:
        below = math.nextafter(float(falls[1]), 0.0)
        assert split("s", {**shares, found.winner.branch: below}).assign(unit) == falls[2]
        above = min(float(falls[1]) * 1.002, found.winner.weight)
        kept = split("s", {**shares, found.winner.branch: above}).assign(unit)
        assert kept == found.winner.branch
