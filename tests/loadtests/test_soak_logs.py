"""A gateway's log is searched for defects that no request noticed."""

from __future__ import annotations

import json

from loadtests.soak.logs import defects


def line(**fields: str) -> str:
    said = {"ts": "t", "level": "error", "logger": "gateway.app", "message": "m", **fields}
    return json.dumps(said)


def test_what_befalls_branches_and_is_said_in_order_is_no_defect() -> None:
    said = [line(message="quarantined: RuntimeError: broken"), line(level="warning"), ""]
    assert defects(said, 0) == []


def test_a_traceback_of_the_gateways_own_is_a_defect() -> None:
    trace = 'Traceback (most recent call last):\n  File "x"\nKeyError: 3\n'
    said = defects([line(message="unexpected error", traceback=trace)] * 2, 0)
    assert said == ["the gateway's log, 2 times: gateway.app: unexpected error KeyError: 3"]


def test_what_is_printed_past_the_log_is_a_defect() -> None:
    assert len(defects(["Exception ignored in: <socket>", "[1]"], 0)) == 2


def test_a_keeper_that_was_given_up_is_a_defect() -> None:
    assert len(defects([line(level="critical", keeper="watcher")], 0)) == 1


def test_a_monitor_dies_as_often_as_it_was_killed_and_no_more() -> None:
    died = line(keeper="monitor", message="keeper monitor died", traceback="MonitorDied: -9")
    assert defects([died, died], 2) == []
    assert len(defects([died, died], 1)) == 1
    assert len(defects([line(keeper="watcher", traceback="x")], 1)) == 1
