"""A ramp goes on, waits and gets ready, as STATISTICS §4 has it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from steeringfacts import (
    EXP,
    HOUR,
    PROD,
    STEPS,
    House,
    bounded,
    guardrail,
    metric,
    ramped,
    ratio,
    readout,
)

from gateway.experiments.document import ArmFigures
from gateway.experiments.facts import Ramp

A, B = "a" * 32, "b" * 32
#: What shows that nothing is much worse.
SOUND = readout(A, metrics=(metric(relative=bounded(0.2)),))


def at_the_last_step(**fields: Any) -> House:
    house = House({EXP: ramped(**fields)})
    for _ in range(3):
        house.turn(HOUR)
    assert house.share() == 0.25
    return house


def test_a_ramp_goes_up_step_by_step_and_moves_only_users_of_its_branch() -> None:
    house = House({EXP: ramped()})
    assert house.share() == pytest.approx(0.01)  # before anything is decided
    before = house.arms()
    assert house.turn() == ["ramp_began"]
    assert house.arms() == before
    shares, joined = [house.share()], [{u for u in before if before[u] == EXP}]
    for _ in range(2):
        assert house.turn(HOUR) == ["ramp_advanced"]
        shares.append(house.share())
        joined.append({u for u, arm in house.arms().items() if arm == EXP})
    assert shares == pytest.approx([0.01, 0.05, 0.25])
    assert joined[0] < joined[1] < joined[2]
    assert house.state() == "ramping"


def test_a_step_takes_its_dwell_and_its_units() -> None:
    house = House({EXP: ramped()})
    house.turn()
    assert house.turn(HOUR - 1) == []
    house.change(units=499)
    assert house.turn(1) == []
    assert house.turn(10 * HOUR) == []
    assert house.share() == pytest.approx(0.01)
    house.change(units=500)
    assert house.turn() == ["ramp_advanced"]
    # The next one begins now, however long the last one was.
    assert house.turn(HOUR - 1) == []
    assert house.share() == pytest.approx(0.05)


def test_a_step_says_the_numbers_that_led_to_it() -> None:
    house = House({EXP: ramped(units=731)})
    house.turn()
    began = house.now
    house.turn(2 * HOUR)
    decided = house.decisions[-1]
    assert decided.reason == ("step 2 of 3 of its ramp: 5 % of the users")
    told = decided.evidence
    assert (told["step"], told["since"], told["units"]) == (1, began, 731)
    assert told["guardrails"][0]["log_e"] == 0.0
    assert house.orders[EXP].reason == (
        "step 2 of 3 of its ramp: 5 % of the users; 25 % after 1 h and 500 users"
    )


def test_new_content_begins_at_the_first_step_and_loses_the_share_at_once() -> None:
    house = at_the_last_step()
    house.serves[EXP] = B
    assert house.share() == pytest.approx(0.01)
    house.serves.clear()
    house.change(fingerprint=B, readout=readout(B))
    assert house.turn() == ["ramp_began"]
    assert house.share() == pytest.approx(0.01)
    assert house.turn(HOUR - 1) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"readout": readout(A, mismatch=True)}, "users did not fall on the branches by"),
        ({"drift": "alert"}, "drift of its rows is alert"),
        ({"split_drift": True}, "its inputs differ from the baseline's"),
        ({"last_exposure": 0.0}, "no request of its users for 1 h"),
        (
            {
                "readout": readout(
                    A, metrics=(metric("won", role="primary", arrivals=ratio(mismatch=True)),)
                )
            },
            "outcomes of won do not arrive from both branches alike",
        ),
        (
            {
                "readout": readout(
                    A, guardrail("refunds", baseline=ArmFigures(9, 0), candidate=ArmFigures(9, 0))
                )
            },
            "no outcome of refunds has come in",
        ),
        ({"readout": None}, "nothing compares it with the baseline"),
    ],
    ids=["sample ratio", "drift", "split", "no data", "arrivals", "missing", "no baseline"],
)
def test_what_is_unclear_holds_the_step_and_takes_nobody_away(
    fields: dict[str, Any], words: str
) -> None:
    house = House({EXP: ramped()})
    house.turn()
    house.turn(HOUR)
    house.change(**fields)
    assert house.turn(HOUR + 1) == ["ramp_held"]
    assert house.stands() == ("held", 5)
    assert words in house.orders[EXP].reason
    assert house.turn(HOUR) == []  # said once
    house.candidates[EXP] = ramped()
    assert house.turn() == ["ramp_resumed"]
    assert house.stands() == ("ramping", 5)
    assert house.turn() == ["ramp_advanced"]


def test_outcomes_of_a_secondary_metric_hold_nothing() -> None:
    found = readout(A, metrics=(metric("won", role="secondary", arrivals=ratio(mismatch=True)),))
    house = House({EXP: ramped(readout=found)})
    house.turn()
    assert house.turn(HOUR) == ["ramp_advanced"]


def test_a_built_in_guardrail_without_an_event_holds_nothing() -> None:
    none = ArmFigures(9, 0)
    found = readout(A, guardrail(log_e=None, baseline=none, candidate=none))
    house = House({EXP: ramped(readout=found)})
    house.turn()
    assert house.turn(HOUR) == ["ramp_advanced"]


def test_no_step_is_taken_without_a_comparison_however_short_the_dwell() -> None:
    house = House({EXP: ramped(ramp=Ramp((1.0, 5.0), 60.0, 1), readout=None)})
    house.turn()
    assert house.turn(61) == []
    house.change(readout=readout(A))
    assert house.turn() == ["ramp_advanced"]


def test_silence_is_ten_minutes_where_the_dwell_is_shorter() -> None:
    house = House({EXP: ramped(ramp=Ramp((1.0, 5.0), 60.0, 500), units=0)})
    house.turn()
    house.change(last_exposure=house.now)
    assert house.turn(599) == []
    assert house.turn(2) == ["ramp_held"]
    assert "for 10 min" in house.orders[EXP].reason


def test_a_second_reason_is_told_and_the_last_one_that_goes_ends_the_hold() -> None:
    house = House({EXP: ramped()})
    house.turn()
    house.change(drift="alert")
    house.turn()
    since = house.orders[EXP].since
    house.change(drift="critical")
    assert house.turn() == []  # as before, but for the words
    house.change(readout=readout(A, mismatch=True))
    assert house.turn() == ["ramp_held"]
    assert house.orders[EXP].since == since
    house.change(drift=None)
    assert house.turn() == ["ramp_held"]
    house.change(readout=readout(A))
    assert house.turn() == ["ramp_resumed"]


def test_a_breach_ejects_from_any_step_and_a_release_begins_the_ramp_anew() -> None:
    house = at_the_last_step()
    house.change(readout=readout(A, guardrail(log_e=5.0)))
    assert house.turn(HOUR) == ["guardrail_breached"]
    assert house.decisions[-1].evidence["share_before"] == 0.25
    assert house.share() == 0
    assert house.turn(10 * HOUR) == []
    assert house.say("release") == ["released"]
    assert house.stands() == ("ramping", 1)
    assert house.turn(HOUR) == ["ramp_advanced"]  # with what was known at the release


def test_an_operator_holds_the_step_and_release_begins_its_dwell_anew() -> None:
    house = House({EXP: ramped()})
    house.turn()
    house.turn(HOUR)
    assert house.say("hold", reason="release freeze") == ["held", "ramp_held"]
    assert house.stands() == ("held", 5)
    assert house.orders[EXP].reason.endswith("held: by an operator, release freeze")
    assert house.turn(100 * HOUR) == []
    house.say("release")
    assert house.stands() == ("ramping", 5)
    assert house.turn(HOUR - 1) == []
    assert house.turn(1) == ["ramp_advanced"]


def test_a_hold_holds_new_content_at_the_first_step() -> None:
    house = at_the_last_step()
    house.say("hold")
    house.change(fingerprint=B, readout=readout(B))
    assert house.turn() == ["ramp_began", "ramp_held"]
    assert house.share() == pytest.approx(0.01)
    assert house.turn(HOUR) == []


def test_a_ramp_is_held_before_its_content_is_known() -> None:
    house = House({EXP: ramped(fingerprint="", readout=None)})
    house.say("hold", reason="not yet")
    assert house.stands() == ("held", 1.0)
    assert house.orders[EXP].reason.endswith("by an operator: not yet")


def test_a_hold_without_users_comes_back_to_the_same_step() -> None:
    house = at_the_last_step()
    before = house.arms()
    house.say("hold", out=True)
    assert house.share() == 0
    house.change(last_exposure=house.now)
    assert house.turn(10 * HOUR) == []  # that nobody asks for it is no news
    house.change(last_exposure=None)
    house.say("release")
    assert house.arms() == before


def test_release_lets_a_ramp_go_on_despite_what_holds_it_for_this_content() -> None:
    house = House({EXP: ramped(drift="alert")})
    assert house.turn() == ["ramp_began", "ramp_held"]
    assert house.say("release", reason="season") == ["released"]
    assert house.decisions[-1].evidence["excused"] == ("drift",)
    assert house.state() == "ramping"
    assert house.turn(HOUR) == ["ramp_advanced"]
    house.change(readout=readout(A, mismatch=True))
    assert house.turn() == ["ramp_held"]  # what was not there then
    house.change(fingerprint=B, readout=readout(B))
    assert house.turn() == ["ramp_began", "ramp_held"]


def test_an_edited_ramp_begins_anew() -> None:
    house = at_the_last_step()
    house.change(configured="c2", ramp=replace(STEPS, steps=(2.0, 50.0)))
    assert house.share() == pytest.approx(0.02)
    assert house.turn() == ["allocation_ended", "ramp_began"]
    assert house.share() == pytest.approx(0.02)


def test_two_ramps_and_a_held_branch_leave_the_baseline_what_they_do_not_take() -> None:
    house = at_the_last_step()
    house.candidates[PROD.__class__("other")] = replace(
        ramped(fingerprint=B), branch=PROD.__class__("other"), ramp=Ramp((74.0,), HOUR, 1)
    )
    house.turn()
    assert house.split.propensities == {
        "exp": pytest.approx(0.25),
        "other": pytest.approx(0.74),
        "prod": pytest.approx(0.01),
    }


# Ready


def test_it_is_ready_once_no_guardrail_can_be_much_worse_and_stays_there() -> None:
    house = at_the_last_step(readout=readout(A, metrics=(metric(relative=bounded(0.3)),)))
    assert house.turn(HOUR) == []
    assert house.state() == "ramping"
    assert house.orders[EXP].reason.endswith(
        "not ready to be merged yet: error_rate may still be more than 25 % higher"
    )
    house.change(readout=SOUND)
    assert house.turn() == ["ramp_ready"]
    assert house.stands() == ("ready", 25)
    assert house.orders[EXP].reason.endswith("merge it to the baseline")
    assert house.turn(100 * HOUR) == []
    house.change(drift="alert")
    house.turn()
    assert house.state() == "held"
    house.change(drift=None)
    house.turn()
    assert house.state() == "ready"
    house.change(readout=readout(A, guardrail(log_e=5.0)))
    house.turn()
    assert house.share() == 0


def test_it_is_not_ready_before_the_last_step_has_had_its_time() -> None:
    house = at_the_last_step(readout=SOUND)
    assert house.turn(HOUR - 1) == []
    house.change(units=499)
    assert house.turn(HOUR) == []
    house.change(units=500)
    assert house.turn() == ["ramp_ready"]


def test_a_sample_ratio_that_an_operator_put_aside_is_never_ready() -> None:
    house = at_the_last_step(readout=SOUND)
    house.change(readout=readout(A, metrics=SOUND.metrics, mismatch=True))
    house.turn()
    house.say("release")
    assert house.turn(2 * HOUR) == []
    assert "users did not fall on the branches by their weights" in house.orders[EXP].reason
