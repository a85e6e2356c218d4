"""What is a folder, and what is git's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gitrepo import Remote
from mounted import Mounted

from gateway.names import Branch
from gateway.repositories.kind import folder_of, former_address, located

BRANCHES = [Branch("prod"), Branch("team/exp")]


def test_a_plain_folder_with_the_sub_folder_of_a_branch_is_one(tmp_path: Path) -> None:
    folder = Mounted(tmp_path / "models")
    folder.write("team/exp", {"models/m.pkl": "x"})
    address = located(str(folder.path), BRANCHES)
    assert address == folder.address
    found = folder_of(address)
    assert found is not None
    assert found.path == folder.path


def test_git_repositories_are_none_whatever_they_hold(tmp_path: Path, remote: Remote) -> None:
    for path in (remote.path, remote.person):
        (path / "prod").mkdir()
        assert located(str(path), BRANCHES) == str(path)
        assert folder_of(str(path)) is None


@pytest.mark.parametrize("name", ["absent", "empty", "file"])
def test_what_may_still_become_a_git_repository_is_left_to_git(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("a bundle")
    path = str(tmp_path / name)
    assert located(path, BRANCHES) == path


@pytest.mark.parametrize(
    "address", ["https://git.example.org/x.git", "git@host:x.git", "file:///srv/x", "folder:///mnt"]
)
def test_an_address_says_itself_what_it_is(address: str) -> None:
    assert located(address, BRANCHES) == address
    assert (folder_of(address) is not None) == address.startswith("folder://")


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_stays_one_while_its_mount_is_away(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "models"
    if there:
        path.mkdir()
    settings = tmp_path / "settings.json"
    assert former_address(settings) is None
    settings.write_text("{")
    assert former_address(settings) is None
    settings.write_text(json.dumps({"repository": f"folder://{path}"}))
    assert located(str(path), BRANCHES, former_address(settings)) == f"folder://{path}"
    assert located(str(tmp_path / "other"), BRANCHES, former_address(settings)) == str(
        tmp_path / "other"
    )
