"""Assignment: exact on the shared vectors, and the properties that make it safe to ramp."""

from __future__ import annotations

import json
import math
from collections import Counter
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.assignment import Split, _as_uniform, epoch_of, uniform
from gateway.names import Branch, Fingerprint

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors/assignment.json").read_text()
)
ARMS = ("prod", "cand", "ab-test-210323", "feature/deep")
UNITS = [f"user-{number}" for number in range(2000)]
# The thresholds of chi-square at p = 0.0001 for 1, 2 and 3 degrees of freedom.
CHI_SQUARE = {2: 15.14, 3: 18.42, 4: 21.11}

weights = st.dictionaries(
    st.sampled_from(ARMS), st.floats(0.01, 100), min_size=2, max_size=len(ARMS)
)
salts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
units = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


def split(salt: str, shares: dict[str, float]) -> Split:
    return Split(salt, {Branch(arm): weight for arm, weight in shares.items()})


@pytest.mark.parametrize("digest", [b"\x00" * 8, b"\xff" * 8])
def test_the_extreme_digests_are_numbers_with_a_logarithm_like_all_others(digest: bytes) -> None:
    assert 0 < _as_uniform(digest) < 1


@pytest.mark.parametrize(
    "vector", VECTORS["uniform"], ids=lambda vector: ascii(vector["unit"])[:20]
)
def test_the_uniform_number_is_exactly_that_of_the_vector(vector: dict[str, Any]) -> None:
    assert uniform(vector["salt"], vector["arm"], vector["unit"]) == vector["u"]


@pytest.mark.parametrize("vector", VECTORS["splits"], ids=lambda vector: ascii(vector["weights"]))
def test_every_unit_gets_the_arm_of_the_vector(vector: dict[str, Any]) -> None:
    shares = split(vector["salt"], vector["weights"])
    assert {unit: shares.assign(unit) for unit in vector["arms"]} == vector["arms"]


def test_the_vectors_hold_the_users_of_the_statistics_notes() -> None:
    def candidates(vector: dict[str, Any]) -> set[int]:
        return {int(unit[5:]) for unit, arm in vector["arms"].items() if arm == "cand"}

    tenth, fifth = VECTORS["splits"][:2]
    assert candidates(tenth) == {0, 12, 19, 23, 25, 43, 57}
    assert candidates(fifth) == {0, 4, 9, 10, 12, 19, 23, 25, 27, 36, 40, 43, 48, 53, 57}
    assert len(tenth["arms"]) == len(fifth["arms"]) == 60


@given(salts, weights, units)
def test_the_arm_is_the_argmax_of_the_formula(
    salt: str, shares: dict[str, float], unit: str
) -> None:
    def score(arm: str) -> float:
        digest = blake2b("\x1f".join((salt, arm, unit)).encode(), digest_size=8).digest()
        return shares[arm] / -math.log(((int.from_bytes(digest, "big") >> 11) + 0.5) / 2**53)

    assert split(salt, shares).assign(unit) == max(sorted(shares), key=score)


@given(salts, weights, units, st.randoms())
def test_the_order_of_the_branches_does_not_matter(
    salt: str, shares: dict[str, float], unit: str, random: Any
) -> None:
    arms = list(shares)
    random.shuffle(arms)
    shuffled = split(salt, {arm: shares[arm] for arm in arms})
    assert shuffled.assign(unit) == split(salt, shares).assign(unit)


@given(salts, weights, st.floats(1, 100))
def test_raising_one_weight_moves_users_to_that_arm_only(
    salt: str, shares: dict[str, float], factor: float
) -> None:
    ramped = min(shares)
    before, after = split(salt, shares), split(salt, {**shares, ramped: shares[ramped] * factor})
    for unit in UNITS[:50]:
        assert after.assign(unit) in (before.assign(unit), ramped)


def test_a_ramp_only_ever_adds_users() -> None:
    inside: set[str] = set()
    for share in (1, 5, 10, 25, 50, 100):
        shares = split("ramp", {"prod": 100 - share, "cand": share})
        now = {unit for unit in UNITS if shares.assign(unit) == "cand"}
        assert inside < now
        inside = now
    assert len(inside) == len(UNITS)


@given(salts, weights, st.floats(0.01, 100))
def test_adding_or_removing_an_arm_moves_users_to_or_from_it_only(
    salt: str, shares: dict[str, float], weight: float
) -> None:
    without, joined = split(salt, shares), split(salt, {**shares, "newcomer": weight})
    for unit in UNITS[:50]:
        if joined.assign(unit) != "newcomer":
            assert joined.assign(unit) == without.assign(unit)


@given(salts, weights, units)
def test_an_arm_of_weight_zero_gets_nobody_and_changes_nothing(
    salt: str, shares: dict[str, float], unit: str
) -> None:
    assert split(salt, {**shares, "idle": 0}).assign(unit) == split(salt, shares).assign(unit)


@pytest.mark.parametrize(
    "shares",
    [
        {"prod": 90, "cand": 10},
        {"prod": 50, "cand": 30, "feature/deep": 20},
        {"prod": 1, "cand": 1, "ab-test-210323": 1, "feature/deep": 1},
    ],
    ids=["90/10", "50/30/20", "four alike"],
)
def test_shares_match_the_weights(shares: dict[str, float]) -> None:
    number = 200_000 // len(shares)
    chosen = split("shares", shares)
    counts = Counter(chosen.assign(f"user-{unit}") for unit in range(number))
    expected = {arm: number * chosen.propensities[Branch(arm)] for arm in shares}
    chi_square = sum((counts[Branch(arm)] - expected[arm]) ** 2 / expected[arm] for arm in shares)
    assert chi_square < CHI_SQUARE[len(shares)]


def test_a_new_salt_deals_anew() -> None:
    shares = {"prod": 50.0, "cand": 50.0}
    old, new = split("churn-2026-11", shares), split("churn-2026-12", shares)
    stayed = sum(old.assign(unit) == new.assign(unit) for unit in UNITS)
    assert 0.45 < stayed / len(UNITS) < 0.55


def test_propensities_are_the_shares_of_the_weights() -> None:
    assert split("s", {"prod": 30, "cand": 10, "idle": 0}).propensities == {
        "prod": 0.75,
        "cand": 0.25,
        "idle": 0.0,
    }


@pytest.mark.parametrize(
    "shares", [{}, {"prod": 0}, {"prod": -1, "cand": 2}, {"prod": math.nan}, {"prod": math.inf}]
)
def test_weights_that_split_nothing_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a split needs weights"):
        split("s", shares)


PROD, CAND, IDLE = Branch("prod"), Branch("cand"), Branch("idle")
SHARES = {PROD: 90.0, CAND: 10.0}
CONTENT = {PROD: Fingerprint("0" * 32), CAND: Fingerprint("1" * 32)}


def test_an_epoch_is_the_same_for_ever() -> None:
    canonical = (
        '{"fingerprints":{"cand":"11111111111111111111111111111111",'
        '"prod":"00000000000000000000000000000000"},"salt":"s","weights":{"cand":10.0,"prod":90.0}}'
    )
    assert epoch_of("s", SHARES, CONTENT) == sha256(canonical.encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("salt", "shares", "content"),
    [
        ("t", SHARES, CONTENT),
        ("s", {PROD: 80.0, CAND: 20.0}, CONTENT),
        ("s", {PROD: 9.0, CAND: 1.0}, CONTENT),
        ("s", SHARES, {**CONTENT, CAND: Fingerprint("2" * 32)}),
        ("s", SHARES, {**CONTENT, CAND: None}),
        ("s", {PROD: 90.0}, CONTENT),
        ("s", {**SHARES, IDLE: 1.0}, CONTENT),
    ],
    ids=["salt", "weights", "scale", "content", "not loaded", "one arm less", "one arm more"],
)
def test_an_epoch_changes_with_salt_weights_and_content(
    salt: str, shares: dict[Branch, float], content: dict[Branch, Fingerprint | None]
) -> None:
    assert epoch_of(salt, shares, content) != epoch_of("s", SHARES, CONTENT)


@pytest.mark.parametrize(
    ("shares", "content"),
    [
        ({CAND: 10.0, PROD: 90.0}, dict(reversed(CONTENT.items()))),
        ({PROD: 90, CAND: 10}, CONTENT),
        ({**SHARES, IDLE: 0.0}, CONTENT),
        ({**SHARES, IDLE: 0.0}, {**CONTENT, IDLE: Fingerprint("3" * 32)}),
        (SHARES, {**CONTENT, Branch("removed"): Fingerprint("3" * 32)}),
    ],
    ids=["order", "whole numbers", "idle arm", "content of an idle arm", "content of no arm"],
)
def test_an_epoch_changes_with_nothing_else(
    shares: dict[Branch, float], content: dict[Branch, Fingerprint | None]
) -> None:
    assert epoch_of("s", shares, content) == epoch_of("s", SHARES, CONTENT)
