"""The cache heals itself, children are bounded and clean, pushes are told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from gitrepo import Remote
from gitrepo import git as person
from waiting import wait_until

from gateway.errors import ConfigError, MissingRef, PushRefused, RemoteUnavailable, StaleTip
from gateway.names import Branch, Commit
from gateway.repositories.credentials import Credentials
from gateway.repositories.git import DamagedCache, Git
from gateway.repositories.gitprocess import Address, Done, GitProcess
from gateway.repositories.pushes import push_error

PROD = Branch("prod")


def hook(repository: Path, name: str, script: str) -> None:
    file = repository / "hooks" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_preparing_a_sound_cache_keeps_what_it_holds(git: Git) -> None:
    tip = git.fetch_tip(PROD)
    assert git.prepare() is False
    assert git.has(tip)


@pytest.mark.parametrize("part", ["HEAD", "config", "packs", "objects"])
def test_a_damaged_cache_is_rebuilt(git: Git, part: str) -> None:
    tip = git.fetch_tip(PROD)
    if part in ("HEAD", "config"):
        (git.cache / part).write_bytes(b"\0garbage")
    elif part == "objects":
        (git.cache / "objects").rename(git.cache / "lost")
    else:
        for pack in (git.cache / "objects" / "pack").iterdir():
            pack.chmod(0o600)
            pack.write_bytes(pack.read_bytes()[:40])
    assert git.prepare() is True
    assert tip == git.fetch_tip(PROD)
    assert git.ls_tree(tip)
    assert [git.cache] == list(git.cache.parent.iterdir())


def test_a_rebuild_for_damage_already_repaired_does_nothing(git: Git) -> None:
    seen = git.generation
    git.rebuild(seen)
    tip = git.fetch_tip(PROD)
    git.rebuild(seen)
    assert git.has(tip)


@pytest.mark.parametrize("name", ["shallow.lock", "refs/kept/{tip}.lock"])
def test_a_dead_processs_lock_is_removed(git: Git, remote: Remote, name: str) -> None:
    git.fetch_tip(PROD)
    tip = remote.commit("prod", {"README.md": "more"})
    lock = git.cache / name.format(tip=tip)
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    assert tip == git.fetch_tip(PROD)
    assert not lock.exists()


def test_a_dead_processs_packed_refs_lock_is_removed(git: Git, remote: Remote) -> None:
    tip = git.fetch_tip(PROD)
    git.run(["pack-refs", "--all"])
    (git.cache / "packed-refs.lock").touch()
    git.forget_all_but([])
    assert git.run(["for-each-ref"]) == b""
    assert git.has(tip)


def test_a_lock_of_the_remote_is_left_alone(git: Git, remote: Remote) -> None:
    tip = git.fetch_tip(PROD)
    lock = remote.path / "refs" / "heads" / "side.lock"
    lock.touch()
    with pytest.raises(StaleTip):
        git.push(tip, "refs/heads/side", None)
    assert lock.exists()


def test_kept_commits_do_not_collide_when_a_branch_becomes_a_folder(
    git: Git, remote: Remote
) -> None:
    remote.commit("exp", {"README.md": "a"}, start="prod")
    git.fetch_tip(Branch("exp"))
    person(remote.path, "update-ref", "-d", "refs/heads/exp")
    person(remote.person, "checkout", "--quiet", "--detach")
    person(remote.person, "branch", "--quiet", "-D", "exp")
    tip = remote.commit("exp/sub", {"README.md": "b"}, start="prod")
    assert tip == git.fetch_tip(Branch("exp/sub"))


def test_refs_of_other_commits_are_forgotten(git: Git, remote: Remote) -> None:
    git.fetch_tip(PROD)
    remote.commit("prod", {"README.md": "more"})
    tip = git.fetch_tip(PROD)
    git.forget_all_but([tip])
    assert f"refs/kept/{tip}" == git.run(["for-each-ref", "--format=%(refname)"]).decode().strip()


def test_names_that_no_branch_can_have_are_not_listed(git: Git, remote: Remote) -> None:
    tip = remote.tip("prod")
    with (remote.path / "packed-refs").open("a") as file:
        file.write(f"{tip} refs/heads/{'n' * 201}\n")
    assert {PROD: tip} == git.heads()


def test_a_remote_without_filters_is_remembered_as_such(
    git: Git, daemon: str, cache_of: Callable[[str], Git], remote: Remote
) -> None:
    person(remote.path, "config", "uploadpack.allowFilter", "false")
    plain = cache_of(daemon)
    tip = plain.fetch_tip(PROD)
    assert not plain.filters
    assert plain.missing(entry.oid for entry in plain.ls_tree(tip, recursive=True)) == []
    assert git.filters


def test_a_commit_the_remote_never_had_is_a_missing_ref(git: Git) -> None:
    with pytest.raises(MissingRef):
        git.fetch(Commit("1" * 40))


def test_local_commands_never_fetch_what_is_missing(git: Git) -> None:
    tip = git.fetch_tip(PROD)
    oid = next(e.oid for e in git.ls_tree(tip, "models"))
    with pytest.raises(DamagedCache):
        git.run(["cat-file", "blob", oid])
    with pytest.raises(DamagedCache), git.blobs() as reader:
        reader.read(oid)
    assert [oid] == git.missing([oid])


def test_a_blob_larger_than_a_pipe_is_streamed_in_pieces(git: Git, remote: Remote) -> None:
    tip = git.fetch_tip(PROD)
    entry = next(e for e in git.ls_tree(tip, "models"))
    git.prefetch([entry.oid])
    pieces: list[bytes] = []
    with git.blobs() as reader:
        assert reader.copy(entry.oid, pieces.append) == 5_000_000
        assert reader.read(tip)[:5] == b"tree "
    assert max(map(len, pieces)) <= 1 << 20
    assert (remote.person / "models/model.pkl").read_bytes() == b"".join(pieces)


def test_a_remote_that_hangs_is_unavailable_and_leaves_no_process(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    pids = tmp_path / "pids"
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\nsleep 600 &\necho $! $$ > {pids}\nwait\n")
    ssh.chmod(0o755)
    git = Git(tmp_path / "c", "ssh://host/x", {**environment, "GIT_SSH_COMMAND": str(ssh)})
    git.prepare()
    with pytest.raises(RemoteUnavailable, match="longer than 5 s"):
        git.heads(deadline=5)
    for pid in pids.read_text().split():
        wait_until(lambda pid=pid: _ended(pid), describe=lambda: pids.read_text())  # type: ignore[misc]


def _ended(pid: str) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_after_close_nothing_is_started_until_prepared_again(git: Git) -> None:
    git.close()
    with pytest.raises(RemoteUnavailable, match="stopping"):
        git.heads()
    git.prepare()
    assert PROD in git.heads()


def test_children_get_the_given_environment_and_no_other(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter22")
    seen = tmp_path / "seen"
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\nenv > {seen}\nexit 1\n")
    ssh.chmod(0o755)
    git = Git(tmp_path / "c", "ssh://host/x", {**environment, "GIT_SSH_COMMAND": str(ssh)})
    git.prepare()
    with pytest.raises(RemoteUnavailable):
        git.heads()
    assert "hunter22" not in seen.read_text()
    assert "GIT_TERMINAL_PROMPT=0" in seen.read_text()


@pytest.mark.parametrize(
    "remote_url",
    [
        "https://ada:s3cr%40t@127.0.0.1:1/x.git",
        "http://s3cr@t@127.0.0.1:1/x.git",
        "ssh://ada:s3cr@t@127.0.0.1:1/x.git",
    ],
)
def test_an_address_with_a_credential_in_it_is_refused_without_showing_it(
    tmp_path: Path, environment: dict[str, str], remote_url: str
) -> None:
    with pytest.raises(ConfigError, match="user or password; use `credentials`") as raised:
        Git(tmp_path / "c", remote_url, environment)
    assert "s3cr" not in repr(raised.value)


def test_a_credential_in_an_address_that_a_transport_names_is_hidden(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\necho "moved to https://ada:s3cr@t@host/x" >&2\nexit 1\n')
    ssh.chmod(0o755)
    git = Git(tmp_path / "c", "ssh://ada@host/x", {**environment, "GIT_SSH_COMMAND": str(ssh)})
    git.prepare()
    with pytest.raises(RemoteUnavailable, match="moved to") as raised:
        git.heads()
    assert "s3cr" not in str(raised.value)


def test_a_repository_of_another_user_is_read_and_written(
    remote: Remote, tmp_path: Path, environment: dict[str, str]
) -> None:
    another = {**environment, "GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    git = Git(tmp_path / "c", str(remote.path), another)
    git.prepare()
    tip = git.fetch_tip(PROD)
    git.push(tip, "refs/heads/side", None)
    assert tip == remote.tip("side")


@pytest.mark.parametrize(
    ("remote_url", "local"),
    [
        ("/srv/x.git", True),
        ("x/y.git", True),
        ("./a:b", True),
        ("file:///srv/x.git", True),
        ("git@host:x.git", False),
        ("ssh://host/x.git", False),
        ("git://host/x.git", False),
    ],
)
def test_local_remotes_are_told_from_distant_ones(remote_url: str, local: bool) -> None:
    assert local == Address(remote_url).local


def test_other_protocols_are_refused(tmp_path: Path, environment: dict[str, str]) -> None:
    canary = tmp_path / "canary"
    (tmp_path / ".gitconfig").write_text('[protocol "ext"]\n\tallow = always\n')
    git = Git(tmp_path / "c", f"ext::touch {canary}", environment)
    git.prepare()
    with pytest.raises(RemoteUnavailable, match="not allowed"):
        git.heads()
    assert not canary.exists()


def test_a_hook_that_declines_is_a_refusal(git: Git, remote: Remote) -> None:
    tip = git.fetch_tip(PROD)
    hook(remote.path, "pre-receive", "echo fetch first; echo no monitoring here >&2; exit 1")
    with pytest.raises(PushRefused, match=r"pre-receive hook declined.*no monitoring here"):
        git.push(tip, "refs/heads/side", None)


def test_an_update_hook_that_declines_is_a_refusal(git: Git, remote: Remote) -> None:
    tip = git.fetch_tip(PROD)
    hook(remote.path, "update", "exit 1")
    with pytest.raises(PushRefused, match="hook declined"):
        git.push(tip, "refs/heads/side", None)


def test_the_checked_out_branch_of_a_work_tree_is_a_refusal(
    remote: Remote, cache_of: Callable[[str], Git]
) -> None:
    git = cache_of(str(remote.person))
    tip = git.fetch_tip(PROD)
    stream = (
        "commit refs/made/it\ncommitter G <g@example.org> 1700000000 +0000\ndata 1\nm\n"
        f"from {tip}\nM 100644 inline monitoring/a.csv\ndata 2\nq\n\n"
    )
    git.run(["fast-import", "--quiet"], stdin=stream.encode())
    made = Commit(git.run(["rev-parse", "refs/made/it"]).decode().strip())
    with pytest.raises(PushRefused, match="checked out"):
        git.push(made, PROD.ref, tip)


def test_a_push_to_a_remote_that_is_away_is_unavailable(git: Git, remote: Remote) -> None:
    tip = git.fetch_tip(PROD)
    remote.path.rename(remote.path.with_name("away"))
    with pytest.raises(RemoteUnavailable):
        git.push(tip, PROD.ref, tip)


@pytest.mark.parametrize(
    ("line", "family"),
    [
        ("[remote rejected] (failed to update ref)", StaleTip),
        ("[remote rejected] (cannot lock ref 'refs/heads/x': is at 1 but expected 2)", StaleTip),
        ("[rejected] (fetch first)", StaleTip),
        ("[remote rejected] (protected branch hook declined)", PushRefused),
        ("[remote rejected] (permission denied)", PushRefused),
        ("[remote rejected] (Internal Server Error)", RemoteUnavailable),
        ("", RemoteUnavailable),
    ],
)
def test_a_servers_words_decide_what_a_failed_push_means(
    line: str, family: type[Exception]
) -> None:
    output = f"To x\n!\ta:refs/heads/x\t{line}\nDone\n" if line else ""
    process = GitProcess(Path("/c"), Address("/x"), {}, Credentials())
    error = push_error(Done(1, output.encode(), "error: it failed"), process, "refs/heads/x")
    assert family is type(error)


def test_nothing_of_the_users_own_git_settings_is_lost(
    git: Git, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / ".gitconfig").write_text("[gateway]\n\tseen = yes\n")
    assert git.run(["config", "gateway.seen"]) == b"yes\n"
