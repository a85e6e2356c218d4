"""The split in force: which arm, in which epoch, and what an epoch's id stands for."""

from __future__ import annotations

from typing import Any

from gateway.assignment import epoch_of
from gateway.config import Config
from gateway.experiments.allocation import Order
from gateway.names import Branch, Epoch, Fingerprint, RequestId, Unit
from gateway.routing import Routing

PROD, EXP = Branch("prod"), Branch("exp")
OLD, NEW = Fingerprint("a" * 32), Fingerprint("b" * 32)
KEY = b"k" * 32
ID = str(RequestId.build(1, 1))


def config(prod: float = 90, exp: float = 10, **settings: Any) -> Config:
    branches = {"prod": {"weight": prod}, "exp": {"weight": exp}}
    return Config.model_validate(
        {"repository": "r", "baseline": "prod", "branches": branches, **settings}
    )


def test_a_user_keeps_the_arm_whatever_is_loaded() -> None:
    routing = Routing(config(), KEY, {})
    before = [routing.assign(f"user-{n}", ID).arm for n in range(200)]
    routing.arm_serves(EXP, NEW)
    routing.apply(config())
    assert [routing.assign(f"user-{n}", ID).arm for n in range(200)] == before
    assert set(before) == {PROD, EXP}


def test_a_row_names_the_keyed_unit_and_never_the_raw_one() -> None:
    given = Routing(config(), KEY, {}).assign("ada@example.org", ID)
    assert (given.unit, given.reason) == (Unit.keyed("ada@example.org", KEY), "split")
    assert "ada" not in str(given)
    assert given.propensity == {PROD: 0.9, EXP: 0.1}[given.arm]


def test_without_a_unit_the_request_is_split_and_kept_apart() -> None:
    routing = Routing(config(50, 50), KEY, {})
    for raw in (None, ""):
        given = routing.assign(raw, ID)
        assert (given.unit, given.reason) == (None, "no_unit")
    arms = {routing.assign(None, str(RequestId.build(1, n))).arm for n in range(50)}
    assert arms == {PROD, EXP}


def test_an_excluded_request_gets_the_baseline_by_rule_whatever_the_weights() -> None:
    routing = Routing(config(0, 100), KEY, {PROD: OLD, EXP: OLD})
    user, nobody = (routing.assign(raw, ID, excluded=True) for raw in ("ada", ""))
    assert (user.arm, user.reason, user.propensity) == (PROD, "excluded", 1.0)
    assert (user.unit, nobody.unit) == (Unit.keyed("ada", KEY), None)
    assert user.epoch == nobody.epoch == routing.assign("ada", ID).epoch
    assert routing.assign("ada", ID).arm == EXP


def test_a_restart_with_what_served_before_opens_no_epoch() -> None:
    before = Routing(config(), KEY, {})
    before.arm_serves(PROD, OLD)
    before.arm_serves(EXP, OLD)
    after = Routing(config(), b"another key", {PROD: OLD, EXP: OLD})
    after.arm_serves(PROD, OLD)
    assert after.epoch == before.epoch


def test_an_epoch_changes_with_salt_weights_and_content_of_an_arm_only() -> None:
    routing = Routing(config(), KEY, {PROD: OLD})
    epochs = [routing.epoch]
    routing.arm_serves(EXP, NEW)
    epochs.append(routing.epoch)
    routing.apply(config(80, 20))
    epochs.append(routing.epoch)
    routing.apply(config(80, 20, salt="another"))
    epochs.append(routing.epoch)
    assert len(set(epochs)) == 4
    routing.apply(config(80, 20, salt="another", poll="5s"))
    assert routing.epoch == epochs[-1]
    routing.apply(config())
    assert routing.epoch == epochs[1]  # the same split of the same content is the same epoch

    routing.arm_serves(EXP, OLD)
    assert routing.epoch not in epochs

    alone = Routing(config(100, 0), KEY, {PROD: OLD})
    before = alone.epoch
    alone.arm_serves(EXP, NEW)  # a branch without weight is no arm
    assert alone.epoch == before


def test_a_shadow_takes_no_part_in_the_split_nor_in_the_epoch() -> None:
    without = Routing(config(), KEY, {PROD: OLD, EXP: OLD})
    branches = {"prod": {"weight": 90}, "exp": {"weight": 10}, "dev": {"shadow": True}}
    shadowed = Config.model_validate({"repository": "r", "baseline": "prod", "branches": branches})
    routing = Routing(shadowed, KEY, {PROD: OLD, EXP: OLD})
    assert routing.epoch == without.epoch
    routing.arm_serves(Branch("dev"), NEW)
    assert routing.epoch == without.epoch
    users = [f"user-{n}" for n in range(500)]
    arms = [routing.assign(user, ID).arm for user in users]
    assert arms == [without.assign(user, ID).arm for user in users]
    told: Any = routing.describe_epoch(routing.epoch)
    assert set(told["weights"]) == {PROD, EXP}


def test_an_epoch_is_described_by_what_it_was_taken_over() -> None:
    routing = Routing(config(), KEY, {PROD: OLD})
    first = routing.epoch
    routing.apply(config(80, 20))
    told: Any = routing.describe_epoch(first)
    assert epoch_of(told["salt"], told["weights"], told["fingerprints"]) == first == told["epoch"]


def test_only_the_last_epochs_are_described_and_the_present_one_always_is() -> None:
    routing = Routing(config(), KEY, {})
    present = routing.epoch
    for weight in range(1, 101):
        routing.apply(config(weight, 50.5))
    assert routing.describe_epoch(present) == {"epoch": present}
    assert len(routing.describe_epoch(routing.epoch)) == 5
    unknown = Epoch("0" * 12)
    assert routing.describe_epoch(unknown) == {"epoch": unknown}


def order(routing: Routing, share: float | None, fingerprint: str, **fields: Any) -> Order:
    configured = routing.config.configured(EXP)
    given = {"state": "ejected", "configured": configured, "reason": "r", "since": "s", **fields}
    return Order(share=share, fingerprint=fingerprint, **given)


def test_an_order_opens_an_epoch_and_holds_for_its_content_alone() -> None:
    routing = Routing(config(), KEY, {PROD: OLD, EXP: OLD})
    told: list[object] = []
    routing.changed = lambda: told.append(routing.split.propensities[EXP])
    before = routing.epoch
    users = [f"user-{n}" for n in range(500)]
    arms = {user: routing.assign(user, ID).arm for user in users}
    routing.follow({"exp": order(routing, 0.0, OLD)})
    assert routing.epoch != before
    assert {routing.assign(user, ID).arm for user in users} == {PROD}
    assert routing.assign("ada", ID).propensity == 1
    described: Any = routing.describe_epoch(routing.epoch)
    assert described["weights"] == {PROD: 90}
    ordered = routing.epoch
    routing.arm_serves(PROD, NEW)
    assert routing.split.propensities[EXP] == 0
    routing.arm_serves(PROD, OLD)
    assert routing.epoch == ordered
    routing.arm_serves(EXP, NEW)
    assert {user: routing.assign(user, ID).arm for user in users} == arms
    assert routing.orders == {}
    routing.arm_serves(EXP, OLD)
    assert routing.epoch == ordered
    routing.follow({})
    assert routing.epoch == before
    assert told == [0, 0, 0, 0.1, 0, 0.1]


def test_an_order_falls_away_with_an_edit_of_its_branch_and_of_no_other() -> None:
    routing = Routing(config(), KEY, {PROD: OLD, EXP: OLD})
    routing.follow({"exp": order(routing, 0.0, OLD), "prod": order(routing, 0.0, OLD)})
    routing.apply(config(prod=40, salt="another"))
    assert routing.split.propensities == {PROD: 1, EXP: 0}
    routing.apply(config(prod=40, exp=60))
    assert routing.split.propensities == {PROD: 0.4, EXP: 0.6}
    routing.apply(config(prod=40))
    assert routing.split.propensities == {PROD: 1, EXP: 0}


def test_a_ramp_has_its_first_step_with_or_without_an_order_that_says_so() -> None:
    branches = {"prod": {"weight": 1}, "exp": {"ramp": {"steps": [2, 50]}}}
    ramped = Config.model_validate({"repository": "r", "baseline": "prod", "branches": branches})
    routing = Routing(ramped, KEY, {PROD: OLD, EXP: OLD})
    assert routing.split.propensities[EXP] == 0.02
    epoch = routing.epoch
    routing.follow({"exp": order(routing, 0.02, OLD, state="ramping")})
    assert routing.epoch == epoch
    routing.follow({"exp": order(routing, 0.5, OLD, state="ramping")})
    assert routing.split.propensities[EXP] == 0.5


def test_a_shadow_is_never_ordered_into_the_split() -> None:
    branches = {"prod": {"weight": 1}, "exp": {"shadow": True}}
    shadowed = Config.model_validate({"repository": "r", "baseline": "prod", "branches": branches})
    routing = Routing(shadowed, KEY, {PROD: OLD, EXP: OLD})
    routing.follow({"exp": order(routing, 0.5, "")})
    assert routing.split.propensities == {PROD: 1, EXP: 0}
