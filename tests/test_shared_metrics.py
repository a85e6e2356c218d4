"""What replicas share, in the words of Prometheus: nothing where nothing is shared."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from alertrules import expressions
from exposition import samples

from gateway.metrics import Metrics

SAID: dict[str, Any] = {
    "replica": "a",
    "role": "leads",
    "holder": "a",
    "state": 12,
    "waiting": {"chunks": 3, "bytes": 4096},
    "paused": False,
    "bytes": 70_000,
    "trouble": None,
    "waits_for": None,
    "replicas": {"a": {}, "b": {}, "c": {}},
    "skew": ["exp serves commit a here and commit b at b"],
    "looks": 4,
}


def shown(metrics: Metrics, said: Any) -> dict[str, float]:
    """The series in the exposition, as a server reads them."""
    metrics.shared.show(said)
    found = samples(metrics, "gateway_shared_", "gateway_replica", without="")
    return {name: value for (name,), value in found.items()}


def test_one_gateway_by_itself_has_none_of_these_series() -> None:
    assert shown(Metrics(), None) == {}


def test_each_word_of_the_monitor_is_a_series() -> None:
    assert shown(Metrics(), SAID) == {
        "gateway_shared_up": 1,
        "gateway_shared_leads": 1,
        "gateway_shared_chunks_waiting": 3,
        "gateway_shared_bytes": 70_000,
        "gateway_shared_paused": 0,
        "gateway_replicas": 3,
        "gateway_replica_differences": 1,
    }


def test_a_redis_that_is_away_is_a_nought_and_its_size_is_not_made_up() -> None:
    metrics = Metrics()
    away = {**SAID, "role": "alone", "trouble": "Redis is away", "bytes": None, "paused": True}
    found = shown(metrics, away)
    assert (found["gateway_shared_up"], found["gateway_shared_leads"]) == (0, 0)
    assert found["gateway_shared_paused"] == 1
    assert "gateway_shared_bytes" not in found
    silent = {"role": "alone", "trouble": "the monitor has said nothing yet"}
    assert shown(metrics, silent)["gateway_shared_up"] == 0
    assert shown(metrics, SAID)["gateway_shared_up"] == 1


def test_words_that_are_not_understood_leave_the_rest_of_the_page(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    metrics = Metrics()
    wrong = {**SAID, "waiting": "many"}
    assert shown(metrics, wrong) == shown(metrics, dict(wrong)) == {}
    assert len(caplog.records) == 1
    assert b"gateway_journal_bytes 0.0" in metrics.render()[0]


def test_the_alert_rules_name_series_that_are_there() -> None:
    named = set(re.findall(r"gateway_(?:shared|replica)_\w+", expressions("replicas")))
    assert len(named) == 4
    assert named <= shown(Metrics(), SAID).keys()
