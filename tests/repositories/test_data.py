"""A branch's data for the monitor: from the branch, git-lfs or a submodule, or refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from gitrepo import Remote, pin
from gitrepo import git as person
from lfsserver import pointer, stand_in, tools

from gateway.errors import ContentAway, ContentError, RemoteUnavailable
from gateway.names import Branch, Commit
from gateway.repositories.data import BranchData, Source
from gateway.repositories.fingerprint import fingerprint, served_entries
from gateway.repositories.git import Git

PROD = Branch("prod")
ROWS = b"x,y\n" + b"1,0\n" * 50_000


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    made = Remote(tmp_path / "remote.git")
    made.commit("prod", {"src/serve.py": "x", "data/train.csv": ROWS, "data/raw/a.csv": "a\n"})
    return made


@pytest.fixture
def data(tmp_path: Path) -> Remote:
    """What data/ is a submodule of."""
    made = Remote(tmp_path / "data.git")
    made.commit("prod", {"train.csv": ROWS, "raw/a.csv": "a\n"})
    person(made.path, "config", "uploadpack.allowFilter", "true")
    return made


class Reader:
    """A monitor's write cache, and one file at a time out of it."""

    def __init__(self, git: Git, folder: Path) -> None:
        self.git = git
        self.caches = folder / "submodules"
        self.target = folder / "reference/train.csv"
        self.data = BranchData(git, self.caches, deadline=120)
        self.data.open()

    def read(
        self, commit: str, path: str = "data/train.csv", most_bytes: int = 10**6
    ) -> tuple[Source, bytes]:
        source = self.data.write(PROD, Commit(commit), path, self.target, most_bytes=most_bytes)
        return source, self.target.read_bytes()


@pytest.fixture
def reader(url: str, cache_of: Callable[[str], Git], tmp_path: Path) -> Reader:
    """Over a path, file:// and git daemon in turn."""
    return Reader(cache_of(url), tmp_path / "m")


@pytest.fixture
def local(git: Git, tmp_path: Path) -> Reader:
    return Reader(git, tmp_path / "m")


def test_a_file_of_the_branch_itself_is_brought(reader: Reader, remote: Remote) -> None:
    tip = remote.tip("prod")
    source, content = reader.read(tip)
    assert content == ROWS
    wanted = (tip, "data/train.csv", len(ROWS), sha256(ROWS).hexdigest())
    assert wanted == (source.commit, source.path, source.size, source.sha256)
    assert source.address == reader.git.address.shown
    assert [path.name for path in reader.target.parent.iterdir()] == ["train.csv"]


def test_a_submodule_is_read_at_its_pinned_commit(
    reader: Reader, remote: Remote, data: Remote
) -> None:
    pinned = data.tip("prod")
    tip = pin(remote, "prod", "data", "../data.git", pinned)
    data.commit("prod", {"train.csv": "newer\n"})
    source, content = reader.read(tip)
    assert content == ROWS
    assert (pinned, "train.csv") == (source.commit, source.path)
    assert source.address.endswith("/data.git")
    moved = pin(remote, "prod", "data", None, data.tip("prod"))
    assert reader.read(moved)[1] == b"newer\n"
    assert reader.read(tip)[1] == ROWS
    assert len(list(reader.caches.iterdir())) == 1


def test_a_submodule_below_data_and_one_inside_it_are_read(
    reader: Reader, remote: Remote, data: Remote, tmp_path: Path
) -> None:
    inner = Remote(tmp_path / "raw.git")
    rows = inner.commit("prod", {"2026/b.csv": "b\n"})
    nested = pin(data, "prod", "raw", "./../raw.git", rows)
    pin(remote, "prod", "data/raw", "../raw.git", rows)
    assert reader.read(remote.tip("prod"), "data/raw/2026/b.csv")[1] == b"b\n"
    tip = pin(remote, "prod", "data", "../data.git", nested)
    source, content = reader.read(tip, "data/raw/2026/b.csv")
    assert content == b"b\n"
    assert (rows, "2026/b.csv") == (source.commit, source.path)


@pytest.mark.parametrize("filters", [True, False])
def test_a_server_that_refuses_ids_is_asked_for_its_branches(
    daemon: str,
    cache_of: Callable[[str], Git],
    remote: Remote,
    data: Remote,
    tmp_path: Path,
    filters: bool,
) -> None:
    (tmp_path / ".gitconfig").write_text("[protocol]\n\tversion = 0\n")
    person(remote.path, "config", "uploadpack.allowAnySHA1InWant", "true")
    person(data.path, "config", "uploadpack.allowFilter", str(filters).lower())
    reader = Reader(cache_of(daemon), tmp_path / "m")
    pinned = data.tip("prod")
    tip = pin(remote, "prod", "data", "../data.git", pinned)
    assert reader.read(tip)[0].commit == pinned
    data.commit("prod", {"notes": "x"})
    again = Reader(cache_of(daemon), tmp_path / "again")
    assert again.read(tip)[0].commit == pinned
    newer = data.commit("other", {"train.csv": "newer\n"})
    assert again.read(pin(remote, "prod", "data", None, newer))[1] == b"newer\n"
    absent = pin(remote, "prod", "data", None, "1" * 40)
    with pytest.raises(ContentAway, match=f"pinned at {'1' * 40}, which is not on"):
        again.read(absent)


def test_a_pinned_commit_that_was_not_pushed_is_named_and_heals(
    reader: Reader, remote: Remote, data: Remote
) -> None:
    (data.person / "train.csv").write_text("unpushed\n")
    person(data.person, "commit", "--quiet", "-am", "unpushed")
    unpushed = person(data.person, "rev-parse", "HEAD")
    tip = pin(remote, "prod", "data", "../data.git", unpushed)
    with pytest.raises(
        ContentAway, match=rf"data is a submodule pinned at {unpushed}.*data\.git: push it there"
    ):
        reader.read(tip)
    person(data.person, "push", "--quiet", "origin", "HEAD:refs/heads/prod")
    assert reader.read(tip)[1] == b"unpushed\n"


def test_a_submodule_whose_repository_is_away_is_unavailable(
    reader: Reader, remote: Remote
) -> None:
    tip = pin(remote, "prod", "data", "../nowhere.git", "1" * 40)
    with pytest.raises(RemoteUnavailable, match=r"nowhere\.git"):
        reader.read(tip)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("data/absent.csv", "no data/absent.csv; looked for data/absent.csv"),
        ("absent/train.csv", "no absent; looked for absent/train.csv"),
        ("data", "data is a folder"),
        ("data/raw", "data/raw is a folder"),
        ("data/train.csv/x", "data/train.csv is a file"),
        ("data/latest.csv", "data/latest.csv is a symbolic link"),
        ("latest/train.csv", "latest is a symbolic link"),
        ("../etc/passwd", "not a path inside a branch"),
        ("/etc/passwd", "not a path inside a branch"),
        ("-x/../y", "not a path inside a branch"),
        ("", "not a path inside a branch"),
    ],
)
@pytest.mark.parametrize("submodule", [False, True])
def test_a_path_that_names_no_file_is_refused_by_name(
    local: Reader, remote: Remote, data: Remote, path: str, said: str, submodule: bool
) -> None:
    remote.checkout("prod")
    (remote.person / "latest").symlink_to("data")
    _push_link(remote, "data/latest.csv")
    if submodule:
        data.checkout("prod")
        _push_link(data, "latest.csv")
        pin(remote, "prod", "data", "../data.git", data.tip("prod"))
    local.target.parent.mkdir(parents=True)
    local.target.write_text("before")
    with pytest.raises(ContentError, match=said) as raised:
        local.read(remote.tip("prod"), path)
    assert f"prod at {remote.tip('prod')}: " in str(raised.value)
    assert local.target.read_text() == "before"


def _push_link(repository: Remote, path: str) -> None:
    (repository.person / path).symlink_to("train.csv")
    person(repository.person, "add", "--all")
    person(repository.person, "commit", "--quiet", "-m", "links")
    person(repository.person, "push", "--quiet", "origin", "HEAD:refs/heads/prod")


def test_more_bytes_than_allowed_are_refused_and_nothing_is_written(
    local: Reader, remote: Remote
) -> None:
    with pytest.raises(
        ContentError, match=rf"data/train\.csv has {len(ROWS)} bytes, and at most 9"
    ):
        local.read(remote.tip("prod"), most_bytes=9)
    assert not local.target.exists()
    assert local.read(remote.tip("prod"), most_bytes=len(ROWS))[1] == ROWS


def test_data_in_lfs_is_brought_also_in_a_submodule(
    local: Reader, remote: Remote, data: Remote, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["PATH"] = tools(tmp_path / "bin", "git", "sh", "cat")
    git = Git(tmp_path / "c", str(remote.path), environment)
    git.prepare()
    reader = Reader(git, tmp_path / "m2")
    pin(remote, "prod", "data", "../data.git", data.commit("prod", {"train.csv": pointer(ROWS)}))
    with pytest.raises(ContentAway, match=r"data/train\.csv is in git-lfs, which is not installed"):
        reader.read(remote.tip("prod"))
    stand_in(tmp_path / "bin", ROWS)
    with pytest.raises(ContentError, match=f"has {len(ROWS)} bytes, and at most 9 are read"):
        reader.read(remote.tip("prod"), most_bytes=9)
    source, content = reader.read(remote.tip("prod"))
    assert (content, source.sha256) == (ROWS, sha256(ROWS).hexdigest())


def test_a_xethub_file_is_refused_by_name(local: Reader, remote: Remote) -> None:
    tip = remote.commit("prod", {"data/train.csv": "xet://hub/train.csv\n"})
    with pytest.raises(ContentError, match=r"data/train\.csv is a XetHub pointer"):
        local.read(tip)


def test_another_server_gets_nothing_of_the_credentials(
    daemon: str, remote: Remote, environment: dict[str, str], tmp_path: Path
) -> None:
    """ssh is what says what it was given; the monitor's own remote is another server."""
    seen = tmp_path / "seen"
    bin_folder = tmp_path / "bin"
    path = tools(bin_folder, "git", "sh", "env")
    for name in ("ssh", "keyed"):
        (bin_folder / name).write_text(f"#!/bin/sh\necho {name} >> {seen}\nenv >> {seen}\nexit 1\n")
        (bin_folder / name).chmod(0o755)
    secrets = {"GIT_SSH_COMMAND": "keyed", "SSH_AUTH_SOCK": "s3cret", "GIT_ASKPASS": "s3cret"}
    git = Git(tmp_path / "c", daemon, {**environment, "PATH": path, **secrets})
    git.prepare()
    tip = pin(remote, "prod", "data", "ssh://git@other.example.org/data.git", "1" * 40)
    with pytest.raises(RemoteUnavailable):
        Reader(git, tmp_path / "m").read(tip)
    told = seen.read_text()
    assert told.startswith("ssh\n")
    assert "keyed" not in told
    assert "s3cret" not in told


def test_caches_of_submodules_that_are_damaged_are_made_anew(
    local: Reader, remote: Remote, data: Remote
) -> None:
    tip = pin(remote, "prod", "data", "../data.git", data.tip("prod"))
    assert local.read(tip)[1] == ROWS
    for cache in local.caches.iterdir():
        (cache / "HEAD").write_text("garbage")
        for pack in (cache / "objects/pack").iterdir():
            pack.unlink()
    assert local.read(tip)[1] == ROWS


def test_only_the_last_used_caches_are_kept(
    local: Reader, remote: Remote, data: Remote, tmp_path: Path
) -> None:
    for number in range(10):
        copy = tmp_path / f"data{number}.git"
        person(tmp_path, "clone", "--quiet", "--bare", str(data.path), str(copy))
        tip = pin(remote, "prod", "data", f"../{copy.name}", data.tip("prod"))
        assert local.read(tip)[1] == ROWS
    assert len(list(local.caches.iterdir())) == 8


def test_a_stopping_monitor_ends_what_a_submodule_is_asked_for(
    local: Reader, remote: Remote, data: Remote
) -> None:
    tip = pin(remote, "prod", "data", "../data.git", data.tip("prod"))
    local.read(tip)
    local.git.close()
    newer = data.commit("prod", {"train.csv": "newer\n"})
    with pytest.raises(RemoteUnavailable, match="stopping"):
        local.read(pin(remote, "prod", "data", None, newer))


def test_a_move_of_data_alone_changes_no_fingerprint(
    local: Reader, remote: Remote, data: Remote
) -> None:
    def found() -> str:
        tip = local.git.fetch_tip(PROD)
        return fingerprint(served_entries(local.git, tip, None, where="prod"))

    before = found()
    remote.commit("prod", {"data/train.csv": "other\n"})
    assert before == found()
    pin(remote, "prod", "data", "../data.git", data.tip("prod"))
    assert before == found()
    pin(remote, "prod", "data", None, data.commit("prod", {"train.csv": os.urandom(9)}))
    assert before == found()
    remote.commit("prod", {"src/serve.py": "y"})
    assert before != found()
