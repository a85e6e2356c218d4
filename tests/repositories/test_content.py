"""What is written out is what was committed; what may not be served is refused by name."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest
from gitrepo import Remote, pin
from gitrepo import git as person
from lfsserver import pointer, pointer_to, stand_in, tools

from gateway.errors import ContentAway, ContentError
from gateway.names import Branch, Commit
from gateway.repositories.content import MOST_FILES, write_content
from gateway.repositories.fingerprint import SERVED
from gateway.repositories.git import Git

POINTER = pointer_to("0" * 64, 12345)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def write(
    git: Git, tip: Commit, target: Path, most_bytes: int = 10**9, most_files: int = MOST_FILES
) -> None:
    write_content(
        git,
        tip,
        SERVED,
        target,
        most_bytes=most_bytes,
        most_files=most_files,
        deadline=120,
        where=f"prod at {tip}",
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
        "by-absolute",
        "a/b/d/../outside",
        "../src/data/train.csv",
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
    # Each of these is refused too, and said first or second.
    (remote.person / "models/by-absolute").symlink_to(remote.person / "models/model.pkl")
    (remote.person / "src/data").symlink_to("../data")
    (remote.person / "models/link.pkl").symlink_to(pointed)
    tip = _pushed(remote)
    with pytest.raises(ContentError, match=r"models/link\.pkl is a symbolic link.*not among"):
        write(git, fetched(git, tip), target)


@pytest.fixture
def bare_path(tmp_path: Path, environment: dict[str, str]) -> Path:
    """The folder of the only tools there are: git, and what its own transports need."""
    environment["PATH"] = tools(tmp_path / "bin", "git", "sh", "cat")
    return tmp_path / "bin"


def test_content_in_lfs_without_git_lfs_is_refused_by_name(
    bare_path: Path, git: Git, remote: Remote, target: Path
) -> None:
    tip = remote.commit("prod", {f"models/{n}.pkl": pointer_to("0" * 64, 1) for n in range(6)})
    with pytest.raises(
        ContentAway, match=r"models/0\.pkl, .*models/4\.pkl and 1 more is"
    ) as raised:
        write(git, fetched(git, tip), target)
    assert f"prod at {tip}: " in str(raised.value)
    assert "install it there, or commit the files themselves" in str(raised.value)


def test_content_in_lfs_is_written_in_the_pointers_place(
    bare_path: Path, git: Git, remote: Remote, target: Path
) -> None:
    content = os.urandom(3_000_000)
    stand_in(bare_path, content)
    tip = remote.commit("prod", {"models/model.pkl": pointer(content)})
    write(git, fetched(git, tip), target)
    assert content == (target / "models/model.pkl").read_bytes()
    assert (target / "models/model.pkl").stat().st_mode & 0o777 == 0o444
    assert list((git.cache / "lfs").iterdir()) == []


@pytest.mark.parametrize(
    ("brought", "said"),
    [(b"y" * 9, "sha256"), (b"x" * 8, "sha256"), (b"x" * 9_000_000, "more than the 9 bytes")],
)
def test_content_that_is_not_the_pointers_is_refused_whatever_git_lfs_says(
    bare_path: Path, git: Git, remote: Remote, target: Path, brought: bytes, said: str
) -> None:
    stand_in(bare_path, brought)
    tip = remote.commit("prod", {"models/model.pkl": pointer(b"x" * 9)})
    with pytest.raises(ContentAway, match=rf"{said}.*git lfs push --all"):
        write(git, fetched(git, tip), target)


@pytest.mark.parametrize("size", [5, 500])
def test_a_pointer_that_lies_about_the_size_is_refused_for_good(
    bare_path: Path, git: Git, remote: Remote, target: Path, size: int
) -> None:
    stand_in(bare_path, b"x" * 50)
    lie = pointer_to(sha256(b"x" * 50).hexdigest(), size)
    tip = remote.commit("prod", {"models/model.pkl": lie})
    with pytest.raises(ContentError, match=f"says {size} bytes, and its content has 50") as raised:
        write(git, fetched(git, tip), target)
    assert not isinstance(raised.value, ContentAway)


def test_what_pointers_stand_for_counts_before_anything_is_brought(
    bare_path: Path, git: Git, remote: Remote, target: Path
) -> None:
    """Without git-lfs: had it been asked first, that would be the reason."""
    files = {f"models/{n}.pkl": pointer_to(f"{n}" * 64, 600) for n in range(2)}
    tip = remote.commit("prod", {**files, "models/model.pkl": None})
    with pytest.raises(ContentError, match=r"at most 1200 may be \(limits\.snapshot_bytes"):
        write(git, fetched(git, tip), target, most_bytes=1200)
    assert names(target) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pointer_to("0" * 64, 1).replace("spec/v1", "spec/v2"), "begins like a git-lfs pointer"),
        (pointer_to("A" * 64, 1), "begins like a git-lfs pointer"),
        (pointer_to("0" * 64, 1).replace("size 1", "size -1"), "begins like a git-lfs pointer"),
        (pointer_to("0" * 64, 1) + "x 1\n", "begins like a git-lfs pointer"),
        (pointer_to("0" * 64, 1).replace("oid", "ext-0-run sha256:1\noid"), "with an extension"),
        ("xet://hub/team/model.pkl\n", "XetHub pointer.*commit it itself, or keep it in git-lfs"),
        ("# xet version 0\nfilesize = 10\nhash = 'ab'\n", "XetHub pointer"),
    ],
)
def test_a_pointer_that_leads_nowhere_is_refused_by_name(
    git: Git, remote: Remote, target: Path, content: str, said: str
) -> None:
    tip = remote.commit("prod", {"models/model.pkl": content})
    with pytest.raises(ContentError, match=rf"models/model\.pkl .*{said}"):
        write(git, fetched(git, tip), target)
    assert names(target) == []


def test_a_file_that_only_quotes_an_lfs_pointer_is_served(
    git: Git, remote: Remote, target: Path
) -> None:
    content = POINTER + "x" * 2000
    quoted = {"src/b.txt": f"# {POINTER}", "src/c.py": "url = 'xet://hub/x'\n# xet version 0\n"}
    tip = remote.commit("prod", {"src/notes.txt": content, **quoted})
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


@pytest.mark.parametrize("path", ["models", "models/weights", "src/vendored"])
@pytest.mark.parametrize("url", [None, "../weights.git", "https://tok3n@hub/w.git", "xet://hub/w"])
def test_a_submodule_in_what_is_served_is_refused_by_name(
    git: Git, remote: Remote, target: Path, path: str, url: str | None
) -> None:
    tip = pin(remote, "prod", path, url, remote.tip("prod"))
    with pytest.raises(ContentError, match=f"{path} is a submodule") as raised:
        write(git, fetched(git, tip), target)
    assert f"git rm --cached {path}" in str(raised.value)
    assert (url or "").replace("tok3n", "***") in str(raised.value)
    assert "tok3n" not in str(raised.value)


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


@pytest.mark.parametrize("pointed", [b"a" * 4097, b"models\0/x"])
def test_a_link_to_no_possible_path_is_refused(
    git: Git, remote: Remote, target: Path, pointed: bytes
) -> None:
    tip = tree_commit(remote, b"120000 link\0" + blob(remote, pointed))
    with pytest.raises(ContentError, match="models/link is a symbolic link to no possible path"):
        write(git, fetched(git, tip), target)
    assert names(target) == []


def test_more_files_than_allowed_are_refused_by_their_number(
    git: Git, remote: Remote, target: Path
) -> None:
    tip = remote.commit("prod", {f"models/parts/{n}": "x" for n in range(5)})
    write(git, fetched(git, tip), target, most_files=8)
    tip = remote.commit("prod", {"models/parts/one-more": "x"})
    with pytest.raises(ContentError, match=r"more than 8 files .* many are in models/parts/"):
        write(git, fetched(git, tip), target, most_files=8)


def test_a_few_trees_that_stand_for_any_number_of_files_are_refused(
    git: Git, remote: Remote, target: Path
) -> None:
    """Ten to the twelfth files in a dozen trees: listed whole, they would fill the memory."""
    line = b"100644 blob " + blob(remote, b"x").hex().encode()
    for _ in range(12):
        listing = b"".join(line + b"\t%d\n" % n for n in range(10))
        line = b"040000 tree " + person(remote.path, "mktree", stdin=listing).encode()
    root = person(remote.path, "mktree", stdin=line + b"\tmodels\n")
    tip = person(remote.path, "commit-tree", "-m", "hostile", root)
    person(remote.path, "update-ref", "refs/heads/prod", tip)
    with pytest.raises(ContentError, match="more than 100000 files"):
        write(git, fetched(git, tip), target)


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
