"""The judge of `make load`: lets pass what may be, and complains of what may not."""

from __future__ import annotations

from gitrepo import Remote

from loadtests.judge import Judge
from loadtests.repository import Commits


def judge(**weights: float) -> Judge:
    return Judge(weights, lambda branch, commit: commit != "never")


def test_a_user_may_not_change_branch_while_the_weights_stand() -> None:
    held = judge(prod=70, test=30)
    assert held.complaint(held.asked(), "ada", "prod", "c") is None
    assert held.complaint(held.asked(), "bob", "test", "c") is None
    assert held.complaint(held.asked(), "ada", "prod", "c") is None
    said = held.complaint(held.asked(), "ada", "test", "c")
    assert said is not None
    assert "ada went from prod to test though no weight changed" in said


def test_over_a_change_of_weights_a_user_may_move_to_what_grew_only() -> None:
    held = judge(prod=70, test=30)
    for user, branch in (("ada", "prod"), ("bob", "test"), ("eve", "prod")):
        assert held.complaint(held.asked(), user, branch, "c") is None
    held.changing()
    held.settled({"prod": 50, "test": 50})
    assert held.complaint(held.asked(), "ada", "test", "c") is None
    assert held.complaint(held.asked(), "eve", "prod", "c") is None
    assert held.moved == 1
    said = held.complaint(held.asked(), "bob", "prod", "c")
    assert said is not None
    assert "against the change" in said


def test_while_weights_change_either_split_may_answer() -> None:
    held = judge(prod=70, test=30)
    assert held.complaint(held.asked(), "ada", "prod", "c") is None
    before = held.asked()
    held.changing()
    during = held.asked()
    assert held.complaint(during, "ada", "test", "c") is None
    held.settled({"prod": 50, "test": 50})
    # Asked before or during, answered after: nobody can say by which split, and it says nothing
    # about the split that is in force now.
    assert held.complaint(before, "ada", "prod", "c") is None
    assert held.complaint(during, "ada", "prod", "c") is None
    assert held.complaint(held.asked(), "ada", "test", "c") is None
    assert held.complaint(before, "ada", "prod", "c") is None


def test_a_branch_that_had_no_weight_may_take_anybody() -> None:
    held = judge(prod=100, test=0)
    assert held.complaint(held.asked(), "ada", "prod", "c") is None
    held.settled({"prod": 50, "test": 50})
    assert held.complaint(held.asked(), "ada", "test", "c") is None


def test_unknown_branches_and_commits_are_complained_of_even_during_a_change() -> None:
    held = judge(prod=70, test=30)
    held.changing()
    assert "not served" in (held.complaint(held.asked(), "ada", "dev", "c") or "")
    assert "never on prod" in (held.complaint(held.asked(), "ada", "prod", "never") or "")


def test_a_commit_is_on_the_branch_it_was_made_on_and_not_on_one_it_was_merged_into(
    remote: Remote,
) -> None:
    first = remote.commit("prod", {"a.txt": "1"})
    other = remote.commit("test", {"a.txt": "2"}, start="prod")
    commits = Commits(remote.path)
    assert (commits.was_on("prod", first), commits.was_on("test", other)) == (True, True)
    assert not commits.was_on("prod", other)
    merge = remote.merge("test", "prod")
    assert commits.was_on("prod", merge), "what was not known is asked of git again"
    assert not commits.was_on("prod", other), "an answer must name what was served, the merge"
    assert not commits.was_on("prod", "0" * 40)
