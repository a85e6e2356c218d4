"""What befalls a repository and a machine: serving goes on, status says it, and it heals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from gitrepo import Remote, git
from running import Gateway, recorded, serve_py
from traffic import Traffic
from waiting import wait_until


def repository(gateway: Gateway, branch: str = "prod") -> dict[str, Any]:
    found: dict[str, Any] = gateway.branch(branch)["repository"]
    return found


def trouble(gateway: Gateway, reason: str, branch: str = "prod") -> float:
    return gateway.metric(f'gateway_branch_trouble{{branch="{branch}",reason="{reason}"}}')


def start(
    tmp_path: Path, remote: Remote, gateways: list[Gateway], *branches: str, **settings: Any
) -> Gateway:
    weights = {branch: {"weight": 1} for branch in branches or ("prod",)}
    gateway = Gateway(tmp_path / "g", remote, weights, **settings)
    gateways.append(gateway)
    return gateway.start()


def test_force_pushes_and_a_branch_deleted_and_recreated_fail_no_request(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    good = remote.commit("prod", serve_py("good"))
    remote.commit("exp", serve_py("exp"), start="prod")
    gateway = start(tmp_path, remote, gateways, "prod", "exp")
    with Traffic(gateway) as traffic:
        wrong = remote.commit("prod", serve_py("wrong"))
        wait_until(lambda: gateway.serving("prod") == wrong, describe=gateway.words)
        git(remote.path, "update-ref", "refs/heads/prod", good)
        wait_until(lambda: gateway.serving("prod") == good, describe=gateway.words)
        git(remote.path, "update-ref", "-d", "refs/heads/exp")
        wait_until(lambda: trouble(gateway, "missing", "exp"))
        said = repository(gateway, "exp")
        assert "the repository has no branch exp; what it held at" in said["text"]
        traffic.more(20)
        # Its rows cannot go to a branch that is not there.
        wait_until(lambda: recorded(remote, "exp", "gateway-monitoring/exp"))
        wait_until(lambda: gateway.metric('gateway_branch_diverted{branch="exp"}') == 1)
        again = remote.commit("exp", serve_py("again"), start="prod")
        wait_until(lambda: gateway.serving("exp") == again, describe=gateway.words)
        assert trouble(gateway, "missing", "exp") == 0
        traffic.more(20)
        wait_until(lambda: gateway.metric('gateway_branch_diverted{branch="exp"}') == 0)
    assert traffic.failures == []
    # Whatever was rewritten on prod stayed as the person left it.
    assert git(remote.path, "merge-base", "--is-ancestor", good, "refs/heads/prod") == ""


def test_a_branch_that_becomes_a_folder_of_branches_is_followed(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    remote.commit("exp", serve_py("exp"), start="prod")
    gateway = start(tmp_path, remote, gateways, "prod", "exp")
    with Traffic(gateway) as traffic:
        git(remote.path, "update-ref", "-d", "refs/heads/exp")
        remote.checkout("prod")
        git(remote.person, "branch", "-D", "--quiet", "exp")
        nested = remote.commit("exp/sub", serve_py("sub"), start="prod")
        weights = {name: {"weight": 1} for name in ("prod", "exp", "exp/sub")}
        gateway.write(branches=weights)
        wait_until(
            lambda: gateway.get("/branches/exp/sub").status_code == 200, describe=gateway.words
        )
        wait_until(lambda: gateway.serving("exp/sub") == nested, describe=gateway.words)
        wait_until(lambda: trouble(gateway, "missing", "exp"))
        traffic.more(40)
        # Both have rows at once, one of them on its side branch.
        wait_until(
            lambda: recorded(remote, "exp", "gateway-monitoring/exp"), describe=gateway.words
        )
        wait_until(lambda: recorded(remote, "exp/sub"), describe=gateway.words)
    assert traffic.failures == []


def test_a_remote_that_answers_nonsense_or_not_at_all_is_said_and_heals(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    gateway = start(tmp_path, remote, gateways)
    with Traffic(gateway) as traffic:
        head = remote.path / "HEAD"
        whole = head.read_text()
        head.write_text("what is this\n")
        wait_until(lambda: gateway.metric("gateway_repository_up") == 0)
        assert trouble(gateway, "remote") == 1
        assert "does not appear to be a git repository" in repository(gateway)["text"]
        assert gateway.is_ready()
        head.write_text(whole)
        newer = remote.commit("prod", serve_py("newer"))
        wait_until(lambda: gateway.serving("prod") == newer, 60.0, gateway.words)
        assert gateway.metric("gateway_repository_up") == 1
        assert trouble(gateway, "remote") == 0
    assert traffic.failures == []


@pytest.mark.parametrize("cache", ["read", "write"])
def test_a_cache_destroyed_while_serving_is_begun_anew(
    tmp_path: Path, remote: Remote, gateways: list[Gateway], cache: str
) -> None:
    remote.commit("prod", serve_py("old"))
    gateway = start(tmp_path, remote, gateways)
    with Traffic(gateway) as traffic:
        wait_until(lambda: recorded(remote, "prod"), describe=gateway.words)
        # Whole, and not file by file: git may be writing into it.
        objects = gateway.folder / ".gateway" / "git" / cache / "objects"
        objects.rename(tmp_path / "destroyed")
        newer = remote.commit("prod", serve_py("newer"))
        wait_until(lambda: gateway.serving("prod") == newer, 60.0, gateway.words)
        asked = gateway.predict().json()["request_id"]
        wait_until(lambda: asked in {row["request_id"] for row in recorded(remote, "prod")}, 60.0)
    assert traffic.failures == []


@pytest.mark.needs("unshare")
@pytest.mark.timeout(400)
def test_with_the_disk_full_serving_goes_on_and_all_heals_when_there_is_room(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    old = remote.commit("prod", serve_py("old"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    state = gateway.folder / ".gateway"
    state.mkdir()
    script = 'mount -t tmpfs -o size=24m tmpfs "$0" && exec "$@"'
    gateway.prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(state)]
    gateway.start()
    assert gateway.process is not None
    filler = Path(f"/proc/{gateway.process.pid}/root{state}/filler")
    with Traffic(gateway) as traffic:
        fill(filler)
        new = remote.commit("prod", {**serve_py("new"), "models/large.bin": os.urandom(300_000)})
        wait_until(lambda: gateway.get("/branches").json()["recording"]["dropping"], 60.0)
        wait_until(lambda: trouble(gateway, "machine"), 60.0, gateway.words)
        assert "No space left on device" in repository(gateway)["text"]
        assert gateway.serving("prod") == old
        assert gateway.metric("gateway_journal_dropped_rows_total") > 0
        traffic.more(20)
        filler.unlink()
        wait_until(lambda: gateway.serving("prod") == new, 90.0, gateway.words)
        wait_until(lambda: not gateway.get("/branches").json()["recording"]["dropping"], 60.0)
        assert trouble(gateway, "machine") == 0
        asked = gateway.predict().json()["request_id"]
        wait_until(
            lambda: asked in {row["request_id"] for row in recorded(remote, "prod")},
            60.0,
            gateway.words,
        )
    assert traffic.failures == []


def fill(filler: Path) -> None:
    """Take all the room there is on the filler's disk."""
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
