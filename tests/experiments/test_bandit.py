"""Thompson sampling: who is dealt to whom, when, and that the exact method holds all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from steeringfacts import DEV, EXP, HOUR, PROD, House, guardrail, ramped, readout, weighted

from gateway.experiments.bandit import CADENCE, FLOOR, LEAST_UNITS, chances, dealt
from gateway.experiments.facts import Adaptive, ArmCounts
from gateway.experiments.memory import decode
from gateway.names import Branch
from gateway.statistics.rates import log_evidence

A, B = "a" * 32, "b" * 32


def counts(**arms: tuple[int, int]) -> dict[Branch, ArmCounts]:
    return {Branch(name): ArmCounts(*given) for name, given in arms.items()}


def adaptive(direction: Any = "up", **arms: tuple[int, int]) -> Adaptive:
    return Adaptive("won", direction, counts(**arms))


def house(**arms: tuple[int, int]) -> House:
    """Two candidates beside prod, all of one weight, after the first look."""
    found = House(
        {EXP: weighted(weight=50.0), DEV: weighted(DEV, weight=50.0)}, baseline_weight=50.0
    )
    found.adaptive = adaptive(**arms)
    found.turn()
    return found


SOME = {"prod": (1000, 100), "exp": (1000, 150), "dev": (1000, 90)}


def test_the_branch_that_does_best_gets_most_users_and_each_keeps_its_floor() -> None:
    found = house(**SOME)
    assert found.orders == {}
    assert found.turn(CADENCE) == ["weights_adapted"]
    assert found.share(EXP) > 0.8
    assert found.share(PROD) >= FLOOR - 1e-9
    assert found.share(DEV) >= FLOOR - 1e-9
    assert found.state(EXP) == found.state(DEV) == "adaptive"
    assert PROD not in found.orders
    (decided,) = found.decisions
    assert decided.branch == PROD
    assert decided.evidence["counts"]["exp"] == {"units": 1000, "events": 150}
    assert sum(decided.evidence["shares"].values()) == pytest.approx(1)


def test_where_less_is_better_the_one_with_fewest_events_gets_most() -> None:
    found = house()
    found.adaptive = adaptive("down", **SOME)
    found.turn(CADENCE)
    assert found.share(DEV) > found.share(PROD) > found.share(EXP)


def test_the_same_memory_deals_the_same_and_another_update_other_draws() -> None:
    found = house(**SOME)
    memory = found.memory
    found.turn(CADENCE)
    once = found.file
    found.memory, found.now = memory, found.now - CADENCE
    found.turn(CADENCE)
    assert found.file == once
    two = list(counts(prod=(1000, 100), exp=(1000, 110)).values())
    assert chances(two, "1 e", up=True) == chances(two, "1 e", up=True)
    assert chances(two, "1 e", up=True) != chances(two, "2 e", up=True)
    assert chances(two, "1 e", up=True)[1] == pytest.approx(0.76, abs=0.02)


def test_users_are_dealt_a_quarter_of_an_hour_and_a_hundred_units_of_each_arm_apart() -> None:
    found = house(**SOME)
    assert found.turn(CADENCE - 1) == []
    assert found.turn(1) == ["weights_adapted"]
    more = {name: (units + LEAST_UNITS, events) for name, (units, events) in SOME.items()}
    found.adaptive = adaptive(**{**more, "dev": (1000 + LEAST_UNITS - 1, 90)})
    assert found.turn(10 * HOUR) == []
    found.adaptive = adaptive(**{**more, "prod": (1000 + LEAST_UNITS - 1, 100)})
    assert found.turn() == []
    found.adaptive = adaptive(**more)
    assert found.turn() == ["weights_adapted"]
    assert decode(found.memory).bandit.number == 2


def test_an_arm_without_mature_units_deals_nothing() -> None:
    found = house(prod=(1000, 100), exp=(1000, 150))
    assert found.turn(10 * HOUR) == []


def test_new_content_begins_by_its_weight_and_the_baselines_ends_it_all() -> None:
    found = house(**SOME)
    found.turn(CADENCE)
    before = found.share(DEV)
    found.change(EXP, fingerprint=B, readout=readout(B))
    found.adaptive = adaptive(prod=(2000, 200), exp=(99, 0), dev=(1200, 110))
    found.turn(CADENCE)
    assert found.state(EXP) is None
    assert found.share(EXP) == pytest.approx(found.share(PROD))
    assert found.share(DEV) == pytest.approx(before)
    found.baseline_fingerprint = "q" * 32
    assert found.turn() == []
    assert found.orders == {}
    assert found.share(EXP) == pytest.approx(1 / 3)


def test_fixed_weights_again_forget_what_was_dealt() -> None:
    found = house(**SOME)
    found.turn(CADENCE)
    found.adaptive = None
    found.turn()
    assert found.orders == {}
    assert decode(found.memory).bandit.number == 1  # its draws are never drawn again


def test_nobody_is_dealt_beside_a_baseline_that_is_not_known_or_has_no_users() -> None:
    for field, value in (("baseline_fingerprint", ""), ("baseline_weight", 0.0)):
        found = House({EXP: weighted(weight=50.0)}, adaptive=adaptive(**SOME))
        setattr(found, field, value)
        found.turn()
        assert found.turn(CADENCE) == []
        assert found.orders == {}


def test_a_sample_ratio_mismatch_stops_it() -> None:
    found = house(**SOME)
    found.change(DEV, readout=readout(A, mismatch=True, branch=DEV))
    assert found.turn(CADENCE) == []


def test_an_ejected_branch_moves_nobody_else_and_is_dealt_out_of_the_next_update() -> None:
    found = house(**SOME)
    found.turn(CADENCE)
    before = found.arms()
    found.change(EXP, readout=readout(A, guardrail(log_e=5.0)))
    assert found.turn() == ["guardrail_breached"]
    after = found.arms()
    assert {u for u in before if before[u] != after[u]} == {u for u in before if before[u] == EXP}
    found.adaptive = adaptive(prod=(1200, 120), exp=(9000, 0), dev=(1200, 300))
    assert found.turn(CADENCE) == ["weights_adapted"]
    assert (found.share(EXP), found.state(EXP)) == (0, "ejected")
    assert found.share(DEV) > 0.9
    assert found.share(PROD) >= FLOOR - 1e-9
    found.say("release")
    assert 0 < found.share(EXP) < 0.2


def test_a_held_branch_and_a_ramp_keep_their_shares_while_others_are_dealt() -> None:
    found = house(**SOME)
    other = Branch("other")
    found.candidates[other] = replace(ramped(), branch=other, readout=readout(A, branch=other))
    found.turn()
    found.say("hold", EXP)
    assert found.share(EXP) == pytest.approx(0.33)
    assert found.turn(CADENCE) == ["weights_adapted"]
    assert found.share(EXP) == pytest.approx(0.33)
    assert found.share(other) == pytest.approx(0.01)
    assert found.share(PROD) + found.share(DEV) == pytest.approx(0.66)
    before = found.share(EXP)
    found.adaptive = adaptive(prod=(3000, 100), exp=(9000, 150), dev=(3000, 1200))
    assert found.turn(CADENCE) == ["weights_adapted"]
    assert found.share(EXP) == pytest.approx(before)


def test_a_branch_that_was_held_without_users_comes_back_by_its_weight() -> None:
    found = house(**SOME)
    found.turn(CADENCE)
    found.say("hold", out=True)
    found.adaptive = adaptive(prod=(1200, 130), exp=(2000, 300), dev=(1200, 100))
    assert found.turn(CADENCE) == ["weights_adapted"]
    assert found.share(EXP) == 0
    dev = found.share(DEV)
    found.say("release")
    assert found.state(EXP) is None
    assert found.share(DEV) == pytest.approx(dev)
    assert found.share(EXP) == pytest.approx(found.share(PROD))


def test_a_hold_where_it_is_outlives_the_ejection_of_a_content_and_has_users_then() -> None:
    found = house(**SOME)
    found.say("hold")
    found.change(EXP, readout=readout(A, guardrail(log_e=5.0)))
    found.turn(CADENCE)
    assert found.share(EXP) == 0
    found.change(EXP, fingerprint=B, readout=readout(B))
    found.turn()
    assert found.state(EXP) == "held"
    assert found.share(EXP) > 0


# What holds of tests beside it

RUNS, BATCHES, BATCH = 250, 30, 400


def simulated(seed: int, a: float, b: float) -> tuple[float, float, float]:
    """Parts of runs in which the exact e-process, and a peeking z test, claim a difference; and
    the mean part of users on the candidate in the last quarter."""
    rng = np.random.default_rng(seed)
    exact = naive = 0
    late = []
    for run in range(RUNS):
        x, t, w = [], [], []
        units, events = np.zeros(2, dtype=int), np.zeros(2, dtype=int)
        share, claimed, peeked = 0.5, False, False
        for batch in range(BATCHES):
            n = rng.binomial(BATCH, share)
            wins = np.array([rng.binomial(BATCH - n, a), rng.binomial(n, b)])
            units += [BATCH - n, n]
            events += wins
            x.append(wins[1])
            t.append(wins.sum())
            w.append(share)
            claimed |= bool(log_evidence(x, t, w) >= -np.log(0.05))
            p = events.sum() / units.sum()
            spread = np.sqrt(p * (1 - p) * (1 / units).sum())
            peeked |= bool(abs(np.diff(events / units)[0]) > 1.96 * spread)
            known = {
                PROD: ArmCounts(int(units[0]), int(events[0])),
                EXP: ArmCounts(int(units[1]), int(events[1])),
            }
            share = dealt(known, batch, f"{seed} {run}", 1.0, up=True, draws=300)[EXP]
            if batch >= BATCHES * 3 // 4:
                late.append(share)
        exact, naive = exact + claimed, naive + peeked
    return exact / RUNS, naive / RUNS, float(np.mean(late))


def test_without_a_difference_the_exact_method_keeps_its_promise_and_a_naive_one_does_not() -> None:
    exact, naive, share = simulated(1, 0.1, 0.1)
    assert exact <= 0.05 + 3 * (0.05 * 0.95 / RUNS) ** 0.5
    assert naive > 0.25
    assert 0.35 < share < 0.65


def test_users_move_to_the_branch_that_does_better_and_that_is_seen() -> None:
    exact, _, share = simulated(2, 0.1, 0.13)
    assert share > 0.85
    assert exact > 0.3
    _, _, other = simulated(3, 0.13, 0.1)
    assert other < 0.15
