"""Growth is found, and what is none is not taken for it."""

from __future__ import annotations

from collections.abc import Callable

from loadtests.soak.flatness import SHORTEST, Trend, trends
from loadtests.soak.gauge import Sample

MB = 1_000_000


def life(
    kind: str,
    resident: Callable[[float], float],
    *,
    pid: int = 1,
    begin: int = 0,
    seconds: int = 300,
    descriptors: Callable[[float], int] = lambda at: 40,
) -> list[Sample]:
    """A process looked at every second; `resident` in MB after so many seconds of its life."""
    return [
        Sample(begin + at, pid, kind, size, size, descriptors(at))
        for at in range(seconds)
        if (size := int(resident(at) * MB))
    ]


def grown(samples: list[Sample]) -> list[str]:
    return [each.what for each in trends(samples) if not each.is_flat]


def of(samples: list[Sample], what: str) -> Trend:
    (found,) = (each for each in trends(samples) if each.what.startswith(what))
    return found


def test_memory_that_stays_is_flat_however_it_swings() -> None:
    samples = life("front", lambda at: 60 + 5 * (at % 7 == 0))
    assert grown(samples) == []
    assert of(samples, "front, the longest-lived: RSS").peak == 65 * MB


def test_memory_that_grows_is_found() -> None:
    for kind in ("front", "monitor", "worker"):
        said = grown(
            life("front", lambda at: 60) + life(kind, lambda at: 60 + at / 10, pid=2, seconds=301)
        )
        assert f"{kind}, the longest-lived: RSS" in said


def test_what_is_filled_while_it_warms_up_is_no_growth() -> None:
    assert grown(life("monitor", lambda at: min(60, 20 + at))) == []


def test_descriptors_that_grow_are_found() -> None:
    samples = life("front", lambda at: 60, descriptors=lambda at: 40 + int(at) // 10)
    assert grown(samples) == ["front, the longest-lived: descriptors"]


def test_a_life_too_short_says_nothing_and_says_so() -> None:
    samples = life("front", lambda at: 10 + at * 10, seconds=int(SHORTEST) - 1)
    assert grown(samples) == []
    assert not of(samples, "front, the longest-lived: RSS").is_judged


def test_the_longest_life_of_a_kind_is_judged() -> None:
    """Those that were killed begin anew; added to one another they would seem to be flat."""
    restarts = [life("front", lambda at: 20, pid=n, begin=n * 50, seconds=50) for n in range(4)]
    last = life("front", lambda at: 20 + at / 10, pid=9, begin=200, seconds=300)
    samples = [each for one in restarts for each in one] + last
    assert "front, the longest-lived: RSS" in grown(samples)
    assert of(samples, "front, the longest-lived: RSS").seconds == 299


def test_all_together_compares_only_what_is_alike() -> None:
    """While a candidate is loaded there is a worker more, and that is no growth."""
    samples = life("front", lambda at: 60) + life("worker", lambda at: 150, pid=2)
    samples += life("worker", lambda at: 150, pid=3, begin=240, seconds=50)
    assert grown(samples) == []
    leaking = life("worker", lambda at: 150 + at, pid=2)
    assert "all together: PSS" in grown(life("front", lambda at: 60) + leaking)


def test_all_together_is_judged_within_one_life_of_the_front() -> None:
    """With the front all its workers begin anew, and small."""
    first = life("front", lambda at: 60, seconds=100)
    first += life("worker", lambda at: 20, pid=2, seconds=100)
    second = life("front", lambda at: 60, pid=3, begin=100)
    second += life("worker", lambda at: 150, pid=4, begin=100)
    assert grown(first + second) == []


def test_nothing_looked_at_makes_no_figures() -> None:
    assert trends([]) == []
