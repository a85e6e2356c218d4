"""Orders over weights: which hold, and what they make of the split."""

from __future__ import annotations

import random
from typing import Any

import pytest

from gateway.assignment import Split
from gateway.experiments.allocation import MOST, Order, effective, in_force
from gateway.names import Branch

PROD, A, B, C = (Branch(name) for name in ("prod", "a", "b", "c"))
WEIGHTS = {PROD: 60.0, A: 30.0, B: 10.0}


def order(share: float | None, fingerprint: str = "f", **fields: object) -> Order:
    given = {"state": "held", "configured": "c", "reason": "r", "since": "s", **fields}
    return Order(share=share, fingerprint=fingerprint, **given)  # type: ignore[arg-type]


def shares(weights: dict[Branch, float]) -> dict[Branch, Any]:
    total = sum(weights.values())
    return {name: pytest.approx(weight / total) for name, weight in weights.items()}


@pytest.mark.parametrize(
    ("configured", "serving", "holds"),
    [("c", "f", True), ("other", "f", False), ("c", "g", False), ("c", "", False)],
)
def test_an_order_is_about_what_was_configured_and_served(
    configured: str, serving: str, holds: bool
) -> None:
    found = in_force({"a": order(0.0)}, {A: configured}, {A: serving})
    assert (A in found) == holds
    whatever = in_force({"a": order(0.0, "")}, {A: configured}, {A: serving})
    assert (A in whatever) == (configured == "c")
    assert in_force({"b": order(0.0, "")}, {A: configured}, {A: serving}) == {}


def test_an_order_for_the_very_content_comes_before_one_for_whatever_is_served() -> None:
    own = order(0.0, "g", state="ejected")
    both = order(0.2, "", others=(own,))
    assert in_force({"a": both}, {A: "c"}, {A: "g"}) == {A: own}
    assert in_force({"a": both}, {A: "c"}, {A: "f"}) == {A: both}
    assert in_force({"a": both}, {A: "edited"}, {A: "g"}) == {}


def test_without_orders_the_weights_are_what_they_were() -> None:
    assert effective(WEIGHTS, PROD, {}, {}) == WEIGHTS
    assert effective(WEIGHTS, PROD, {}, {A: order(None)}) == WEIGHTS


def test_a_share_is_one_of_all_users_and_the_others_keep_their_proportions() -> None:
    found = effective(WEIGHTS, PROD, {}, {A: order(0.05)})
    assert shares(found) == {PROD: 0.95 * 6 / 7, A: 0.05, B: 0.95 / 7}
    assert (found[PROD], found[B]) == (60, 10)


def test_no_users_leave_every_other_weight_as_it_was() -> None:
    assert effective(WEIGHTS, PROD, {}, {A: order(0.0)}) == {PROD: 60, A: 0, B: 10}
    with_b = effective(WEIGHTS, PROD, {}, {B: order(0.2), A: order(0.3)})
    without = effective(WEIGHTS, PROD, {}, {B: order(0.2), A: order(0.0, before=0.3)})
    assert without == {**with_b, A: 0}
    # Where nobody is to be spared a move, its room is given to all.
    assert shares(effective(WEIGHTS, PROD, {}, {B: order(0.2), A: order(0.0, before=0.0)})) == {
        PROD: 0.8,
        A: 0,
        B: 0.2,
    }


def test_a_ramp_without_an_order_is_at_its_first_step() -> None:
    first = {A: 0.01}
    assert shares(effective(WEIGHTS, PROD, first, {}))[A] == 0.01
    assert shares(effective(WEIGHTS, PROD, first, {A: order(0.25)}))[A] == 0.25
    assert effective(WEIGHTS, PROD, first, {A: order(0.0)})[A] == 0


def test_what_nobody_else_has_a_weight_for_is_the_baselines() -> None:
    assert effective({PROD: 0.0, A: 5.0}, PROD, {}, {A: order(0.0)}) == {PROD: 1, A: 0}
    assert shares(effective({PROD: 0.0, A: 5.0}, PROD, {}, {A: order(0.4)})) == {PROD: 0.6, A: 0.4}


def test_orders_for_the_baseline_and_for_strangers_are_nothing() -> None:
    assert effective(WEIGHTS, PROD, {}, {PROD: order(0.0), C: order(0.5)}) == WEIGHTS


def test_too_many_shares_still_leave_the_baseline_something() -> None:
    found = shares(effective(WEIGHTS, PROD, {}, {A: order(0.9), B: order(0.6)}))
    assert found == {PROD: 1 - MOST, A: MOST * 0.6, B: MOST * 0.4}


@pytest.mark.parametrize("seed", range(200))
def test_any_orders_make_a_split_and_an_order_of_none_moves_its_own_users_only(seed: int) -> None:
    rng = random.Random(seed)
    weights = {name: rng.choice([0.0, 1.0, 50.0, 0.1]) for name in (PROD, A, B, C)}
    first = {A: 0.01} if rng.random() < 0.3 else {}
    orders = {
        name: order(rng.choice([None, 0.0, 0.02, 0.3, 0.999]), before=rng.choice([None, 0.0, 0.2]))
        for name in (A, B)
        if rng.random() < 0.7
    }
    if not any(weights.values()):
        return
    found = effective(weights, PROD, first, orders)
    split = Split("s", found)  # raises where nobody has users
    for name, one in orders.items():
        if one.share == 0:
            assert split.propensities[name] == 0
    share = split.propensities[C]
    if not 0 < share < 0.9:
        return
    out = Split("s", effective(weights, PROD, first, {**orders, C: order(0.0)}))
    users = [f"user-{number}" for number in range(300)]
    moved = {user for user in users if split.assign(user) != out.assign(user)}
    assert moved == {user for user in users if split.assign(user) == C}
