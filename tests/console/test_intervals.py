"""The course of an experiment's intervals: a point a look, thinned, and there after a restart."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from waiting import wait_until_async

from gateway.experiments.document import (
    ArmFigures,
    Bounds,
    ContrastReadout,
    ExperimentReadout,
    MetricReadout,
)
from gateway.experiments.thinning import Point, thinned
from gateway.intervals import INTERVALS_FILE, MOST_POINTS, Intervals
from gateway.timestamps import rfc3339


def point(at: float, word: str = "running") -> Point:
    return Point(at, 0.1, -0.2, 0.3, word, 10, "relative")


def readout(look: int, *, current: bool = True, estimate: float = 0.1) -> ExperimentReadout:
    metric = MetricReadout(
        name="accuracy",
        role="primary",
        kind="ratio",
        direction="up",
        window=1.0,
        margin=None,
        planned_units=1000,
        status="running",
        reason="not decided yet",
        method="asymptotic",
        baseline=ArmFigures(look, look),
        candidate=ArmFigures(look, look),
        relative=Bounds(estimate, -1.0 / (look + 1), 1.0 / (look + 1)),
        as_of=rfc3339(look),
    )
    silent = msgspec.structs.replace(metric, name="error_rate", relative=None)
    contrast = ContrastReadout(
        "c1", "prod", "exp", "p", "e", "", "", current, False, "running", "", "", "",
        metrics=(metric, silent),
    )  # fmt: skip
    return ExperimentReadout(f"{look} {estimate}", "prod", "s", None, contrasts=(contrast,))


def intervals(folder: Path, found: ExperimentReadout | None = None) -> Intervals:
    async def look() -> ExperimentReadout | None:
        return found

    return Intervals(folder, look)


def test_each_look_adds_a_point_and_the_same_look_corrects_it(tmp_path: Path) -> None:
    kept = intervals(tmp_path)
    for look in range(3):
        kept.take(readout(look))
    kept.take(readout(2, estimate=0.5))

    course = kept.courses["c1"]["accuracy"]
    assert [(one.at, one.estimate) for one in course] == [(0.0, 0.1), (1.0, 0.1), (2.0, 0.5)]
    assert list(kept.courses["c1"]) == ["accuracy"]


def test_a_contrast_that_is_told_of_no_more_is_forgotten(tmp_path: Path) -> None:
    kept = intervals(tmp_path)
    kept.take(readout(1))
    kept.take(readout(2, current=False))
    assert list(kept.courses) == ["c1"]
    kept.take(msgspec.structs.replace(readout(3), contrasts=()))
    assert kept.courses == {}


def test_a_long_course_stays_bounded_from_its_first_look_to_its_last(tmp_path: Path) -> None:
    kept = intervals(tmp_path)
    for look in range(MOST_POINTS * 3):
        kept.take(readout(look))
    course = kept.courses["c1"]["accuracy"]
    assert len(course) == MOST_POINTS
    assert (course[0].at, course[-1].at) == (0.0, MOST_POINTS * 3 - 1)
    gaps = [after.at - before.at for before, after in itertools.pairwise(course)]
    assert max(gaps) <= 8


def test_the_keeper_writes_at_its_end_and_a_restart_goes_on(tmp_path: Path) -> None:
    async def lives() -> None:
        first = intervals(tmp_path, readout(1))
        keeper = asyncio.create_task(first.run())
        await wait_until_async(lambda: first.courses)
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        assert (tmp_path / INTERVALS_FILE).exists()

        second = intervals(tmp_path, readout(2))
        keeper = asyncio.create_task(second.run())
        await wait_until_async(lambda: len(second.courses.get("c1", {}).get("accuracy", [])) == 2)
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)

    asyncio.run(lives())


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / INTERVALS_FILE).write_bytes(b'{"c1": {"accuracy": [[1]]}}')

    async def lives() -> None:
        kept = intervals(tmp_path, readout(1))
        keeper = asyncio.create_task(kept.run())
        await wait_until_async(lambda: kept.courses)
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)

    asyncio.run(lives())


@given(
    st.lists(st.tuples(st.integers(1, 50), st.sampled_from(["running", "better"])), max_size=60),
    st.integers(2, 30),
)
def test_thinning_keeps_ends_order_and_changes_of_word(
    steps: list[tuple[int, str]], most: int
) -> None:
    now, points = 0, []
    for step, word in steps:
        now += step
        points.append(point(now, word))
    found = thinned(points, most)

    assert len(found) == min(len(points), most)
    assert found == [one for one in points if one in found]
    assert found[:1] == points[:1]
    assert found[-1:] == points[-1:]
    changes = [after for before, after in itertools.pairwise(points) if after.word != before.word]
    if len(changes) <= most - 2:
        assert all(one in found for one in changes)
