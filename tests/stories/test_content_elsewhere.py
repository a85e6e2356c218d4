"""Content that is not in the branch's own blobs: in git-lfs, too large, or data in a submodule."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest
from gitrepo import Remote, git
from lfsserver import LfsServer, pointer, stand_in, tools
from running import Gateway
from waiting import wait_until

from gateway.names import Branch, Commit
from gateway.repositories.data import BranchData
from gateway.repositories.git import Git

#: Answers what its model file holds, so that a test sees which one was loaded.
READS = """
def load(root):
    return (root / "models/x").read_text()
def predict(model, instances):
    return [model[:20] for _ in instances]
"""
SERVED_HERE = {"src/serve.py": READS, "models/x": "in the branch"}


def trouble(gateway: Gateway, branch: str) -> str:
    return gateway.branch(branch)["repository"]["text"] or ""


def decided(remote: Remote, branch: str) -> str:
    """What stands in the branch's pushed decisions."""
    folder = f"monitoring/decisions/{branch}/"
    return "".join(remote.read(branch, path) for path in remote.files(branch, folder))


@pytest.mark.needs("git-lfs")
def test_a_model_in_lfs_is_served_and_a_missing_one_heals_when_it_is_uploaded(
    tmp_path: Path, remote: Remote, gateways: list[Gateway], lfs: LfsServer
) -> None:
    remote.commit("prod", SERVED_HERE)
    git(remote.person, "lfs", "install", "--local")
    git(remote.person, "lfs", "track", "models/*")
    git(remote.person, "config", "--file", ".lfsconfig", "lfs.url", lfs.url)
    git(remote.person, "add", "--all", "--renormalize")
    remote.commit("prod", {"models/x": "in git-lfs " * 100_000})
    assert remote.read("prod", "models/x").startswith("version https://git-lfs")
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    assert gateway.predict().json()["predictions"] == [("in git-lfs " * 3)[:20]]

    # A clone without git-lfs's hooks pushes the pointer and not the content.
    git(remote.person, "config", "core.hooksPath", os.devnull)
    late = remote.commit("prod", {"models/x": "late " * 1000})
    told = wait_until(lambda: trouble(gateway, "prod"), describe=gateway.words)
    assert "models/x is in git-lfs and its content is not on" in str(told)
    assert gateway.predict().json()["predictions"] == [("in git-lfs " * 3)[:20]]
    wait_until(lambda: "git lfs push --all" in decided(remote, "prod"), describe=gateway.words)
    git(remote.person, "lfs", "push", "--all", "origin", "prod")
    wait_until(lambda: gateway.serving("prod") == late, describe=gateway.words)
    assert gateway.predict().json()["predictions"] == [("late " * 4)]
    assert trouble(gateway, "prod") == ""
    assert decided(remote, "prod").count("git lfs push --all") == 1


def test_a_gateway_without_git_lfs_says_what_to_do_and_serves_once_it_is_installed(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", SERVED_HERE)
    path = tools(tmp_path / "bin", "git", "sh", "cat")
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}}, environ={"PATH": path})
    gateways.append(gateway)
    gateway.start()
    tip = remote.commit("prod", {"models/x": pointer(b"installed")})
    wait_until(lambda: "install it there" in decided(remote, "prod"), describe=gateway.words)
    assert "the content of models/x is in git-lfs" in trouble(gateway, "prod")
    assert gateway.predict().json()["predictions"] == ["in the branch"]
    stand_in(tmp_path / "bin", b"installed")
    wait_until(lambda: gateway.serving("prod") == tip, describe=gateway.words)
    assert gateway.predict().json()["predictions"] == ["installed"]


def test_a_raised_limit_serves_what_was_too_large_and_what_only_the_new_file_names(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", SERVED_HERE)
    gateway = Gateway(
        tmp_path / "g", remote, {"prod": {"weight": 1}}, limits={"snapshot_bytes": "2KiB"}
    )
    gateways.append(gateway)
    gateway.start()
    tip = remote.commit("prod", {"models/x": "large " * 1000})
    larger = remote.commit("exp", {"models/x": "larger " * 1000}, start="prod")
    wait_until(lambda: "limits.snapshot_bytes" in trouble(gateway, "prod"), describe=gateway.words)
    both: dict[str, Any] = {"prod": {"weight": 1}, "exp": {"weight": 1}}
    gateway.write(branches=both, limits={"snapshot_bytes": "64KiB"})
    wait_until(lambda: gateway.serving("prod") == tip, describe=gateway.words)
    wait_until(lambda: gateway.get("/branches/exp").status_code == 200, describe=gateway.words)
    wait_until(lambda: gateway.serving("exp") == larger, describe=gateway.words)


class Clone:
    """A person's clone of a project whose data/ is a submodule, as a team works with it."""

    def __init__(self, folder: Path, project: Remote, data: Remote) -> None:
        self.folder = folder
        git(folder.parent, "clone", "--quiet", str(project.path), folder.name)
        self.git("submodule", "--quiet", "add", "--branch", "prod", "../data.git", "data")

    def git(self, *arguments: str) -> str:
        return git(self.folder, "-c", "protocol.file.allow=always", *arguments)

    def train(self) -> None:
        with (self.folder / "data/train.csv").open(newline="") as file:
            values = [float(row["y"]) for row in csv.DictReader(file)]
        (self.folder / "models").mkdir(exist_ok=True)
        (self.folder / "models/x").write_text(f"mean {sum(values) / len(values)}")

    def push(self, branch: str, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)
        return self.pushed(branch)

    def pushed(self, branch: str) -> str:
        self.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        return self.git("rev-parse", "HEAD")


def test_data_is_updated_a_model_retrained_merged_to_prod_and_served(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    data = Remote(tmp_path / "data.git")
    first = data.commit("prod", {"train.csv": "x,y\n1,2\n3,4\n"})
    remote.commit("prod", {"src/serve.py": READS})
    clone = Clone(tmp_path / "clone", remote, data)
    clone.train()
    clone.push("prod", "a first model")
    quiet = {"target": "none"}
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}}, monitoring=quiet)
    gateways.append(gateway)
    gateway.start()
    assert gateway.predict().json()["predictions"] == ["mean 3.0"]

    second = data.commit("prod", {"train.csv": "x,y\n1,2\n3,4\n5,9\n"})
    served = gateway.serving("prod")
    clone.git("submodule", "--quiet", "update", "--remote", "data")
    clone.push("prod", "newer data, the same model")
    wait_until(
        lambda: gateway.branch("prod")["repository"]["tip"] == remote.tip("prod"),
        describe=gateway.words,
    )
    assert gateway.serving("prod") == served

    clone.git("checkout", "--quiet", "-b", "dev")
    clone.train()
    clone.push("dev", "retrained")
    clone.git("checkout", "--quiet", "-B", "prod", "origin/prod")
    clone.git("merge", "--quiet", "--no-ff", "-m", "merge dev", "origin/dev")
    merged = clone.pushed("prod")
    wait_until(
        lambda: gateway.predict().json()["predictions"] == ["mean 5.0"], describe=gateway.words
    )
    assert gateway.predict().json()["commit"] == merged
    assert gateway.metric('gateway_reloads_total{branch="prod",result="swapped"}') == 2

    cache = Git(tmp_path / "m/write", str(remote.path), {"PATH": os.environ["PATH"]})
    cache.prepare()
    reference = BranchData(cache, tmp_path / "m/submodules")
    reference.open()
    target = tmp_path / "m/train.csv"
    pinned = [
        reference.write(Branch("prod"), Commit(tip), "data/train.csv", target, most_bytes=1000)
        for tip in (served or "", merged)
    ]
    assert [source.commit for source in pinned] == [first, second]
    assert target.read_text().endswith("5,9\n")
