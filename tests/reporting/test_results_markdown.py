"""The read-out as a comment: what it must say, and that no name in it is markup."""

from __future__ import annotations

import re
from typing import get_args

import msgspec
import pytest
from experimentdocs import REASONS, contrast, document, epoch, guardrail, metric, shadow

from gateway.experiments.document import Word
from gateway.reporting import results_words as words
from gateway.reporting.results_markdown import cell, code, inline, markdown, text


def rows(page: str) -> list[list[str]]:
    """The cells of every line of a table; a bar after a backslash is none."""
    return [
        [one.strip() for one in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in page.splitlines()
        if line.startswith("|")
    ]


@pytest.mark.parametrize("word", get_args(Word))
def test_every_word_is_the_heading_with_its_reason_and_its_meaning(word: Word) -> None:
    page = markdown(document(contrast(status=word)), whole=True)
    assert page.startswith(f"### `exp` beside `prod`: **{word}**\n\n{REASONS[word]}\n")
    assert f"**{word}**: {words.MEANINGS[word]}." in page


def test_the_table_has_a_line_a_metric_and_marks_what_is_exploratory_or_a_guardrail() -> None:
    table = rows(markdown(document()))
    assert {len(line) for line in table} == {11}
    assert table[0][1:4] == ["metric", "`prod`", "`exp`"]
    figures = ["10.1 %", "11.4 %", "+12.3 %", "+3.1 to +22 %", "0.012", "81.3"]
    assert table[2] == [
        *("**running**", "`conversion`", *figures),
        *("4,061 / 509", "40,213 / 4,480", "4 d"),
    ]
    assert table[3][:4] == ["**insufficient**", "`revenue` (exploratory)", "", ""]
    assert table[4][:2] == ["**no breach**", "`error_rate` (guardrail)"]


def test_details_are_folded_and_tell_what_is_compared_and_by_which_rules() -> None:
    page = markdown(document(contrast(epochs=(epoch(1), epoch(2, 0.25)))))
    _, opened, folded = page.partition("<details><summary>")
    assert opened
    summary, _, inside = folded.partition("</summary>\n\n")
    assert summary == "no guardrail is breached; the split is as the weights say; 2 epochs"
    inside, closed, _ = inside.partition("\n</details>\n")
    assert closed
    assert "- decides: conversion (binary, more is better" in inside
    assert "- allocation: ramping at 5 % of the users since 2026-11-29 12:00 UTC: step 2" in inside
    assert "- `revenue`: Too early to say" in inside
    assert "| 2026-11-02 10:00 to 2026-11-03 10:00 UTC | 25 % | 40,213 | 4,480 |" in inside


def test_what_is_bad_stands_above_the_fold() -> None:
    page = markdown(
        document(
            contrast(
                status="invalid", guardrails=(guardrail(breached=True),), warnings=("many ids",)
            ),
            trouble="the store is full",
        )
    )
    above = page.partition("<details>")[0]
    assert above.startswith("> **the store is full**\n")
    assert "> many ids" in above
    assert "> **MISMATCH: 40,213 units on prod" in above
    assert "> **breached** `error_rate`: Likelier by more than the margin" in above
    assert page.count("Likelier by more than the margin") == 1
    assert "<summary>breached: error_rate; the split is broken; 1 epoch</summary>" in page


def test_the_foot_says_that_it_is_always_valid_and_as_of_when() -> None:
    foot = markdown(document()).rpartition("\n---\n")[2]
    assert "always-valid" in foot
    assert "As of 2026-11-29 13:05:09 UTC" in foot
    assert "not decided yet, which is not 'no effect'" in foot
    assert "4,012 joined, 12 late" in foot


def test_a_shadow_has_its_difference_and_no_split() -> None:
    page = markdown(document(shadow()))
    assert page.startswith("### `dev` (shadow) beside `prod`: **better**")
    assert rows(page)[2][1] == "`accuracy` (difference)"
    assert rows(page)[2][4] == "+0.021"
    assert "- `accuracy`: 3,912 rows, of which 211 differ" in page
    assert "split" not in page


def test_content_that_is_served_no_more_is_one_line_unless_all_is_wanted() -> None:
    found = document(contrast(), contrast("old", "stale"))
    line = "- `old` beside `prod`: **stale**, until 2026-11-29 13:00 UTC"
    assert line in markdown(found)
    assert line not in markdown(found, whole=True)
    assert "### `old` beside `prod`: **stale**" in markdown(found, whole=True)
    empty = msgspec.structs.replace(found, contrasts=())
    assert "nothing is compared yet" in markdown(empty)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a*b_c", r"a\*b\_c"),
        ("<script>", r"\<script\>"),
        ("[x](http://e.org)", "\\[x\\](http\\://e.org)"),
        ("www.example.org", r"www\.example.org"),
        ("a | b", r"a \| b"),
        ("&#64;", "\\&\\#\u200b64;"),
        ("to @ada, see #12", "to @\u200bada, see \\#\u200b12"),
        ("$x$ `y` ~~z~~ \\", r"\$x\$ \`y\` \~\~z\~\~ \\"),
        (":tada: at 13:00", r"\:tada: at 13:00"),
        ("two\nlines\x1b[0m", "two\ufffdlines\ufffd\\[0m"),
        ("+12.3 % (-1 to 2)", "+12.3 % (-1 to 2)"),
    ],
)
def test_words_of_others_stay_words(given: str, shown: str) -> None:
    assert inline(given) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("- item", r"\- item"),
        ("---", r"\---"),
        ("+ item", r"\+ item"),
        ("=== under", r"\=== under"),
        ("12. item", r"12\. item"),
        ("3) item", r"3\) item"),
        ("    code", "code"),
        ("# head", "\\#\u200b head"),
        ("> quote", r"\> quote"),
        ("The - and 1. in it", "The - and 1. in it"),
    ],
)
def test_nothing_at_a_beginning_is_markup(given: str, shown: str) -> None:
    assert text(given) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("team/exp", "`team/exp`"),
        ("a`b", "``a`b``"),
        ("`a``b`", "``` `a``b` ```"),
        ("a|b", "`a|b`"),
    ],
)
def test_a_name_is_code_whatever_it_holds(name: str, shown: str) -> None:
    assert code(name) == shown
    assert cell(name) == shown.replace("|", r"\|")


def test_a_branch_of_any_name_breaks_no_table_and_no_heading() -> None:
    name = "a|b`c*@ada<b>"
    found = document(
        contrast(name, baseline="p|q", reason=f"{name} is better", metrics=(metric("x|y"),)),
        allocation={},
    )
    page = markdown(found)
    assert page.startswith("### ``a|b`c*@ada<b>`` beside `p|q`: **running**\n")
    assert {len(line) for line in rows(page)} == {11}
    assert rows(page)[0][2:4] == [r"`p\|q`", r"``a\|b`c*@ada<b>``"]
    assert "a\\|b\\`c\\*@\u200bada\\<b\\> is better" in page
    summary = markdown(document(contrast(guardrails=(guardrail("<b>&@ada", breached=True),))))
    assert "<summary>breached: &lt;b&gt;&amp;@\u200bada;" in summary
