"""What replaying found, as it is shown, and how far a long run is."""

from __future__ import annotations

import re

import click
import msgspec
import pytest

from gateway.replaying.document import (
    Answered,
    Comparison,
    Computer,
    Counted,
    Moves,
    Part,
    ReplayedRow,
    Segmented,
    Turn,
)
from gateway.reporting.progress import Progress
from gateway.reporting.replay_markdown import comparison_markdown
from gateway.reporting.replay_terminal import comparison_terminal
from gateway.reporting.replay_words import percent
from gateway.reporting.widths import width as width_of

HOSTILE = "a|b`c\x1b[31m@team\n"
MOMENT = "2026-11-30T00:00:00.000Z"


def comparison(**changes: object) -> Comparison:
    row = ReplayedRow(
        "01a22ac0-0000-7000-8000-000000000000",
        3,
        MOMENT,
        "prod",
        "c" * 40,
        "f" * 32,
        "prod",
        "split",
        "ok",
        "different",
        recorded=Answered(HOSTILE, 0.25),
        computed=Answered("x" * 300, 0.75),
        difference=Answered(None, 0.5),
    )
    found = Comparison(
        MOMENT,
        1e-9,
        "team/a-branch-with-quite-a-long-name",
        rows=1000,
        requests=990,
        since=MOMENT,
        until=MOMENT,
        answered_by={"prod": 1000},
        compared=990,
        same=900,
        exact=900,
        changed=40,
        moved=50,
        failed=7,
        unknown=3,
        changed_share=0.0404,
        weighted=True,
        prediction=None,
        score=Moves(990, 0.01, 0.02, 0.01, 0.2, 0.9),
        turns=(Turn(HOSTILE, 1, 40),),
        largest=(row,),
        segments=(Segmented(HOSTILE, 0.4, (Part(HOSTILE, 990, 40, 0.0404, -0.01),)),),
        failures=(Counted(HOSTILE, 7),),
        left_out=(Counted("no features", 3),),
        computers=(Computer("exp", "e" * 40, "d" * 32, "the repository", {"python": "3.13"}),),
        warnings=("a segment is none",),
    )
    return msgspec.structs.replace(found, **changes)


@pytest.mark.parametrize("columns", [40, 80, 120, 160])
def test_no_line_is_wider_than_the_terminal_and_nothing_in_it_acts(columns: int) -> None:
    lines = click.unstyle(comparison_terminal(comparison(), columns)).splitlines()
    assert max(map(width_of, lines)) <= max(columns, 80)
    assert not any("\x1b" in line or "@team\n" in line for line in lines)
    text = " ".join(" ".join(lines).split())
    for said in (
        "CHANGED: 4.04 % of predictions, 40 of 990 rows, and 7 rows have no answer",
        "mean change +0.01; half of them moved by at most 0.01, nine in ten by 0.2, the farthest",
        "which goes with 40 % of what changed",
        "left out 3 rows: no features (3 rows)",
        "! a segment is none",
        "Shares count each row as the answered rows that it stands for",
    ):
        assert said in text


def test_in_markdown_nothing_of_a_row_is_markup() -> None:
    page = comparison_markdown(comparison())
    assert "\x1b" not in page
    for line in page.splitlines():
        if line.startswith("|"):
            inner = line.replace("\\|", "").strip("|")
            columns = inner.count("|") + 1
            assert columns in (3, 5, 6), line
    outside = re.sub(r"(`+).+?\1", "", page)  # a name as code calls nobody
    assert "@team" not in outside
    assert "**4.04 % of predictions, 40 of 990 rows, and 7 rows have no answer**" in page


def test_the_verdict_is_of_what_could_be_compared() -> None:
    def first(**changes: object) -> str:
        return comparison_terminal(comparison(**changes), 120).splitlines()[1].strip()

    same = {"changed": 0, "failed": 0, "same": 990, "moved": 0, "exact": 990}
    assert click.unstyle(first(**same)).startswith("SAME: no prediction of 990 rows changed, sco")
    assert "FAILED: none of 7 rows has an answer" in click.unstyle(first(compared=0))
    assert "UNKNOWN: no row could be" in click.unstyle(first(compared=0, failed=0))
    by_own = {**same, "candidate": None}
    last_bit = "SAME: all 990 rows give the same answers, to the last bit"
    assert click.unstyle(first(**by_own)) == last_bit
    assert "within 1e-09 (9 of them" in click.unstyle(first(**{**by_own, "exact": 9}))
    otherwise = "DIFFERENT: 7 rows of 997 are answered otherwise"
    assert click.unstyle(first(**{**by_own, "failed": 7})) == otherwise


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0 %"), (1e-9, "<0.1 %"), (0.0576, "5.76 %"), (0.9999, "99.9 %"), (1, "100 %")],
)
def test_a_share_is_never_rounded_to_nothing_or_all(share: float, said: str) -> None:
    assert percent(share) == said


class Clock:
    """Goes on by so many seconds with each look."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_a_long_run_shows_a_bar_on_a_terminal_and_takes_it_away(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress(terminal=True, clock=Clock(1.0)) as progress:
        progress.reading(12)
        progress.expect(200)
        progress.advance(50)
        progress.advance(150)
    looking, quarter, whole, gone = capsys.readouterr().err.split("\r")[1:]
    assert looking == "looking for rows: 12 segments read"
    assert quarter == f"[{'#' * 7}{'-' * 23}]  25%  50 of 200 rows computed"
    assert whole == f"[{'#' * 30}] 100%  200 of 200 rows computed"
    assert gone == ""


def test_a_short_run_shows_nothing_and_a_log_gets_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress(terminal=True, clock=Clock(0.001)) as progress:
        progress.expect(2)
        progress.advance(2)
    assert capsys.readouterr().err == ""
    with Progress(terminal=False, clock=Clock(1.0)) as progress:
        progress.expect(20)
        for _ in range(12):
            progress.advance(1)
    assert capsys.readouterr().err.splitlines() == [
        " 25%  5 of 20 rows computed",
        " 50%  10 of 20 rows computed",
    ]
