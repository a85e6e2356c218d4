"""The rows of a repository, read from git: each segment once, where it belongs."""

from __future__ import annotations

from gitrepo import Remote

from loadtests.soak.written import Written

HEAD = "request_id,row,branch,prediction\n"


def path(branch: str, chunk: int = 1) -> str:
    return f"monitoring/predictions/{branch}/2026-11-23/100000Z-a1b2c3d4-{chunk}.csv"


def segment(*ids: str) -> str:
    return HEAD + "".join(f'{identity},0,prod,"{{""a"": 1}}"\n' for identity in ids)


def ids(remote: Remote) -> list[str]:
    return [row["request_id"] for row in Written(remote.path).rows()]


def test_rows_of_all_branches_and_side_branches_are_read(remote: Remote) -> None:
    remote.commit("prod", {path("prod"): segment("a", "b"), path("prod", 2): segment("c")})
    remote.commit("team/exp", {path("team~exp"): segment("d")})
    remote.commit("gateway-monitoring/prod", {path("prod", 3): segment("e")})
    written = Written(remote.path)
    rows = list(written.rows())
    assert sorted(row["request_id"] for row in rows) == ["a", "b", "c", "d", "e"]
    assert rows[0]["prediction"] == '{"a": 1}'
    assert (len(written.segments), written.problems) == (4, [])


def test_a_repository_without_segments_has_no_rows(remote: Remote) -> None:
    remote.commit("prod", {"README": "x"})
    assert (ids(remote), Written(remote.path).problems) == ([], [])


def test_what_a_merge_carried_into_another_branch_counts_once(remote: Remote) -> None:
    remote.commit("prod", {path("prod"): segment("a")})
    remote.commit("exp", {path("exp"): segment("b")}, start="prod")
    remote.merge("exp", "prod")
    assert sorted(ids(remote)) == ["a", "b"]
    assert Written(remote.path).problems == []


def test_a_copy_that_is_another_one_is_a_problem(remote: Remote) -> None:
    remote.commit("exp", {path("exp"): segment("b")})
    remote.commit("prod", {path("exp"): segment("other")})
    (said,) = Written(remote.path).problems
    assert path("exp") in said
    assert "another one" in said


def test_a_segment_that_is_only_in_a_branch_it_was_merged_into_is_a_problem(remote: Remote) -> None:
    """Whoever looks for the branch's rows does not find it."""
    remote.commit("exp", {"README": "x"})
    remote.commit("prod", {path("exp"): segment("b")})
    assert Written(remote.path).problems == [f"{path('exp')} is not in its own branch"]
    assert ids(remote) == []


def test_what_is_no_segment_is_a_problem(remote: Remote) -> None:
    remote.commit("prod", {"monitoring/predictions/prod/what.csv": segment("a")})
    (said,) = Written(remote.path).problems
    assert "what.csv is no segment" in said


def test_monitoring_commits_are_counted_apart_from_peoples(remote: Remote) -> None:
    remote.commit("prod", {"README": "x"}, "a person's")
    remote.commit("prod", {path("prod"): segment("a")}, "monitoring: 1 prediction [skip ci]")
    assert Written(remote.path).commits == {"prod": 1}
