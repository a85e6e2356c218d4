"""The last minutes, second by second, are what the counters say, and no more than is kept."""

from __future__ import annotations

from math import inf

import pytest

from gateway.metrics import Metrics
from gateway.names import Branch
from gateway.traffic import KEPT, MOST_LINES, Totals, Traffic, quantile

PROD, EXP = Branch("prod"), Branch("exp")


class Seconds:
    """A gateway's metrics, and their traffic as sampled once a second."""

    def __init__(self, *names: Branch) -> None:
        self.metrics = Metrics()
        self.now = 1000.0
        for name in names or (PROD, EXP):
            self.metrics.branch(name)
        self.traffic = Traffic(self.metrics)
        self.look()

    def ask(self, branch: Branch, count: int, status: str = "ok", seconds: float = 0.004) -> None:
        children = self.metrics.branch(branch)
        children.requests[status].inc(count)
        for _ in range(count):
            children.duration.observe(seconds)

    def look(self) -> None:
        self.now += 1
        self.traffic.sample(self.traffic._read(), self.now)


def test_each_second_is_what_came_in_it() -> None:
    seconds = Seconds()
    seconds.ask(PROD, 7)
    seconds.ask(PROD, 2, "timeout")
    seconds.ask(EXP, 3, "fallback_error")
    seconds.look()

    found = seconds.traffic.second()
    assert found["prod"][:3] == [9, 2, 0]
    assert found["exp"][:3] == [3, 0, 3]
    seconds.look()
    assert seconds.traffic.second()["prod"][:3] == [0, 0, 0]


def test_now_is_the_last_minute_with_shares_of_the_traffic() -> None:
    seconds = Seconds()
    for _ in range(10):
        seconds.ask(PROD, 3)
        seconds.ask(EXP, 1, "error")
        seconds.look()

    now = seconds.traffic.now()
    assert now["prod"]["per_second"] == 3
    assert now["prod"]["traffic"] == 0.75
    assert now["exp"]["error_ratio"] == 1.0
    assert now[""]["requests"] == 40
    assert now[""]["error_ratio"] == 0.25
    for _ in range(61):
        seconds.look()
    assert seconds.traffic.now()["prod"]["error_ratio"] is None


def test_a_percentile_lies_where_the_requests_lie() -> None:
    seconds = Seconds()
    seconds.ask(PROD, 99, seconds=0.004)
    seconds.ask(PROD, 1, seconds=0.4)
    seconds.look()
    now = seconds.traffic.now()["prod"]
    assert 0.0025 <= now["p50"] <= 0.005
    assert now["p99"] <= 0.005
    seconds.ask(PROD, 10, seconds=0.4)
    seconds.look()
    assert seconds.traffic.now()["prod"]["p99"] > 0.25


@pytest.mark.parametrize(
    ("buckets", "part", "expected"),
    [
        ((0, 0, 0), 0.5, None),
        ((), 0.5, None),
        ((10, 10, 10), 0.5, 0.5),
        ((0, 10, 10), 0.5, 1.5),
        ((0, 0, 10), 0.99, 2.0),
        ((0, 10, 10), 1.0, 2.0),
    ],
)
def test_quantiles(buckets: tuple[float, ...], part: float, expected: float | None) -> None:
    assert quantile(buckets, (1.0, 2.0, inf), part) == expected


def test_counters_that_began_anew_are_no_negative_traffic() -> None:
    totals = Totals(3.0, 1.0, 0.0, (1.0, 3.0))
    assert totals.since(Totals(100.0, 5.0, 0.0, (90.0, 100.0))) == totals


def test_what_was_counted_before_the_first_look_is_no_traffic_of_now() -> None:
    metrics = Metrics()
    metrics.branch(PROD).requests["ok"].inc(1000)
    traffic = Traffic(metrics)
    traffic.sample(traffic._read(), 1.0)
    assert traffic.now()["prod"]["requests"] == 0


def test_a_branch_that_was_dropped_is_gone_and_may_come_back() -> None:
    seconds = Seconds()
    seconds.ask(EXP, 5)
    seconds.look()
    seconds.metrics.keep([PROD])
    seconds.look()
    assert list(seconds.traffic.now()) == ["prod", ""]
    seconds.metrics.welcome([PROD, EXP])
    seconds.ask(EXP, 1)
    seconds.look()
    assert seconds.traffic.now()["exp"]["requests"] == 0


def test_a_history_is_thinned_and_no_longer_than_what_is_kept() -> None:
    seconds = Seconds()
    for number in range(KEPT + 50):
        seconds.ask(PROD, number % 3 * 3)
        seconds.look()

    found = seconds.traffic.history(step=3)
    assert len(found["at"]) == KEPT / 3
    assert found["at"][-1] == seconds.now
    assert set(found["branches"]["prod"]["requests"][10:]) == {3.0}
    assert {len(row) for row in found["branches"]["prod"].values()} == {KEPT / 3}


def test_of_many_branches_the_busiest_are_drawn() -> None:
    names = [Branch(f"exp/{number:02}") for number in range(30)]
    seconds = Seconds(*names)
    for name in names[20:28]:
        seconds.ask(name, 5)
    seconds.look()
    assert list(seconds.traffic.second()) == names[20:28]
    assert list(seconds.traffic.history()["branches"]) == names[20:28]
    assert seconds.traffic.history()["left_out"] == 30 - MOST_LINES
    assert len(seconds.traffic.now()) == 31
