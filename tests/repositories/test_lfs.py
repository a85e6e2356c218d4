"""Content in git-lfs by git-lfs itself: from its server or a repository on disk, or refused."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from gitrepo import Remote
from gitrepo import git as person
from lfsserver import Fault, LfsServer, pointer_to
from waiting import wait_until

from gateway.errors import ContentAway, ContentError, GatewayError, RemoteUnavailable
from gateway.names import Branch, Commit
from gateway.repositories.arrivals import Arrivals
from gateway.repositories.git import Git
from gateway.repositories.lfs import LargeFiles, large_files
from gateway.repositories.pointers import parse_pointer

pytestmark = pytest.mark.needs("git-lfs")

PROD = Branch("prod")
CONTENT = os.urandom(3_000_000)
OID = sha256(CONTENT).hexdigest()


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    made = Remote(tmp_path / "remote.git")
    made.commit("prod", {"README.md": "churn"})
    return made


def lfsconfig(server: LfsServer) -> str:
    return f"[lfs]\n\turl = {server.url}\n"


def in_lfs(remote: Remote, server: LfsServer, content: bytes = CONTENT) -> Commit:
    """The new tip of prod, whose model is on the server."""
    files = {"models/model.pkl": server.add(content), ".lfsconfig": lfsconfig(server)}
    return Commit(remote.commit("prod", files))


def bring(git: Git, tip: Commit, pointer: str) -> bytes:
    found = parse_pointer(pointer.encode())
    assert found is not None
    pieces: list[bytes] = []
    git.fetch(tip)
    with large_files(git, tip, {"models/m.pkl": found}, deadline=120, where="prod") as lfs:
        lfs.copy("models/m.pkl", found, pieces.append)
    return b"".join(pieces)


def test_a_model_on_the_lfs_server_becomes_a_complete_snapshot(
    arrivals_in: Callable[..., Arrivals], remote: Remote, lfs: LfsServer, tmp_path: Path
) -> None:
    tip = in_lfs(remote, lfs)
    arrivals = arrivals_in(tmp_path / "s", str(remote.path))
    move, lease = arrivals.take(PROD, tip, None)
    assert (move.root / "models/model.pkl").read_bytes() == CONTENT
    assert lfs.downloads == [OID]
    lease.release()
    left = [path.name for path in (tmp_path / "s/git").rglob("*") if OID in path.name]
    assert left == []
    quiet = remote.commit("prod", {"README.md": "x"})
    arrivals.take(PROD, Commit(quiet), None)[1].release()
    assert lfs.downloads == [OID]


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_content_in_the_lfs_folder_of_a_repository_on_disk_is_brought(
    remote: Remote, cache_of: Callable[[str], Git], form: str
) -> None:
    folder = remote.path / "lfs/objects" / OID[:2] / OID[2:4]
    folder.mkdir(parents=True)
    (folder / OID).write_bytes(CONTENT)
    pointer = pointer_to(OID, len(CONTENT))
    tip = Commit(remote.commit("prod", {"models/m.pkl": pointer}))
    git = cache_of(form.format(remote.path))
    assert bring(git, tip, pointer) == CONTENT
    (folder / OID).write_bytes(b"x" * len(CONTENT))
    with pytest.raises(ContentAway, match="sha256"):
        bring(git, tip, pointer)
    (folder / OID).unlink()
    with pytest.raises(ContentAway, match=r"models/m\.pkl is in git-lfs and its content is not on"):
        bring(git, tip, pointer)


@pytest.mark.parametrize(
    ("fault", "family", "said"),
    [
        ("missing", ContentAway, "content is not on .*git lfs push --all"),
        ("404", ContentAway, "content is not on .*git lfs push --all"),
        ("410", ContentAway, "content is not on .*git lfs push --all"),
        ("wrong", ContentAway, r"sha256 differs.*git lfs push --all"),
        ("longer", ContentAway, r"sha256 differs.*git lfs push --all"),
        ("endless", ContentAway, "more than the 3000000 bytes"),
        ("truncated", RemoteUnavailable, "unexpected EOF"),
        ("403", RemoteUnavailable, "LFS: no"),
        ("500", RemoteUnavailable, "Fatal error: no"),
    ],
)
def test_what_a_server_does_wrong_is_named_reaches_no_snapshot_and_heals(
    arrivals_in: Callable[..., Arrivals],
    remote: Remote,
    lfs: LfsServer,
    tmp_path: Path,
    fault: Fault,
    family: type[GatewayError],
    said: str,
) -> None:
    tip = in_lfs(remote, lfs)
    arrivals = arrivals_in(tmp_path / "s", str(remote.path))
    lfs.faults[OID] = fault
    with pytest.raises(
        GatewayError, match=rf"models/model\.pkl.*{said}|{said}.*models/m"
    ) as raised:
        arrivals.take(PROD, tip, None)
    assert type(raised.value) is family
    assert list((tmp_path / "s/snapshots").iterdir()) == []
    lfs.faults.clear()
    move, lease = arrivals.take(PROD, tip, None)
    assert (move.root / "models/model.pkl").read_bytes() == CONTENT
    lease.release()


@pytest.mark.parametrize(
    ("status", "family"), [(404, ContentAway), (401, RemoteUnavailable), (503, RemoteUnavailable)]
)
def test_a_server_that_refuses_to_answer_is_told_from_one_that_has_nothing(
    git: Git, remote: Remote, lfs: LfsServer, status: int, family: type[GatewayError]
) -> None:
    tip = in_lfs(remote, lfs)
    lfs.refuses = status
    with pytest.raises(GatewayError) as raised:
        bring(git, tip, pointer_to(OID, len(CONTENT)))
    assert type(raised.value) is family


def test_a_server_that_is_away_is_unavailable(git: Git, remote: Remote) -> None:
    with LfsServer() as server:
        tip = in_lfs(remote, server)
    with pytest.raises(RemoteUnavailable, match=r"git lfs smudge of models/m\.pkl: .*refused"):
        bring(git, tip, pointer_to(OID, len(CONTENT)))


def test_nothing_is_asked_for_where_the_pointers_promise_too_much(
    arrivals_in: Callable[..., Arrivals], remote: Remote, lfs: LfsServer, tmp_path: Path
) -> None:
    tip = in_lfs(remote, lfs)
    arrivals = arrivals_in(tmp_path / "s", str(remote.path))
    arrivals.bound(1_000_000)
    with pytest.raises(ContentError, match=r"limits\.snapshot_bytes"):
        arrivals.take(PROD, tip, None)
    assert lfs.requests == []


def test_the_branchs_lfsconfig_names_the_server_and_nothing_else(
    git: Git, remote: Remote, lfs: LfsServer, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {canary}\n")
    program.chmod(0o755)
    hostile = (
        f"{lfsconfig(lfs)}\tstandalonetransferagent = evil\n\tfetchexclude = *\n"
        f'[lfs "{lfs.url}"]\n\tstandalonetransferagent = evil\n'
        f'[lfs "customtransfer.evil"]\n\tpath = {program}\n'
        f"[core]\n\taskpass = {program}\n\tsshcommand = {program}\n[include]\n\tpath = {program}\n"
        f'[lfs "extension.evil"]\n\tsmudge = {program}\n[credential]\n\thelper = !{program}\n'
    )
    remote.commit("prod", {".lfsconfig": hostile})
    pointer = lfs.add(CONTENT)
    tip = Commit(remote.commit("prod", {"models/m.pkl": pointer}))
    assert bring(git, tip, pointer) == CONTENT
    assert not canary.exists()


def test_another_server_gets_no_credentials(
    remote: Remote, environment: dict[str, str], lfs: LfsServer, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    askpass = tmp_path / "askpass"
    askpass.write_text(f'#!/bin/sh\necho "$1" >> {asked}\necho s3cret\n')
    askpass.chmod(0o755)
    git = Git(tmp_path / "c", str(remote.path), {**environment, "GIT_ASKPASS": str(askpass)})
    git.prepare()
    tip = in_lfs(remote, lfs)
    lfs.refuses = 401
    with pytest.raises(RemoteUnavailable):
        bring(git, tip, pointer_to(OID, len(CONTENT)))
    assert not asked.exists()
    assert not any("Authorization" in headers for _, headers in lfs.requests)


def test_the_users_own_git_lfs_settings_do_not_leave_pointers_behind(
    git: Git, remote: Remote, lfs: LfsServer, tmp_path: Path
) -> None:
    (tmp_path / ".gitconfig").write_text("[lfs]\n\tfetchexclude = *\n\tskipdownloaderrors = true\n")
    tip = in_lfs(remote, lfs)
    assert bring(git, tip, pointer_to(OID, len(CONTENT))) == CONTENT


def test_a_download_ends_with_the_cache_it_is_for(git: Git, remote: Remote, lfs: LfsServer) -> None:
    tip = in_lfs(remote, lfs)
    lfs.faults[OID] = "silent"
    ended: list[Exception] = []

    def work() -> None:
        try:
            bring(git, tip, pointer_to(OID, len(CONTENT)))
        except GatewayError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: lfs.downloads)
    git.close()
    thread.join(60)
    assert [type(error) for error in ended] == [RemoteUnavailable]


def test_a_download_has_a_deadline(git: Git, remote: Remote, lfs: LfsServer) -> None:
    tip = in_lfs(remote, lfs)
    lfs.faults[OID] = "silent"
    found = parse_pointer(pointer_to(OID, len(CONTENT)).encode())
    assert found is not None
    git.fetch(tip)
    with large_files(git, tip, {"m": found}, deadline=1, where="prod") as files:
        assert isinstance(files, LargeFiles)
        with pytest.raises(RemoteUnavailable, match="m did not come out of git-lfs within 1 s"):
            files.copy("m", found, lambda piece: None)


def test_what_a_killed_process_left_of_its_downloads_is_cleared(
    arrivals_in: Callable[..., Arrivals], remote: Remote, tmp_path: Path
) -> None:
    left = tmp_path / "s/git/read/lfs/abc/git/lfs/objects"
    arrivals_in(tmp_path / "s", str(remote.path))
    left.mkdir(parents=True)
    arrivals_in(tmp_path / "s", str(remote.path))
    assert not left.exists()


def test_a_person_with_git_lfs_pushes_and_it_is_brought(
    git: Git, remote: Remote, lfs: LfsServer
) -> None:
    remote.checkout("prod")
    person(remote.person, "lfs", "install", "--local")
    person(remote.person, "lfs", "track", "*.pkl")
    person(remote.person, "config", "--file", ".lfsconfig", "lfs.url", lfs.url)
    tip = Commit(remote.commit("prod", {"models/m.pkl": CONTENT}))
    assert bring(git, tip, remote.read("prod", "models/m.pkl") + "\n") == CONTENT
