"""What is written out is what was committed; what may not be served is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from gitrepo import Remote
from gitrepo import git as person

from gateway.errors import ContentError
from gateway.names import Branch, Commit
from gateway.repositories.content import write_content
from gateway.repositories.fingerprint import SERVED
from gateway.repositories.git import Git

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def write(git: Git, tip: Commit, target: Path, most_bytes: int = 10**9) -> None:
    write_content(
        git, tip, SERVED, target, most_bytes=most_bytes, deadline=30, where=f"prod at {tip}"
    )


def fetched(git: Git, commit: str) -> Commit:
    git.fetch(Commit(commit))
    return Commit(commit)


def tree_commit(remote: Remote, listing: bytes) -> Commit:
    """A commit on prod whose models/ is this literal tree, however wrong."""
    tree = person(
        remote.path, "hash-object", "-t", "tree", "--literally", "-w", "--stdin", stdin=listing
    )
    root = person(remote.path, "mktree", stdin=f"040000 tree {tree}\tmodels\n".encode())
    commit = person(remote.path, "commit-tree", "-m", "hostile", root)
    person(remote.path, "update-ref", "refs/heads/prod", commit)
    return Commit(commit)


def blob(remote: Remote, content: bytes) -> bytes:
    return bytes.fromhex(person(remote.path, "hash-object", "-w", "--stdin", stdin=content))


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


def test_exactly_what_is_served_is_written_and_nothing_else_is_fetched(
    git: Git, remote: Remote, target: Path
) -> None:
    tip = git.fetch_tip(Branch("prod"))
    write(git, tip, target)
    assert names(target) == ["metrics/model.json", "models/model.pkl", "src/serve.py"]
    for name in names(target):
        assert (remote.person / name).read_bytes() == (target / name).read_bytes()
    left = git.missing(e.oid for e in git.ls_tree(tip, recursive=True))
    assert len(left) == 2


def test_a_large_file_and_every_mode_arrive_whole_and_read_only(
    git: Git, remote: Remote, target: Path
) -> None:
    remote.checkout("prod")
    (remote.person / "src/run.sh").write_text("#!/bin/sh\n")
    (remote.person / "src/run.sh").chmod(0o755)
    (remote.person / "src/latest").symlink_to("../models/model.pkl")
    (remote.person / "src/all").symlink_to("../models")
    tip = _pushed(remote)
    write(git, fetched(git, tip), target)
    assert (target / "src/run.sh").stat().st_mode & 0o777 == 0o555
    assert (target / "src/serve.py").stat().st_mode & 0o777 == 0o444
    assert (target / "src/latest").readlink() == Path("../models/model.pkl")
    assert len((target / "src/all/model.pkl").read_bytes()) == 5_000_000


def _pushed(remote: Remote) -> str:
    person(remote.person, "add", "--all")
    person(remote.person, "commit", "--quiet", "-m", "by hand")
    person(remote.person, "push", "--quiet", "origin", "HEAD:refs/heads/prod")
    return person(remote.person, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    "pointed",
    [
        "/etc/passwd",
        "../../outside",
        "../data/train.csv",
        "../.git/annex/objects/x",
        "absent.pkl",
        "a/b/d/../../outside",
        "link.pkl",
    ],
)
def test_a_link_to_what_is_not_served_is_refused_by_name(
    git: Git, remote: Remote, target: Path, pointed: str, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_text("secret")
    remote.checkout("prod")
    folder = remote.person / "models/a/b"
    folder.mkdir(parents=True)
    (folder / "keep").write_text("x")
    (remote.person / "models/a/outside").write_text("looks inside to a lexical check")
    (folder / "d").symlink_to("../..")
    (remote.person / "models/link.pkl").symlink_to(pointed)
    tip = _pushed(remote)
    with pytest.raises(ContentError, match=r"models/link\.pkl is a symbolic link.*not among"):
        write(git, fetched(git, tip), target)


def test_an_lfs_pointer_is_refused_by_name(git: Git, remote: Remote, target: Path) -> None:
    tip = remote.commit("prod", {"models/model.pkl": POINTER})
    with pytest.raises(ContentError, match=r"models/model\.pkl is a git-lfs pointer") as raised:
        write(git, fetched(git, tip), target)
    assert "git lfs untrack" in str(raised.value)


def test_a_file_that_only_quotes_an_lfs_pointer_is_served(
    git: Git, remote: Remote, target: Path
) -> None:
    content = POINTER + "x" * 2000
    tip = remote.commit("prod", {"src/notes.txt": content, "src/b.txt": f"# {POINTER}"})
    write(git, fetched(git, tip), target)
    assert content == (target / "src/notes.txt").read_text()


def test_a_dvc_pointer_without_its_content_is_refused_by_name(
    git: Git, remote: Remote, target: Path
) -> None:
    tip = remote.commit("prod", {"models/big.pkl.dvc": "outs: []\n"})
    with pytest.raises(ContentError, match=r"models/big\.pkl\.dvc is a DVC pointer"):
        write(git, fetched(git, tip), target)


def test_a_dvc_file_beside_its_content_is_served(git: Git, remote: Remote, target: Path) -> None:
    tip = remote.commit("prod", {"models/model.pkl.dvc": "outs: []\n"})
    write(git, fetched(git, tip), target)
    assert "models/model.pkl.dvc" in names(target)


def test_a_submodule_below_what_is_served_is_refused_by_name(
    git: Git, remote: Remote, target: Path
) -> None:
    tip = tree_commit(remote, b"160000 weights\0" + bytes.fromhex(remote.tip("prod")))
    with pytest.raises(ContentError, match="models/weights is a submodule"):
        write(git, fetched(git, tip), target)


@pytest.mark.parametrize("name", [b"..", b".", b".git", b".GIT", b"a/../../../evil", b"/evil"])
def test_a_name_git_should_not_hold_is_refused(
    git: Git, remote: Remote, target: Path, name: bytes
) -> None:
    tip = tree_commit(remote, b"100644 " + name + b"\0" + blob(remote, b"evil"))
    with pytest.raises(ContentError, match="may be written"):
        write(git, fetched(git, tip), target)
    assert names(target) == []


def test_a_file_below_a_link_of_the_same_name_is_refused(
    git: Git, remote: Remote, target: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    inner = bytes.fromhex(
        person(
            remote.path,
            "mktree",
            stdin=b"100644 blob " + blob(remote, b"x").hex().encode() + b"\tevil\n",
        )
    )
    listing = b"120000 d\0" + blob(remote, str(outside).encode()) + b"40000 d\0" + inner
    tip = tree_commit(remote, listing)
    with pytest.raises(ContentError, match="models/d is in the branch's tree twice"):
        write(git, fetched(git, tip), target)
    assert list(outside.iterdir()) == []


def test_more_bytes_than_allowed_name_the_largest_file(
    git: Git, remote: Remote, target: Path
) -> None:
    tip = git.fetch_tip(Branch("prod"))
    with pytest.raises(
        ContentError, match=r"at most 1000000 may be.*models/model\.pkl with 5000000"
    ):
        write(git, tip, target, most_bytes=1_000_000)
    assert names(target) == []


def test_all_refusals_are_said_at_once(git: Git, remote: Remote, target: Path) -> None:
    tip = remote.commit("prod", {f"models/{n}.dvc": "x" for n in range(7)})
    with pytest.raises(ContentError, match=r"models/0\.dvc.*models/4\.dvc.*and 2 more") as raised:
        write(git, fetched(git, tip), target)
    assert f"prod at {tip}: " in str(raised.value)
