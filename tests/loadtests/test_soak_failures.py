"""Which failures of requests have an excuse: only those of their kind, and only at their time."""

from __future__ import annotations

import pytest

from loadtests.soak.failures import failures
from loadtests.soak.ledger import (
    CUT_OFF,
    NO_RETRY_AFTER,
    NOT_CONNECTED,
    SILENT,
    Excuse,
    Ledger,
    Outcome,
    Window,
)

KILLED, OVERLOAD = Excuse.FRONT_KILLED, Excuse.OVERLOAD


def outcome(status: int, cause: str, asked: float = 5.0, ended: float = 5.5) -> Outcome:
    return Outcome(asked, ended, 1, status, cause)


@pytest.mark.parametrize(
    ("excuse", "status", "cause"),
    [
        (KILLED, 0, NOT_CONNECTED),
        (KILLED, 0, CUT_OFF),
        (KILLED, 503, "unavailable"),
        (OVERLOAD, 503, "unavailable"),
    ],
)
def test_a_failure_at_its_time_is_excused_and_counted_apart(
    excuse: Excuse, status: int, cause: str
) -> None:
    found = failures([outcome(status, cause)], [Window(excuse, 5.2, 9.0)])
    assert found.problems() == []
    assert found.excused == {(excuse, status, cause): 1}


@pytest.mark.parametrize(
    ("excuse", "status", "cause"),
    [
        (KILLED, 0, SILENT),
        (KILLED, 504, "timeout"),
        (KILLED, 500, "model_error"),
        (KILLED, 200, "2 rows were asked for, 1 answered"),
        (OVERLOAD, 503, NO_RETRY_AFTER),
        (OVERLOAD, 504, "timeout"),
        (OVERLOAD, 0, CUT_OFF),
        (OVERLOAD, 0, NOT_CONNECTED),
    ],
)
def test_no_excuse_is_good_for_another_kind_of_failure(
    excuse: Excuse, status: int, cause: str
) -> None:
    (said,) = failures([outcome(status, cause)], [Window(excuse, 0.0)]).problems()
    assert said == f"1 requests failed without an excuse: status {status}, {cause}"


@pytest.mark.parametrize(("begin", "end"), [(0.0, 4.9), (5.6, 9.0)])
def test_before_and_after_its_time_an_excuse_is_good_for_nothing(begin: float, end: float) -> None:
    found = failures([outcome(503, "unavailable")], [Window(OVERLOAD, begin, end)])
    assert len(found.problems()) == 1


def test_an_answer_needs_no_excuse() -> None:
    found = failures([outcome(200, "")], [])
    assert (found.problems(), found.excused) == ([], {})


def test_a_window_lasts_from_its_beginning_to_its_end_whatever_ends_it() -> None:
    times = iter((3.0, 7.0))
    ledger = Ledger(lambda: next(times))
    still_open = []

    def fails() -> None:
        with ledger.excused(KILLED):
            still_open.append(ledger.windows[0].touches(outcome(0, CUT_OFF, 99.0, 99.5)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert still_open == [True]
    (window,) = ledger.windows
    assert (window.begin, window.end) == (3.0, 7.0)


def test_what_may_be_recorded_without_an_answer_is_what_was_sent_and_not_answered() -> None:
    ledger = Ledger(lambda: 0.0)
    ledger.hung_up = 2
    ledger.outcomes = [
        outcome(0, CUT_OFF),
        outcome(0, SILENT),
        outcome(0, NOT_CONNECTED),  # never sent
        outcome(503, "unavailable"),
        outcome(200, ""),
    ]
    assert ledger.unanswered == 4
