"""What is made of the weights: ejections, operators' words and edits, over many turns."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from steeringfacts import (
    DEV,
    EXP,
    HOUR,
    PROD,
    STEPS,
    THRESHOLD,
    House,
    guardrail,
    ramped,
    readout,
    weighted,
)

from gateway.experiments.facts import Command
from gateway.experiments.memory import Memory, decode, encode

A, B, C = "a" * 32, "b" * 32, "c" * 32


def breached(fingerprint: str = A, log_e: float = 5.0, **fields: str) -> object:
    return readout(fingerprint, guardrail(log_e=log_e), **fields)  # type: ignore[arg-type]


def test_without_a_reason_nothing_is_ordered() -> None:
    house = House({EXP: weighted()})
    assert house.turn() == []
    assert house.orders == {}
    assert house.share() == 0.1


def test_a_breached_guardrail_takes_all_users_of_its_branch_and_moves_no_other() -> None:
    house = House({EXP: weighted(), DEV: weighted(DEV, weight=20.0)})
    house.turn()
    before = house.arms()
    house.change(readout=breached())
    assert house.turn() == ["guardrail_breached"]
    assert house.state() == "ejected"
    assert house.orders[EXP].others == ()
    after = house.arms()
    assert EXP in before.values()
    assert EXP not in after.values()
    assert {user for user in before if before[user] != after[user]} == {
        user for user in before if before[user] == EXP
    }
    assert house.turn() == []  # said once
    (decided,) = house.decisions
    assert (decided.branch, decided.commit) == (EXP, "1" * 40)
    assert decided.reason == "error_rate: error_rate says so"
    (numbers,) = decided.evidence["guardrails"]
    assert (numbers["log_e"], numbers["threshold"]) == (5.0, THRESHOLD)
    assert decided.evidence["breached"] == ["error_rate"]
    assert decided.evidence["contrast"] == readout(A).contrast


def test_an_ejection_moves_no_users_of_another_branch_that_has_a_share_of_its_own() -> None:
    """Each on a ramp: what one leaves must not change what the other's share is made of."""
    other = ramped(fingerprint=B)
    house = House({EXP: ramped(), DEV: replace(other, branch=DEV, readout=readout(B, branch=DEV))})
    for _ in range(3):
        house.turn(HOUR + 1)
    assert house.share(EXP) == house.share(DEV) == 0.25
    before = house.arms()
    house.change(readout=breached())
    house.turn()
    after = house.arms()
    moved = {user for user in before if before[user] != after[user]}
    assert moved == {user for user in before if before[user] == EXP}
    assert {after[user] for user in moved} == {PROD, DEV}


def test_an_ejection_outlives_the_evidence_and_new_content_of_the_baseline() -> None:
    house = House({EXP: weighted(readout=breached())})
    house.turn()
    house.baseline_fingerprint = "q" * 32
    for found in (readout(A, baseline="q" * 32), None):
        house.change(readout=found)
        assert house.turn() == []
        assert (house.state(), house.share()) == ("ejected", 0)


def test_other_content_gets_users_again_at_once_and_the_ejected_one_never() -> None:
    house = House({EXP: weighted(readout=breached())})
    house.turn()
    house.serves[EXP] = B  # the front has swapped; the monitor has yet to hear of it
    assert (house.state(), house.share()) == (None, 0.1)
    house.turn()
    assert house.share() == 0.1
    house.change(fingerprint=B, readout=readout(B))
    assert house.turn() == ["allocation_ended"]
    assert house.share() == 0.1
    house.serves[EXP] = A  # and back, before anybody noticed
    assert (house.state(), house.share()) == ("ejected", 0)
    house.change(fingerprint=A, readout=readout(A))
    assert house.turn() == ["guardrail_breached"]
    assert house.share() == 0


def test_evidence_of_former_content_ejects_nobody() -> None:
    house = House({EXP: weighted(fingerprint=B, readout=breached(A))})
    assert house.turn() == []
    assert house.share() == 0.1


def test_a_content_that_is_not_known_changes_nothing() -> None:
    house = House({EXP: weighted(readout=breached())})
    house.turn()
    house.change(fingerprint="", readout=None)
    house.serves[EXP] = A
    assert house.turn() == []
    assert house.state() == "ejected"


def test_an_edit_ends_it_in_the_front_first_and_in_the_monitor_too() -> None:
    house = House({EXP: weighted(readout=breached())})
    house.turn()
    house.configured[EXP] = "c2"
    assert house.share() == 0.1
    house.change(configured="c2", readout=readout(A))
    assert house.turn() == ["allocation_ended"]
    assert (house.state(), house.share()) == (None, 0.1)
    # What speaks against it still does: gateway.yaml's word is no release.
    house.change(readout=breached())
    assert house.turn() == ["guardrail_breached"]


def test_released_evidence_ejects_again_only_once_there_is_as_much_again() -> None:
    house = House({EXP: weighted(readout=breached(log_e=5.0))})
    house.turn()
    assert house.say("release", reason="known") == ["released"]
    assert house.share() == 0.1
    for log_e in (5.0, 7.0, 5.0 + THRESHOLD - 0.01):
        house.change(readout=breached(log_e=log_e))
        assert house.turn() == []
        assert house.share() == 0.1
    house.change(readout=breached(log_e=5.0 + THRESHOLD))
    assert house.turn() == ["guardrail_breached"]
    assert house.share() == 0
    assert house.say("release") == ["released"]
    assert house.turn() == []


def test_another_guardrail_or_another_baseline_is_other_evidence() -> None:
    house = House({EXP: weighted(readout=breached())})
    house.turn()
    house.say("release")
    both = readout(A, guardrail(log_e=5.0), guardrail("timeout_rate", log_e=4.7))
    house.change(readout=both)
    assert house.turn() == ["guardrail_breached"]
    assert house.decisions[-1].evidence["breached"] == ["timeout_rate"]
    house.say("release")
    house.change(readout=breached(baseline="q" * 32))
    assert house.turn() == ["guardrail_breached"]


def test_a_release_knows_the_evidence_of_an_ejection_though_nothing_is_told_of_it_now() -> None:
    house = House({EXP: weighted(readout=breached())})
    house.turn()
    house.change(readout=None)
    house.say("release")
    house.change(readout=breached())
    assert house.turn() == []


def test_a_guardrail_of_a_mean_is_released_for_its_content() -> None:
    found = readout(A, guardrail("revenue", log_e=None, breached=True))
    house = House({EXP: weighted(readout=found)})
    assert house.turn() == ["guardrail_breached"]
    house.say("release")
    assert house.turn() == []
    house.change(fingerprint=B, readout=readout(B, guardrail("revenue", log_e=None, breached=True)))
    assert house.turn() == ["guardrail_breached"]


def test_a_release_of_nothing_is_taken_and_changes_nothing() -> None:
    house = House({EXP: weighted()})
    before = house.memory
    assert house.say("release") == []
    house.turn()
    assert decode(house.memory).branches[EXP].released is None
    assert house.orders == {}
    assert before != house.memory  # it knows what is served


def test_a_hold_without_users_moves_only_its_own_and_holds_whatever_is_served() -> None:
    house = House({EXP: weighted(), DEV: weighted(DEV)})
    house.turn()
    before = house.arms()
    assert house.say("hold", out=True, reason="on call") == ["held"]
    after = house.arms()
    assert {u for u in before if before[u] != after[u]} == {u for u in before if before[u] == EXP}
    assert (house.state(), house.share()) == ("held", 0)
    assert house.orders[EXP].reason.endswith("by an operator: on call")
    house.change(fingerprint=B, readout=readout(B))
    house.turn()
    assert house.share() == 0
    assert house.say("release") == ["released"]
    assert house.arms() == before


def test_a_hold_where_it_is_moves_nobody_and_an_ejection_wins_over_it() -> None:
    house = House({EXP: weighted()})
    house.turn()
    before = house.arms()
    house.say("hold", reason="audit")
    assert house.state() == "held"
    assert house.arms() == before
    house.change(readout=breached())
    assert house.turn() == ["guardrail_breached"]
    assert house.share() == 0
    house.say("release")
    assert (house.state(), house.arms()) == (None, before)


def test_an_edit_ends_a_hold() -> None:
    house = House({EXP: weighted()})
    house.say("hold", out=True)
    house.change(configured="c2", weight=30.0)
    assert house.turn() == ["allocation_ended"]
    assert house.share() == 0.25


def test_the_last_branch_with_users_leaves_them_to_the_baseline() -> None:
    house = House({EXP: weighted(weight=100.0)}, baseline_weight=0.0)
    house.turn()
    assert house.share() == 1
    house.say("hold", out=True)
    assert house.split.propensities == {PROD: 1.0, EXP: 0.0}


def test_a_command_for_a_branch_that_is_not_there_waits() -> None:
    house = House({EXP: weighted()})
    assert house.turn(0.5, Command("1", "hold", DEV, 0.0)) == []
    assert house.orders == {}


def test_a_branch_that_is_gone_is_forgotten_and_a_turn_again_changes_nothing() -> None:
    house = House({EXP: ramped(readout=breached()), DEV: weighted(DEV)})
    house.turn()
    file, memory = house.file, house.memory
    house.turn(0.5)
    assert (house.file, house.memory) == (file, memory)
    assert decode(encode(decode(memory))) == decode(memory)
    del house.candidates[EXP]
    house.turn()
    assert set(decode(house.memory).branches) == {DEV}


def test_memory_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"version must be 1\. Given: 2"):
        decode(encode(Memory(version=2)))
    with pytest.raises(ValueError, match="truncated"):
        decode(b"{")


def test_units_are_counted_from_the_beginning_of_the_step() -> None:
    house = House({EXP: ramped(), DEV: weighted(DEV)})
    house.turn()
    house.turn(HOUR)


class Walk:
    """Everything that may happen to a branch, in any order, and who ought to have no users."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.house = House({EXP: ramped(), DEV: weighted(DEV)})
        self.evidence = dict.fromkeys((A, B, C), 0.0)
        self.out: set[str] = set()
        self.held_out = False
        self.edits = self.ejections = 0

    @property
    def serving(self) -> str:
        return self.house.candidates[EXP].fingerprint

    @property
    def is_out(self) -> bool:
        return self.held_out or self.serving in self.out

    def _note(self, decided: list[str]) -> None:
        if "guardrail_breached" in decided:
            self.out.add(self.serving)
            self.ejections += 1

    def _shown(self) -> object:
        return readout(self.serving, guardrail(log_e=self.evidence[self.serving]))

    def wait(self) -> None:
        self._note(self.house.turn(self.rng.choice([0.5, 100.0, HOUR + 1])))

    def harm(self) -> None:
        self.evidence[self.serving] += self.rng.choice([1.0, 3.0, 6.0])
        self.house.change(readout=self._shown())
        self._note(self.house.turn())

    def push(self) -> None:
        self.house.change(fingerprint=self.rng.choice([A, B, C]))
        self.house.change(readout=self._shown())
        # The front has swapped, and the monitor has yet to hear of it.
        assert (self.house.share() == 0) == self.is_out
        self._note(self.house.turn())

    def edit(self) -> None:
        self.edits += 1
        ramp = STEPS if self.rng.random() < 0.7 else None
        self.house.change(configured=f"edit {self.edits}", ramp=ramp, weight=10.0)
        self.out, self.held_out = set(), False
        assert self.house.share() > 0
        self._note(self.house.turn())

    def hold(self) -> None:
        self.held_out = self.rng.random() < 0.5
        self._note(self.house.say("hold", out=self.held_out))

    def release(self) -> None:
        if "released" in self.house.say("release"):
            self.out, self.held_out = set(), False

    def lag(self) -> None:
        known = self.house.candidates[EXP]
        self.house.change(fingerprint="", readout=None)
        assert "guardrail_breached" not in self.house.turn()
        self.house.candidates[EXP] = known


@pytest.mark.parametrize("seed", range(20))
def test_an_ejected_content_never_gets_users_without_release_edit_or_other_content(
    seed: int,
) -> None:
    walk = Walk(seed)
    steps = [walk.wait, walk.harm, walk.push, walk.edit, walk.hold, walk.release, walk.lag]
    for _ in range(400):
        walk.rng.choices(steps, [6, 4, 3, 1, 2, 1, 1])[0]()
        assert (walk.house.share() == 0) == walk.is_out, (seed, walk.house.orders)
        assert walk.house.share(DEV) > 0
        assert sum(walk.house.split.propensities.values()) == pytest.approx(1)
    assert walk.ejections > 5
