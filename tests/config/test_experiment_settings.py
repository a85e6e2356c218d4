"""What gateway.yaml says of experiments, once it is right: metrics, ramps, who is no user."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.assignment import Split
from gateway.config import TeamConfig, parse_config
from gateway.config.document import parse_team
from gateway.config.exclusion import USER_AGENTS
from gateway.errors import ConfigError
from gateway.experiments.metrics import BUILT_IN, Metric, built_in
from gateway.names import Branch

EXP = Branch("exp")
BRANCHES = {"prod": {"weight": 90}, "exp": {"weight": 10}}


def team(**settings: Any) -> TeamConfig:
    return TeamConfig.model_validate({"baseline": "prod", "branches": BRANCHES, **settings})


def test_without_a_word_labels_rewards_and_guardrails_are_measured() -> None:
    accuracy, reward, *others = team().measured
    assert accuracy == Metric("accuracy", "ratio", "primary", missing="unknown")
    assert reward == Metric("reward", "mean", "secondary")
    assert others == [built_in(name) for name in BUILT_IN]
    assert {(one.role, one.direction, one.window) for one in others} == {("guardrail", "down", 0)}


def test_metrics_of_ones_own_stand_in_place_of_the_default_ones_with_the_primary_first() -> None:
    found = team(
        metrics={
            "spent": {"kind": "mean", "direction": "down", "planned_units": 500},
            "rating": {"kind": "ratio"},
            "bought": {"kind": "binary", "role": "primary", "margin": 0.02, "window": "1h"},
            "clicked": {"kind": "binary", "role": "guardrail", "common": True},
        }
    ).measured
    assert found[:4] == (
        Metric("bought", "binary", "primary", window=3600.0, margin=0.02),
        Metric("spent", "mean", "secondary", "down", planned_units=500),
        Metric("rating", "ratio", "secondary", missing="unknown"),
        Metric("clicked", "binary", "guardrail", common=True),
    )
    assert [metric.name for metric in found[4:]] == list(BUILT_IN)


def test_a_guardrail_that_is_set_leaves_the_default_metrics_and_the_other_guardrails() -> None:
    found = {
        metric.name: metric
        for metric in team(
            metrics={
                "error_rate": {"margin": 0.1},
                "latency_over_slo": {"slo": "200ms", "role": "secondary"},
                "timeout_rate": {"role": "off"},
            }
        ).measured
    }
    assert list(found) == ["accuracy", "reward", "error_rate", "latency_over_slo", "fallback_rate"]
    assert (found["error_rate"].margin, found["error_rate"].role) == (0.1, "guardrail")
    latency = found["latency_over_slo"]
    assert (latency.slo, latency.role, latency.kind, latency.window) == (
        *(0.2, "secondary"),
        *("binary", 0.0),
    )


def test_a_guardrail_made_the_primary_metric_is_the_only_one() -> None:
    found = team(metrics={"error_rate": {"role": "primary"}}).measured
    roles = [(metric.name, metric.role) for metric in found if metric.role != "guardrail"]
    assert roles == [("error_rate", "primary"), ("accuracy", "secondary"), ("reward", "secondary")]


def test_what_is_off_needs_no_kind_and_is_not_measured() -> None:
    found = team(metrics={"accuracy": {"role": "off"}, **{n: {"role": "off"} for n in BUILT_IN}})
    assert found.measured == ()


def test_a_ramp_begins_with_its_first_step_of_all_users_whatever_the_weight_says() -> None:
    for weight in ({}, {"weight": 100}):
        found = team(
            branches={
                "prod": {"weight": 60},
                "old": {"weight": 30},
                "exp": {"ramp": {"steps": [4, 50]}, **weight},
                "other": {"ramp": {"steps": [1, 30]}},
                "dev": {"shadow": True},
            }
        )
        shares = Split("s", found.weights).propensities
        assert shares == pytest.approx(
            {"prod": 0.95 * 2 / 3, "old": 0.95 / 3, "exp": 0.04, "other": 0.01, "dev": 0}
        )
        assert found.weights[Branch("prod")] == 60


def test_the_digest_of_a_branch_changes_with_its_weight_and_its_ramp_and_with_nothing_else() -> (
    None
):
    ways: list[dict[str, Any]] = [
        {"weight": 10},
        {"weight": 11},
        {"ramp": {}},
        {"ramp": {"dwell": "2h"}},
        {"ramp": {"min_units": 7}},
        {"ramp": {"steps": [1, 2]}},
        {"weight": 10, "ramp": {}},
    ]
    digests = [team(branches={**BRANCHES, "exp": way}).configured(EXP) for way in ways]
    assert len(set(digests)) == len(ways)
    same = team(
        salt="another",
        branches={"prod": {"weight": 1}, "exp": {"weight": 10.0, "timeout": "5s"}},
        allocation="thompson",
        metrics={"bought": {"kind": "binary", "role": "primary"}},
    )
    assert same.configured(EXP) == digests[0]
    spelt = team(
        branches={**BRANCHES, "exp": {"ramp": {"dwell": "60m", "steps": [1, 5, 10, 25, 50]}}}
    )
    assert spelt.configured(EXP) == digests[2]


def test_a_file_in_the_repository_may_say_what_is_measured_and_who_is_no_user() -> None:
    text = (
        "baseline: prod\nbranches: {prod: {weight: 1}, exp: {weight: 1}}\nallocation: thompson\n"
        "metrics: {bought: {kind: binary, role: primary}}\nexclude: {X-Probe: ['*']}\n"
    )
    found = parse_team(text.encode(), "gateway.yaml")
    assert (found.allocation, found.measured[0].name) == ("thompson", "bought")
    assert found.exclude == {"X-Probe": ("*",)}


def test_a_built_in_primary_metric_is_binary_enough_for_thompson_sampling() -> None:
    assert team(allocation="thompson", metrics={"error_rate": {"role": "primary"}}).measured


def test_without_a_word_only_user_agents_are_looked_at_and_nothing_if_that_is_said() -> None:
    assert team().exclude == {"User-Agent": USER_AGENTS}
    assert team(exclude={}).exclude == {}


@pytest.mark.parametrize(
    "settings",
    [
        "allocation: thompson",
        "metrics: {a: {kind: mean, role: primary}, b: {kind: mean, role: primary}}",
        "exclude: {X-A: ['*'], x-a: ['*']}",
    ],
)
def test_what_does_not_go_together_is_said_beside_what_is_wrong_elsewhere(settings: str) -> None:
    text = f"repository: r\nbaseline: prod\nbranches: {{prod: {{weight: 1}}}}\n{settings}\n"
    with pytest.raises(ConfigError) as alone:
        parse_config(text, "f")
    with pytest.raises(ConfigError) as beside:
        parse_config(text + "poll: never\n", "f")
    assert len(alone.value.mistakes) == 1
    assert beside.value.mistakes[0] == alone.value.mistakes[0]
    assert beside.value.mistakes[1].startswith("f:5:7: poll: must be")
