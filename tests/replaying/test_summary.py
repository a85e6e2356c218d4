"""Sums over replayed rows, by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from gateway.names import Branch, Commit, Fingerprint, RequestId
from gateway.replaying.comparing import TOLERANCE, agrees, compared
from gateway.replaying.document import Comparison, ReplayedRow
from gateway.replaying.finding import likely
from gateway.replaying.parts import MISSING, OTHER, Entry, segments
from gateway.replaying.recorded import Recorded, RecordedRow, parse_segment, payloads
from gateway.replaying.summary import summed

COMMIT, FINGERPRINT = Commit("c" * 40), Fingerprint("f" * 32)


def request(
    prediction: object, features: object, *, weight: float = 1.0, score: float | None = None
) -> Recorded:
    row = RecordedRow(
        0, msgspec.json.encode(prediction).decode(), score, msgspec.json.encode(features).decode()
    )
    return Recorded(
        "2026-11-30T00:00:00.000Z",
        "id",
        Branch("prod"),
        COMMIT,
        FINGERPRINT,
        "prod",
        "split",
        "ok",
        weight,
        (row,),
    )


def replayed(one: Recorded, answer: object, shares: list[float] | None = None) -> ReplayedRow:
    probabilities = None if shares is None else [msgspec.json.encode(shares)]
    [row] = compared(one, [msgspec.json.encode(answer)], probabilities, (0, 1), TOLERANCE)
    return row


def of(pairs: list[tuple[Recorded, ReplayedRow]], *by: str) -> Comparison:
    requests, rows = [one for one, _ in pairs], [row for _, row in pairs]
    return summed(
        requests, rows, [], candidate="exp", written="now", tolerance=TOLERANCE, by=by, largest=2
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1.0, 1.0 + 5e-10, True),
        (1e6, 1e6 + 1e-4, True),  # a share of itself
        (1.0, 1.0 + 5e-9, False),
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (None, 0, False),
        ("1", 1, False),
        ([1.0, "a"], [1.0 + 1e-12, "a"], True),
        ([1.0], [1.0, 2.0], False),
        ({"a": [0.1]}, {"a": [0.1 + 1e-13]}, True),
        ({"a": 1}, {"b": 1}, False),
    ],
)
def test_numbers_agree_within_the_tolerance_and_all_else_exactly(
    one: object, other: object, same: bool
) -> None:
    assert agrees(one, other, TOLERANCE) is agrees(other, one, TOLERANCE) is same


def test_a_null_is_recorded_as_the_empty_text_and_is_the_same() -> None:
    recorded = replace(request(None, {}), rows=(RecordedRow(0, "", None, "{}"),))
    row = replayed(recorded, None)
    assert (row.word, row.exact) == ("same", True)
    assert replayed(recorded, 0).word == "different"


def test_shares_count_each_row_by_its_weight_and_rows_as_they_are() -> None:
    kept, changed = request("a", {}, weight=9.0), request("a", {}, weight=3.0)
    found = of([(kept, replayed(kept, "a")), (changed, replayed(changed, "b"))])
    assert (found.changed, found.compared, found.weighted) == (1, 2, True)
    assert found.changed_share == pytest.approx(0.25)
    [turn] = found.turns
    assert (turn.recorded, turn.computed, turn.rows) == ("a", "b", 1)
    assert found.prediction is found.score is None


def test_numbers_are_told_by_how_far_they_moved() -> None:
    """And a column by the spans in which they moved differently."""
    pairs = []
    for number in range(100):
        one = request(float(number), {"x": number, "kind": "ab"[number % 2], "note": None})
        moved = 5.0 if number >= 75 else 1.0
        pairs.append((one, replayed(one, number - moved)))
    found = of(pairs)
    assert found.turns == ()
    assert found.prediction is not None
    assert found.prediction.mean == pytest.approx(-2.0)
    assert (found.prediction.half, found.prediction.nine_in_ten) == (1.0, 5.0)
    assert [row.difference.prediction for row in found.largest if row.difference] == [-5.0, -5.0]
    [telling] = found.segments  # kind and note tell nothing
    assert telling.column == "x"
    assert telling.explains > 0.9
    assert [one.value for one in telling.parts] == ["up to 25", "25 to 50", "50 to 75", "above 75"]
    assert [one.moved for one in telling.parts][:2] == [-1.0, -1.0]
    assert telling.parts[-1].moved == -5.0


def test_a_score_that_moved_under_the_same_label_is_no_changed_prediction() -> None:
    one = request(1, {}, score=0.7)
    found = of([(one, replayed(one, 1, [0.4, 0.6]))] * 2)
    assert (found.changed, found.moved, found.same) == (0, 2, 0)
    assert found.score is not None
    assert found.score.mean == pytest.approx(-0.1)


def entry(value: object, changed: bool = False) -> Entry:
    values = {} if value is None else {"c": msgspec.Raw(msgspec.json.encode(value))}
    return Entry(values, changed, None, 1.0)


def test_values_are_shown_by_their_number_and_the_rare_ones_together() -> None:
    entries = [entry(f"v{n}") for n in range(14) for _ in range(20 - n)] + [entry(None, True)]
    [found] = segments(entries, ["c"])
    names = [part.value for part in found.parts]
    assert names == [*(f"v{n}" for n in range(10)), OTHER, MISSING]
    assert found.parts[0].rows == 20
    assert (found.parts[-1].changed, found.parts[-1].changed_share) == (1, 1.0)
    assert sum(part.rows for part in found.parts) == len(entries)


def test_few_numbers_are_values_in_their_order_and_equal_ones_are_never_parted() -> None:
    [few] = segments([entry(n) for n in (10, 2, 2, 1)], ["c"])
    assert [part.value for part in few.parts] == ["1", "2", "10"]
    [many] = segments([entry(n) for n in [*range(11), *[99] * 80]], ["c"])
    assert [(part.value, part.rows) for part in many.parts] == [("up to 10", 11), ("above 10", 80)]
    assert segments([entry(1)], ["gone"])[0].parts[0].value == MISSING


def test_a_row_is_asked_by_place_or_by_name_as_it_is_recorded() -> None:
    by_place, by_name = request(1, {"0": 1.50, "1": "x"}), request(1, {"a": 1, "b": None})
    assert payloads(by_place, None, own=False) == [b'[[1.5,"x"]]']
    assert payloads(by_name, ["a", "b"], own=False) == [b'[{"a":1,"b":null}]']
    assert payloads(by_name, ["a", "b"], own=True) == [b'[{"a":1,"b":null}]', b"[[1,null]]"]
    assert payloads(request(1, {"0": "t"}), None, own=True) == [
        b'["t"]',
        b'[["t"]]',
        b'[{"0":"t"}]',
    ]
    assert payloads(request(1, {"0": 5}), None, own=True) == [b"[[5]]", b"[5]", b'[{"0":5}]']
    assert payloads(request(1, {"0": "t"}), None, own=False) == [b'[["t"]]']


def test_a_segment_that_someone_changed_spoils_no_other_and_is_named() -> None:
    assert parse_segment("p.csv", b"a,b\n1,2\n").bad == [
        "p.csv: its columns are not a segment's: someone changed it"
    ]


def test_a_request_is_looked_for_first_where_its_time_belongs() -> None:
    folder = "monitoring/predictions/prod/2026-11-30"
    one = [f"{folder}/{hour:02}0000Z-aaaaaaaa-{hour + 1}.csv" for hour in range(5)]
    other = f"{folder}/013000Z-bbbbbbbb-1.csv"
    made = datetime(2026, 11, 30, 2, 59, tzinfo=UTC)
    wanted = RequestId.build(int(made.timestamp() * 1000), 1)
    paths = sorted([*one, other])
    assert sorted(likely(paths, wanted)) == sorted([one[2], one[3], other])
