"""Updating production is a merge to prod; undoing it is a revert. Neither fails a request."""

from __future__ import annotations

from pathlib import Path

from gitrepo import Remote, git
from running import Gateway, recorded, serve_py
from traffic import Traffic
from waiting import wait_until


def two_branches(remote: Remote) -> None:
    remote.commit("prod", serve_py("old"))
    remote.commit("exp", serve_py("new"), start="prod")


def test_a_merge_swaps_without_a_failed_request_and_a_revert_brings_the_old_model_back(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    two_branches(remote)
    before = remote.tip("prod")
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}, "exp": {"weight": 0}})
    gateways.append(gateway)
    gateway.start()
    with Traffic(gateway) as traffic:
        merged = remote.merge("exp", "prod")
        wait_until(lambda: gateway.serving("prod") == merged)
        traffic.more(50)
    assert traffic.failures == []
    said = {(body["commit"], body["predictions"][0]) for body in traffic.answered}
    assert said == {(before, "old"), (merged, "new")}
    order = [body["commit"] for body in traffic.answered]
    assert order[0] == before
    assert order[-1] == merged

    with Traffic(gateway) as traffic:
        remote.revert("prod", merged)
        wait_until(lambda: gateway.predict().json()["predictions"] == ["old"])
        traffic.more(50)
    assert traffic.failures == []
    assert {body["predictions"][0] for body in traffic.answered} == {"old", "new"}
    # The content is that of the first commit again, and the answer says so.
    assert gateway.predict().json()["commit"] == before


def test_the_challengers_snapshot_is_reused_by_a_merge(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    two_branches(remote)
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}, "exp": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    snapshots = sorted(path.name for path in (tmp_path / "g/.gateway/snapshots").iterdir())
    merged = remote.merge("exp", "prod")
    wait_until(lambda: gateway.serving("prod") == merged)
    after = sorted(path.name for path in (tmp_path / "g/.gateway/snapshots").iterdir())
    assert after == snapshots
    branches = gateway.get("/branches").json()["branches"]
    assert branches["prod"]["serving"]["fingerprint"] == branches["exp"]["serving"]["fingerprint"]


def test_the_gateways_own_commits_do_not_reload_and_a_restart_changes_neither_commit_nor_epoch(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", {"README.md": "a project"})
    introduced = remote.commit("prod", serve_py("only"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    wait_until(lambda: gateway.serving("prod") == introduced)
    epoch = gateway.get("/branches").json()["epoch"]

    def monitoring_commits() -> int:
        return int(git(remote.path, "rev-list", "--count", f"{introduced}..refs/heads/prod"))

    def one_more() -> None:
        count = monitoring_commits()
        assert gateway.predict().status_code == 200
        wait_until(lambda: monitoring_commits() > count, describe=gateway.words)

    one_more()
    one_more()
    assert gateway.metric('gateway_reloads_total{branch="prod",result="swapped"}') == 1
    assert gateway.stop() == 0
    for number in range(10):
        remote.commit("prod", {f"monitoring/notes/{number}.txt": "by hand"})
    gateway.start()
    wait_until(
        lambda: gateway.branch("prod")["repository"]["tip"] == remote.tip("prod"),
        describe=lambda: gateway.branch("prod"),
    )
    assert gateway.serving("prod") == introduced
    assert gateway.get("/branches").json()["epoch"] == epoch
    assert gateway.predict().json()["commit"] == introduced
    assert gateway.stop() == 0
    assert {row["epoch"] for row in recorded(remote, "prod")} == {epoch}
    assert {row["commit"] for row in recorded(remote, "prod")} == {introduced}


def test_a_fresh_state_directory_finds_the_same_commit_again(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    introduced = remote.commit("prod", serve_py("only"))
    for number in range(10):
        remote.commit("prod", {f"notes/{number}.txt": "quiet"})
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    assert gateway.predict().json()["commit"] == introduced
    # Commits of ours may be on their way.
    wait_until(lambda: gateway.branch("prod")["repository"]["tip"] == remote.tip("prod"))


def test_a_commit_that_was_rewritten_is_named_by_its_new_id(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("only"), "a message with a tpyo")
    gateway = Gateway(
        tmp_path / "g", remote, {"prod": {"weight": 1}}, monitoring={"target": "none"}
    )
    gateways.append(gateway)
    gateway.start()
    git(remote.person, "commit", "--quiet", "--amend", "-m", "a message without")
    git(remote.person, "push", "--quiet", "--force", "origin", "HEAD:refs/heads/prod")
    wait_until(lambda: gateway.serving("prod") == remote.tip("prod"), describe=gateway.words)
    assert gateway.predict().json()["commit"] == remote.tip("prod")
    assert gateway.metric('gateway_reloads_total{branch="prod",result="swapped"}') == 1
