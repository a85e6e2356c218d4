"""How it stands is said in words that anybody understands, and nothing wrong stays unsaid."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.console.snapshot import headline
from gateway.console.words import RANKS, branch_words, cut, health


def branch(**changes: Any) -> dict[str, Any]:
    usual = {"state": "ready", "share": 0.5, "baseline": False, "shadow": None, "reason": None}
    return {**usual, **changes}


def page(**changes: Any) -> dict[str, Any]:
    return {"recording": {}, "repository": {}, "configuration": {"state": "in_force"}, **changes}


@pytest.mark.parametrize(
    ("one", "tone", "word", "said"),
    [
        (branch(), "good", "serving", "Loaded and answering"),
        (branch(share=0.0), "idle", "no users", "its weight is 0"),
        (branch(loading=True), "good", "reloading", "a newer commit is being loaded"),
        (branch(shadow={"share": 0.25}), "good", "shadow", "copies of 25 % of requests"),
        (
            branch(state="ejected", ejected={"since": "", "reason": "it raised"}),
            *("watch", "ejected", "the baseline answers for it meanwhile: it raised"),
        ),
        (branch(state="failed", baseline=True, reason="no model"), "bad", "failed", "no model"),
        (branch(state="restarting", reason="killed"), "watch", "restarting", "killed"),
        (branch(state="loading"), "idle", "loading", "first worker is loading"),
        (branch(state="absent", reason="no branch"), "watch", "absent", "no branch"),
        (
            branch(quarantined="f" * 32, reason="ImportError: x"),
            *("watch", "older commit", "newest commit is not served: ImportError: x"),
        ),
        (
            branch(repository={"trouble": "missing", "text": "the repository has no branch"}),
            *("watch", "not followed", "Goes on serving, but the repository has no branch"),
        ),
        (
            branch(allocation={"state": "ejected", "reason": "errors doubled"}),
            *("watch", "ejected", "a guardrail was breached: errors doubled"),
        ),
        (
            branch(allocation={"state": "ramping", "reason": "step 2"}),
            *("good", "ramping", "On its ramp: step 2"),
        ),
    ],
)
def test_a_branch_is_told_in_a_tone_a_word_and_a_sentence(
    one: dict[str, Any], tone: str, word: str, said: str
) -> None:
    found = branch_words(one)
    assert found[:2] == (tone, word)
    assert said in found[2]


@pytest.mark.parametrize(
    ("changes", "now", "tone", "said"),
    [
        ({}, {}, "good", None),
        ({}, {"error_ratio": 0.009}, "good", None),
        ({}, {"error_ratio": 0.02}, "watch", "2 % of the last minute"),
        ({}, {"error_ratio": 0.5}, "bad", "50 % of the last minute"),
        ({"recording": {"dropping": True}}, {}, "bad", "not recorded"),
        ({"recording": {"trouble": "it died"}}, {}, "watch", "it died"),
        ({"repository": {"last_error": "timed out"}}, {}, "watch", "timed out"),
        ({"configuration": {"state": "refused", "reason": "x.yaml:1"}}, {}, "watch", "x.yaml:1"),
        (
            {"configuration": {"state": "waiting", "waiting_for": {"exp": "loading"}}},
            {},
            *("watch", "waits for exp"),
        ),
        ({"allocation": {"trouble": "is gone"}}, {}, "watch", "is gone"),
        ({"shared": {"trouble": "no Redis"}}, {}, "watch", "no Redis"),
    ],
)
def test_the_headline_is_as_bad_as_the_worst_that_is_wrong(
    changes: dict[str, Any], now: dict[str, Any], tone: str, said: str | None
) -> None:
    found, _, sentences = health(page(**changes), [], now)
    assert found == tone
    assert bool(sentences) == (said is not None)
    assert said is None or said in sentences[0]


def test_what_needs_somebody_at_once_stands_before_what_can_wait() -> None:
    branches = [{"name": "exp", "tone": "watch", "word": "ejected", "text": "Failed"}]
    tone, _, sentences = health(page(), branches, {"error_ratio": 0.9})
    assert tone == "bad"
    assert ["90 %" in sentences[0], "exp" in sentences[1]] == [True, True]


def test_a_gateway_that_ends_says_so() -> None:
    assert health(page(), [], {}, closing=True)[1] == "Shutting down"
    assert RANKS["good"] < RANKS["watch"] < RANKS["bad"]


def test_texts_are_one_line_and_bounded() -> None:
    assert cut("a\n b\t c") == "a b c"
    assert len(cut("x" * 1000)) == 240


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (None, []),
        ([1, 2], []),
        ({"unreadable": "too large"}, [("unreadable", "too large")]),
        (
            {"name": "forest", "accuracy": 0.9, "ok": True, "test": {"auc": 0.8, "deep": {"x": 1}}},
            [("accuracy", 0.9), ("auc", 0.8), ("name", "forest")],
        ),
        ({str(number): number for number in range(50)}, [(str(n), n) for n in range(6)]),
    ],
)  # fmt: skip
def test_a_few_figures_of_a_model_card_are_shown(card: Any, expected: list[Any]) -> None:
    assert headline(card) == expected
