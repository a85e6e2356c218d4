"""When failures are a branch's own: any order of events, against the rule said in one line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.workers.ejection import IN_A_ROW, Ejection, Suspicion

UNITS = st.frozensets(st.sampled_from(["ada", "ben", "cyn", None]), min_size=1, max_size=3)
FAILURES = st.tuples(st.just("failed"), UNITS)
EVENTS = st.one_of(
    FAILURES,
    FAILURES,
    FAILURES,
    st.tuples(st.just("good"), st.none()),
    st.tuples(st.just("probe_passed"), st.none()),
)


def failing(*units: str | None) -> tuple[Ejection, list[Suspicion | None]]:
    ejection = Ejection()
    return ejection, [ejection.failed({unit}, "broken") for unit in units]


@given(st.lists(EVENTS, max_size=60))
def test_it_is_ejected_just_when_five_in_a_row_have_no_one_unit_in_common(
    events: list[tuple[str, frozenset[str | None]]],
) -> None:
    ejection = Ejection()
    row: list[frozenset[str | None]] = []
    ejected = False
    for number, (what, units) in enumerate(events):
        if what == "failed":
            said = ejection.failed(units, "broken")
            if ejected:
                assert said is None
                continue
            row.append(units)
            ejected = len(row) >= IN_A_ROW and not frozenset.intersection(*row)
            asks = not ejected and len(row) % IN_A_ROW == 0
            wanted = Suspicion.EJECTED if ejected else Suspicion.PROBE if asks else None
            assert said is wanted
        else:
            ended = ejection.good(number) if what == "good" else ejection.probe_passed()
            assert ended == ejected
            row, ejected = [], False
        assert ejection.ejected == ejected
        assert ejected or ejection.failures == len(row)


@given(st.lists(st.booleans(), max_size=60))
def test_one_callers_requests_never_eject_where_probe_rows_are_answered(good: list[bool]) -> None:
    ejection = Ejection()
    for number, answered in enumerate(good):
        if answered:
            ejection.good(number)
        elif ejection.failed({"poison"}, "it raises") is not None:
            ejection.probe_passed()
        assert not ejection.ejected


def test_callers_who_do_not_say_who_they_are_count_as_one() -> None:
    ejection, said = failing(*[None] * 10)
    assert not ejection.ejected
    assert said == [None, None, None, None, Suspicion.PROBE] * 2


def test_a_failing_probe_row_ejects_where_one_caller_might_be_to_blame() -> None:
    ejection, _ = failing(*["ada"] * IN_A_ROW)
    assert ejection.probe_failed("a row of golden.json")
    assert ejection.ejected
    assert ejection.why == "a row of golden.json"


def test_a_probe_row_alone_ejects_nobody() -> None:
    """It was asked for five failures, and meanwhile a request was answered."""
    ejection, _ = failing(*["ada"] * IN_A_ROW)
    ejection.good(1.0)
    assert not ejection.probe_failed("too slow")
    assert not ejection.ejected


def test_a_request_that_waited_while_another_was_answered_says_nothing() -> None:
    """The branch works, and has too much to do."""
    ejection = Ejection()
    ejection.good(10.0)
    for _ in range(20):
        assert ejection.unanswered(9.5, {"ada"}, "late") is None
    assert ejection.failures == 0
    units = ["ada", "ben", "ada", "ben", "ada"]
    said = [ejection.unanswered(10.5, {unit}, "late") for unit in units]
    assert said[-1] is Suspicion.EJECTED


def test_on_trial_one_failure_of_anybody_is_enough() -> None:
    ejection, _ = failing("ada", "ben", "ada", "ben", "ada")
    assert ejection.ejected
    ejection.on_trial()
    assert ejection.failed({"ada"}, "again") is Suspicion.EJECTED
    ejection.on_trial()
    assert not ejection.good(1.0)
    assert [ejection.failed({unit}, "new") for unit in ("ada", "ben")] == [None, None]


def test_after_a_passed_probe_it_takes_five_again() -> None:
    ejection, _ = failing("ada", "ben", "ada", "ben", "ada")
    assert ejection.probe_passed()
    said = [ejection.failed({unit}, "again") for unit in ("ada", "ben", "ada", "ben", "ada")]
    assert said == [None] * 4 + [Suspicion.EJECTED]


def test_the_wait_grows_until_a_request_is_answered() -> None:
    ejection, _ = failing("ada", "ben", "ada", "ben", "ada")
    assert ejection.turns == 1
    ejection.probe_failed("still")
    assert ejection.turns == 2
    ejection.on_trial()
    ejection.failed({"ada"}, "again")
    assert ejection.turns == 3
    ejection.probe_passed()
    assert ejection.turns == 3
    ejection.good(1.0)
    assert ejection.turns == 0


def test_other_content_begins_anew() -> None:
    ejection, _ = failing("ada", "ben", "ada", "ben", "ada")
    assert ejection.forget()
    assert not ejection.forget()
    assert ejection.failed({"cyn"}, "new") is None
    assert (ejection.failures, ejection.turns) == (1, 0)
