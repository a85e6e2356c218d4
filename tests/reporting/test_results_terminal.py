"""The page of `gateway results` in a terminal: what it must say, at any width, of anything."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import get_args

import click
import msgspec
import pytest
from experimentdocs import (
    COMMITS,
    REASONS,
    contrast,
    document,
    epoch,
    example,
    guardrail,
    metric,
    ratio,
    shadow,
    unknown,
)

from gateway.experiments.document import (
    ArmFigures,
    Bounds,
    BranchAllocation,
    ExperimentReadout,
    Feedback,
    GuardrailReadout,
    Word,
)
from gateway.reporting import results_words as words
from gateway.reporting.results_markdown import markdown
from gateway.reporting.results_terminal import terminal

NASTY = ["x" * 190, "列" * 60, "e\u0301" * 50, "\x1b[31mred\x1b[0m\r\n", "\u202eevil", "a|b`c*d_e"]


def told(found: ExperimentReadout, width: int = 120, *, whole: bool = False) -> str:
    return click.unstyle(terminal(found, width, whole=whole))


def line_of(text: str, name: str) -> str:
    """The line of the table that is about a metric."""
    (found,) = (
        line
        for line in text.splitlines()
        if line[13:].startswith(f"{name} ") and not line.startswith(" ")
    )
    return found


def wide(text: str) -> int:
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )


@pytest.mark.parametrize("word", get_args(Word))
def test_every_word_comes_with_its_reason_and_with_what_it_means(word: Word) -> None:
    found = document(contrast(status=word))
    text = " ".join(told(found, whole=True).split())
    assert f"exp beside prod {word.upper()}: {REASONS[word]}" in text
    assert f"{word}: {words.MEANINGS[word]}." in text
    silent = document(contrast(status=word, reason=""))
    assert f"{word.upper()}: {words.MEANINGS[word]}." in " ".join(told(silent, whole=True).split())


def test_not_decided_is_said_not_to_be_no_effect() -> None:
    text = told(document())
    assert "running: not decided yet, which is not 'no effect'" in text
    assert "no difference" not in text


def test_a_metric_is_one_line_with_both_arms_the_change_its_interval_and_its_evidence() -> None:
    line = line_of(told(document(), 160), "conversion")
    figures = ["running", "conversion", "10.1 %", "11.4 %", "+12.3 %", "+3.1 to +22 %", "0.012"]
    figures += ["81.3", "4,061 | 509", "4 d", "40,213 | 4,480"]
    places = [line.find(figure) for figure in figures]
    assert places == sorted(places)
    assert places[0] == 0
    assert min(places) >= 0, line


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_a_narrow_terminal_says_below_the_line_what_has_no_column(width: int) -> None:
    text = told(document(), width)
    for figure in ("+3.1 to +22 %", "0.012", "81.3", "4,061 | 509", "40,213 | 4,480", " 4 d"):
        assert figure in text.partition("conversion  ")[2].partition("exploratory")[0]


def test_what_is_not_known_is_left_blank_and_said_in_words() -> None:
    text = told(document(contrast(metrics=(metric(), unknown("revenue")))), 160)
    assert line_of(text, "revenue").split() == [
        "insufficient",
        "revenue",
        "12",
        "|",
        "3",
    ]
    assert REASONS["insufficient"] in text
    assert "exploratory, outside of what the primary metric promises:" in text


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Bounds(0.1, None, 0.2), "up to +20 %"),
        (Bounds(0.1, 0.05, None), "from +5 %"),
        (Bounds(0.1, None, None), "+10 %"),
        (Bounds(42.0, 30.0, 60.0), "+3000 to +6000 %"),
        (Bounds(4e4, 3e4, 6e5), "+3e6 to +6e7 %"),
        (Bounds(0.0, -1e-6, 1e-4), "-0 to +0.01 %"),
    ],
)
def test_an_interval_without_a_bound_claims_none(found: Bounds, said: str) -> None:
    line = line_of(told(document(contrast(metrics=(metric(relative=found),)))), "conversion")
    assert said in line
    assert "None" not in line
    assert "inf" not in line


def test_a_figure_that_has_no_room_in_its_column_is_told_whole_below_it() -> None:
    arm = ArmFigures(9, 9, value=123_456_789.0)
    wide = msgspec.structs.replace(shadow().paired[0], difference=Bounds(0.1, -0.000123, 0.000456))
    rows = contrast(metrics=(metric(kind="mean", baseline=arm),), paired=(wide,))
    text = " ".join(told(document(rows), 80).split())
    assert "prod 123,456,789" in text
    assert "interval -0.000123 to +0.000456" in text
    assert "…" not in text


def test_where_nothing_is_to_be_relative_to_the_difference_itself_is_told() -> None:
    found = metric(relative=None, kind="mean", difference=Bounds(0.25, -0.1, 0.6))
    assert "difference +0.25 (-0.1 to +0.6)" in told(document(contrast(metrics=(found,))))


@pytest.mark.parametrize(
    ("log_e", "said"),
    [(700.0, "1.0e304"), (0.0, "1"), (-50.0, "<.001"), (6.109, "450"), (13.9, "1.1e6")],
)
def test_an_e_value_of_any_size_is_short(log_e: float, said: str) -> None:
    line = line_of(told(document(contrast(metrics=(metric(log_e=log_e),))), 160), "conversion")
    assert f" {said} " in line


def test_a_breached_guardrail_says_why_and_others_say_how_far_they_are() -> None:
    both = (guardrail("error_rate"), guardrail("timeout_rate", breached=True))
    text = told(document(contrast(guardrails=both)))
    assert line_of(text, "error_rate").startswith("no breach ")
    assert "e 0.42 of 100" in line_of(text, "error_rate")
    assert line_of(text, "timeout_rate").startswith("breached ")
    assert "Likelier by more than the margin of 10 %: 90 of the 291 units" in text
    assert "\x1b[31m\x1b[1mbreached" in terminal(document(contrast(guardrails=both)), 120)


def test_a_guardrail_of_an_event_that_nobody_had_says_so() -> None:
    nobody = [ArmFigures(40, 0, value=0.0), ArmFigures(4, 0, value=0.0)]
    early = msgspec.structs.replace(
        guardrail(), log_e=None, baseline=nobody[0], candidate=nobody[1]
    )
    assert "no event yet" in line_of(told(document(contrast(guardrails=(early,)))), "error_rate")


def test_the_words_of_guardrails_that_are_not_shown_are_not_explained() -> None:
    guarded = unknown("error_rate", role="guardrail")
    assert "insufficient" not in told(document(contrast(metrics=(metric(), guarded))))


def test_a_long_name_of_a_branch_is_folded_over_its_figures() -> None:
    lines = told(document(contrast("ab-test-210323")), 80).splitlines()
    head = next(place for place, line in enumerate(lines) if "metric" in line)
    assert [lines[head - 1].split(), lines[head].split()[:3]] == [
        ["ab-test-"],
        ["metric", "prod", "210323"],
    ]


def test_a_branch_that_guardrails_took_out_is_said_to_be_out_at_the_top() -> None:
    out = BranchAllocation("ejected", 0.0, "by the numbers", "2026-11-29T12:00:00.000Z")
    found = document(contrast(guardrails=(guardrail(breached=True),)), allocation={"exp": out})
    text = told(found)
    said = "! ejected since 2026-11-29 12:00 UTC, so it has no users: the guardrail is breached"
    assert f"{said} (error_rate)" in " ".join(text.split("metric")[0].split())
    assert "by the numbers" not in text


def test_what_is_over_only_later_is_not_said_to_be_over() -> None:
    text = told(document(contrast(until="2026-11-29T14:00:00.000Z")))
    assert "exposed    2026-11-27 10:00 to 2026-11-29 13:05:09 UTC" in text


def test_a_number_is_not_parted_from_its_percent_sign() -> None:
    for width in range(80, 121):
        lines = told(example(), width, whole=True).splitlines()
        assert not [line for line in lines if line.strip().startswith("%")], width


def test_users_of_both_branches_are_told_of_once() -> None:
    warning = (
        "26 units of 2,017 were seen in both arms: that is expected after a change of weights."
    )
    text = told(document(contrast(multiple_units=26, warnings=(warning,))))
    assert text.count("26 units") == 1
    assert "26 units were seen on both" in told(document(contrast(multiple_units=26)))


def test_nothing_is_said_of_the_split_of_nobody() -> None:
    nobody = msgspec.structs.replace(ratio(), log_e=None, baseline=0, candidate=0, expected=None)
    assert "split      not checked yet" in told(document(contrast(sample_ratio=nobody)))


def test_a_guardrail_without_evidence_is_not_shown_as_held() -> None:
    early = msgspec.structs.replace(guardrail(), log_e=None)
    assert "nothing known" in line_of(told(document(contrast(guardrails=(early,)))), "error_rate")


def test_a_configured_guardrail_has_its_estimate_and_stands_there_once() -> None:
    spent = metric("spent", role="guardrail", kind="mean", direction="up")
    watched = GuardrailReadout(
        "spent", False, None, 4.6, 0.05, ArmFigures(9, 9, value=12.5), ArmFigures(9, 9), ""
    )
    line = line_of(told(document(contrast(metrics=(spent,), guardrails=(watched,)))), "spent")
    assert line.startswith("no breach")
    assert "12.5 " in line
    assert "+3.1 to +22 %" in line


def test_a_broken_split_is_told_in_red_and_an_unchecked_one_is_not_called_right() -> None:
    broken = document(contrast(status="invalid"))
    text = " ".join(told(broken).split())
    assert "split MISMATCH: 40,213 units on prod, 3,000 on exp, where 10 % are expected" in text
    assert "(e 1.0e9 of 100): look for what loses or moves units before any result" in text
    assert "\x1b[31m\x1b[1m  split      MISMATCH" in terminal(broken, 160)
    assert "as the weights say" in told(document())
    unchecked = told(document(contrast(sample_ratio=None)))
    assert "split      not checked yet" in unchecked
    assert "as the weights say" not in unchecked


def test_outcomes_that_do_not_arrive_alike_and_those_left_out_are_told() -> None:
    found = metric(arrivals=ratio(mismatch=True), late=12, duplicate=3, warnings=("one more",))
    text = " ".join(told(document(contrast(metrics=(found,)))).split())
    assert "outcomes do not arrive alike from both arms: 40,213 and 3,000" in text
    assert "left out: 12 late and 3 duplicate outcomes" in text
    assert "one more" in text
    even = told(document(contrast(metrics=(metric(arrivals=ratio()),))))
    assert "arrive alike" not in even


def test_what_is_compared_when_and_how_it_is_decided_is_told() -> None:
    text = " ".join(told(document(contrast(multiple_units=31))).split())
    assert f"contents exp {COMMITS['exp'][:10]}, prod {COMMITS['prod'][:10]}" in text
    assert "exposed 2026-11-27 10:00 to 2026-11-29 13:00 UTC" in text
    assert "decides conversion (binary, more is better, outcomes count for 1 d)" in text
    assert "by the exact rate ratio, alpha 0.05, margin 2 %" in text
    assert "mature what was exposed until 2026-11-28 13:00 UTC, 214 looks; 1,234 units came" in text
    assert "would take about 4 days more." in text
    assert "31 units were seen on both branches" in text
    assert "allocation ramping at 5 % of the users since 2026-11-29 12:00 UTC: step 2 of 5" in text
    means = metric(method="asymptotic", window=0.0, as_of=None, pending_units=0, direction="down")
    text = " ".join(told(document(contrast(metrics=(means,)))).split())
    assert "conversion (binary, less is better), by the confidence sequence of means" in text
    assert "planned for 10,000 units" in text
    assert "mature nothing yet: outcomes are waited for until their window is over" in text


def test_requests_without_a_user_are_told_apart() -> None:
    counts = {"prod": {"requests": 812, "error_rate": 3}, "exp": {"requests": 95}, "dev": {}}
    text = told(document(contrast(without_unit=counts)), 160)
    assert "95 on exp, 812 on prod (3 error_rate): in none of the figures" in text
    assert "in none of the figures" not in told(document())


def test_of_many_epochs_the_last_are_shown_unless_all_are_wanted() -> None:
    found = document(contrast(epochs=tuple(epoch(n, n / 100) for n in range(1, 9))))
    lines = [line for line in told(found).splitlines() if "% on exp;" in line]
    assert [line.partition(": ")[2].split()[0] for line in lines] == ["4", "5", "6", "7", "8"]
    assert "the last 5 of 8: --all shows them" in told(found)
    assert told(found, whole=True).count("% on exp;") == 8
    assert "--all" not in told(found, whole=True)
    assert "epochs" not in told(document())


def test_content_that_is_served_no_more_is_one_line_unless_all_is_wanted() -> None:
    found = document(contrast(), contrast("old", "stale"), contrast("older", "stale"))
    lines = [line for line in told(found, 80).splitlines() if " STALE " in line]
    assert [line.split()[0] for line in lines] == ["old", "older"]
    assert "until 2026-11-29 13:00 UTC, 44,693 units" in lines[0]
    whole = told(found, whole=True)
    assert f"old beside prod  STALE: {REASONS['stale']}" in whole
    assert "allocation" not in whole.partition("old beside prod")[2].partition("older")[0]


def test_content_whose_commit_nobody_knows_is_named_by_itself() -> None:
    unknown = contrast("old", "stale", candidate_commit="")
    text = told(document(contrast(), unknown), 80)
    assert f"; content {unknown.candidate_fingerprint[:10]} and {unknown.baseline_commit[:10]}" in (
        " ".join(text.split())
    )


def test_a_shadow_is_judged_on_rows_and_nothing_is_said_of_a_split() -> None:
    text = " ".join(told(document(shadow())).split())
    assert "dev, a shadow, beside prod BETTER: The candidate is better: +0.021" in text
    assert "dev less prod, the difference itself, on labelled rows that both predicted:" in text
    assert "better accuracy +0.021 +0.004 to +0.038 0.004" in text
    assert "3,912 rows, of which 211 differ" in text
    assert "split" not in text


def test_trouble_warnings_outcomes_and_what_is_left_out_are_told() -> None:
    found = document(trouble="the store is full", warnings=("one bucket is too large",))
    text = told(msgspec.structs.replace(found, feedback=Feedback(1_000, 2, 3, 4, 5)))
    assert text.splitlines()[:3] == [
        "experiment beside prod, as of 2026-11-29 13:05:09 UTC",
        "! the store is full",
        "! one bucket is too large",
    ]
    assert "1,000 joined, 2 late, 3 duplicate, 4 of unknown requests, 5 waiting" in text
    assert "requests: 812 excluded, 2 override" in text


def test_outcomes_of_which_nothing_is_known_are_not_told_as_none() -> None:
    found = msgspec.structs.replace(document(), feedback=Feedback(), excluded={})
    assert "joined" not in told(found)
    assert "\n\n\n" not in told(found)


def test_that_a_metric_is_exploratory_is_said_once() -> None:
    told_of = ("Exploratory: the promise is the primary metric's alone.", "and more")
    more = (unknown("revenue", warnings=told_of), unknown("visits", warnings=told_of))
    text = told(document(contrast(metrics=(metric(), *more))))
    assert text.lower().count("exploratory") == 1
    assert text.count("and more") == 2


def test_a_held_branch_of_which_nothing_is_known_is_told_all_the_same() -> None:
    said = "exp: ramping at 5 % of the users since 2026-11-29 12:00 UTC: step 2"
    for found in (document(contrast("dev")), document(contrast("exp", "stale"))):
        assert said in told(found)
        assert said.replace("exp", "- `exp`", 1) in markdown(found)
    assert said not in told(document())


def test_without_anything_to_compare_it_says_what_is_waited_for() -> None:
    empty = msgspec.structs.replace(document(), contrasts=())
    assert "a read-out begins once the baseline and another branch have weight" in told(empty)
    old = told(document(contrast("old", "stale")))
    assert "Of what is served now nothing is known yet" in " ".join(old.split())


@pytest.mark.parametrize("width", [40, 80, 120, 160, 300])
@pytest.mark.parametrize("whole", [False, True])
def test_no_line_is_wider_than_the_terminal_whatever_anything_is_called(
    width: int, whole: bool
) -> None:
    found = []
    for name in NASTY:
        mine = (metric(name[:60], reason=name * 3), unknown(name[:40], warnings=(name,)))
        found += [
            contrast(name, baseline=name, reason=name, metrics=mine, warnings=(name,)),
            contrast(name, "stale", baseline=name, candidate_commit=name),
            msgspec.structs.replace(shadow(name), baseline=name, epochs=(epoch(), epoch(2))),
        ]
    text = terminal(
        document(*found, trouble=NASTY[3], warnings=tuple(NASTY), excluded={NASTY[0]: 1}),
        width,
        whole=whole,
    )
    lines = click.unstyle(text).splitlines()
    assert max(wide(line) for line in lines) <= min(max(width, 80), 160)
    assert "\x1b[31mred" not in text
    assert all(one.isprintable() for line in lines for one in line)


def test_the_page_of_the_documentation_is_what_the_command_shows() -> None:
    page = (Path(__file__).parents[2] / "deploy" / "experiments.md").read_text()
    shown = page.partition("## Reading results")[2].partition("```text\n")[2].partition("```")[0]
    assert shown == told(example(), 96)
    for word in get_args(Word):
        assert f"`{word}`" in page.partition("## Reading results")[2].partition("\n## ")[0]
