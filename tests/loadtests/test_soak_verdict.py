"""What a soak found decides whether it passed, and stands on its page."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loadtests.soak.director import Deeds
from loadtests.soak.flatness import memory_trend
from loadtests.soak.ledger import Excuse, Ledger, Outcome
from loadtests.soak.plan import Deed
from loadtests.soak.report import page, terminal
from loadtests.soak.run import Options, Soak


def sound() -> Soak:
    ledger = Ledger(lambda: 0.0)
    ledger.outcomes = [
        Outcome(float(at), at + 0.004, 2, 200, "", f"r{at}", "prod", "c" * 40, 1)
        for at in range(100)
    ]
    deeds = Deeds()
    for seconds in (1.0, 2.0, 6.0):
        deeds.done[Deed.MERGE] += 1
        deeds.took[Deed.MERGE].append(seconds)
    found = Soak(Options(600.0, 42, 8), ledger, deeds, lasted=601.0)
    found.findings.answered = 100
    found.trends = [memory_trend("front: RSS", [(at, 55e6) for at in range(300)])]
    found.failed.excused[Excuse.OVERLOAD, 503, "unavailable"] = 12
    return found


def _lose(found: Soak) -> None:
    found.findings.lost.append("r7")


def _double(found: Soak) -> None:
    found.findings.doubled.append("r7")


def _fail(found: Soak) -> None:
    found.failed.others[504, "timeout"] += 1


def _grow(found: Soak) -> None:
    found.trends.append(memory_trend("monitor: RSS", [(at, 5e7 + 1e6 * at) for at in range(300)]))


def _miss(found: Soak) -> None:
    found.deeds.troubles.append("merge a candidate: not within 60 s")


def _leave(found: Soak) -> None:
    found.problems.append("processes outlived the gateway: worker")


def test_a_sound_soak_passes_and_says_its_figures() -> None:
    found = sound()
    assert found.all_problems() == []
    text, said = page(found, "2026-11-25T10:00:00+00:00"), terminal(found)
    assert "**Passed.**" in text
    assert said.endswith("PASSED")
    for line in (
        "| seed | 42 |",
        "| answered ids recorded exactly once, with all rows | 100 |",
        "| rows answered | 200 |",
        "| ms, p50 / p99, all that were answered | 4.0 / 4.0 |",
        "| excused by overload: 503, unavailable | 12 |",
        "| merge a candidate | 3 | 0 | 2.00 | 6.00 |",
        "| front: RSS | 299 | 55.0 MB | 55.0 MB | 64.5 MB | 55.0 MB | flat |",
        "| begun | 2026-11-25T10:00:00+00:00 |",
        "| processor |",
    ):
        assert line in text, text


def test_a_soak_that_was_to_be_short_judges_no_growth_however_long_it_took() -> None:
    found = sound()
    _grow(found)
    found.options = Options(18.0, 42, 8)
    assert found.all_problems() == []
    assert "| monitor: RSS | 299 | " in page(found, "now")
    assert "GREW" not in page(found, "now") + terminal(found)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_lose, "1 answered, and not recorded: r7"),
        (_double, "1 recorded twice: r7"),
        (_fail, "1 requests failed without an excuse: status 504, timeout"),
        (_grow, "it grew: monitor: RSS"),
        (_miss, "merge a candidate: not within 60 s"),
        (_leave, "processes outlived the gateway: worker"),
    ],
)
def test_whatever_is_wrong_fails_the_soak_and_is_said(
    spoil: Callable[[Soak], None], words: str
) -> None:
    found = sound()
    spoil(found)
    (problem,) = found.all_problems()
    assert words in problem
    for text in (page(found, "now"), terminal(found)):
        assert words in text
        assert "passed" not in text.lower()
