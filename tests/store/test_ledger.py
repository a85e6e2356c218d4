"""What only experiments keep: whole or not at all, bounded, and read beside its writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from gateway.chunks import ChunkKey
from gateway.errors import StateError
from gateway.experiments.cells import Cell, CellKey
from gateway.names import Branch, RequestId
from gateway.store.ledger import (
    PART,
    Exposure,
    KeptOutcome,
    Ledger,
    Line,
    Place,
    bucket_of,
    scope,
    signed,
)
from gateway.store.outcomes import outcomes_in
from gateway.store.sqlite import MIGRATIONS, SqliteStore

CHUNK = ChunkKey("a1b2c3d4", 7)
PLACE = Place("e" * 12, "exp", "split", "ok", "exp", "c" * 64, "f" * 32, "prod", 3600)
KEY = CellKey("contrast", 0, 3600, "e" * 12, "exp", "conversion")
NOW = 1_764_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger(path) as ledger:
        yield ledger


def identity(number: int, ts: int = NOW) -> RequestId:
    return RequestId.build(ts, number)


def exposure(number: int, unit: int | None = 1, ts: int = NOW, place: Place = PLACE) -> Exposure:
    return Exposure(identity(number, ts), ts, place, unit, 1, b"[1]")


def outcome(number: int, metric: str = "conversion", ts: int = NOW) -> KeptOutcome:
    return KeptOutcome(identity(number, ts), 0, metric, ts, 1.0, None, "waiting")


class Interrupted(Exception):
    pass


def test_a_whole_happens_wholly_or_not_at_all(ledger: Ledger, path: Path) -> None:
    def change() -> None:
        with ledger.whole():
            ledger.set_place(CHUNK, 10)
            ledger.mark("scope", [1, 2])
            with ledger.whole():
                ledger.keep(outcome(1))
                ledger.add_lines([Line("results", Branch("exp"), "a")])
            ledger.keep_fresh({KEY: Cell(units=1)})
            ledger.remember({("experiment", "state"): b"{}"})

    def there() -> list[object]:
        with Ledger(path) as other:
            return [
                other.place_of(CHUNK),
                other.among("scope", [1, 2, 3]),
                len(other.outcomes(identity(1))),
                len(list(other.cells("contrast"))),
                other.recall("experiment"),
            ]

    def interrupted() -> None:
        with ledger.whole():
            change()
            raise Interrupted

    before = there()
    with pytest.raises(Interrupted):
        interrupted()
    assert there() == before == [0, set(), 0, 0, {}]
    change()
    assert there() == [10, {1, 2}, 1, 1, {"state": b"{}"}]
    assert ledger.take_lines(10) == [Line("results", Branch("exp"), "a")]


def test_what_was_learned_in_a_change_that_failed_is_learned_again(ledger: Ledger) -> None:
    """A number that was given in it is given to something else afterwards."""

    def interrupted() -> None:
        with ledger.whole():
            ledger.add_exposures([exposure(1)])
            ledger.mark(scope("arm", "exp"), [5])
            assert ledger.exposure(identity(1)) is not None
            raise Interrupted

    with pytest.raises(Interrupted):
        interrupted()
    other = msgspec.structs.replace(PLACE, branch="prod", assigned="prod")
    ledger.add_exposures([exposure(2, place=other)])
    found = ledger.exposure(identity(2))
    assert found is not None
    assert found.place == other
    assert ledger.mark(scope("arm", "exp"), [5]) == {5}
    assert ledger.among(scope("arm", "prod"), [5]) == set()


def test_a_unit_is_new_to_a_set_once(ledger: Ledger) -> None:
    units = [signed(text) for text in ("ff" * 8, "00" * 8, "80" + "00" * 7)]
    assert ledger.mark("a", units[:2]) == set(units[:2])
    assert ledger.mark("a", units) == {units[2]}
    assert ledger.mark("b", units) == set(units)
    assert ledger.among("a", [*units, 17]) == set(units)
    assert [bucket_of(unit) for unit in units] == [255, 0, 128]


def test_a_full_disk_changes_nothing_and_is_said_as_that(ledger: Ledger) -> None:
    ledger.mark("scope", [1])
    pages = ledger._row("PRAGMA page_count")[0]
    ledger._row(f"PRAGMA max_page_count = {pages + 4}")

    def too_much() -> None:
        with ledger.whole():
            ledger.set_place(CHUNK, 10)
            for number in range(20):
                ledger.mark(f"scope {number}", range(10_000))

    for _ in range(2):
        with pytest.raises(StateError, match="full"):
            too_much()
        assert ledger.place_of(CHUNK) == 0
        assert ledger.among("scope 0", range(10)) == set()
    ledger._row("PRAGMA max_page_count = 1000000")
    too_much()
    assert ledger.place_of(CHUNK) == 10
    assert len(ledger.among("scope 19", range(10_000))) == 10_000


def test_forgetting_takes_a_scope_and_all_that_go_on_from_it(ledger: Ledger) -> None:
    scopes = [("event", "c", "a"), ("event", "c", "a", "epoch"), ("event", "c", "ab"), ("arm", "c")]
    for names in scopes:
        ledger.mark(scope(*names), [1])
    ledger.forget_units(scope("event", "c", "a"))
    assert [ledger.among(scope(*names), [1]) for names in scopes] == [set(), set(), {1}, {1}]


def test_thinning_leaves_the_first_buckets_of_all_that_is_kept(ledger: Ledger) -> None:
    units = [signed(f"{number % 256:02x}{number:014x}") for number in range(1024)]
    ledger.mark("scope", units)
    ledger.add_exposures([exposure(number, unit) for number, unit in enumerate(units)])
    without = range(2000, 2256)
    ledger.add_exposures([exposure(number, None) for number in without])
    before = ledger.size()
    ledger.thin(256)
    assert ledger.size() == before
    ledger.thin(64)
    kept = {unit for unit in units if bucket_of(unit) < 64}
    assert ledger.among("scope", units) == kept
    found = [ledger.exposure(identity(number)) for number in range(1024)]
    assert {one.unit for one in found if one is not None} == kept
    left = sum(ledger.exposure(identity(number)) is not None for number in without)
    assert left == 64
    assert (before, ledger.size()) == (1024 + 1024 + 256, 256 + 256 + 64)


def test_requests_are_forgotten_with_all_that_came_of_them(ledger: Ledger) -> None:
    for number, ts in enumerate((NOW - 2, NOW - 1, NOW)):
        ledger.add_exposures([exposure(number, ts=ts)])
        ledger.add_shadow_answers([(identity(number, ts), PLACE, b"[0]")])
        ledger.keep(outcome(number, ts=ts))
    assert ledger.forget_exposures(NOW) == 2
    found = [
        (ledger.exposure(one), ledger.shadow_answers(one), ledger.outcomes(one))
        for one in (identity(0, NOW - 2), identity(1, NOW - 1), identity(2))
    ]
    assert found[:2] == [(None, [], [])] * 2
    assert found[2] == (exposure(2), [(PLACE, b"[0]")], [outcome(2)])


def test_a_cell_adds_up_over_what_was_written_of_it(ledger: Ledger) -> None:
    ledger.keep_fresh({KEY: Cell(1, values={3: 0.5})})
    ledger.write_cell(KEY, Cell(1, values={3: 0.5}))
    assert list(ledger.cells("contrast")) == [(KEY, Cell(1, values={3: 0.5}), None)]
    ledger.keep_fresh({KEY: Cell(2, values={4: 1.0})})
    ledger.write_cell(KEY, Cell(2, values={4: 1.0}))
    both = Cell(3, values={3: 0.5, 4: 1.0})
    assert list(ledger.cells("contrast")) == [(KEY, both, None)]


def test_lines_are_taken_once_oldest_first(ledger: Ledger) -> None:
    lines = [Line("outcomes", Branch("team/exp"), f"{number},é") for number in range(5)]
    ledger.add_lines(lines[:3])
    assert ledger.take_lines(2) == lines[:2]
    ledger.add_lines(lines[3:])
    assert ledger.take_lines(9) == lines[2:]
    assert ledger.take_lines(9) == []


def test_a_reader_sees_what_was_finished_while_much_is_under_way(
    ledger: Ledger, path: Path
) -> None:
    ledger.keep(outcome(1))
    with ledger.whole():
        ledger.keep(replace(outcome(1), status="accepted", branch="exp", duplicates=2))
        (before,) = outcomes_in(path, identity(1))
    (after,) = outcomes_in(path, identity(1))
    assert (before.status, before.duplicates) == ("waiting", 0)
    assert (after.status, after.branch, after.duplicates, after.value) == ("accepted", "exp", 2, 1)
    assert outcomes_in(path, identity(2)) == []


def test_a_reader_writes_nothing_and_makes_no_file(path: Path) -> None:
    assert outcomes_in(path, identity(1)) == []
    assert not path.exists()
    path.write_bytes(b"no database at all, but longer than a header of one would be" * 9)
    with pytest.raises(StateError, match="not a database"):
        outcomes_in(path, identity(1))


def test_a_store_from_before_experiments_is_taken_over_with_all_it_holds(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE migration (version INTEGER PRIMARY KEY)")
    for number, migration in enumerate(MIGRATIONS[:2], start=1):
        database.executescript(migration)
        database.execute("INSERT INTO migration VALUES (?)", (number,))
    database.execute("INSERT INTO counted VALUES ('a1b2c3d4', 7, 'rows')")
    database.execute("INSERT INTO total VALUES ('rows', '[\"prod\"]', 12)")
    database.execute("INSERT INTO memory VALUES ('drift', 'prod', x'01')")
    database.commit()
    database.close()
    assert outcomes_in(path, identity(1)) == []  # asked before the monitor took it over
    with Ledger(path) as ledger:
        assert ledger.has(CHUNK, "rows")
        assert not ledger.has(CHUNK, PART)
        assert ledger.totals("rows") == {("rows", "prod"): 12}
        assert ledger.recall("drift") == {"prod": b"\x01"}
        ledger.finish(CHUNK)
        ledger.keep(outcome(1))
    with SqliteStore(path) as store:
        assert store.has(CHUNK, PART)
    assert [one.status for one in outcomes_in(path, identity(1))] == ["waiting"]


def test_beginning_anew_leaves_how_far_was_read_and_what_waits(ledger: Ledger) -> None:
    ledger.set_place(CHUNK, 10)
    ledger.add_lines([Line("results", Branch("exp"), "a")])
    ledger.mark("scope", [1])
    ledger.add_exposures([exposure(1)])
    ledger.keep(outcome(1))
    ledger.keep_fresh({KEY: Cell(1)})
    ledger.remember({("experiment contrasts", "c"): b"?", ("drift", "prod"): b"d"})
    ledger.forget_experiments()
    assert (ledger.size(), list(ledger.cells("contrast")), ledger.outcomes(identity(1))) == (
        *(0, []),
        [],
    )
    assert (ledger.recall("experiment contrasts"), ledger.recall("drift")) == ({}, {"prod": b"d"})
    assert ledger.place_of(CHUNK) == 10
    assert len(ledger.take_lines(9)) == 1
