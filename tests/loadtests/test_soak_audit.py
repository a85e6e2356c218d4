"""The audit of a soak: what was answered once, recorded once and as answered, passes; else not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtests.soak.audit import Findings, audit
from loadtests.soak.ledger import Outcome, digest

COMMIT = "c" * 40


def row(identity: str, at: int | str = 0, **changes: str) -> dict[str, str]:
    fields = {"branch": "prod", "commit": COMMIT, "status": "ok", "prediction": "1"}
    fields |= {"reason": "split", "epoch": "e1", "unit": f"unit of {identity}", "assigned": "prod"}
    return {"request_id": identity, "row": str(at), **fields, **changes}


def answer(identity: str, rows: int = 1, **changes: object) -> Outcome:
    predictions = sum(digest(at, b"1") for at in range(rows))
    found = Outcome(0.0, 1.0, rows, 200, "", identity, "prod", COMMIT, predictions)
    return replace(found, **changes)  # type: ignore[arg-type]


def refusal(identity: str) -> Outcome:
    return Outcome(0.0, 1.0, 1, 503, "unavailable", identity)


ANSWERS = [answer("a"), answer("b", rows=3), refusal("c")]
RECORD = [
    row("a"),
    row("b", 0),
    row("b", 1),
    row("b", 2),
    row("c", status="overload", prediction=""),
]


def problems(found: Findings) -> str:
    return "\n".join(found.problems())


def test_every_request_recorded_once_and_as_answered_is_right() -> None:
    found = audit(RECORD, ANSWERS, 0)
    assert found.problems() == []
    assert (found.answered, found.refused, found.rows) == (2, 1, 5)


def test_the_rows_of_a_request_may_come_in_any_order() -> None:
    assert audit(reversed(RECORD), ANSWERS, 0).problems() == []


@pytest.mark.parametrize("number", range(len(RECORD)))
def test_a_row_that_is_missing_fails(number: int) -> None:
    """Of the only row the whole request is lost; a refused one must be recorded too."""
    left = [each for at, each in enumerate(RECORD) if at != number]
    words = (
        "recorded with other rows" if RECORD[number]["request_id"] == "b" else "1 answered, and not"
    )
    assert words in problems(audit(left, ANSWERS, 0))


@pytest.mark.parametrize("number", range(len(RECORD)))
def test_a_row_that_is_there_twice_fails(number: int) -> None:
    assert "1 recorded twice" in problems(audit([*RECORD, RECORD[number]], ANSWERS, 0))


def test_a_request_of_nobodys_that_is_there_twice_fails_even_where_strangers_are_allowed() -> None:
    found = audit([*RECORD, row("z"), row("z")], ANSWERS, 1)
    assert found.problems() == ["1 recorded twice: z"]


def test_one_row_too_many_fails() -> None:
    assert "other rows" in problems(audit([*RECORD, row("b", 3)], ANSWERS, 0))


@pytest.mark.parametrize(
    "changes",
    [{"branch": "test"}, {"commit": "d" * 40}, {"prediction": "0"}, {"status": "timeout"}],
)
def test_what_is_recorded_otherwise_than_it_was_answered_fails(changes: dict[str, str]) -> None:
    record = [row("a", **changes), *RECORD[1:]]
    assert "1 recorded as another answer" in problems(audit(record, ANSWERS, 0))


def test_a_refusal_that_is_recorded_as_an_answer_fails() -> None:
    found = audit([*RECORD[:-1], row("c")], ANSWERS, 0)
    assert "1 recorded as another answer than the caller got: c (503, ok)" in problems(found)


def test_predictions_belong_to_their_rows() -> None:
    given = answer("a", rows=2, predictions=digest(0, b"0") + digest(1, b"1"))
    swapped = [row("a", 0, prediction="1"), row("a", 1, prediction="0")]
    assert "another answer" in problems(audit(swapped, [given], 0))
    assert audit([row("a", 0, prediction="0"), row("a", 1)], [given], 0).problems() == []


def test_records_of_nobodys_are_at_most_those_that_were_sent_and_not_answered() -> None:
    strangers = [row("x"), row("y", 0), row("y", 1)]
    assert audit([*RECORD, *strangers], ANSWERS, 2).problems() == []
    assert "2 requests are recorded that nobody" in problems(
        audit([*RECORD, *strangers], ANSWERS, 1)
    )


def test_a_fallback_is_an_answer_and_counted_by_its_cause() -> None:
    record = [row("a", status="fallback_overload", assigned="test"), *RECORD[1:]]
    found = audit(record, ANSWERS, 0)
    assert found.problems() == []
    assert found.fallbacks == {"fallback_overload": 1}


def test_a_user_with_two_arms_in_one_epoch_fails() -> None:
    same = {"unit": "ada"}
    record = [row("a", **same), *RECORD[1:], row("x", **same, assigned="test")]
    assert "users with two arms" in problems(audit(record, ANSWERS, 1))
    record[-1]["epoch"] = "e2"
    assert audit(record, ANSWERS, 1).problems() == []
    record[-1] |= {"epoch": "e1", "reason": "override"}
    assert audit(record, ANSWERS, 1).problems() == []
