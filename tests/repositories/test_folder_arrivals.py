"""From a sub-folder that stands still to a Move: nothing torn, nothing foreign, and well named."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from gitrepo import git as person
from mounted import Mounted
from waiting import wait_until

from gateway.errors import ContentError, MissingRef, RemoteUnavailable
from gateway.names import Branch, Commit
from gateway.repositories.arrivals import Bounds
from gateway.repositories.folder import Folder
from gateway.repositories.folder_arrivals import FolderArrivals
from gateway.repositories.move import Move
from gateway.repositories.remembered import Remembered
from gateway.repositories.snapshots import Snapshots
from gateway.repositories.worktree import WorkTrees

PROD, EXP = Branch("prod"), Branch("exp")
MODEL: dict[str, bytes | str | None] = {
    "models/model.pkl": b"m" * 3000,
    "src/serve.py": "ROW_WISE = True\n",
}
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"


class Watched:
    """Arrivals over a folder whose looks are as far apart as the test says."""

    def __init__(self, folder: Mounted, state: Path, bounds: Bounds | None = None) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.now = 100.0
        environment = {"PATH": os.environ["PATH"], "HOME": str(state)}
        self.arrivals = FolderArrivals(
            Folder(folder.path),
            WorkTrees(environment),
            Snapshots(state / "snapshots"),
            Remembered(state / "branches.json"),
            bounds or Bounds(),
            clock=lambda: self.now,
        )
        self.arrivals.open()

    def look(self, *branches: Branch, after: float = 1.0) -> dict[Branch, object]:
        self.now += after
        return dict(self.arrivals.heads(branches or (PROD,)))

    def tip(self, branch: Branch = PROD) -> Commit:
        """The tip once the folder stands still; files written a moment ago take a look more."""
        for _ in range(6):
            self.look(branch)
        found = self.look(branch)[branch]
        assert isinstance(found, Commit), found
        return found

    def take(self, branch: Branch = PROD, model: str | None = None) -> Move:
        move, lease = self.arrivals.take(branch, self.tip(branch), model)
        lease.release()
        return move

    def refused(self, branch: Branch = PROD, model: str | None = None) -> str:
        with pytest.raises(ContentError) as raised:
            self.take(branch, model)
        return str(raised.value)


@pytest.fixture
def folder(tmp_path: Path) -> Mounted:
    made = Mounted(tmp_path / "mnt")
    made.write("prod", MODEL)
    return made


@pytest.fixture
def watched(folder: Mounted, tmp_path: Path) -> Watched:
    return Watched(folder, tmp_path / "state")


def names(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir())


def aged(root: Path) -> None:
    """Wait until the files are older than the clocks of file systems are coarse."""
    newest = max(path.stat().st_ctime for path in root.rglob("*"))
    wait_until(lambda: time.time() > newest + 2.1)


# When it stands


def test_two_looks_that_are_apart_make_a_tip(folder: Mounted, watched: Watched) -> None:
    aged(folder.path)
    assert watched.look() == {PROD: None}
    assert watched.look(after=0.5) == {PROD: None}
    assert watched.arrivals.next_look(5.0) < 2
    (tip,) = watched.look(after=0.6).values()
    assert isinstance(tip, Commit)
    assert len(tip) == 64
    assert watched.arrivals.next_look(30.0) == 30.0


def test_what_is_written_to_keeps_its_former_tip_until_it_stands(
    folder: Mounted, watched: Watched
) -> None:
    tip = watched.tip()
    for piece in range(8):
        with (folder.path / "prod/models/model.pkl").open("ab") as file:
            file.write(b"%d" % piece)
        assert watched.look() == {PROD: tip}
        assert "written to" in (watched.arrivals.waits(PROD) or "")
    assert tip != watched.tip()
    assert watched.arrivals.waits(PROD) is None


def test_what_never_stands_is_looked_at_less_and_less_often(
    folder: Mounted, watched: Watched
) -> None:
    watched.tip()
    waits = []
    for piece in range(9):
        folder.write("prod", {"models/model.pkl": f"{piece}" * (piece + 1)})
        watched.look(after=30)
        waits.append(watched.arrivals.next_look(30.0))
    assert waits == sorted(waits)
    assert waits[0] < 5
    assert waits[-1] == 30.0


def test_other_content_of_the_same_size_and_time_is_another_tip(
    folder: Mounted, watched: Watched
) -> None:
    path = folder.path / "prod/models/model.pkl"
    before = path.stat()
    aged(folder.path)
    first = watched.take()
    path.write_bytes(b"n" * 3000)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (before.st_size, before.st_mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    second = watched.take()
    assert first.fingerprint != second.fingerprint
    assert (second.root / "models/model.pkl").read_bytes() == b"n" * 3000


def test_times_and_the_copy_they_come_from_change_neither_fingerprint_nor_version(
    folder: Mounted, watched: Watched
) -> None:
    folder.write("exp", MODEL)
    first, other = watched.take(), watched.take(EXP)
    os.utime(folder.path / "prod/models/model.pkl", (1, 1))
    again = watched.take()
    assert first == again
    assert (first.fingerprint, first.root) == (other.fingerprint, other.root)


# What is served


def test_exactly_what_is_served_is_copied_read_only(folder: Mounted, watched: Watched) -> None:
    root = folder.write(
        "prod",
        {
            "data/train.csv": "x",
            "README.md": "x",
            "monitoring/a.csv": "x",
            "logs/b.jsonl": "x",
            "metrics/golden.json": "{}",
            "src/__pycache__/serve.cpython-311.pyc": "x",
            "models/.DS_Store": "x",
        },
    )
    (root / "src/run.sh").write_text("#!/bin/sh\n")
    (root / "src/run.sh").chmod(0o755)
    move = watched.take()
    served = ["metrics/golden.json", "models/model.pkl", "src/run.sh", "src/serve.py"]
    assert names(move.root) == served
    assert (move.root / "src/run.sh").stat().st_mode & 0o777 == 0o555
    assert (move.root / "src/serve.py").stat().st_mode & 0o777 == 0o444
    version = (PROD, move.tip, True)
    assert version == (move.branch, move.commit, move.commit_known)
    folder.write("prod", {"monitoring/c.csv": "x", "src/__pycache__/x.pyc": "x"})
    assert move == watched.take()


def test_a_temporary_file_beside_is_waited_for_and_never_served(
    folder: Mounted, watched: Watched
) -> None:
    """As rsync writes: the content stands still while the next file comes under a hidden name."""
    tip = watched.tip()
    temporary = folder.path / "prod/models/.model.pkl.Xy12Za"
    folder.write("prod", {"src/serve.py": "NEW = True\n"})
    for piece in range(6):
        with temporary.open("ab") as file:
            file.write(b"n" * (piece + 1))
        assert watched.look() == {PROD: tip}
    temporary.rename(folder.path / "prod/models/model.pkl")
    move = watched.take()
    assert names(move.root) == ["models/model.pkl", "src/serve.py"]
    assert (move.root / "src/serve.py").read_text() == "NEW = True\n"


def test_a_link_within_the_folder_is_what_it_points_at(folder: Mounted, watched: Watched) -> None:
    root = folder.write("prod", {"models/v7.pkl": b"v7" * 1000, "weights/big.bin": b"w"})
    (root / "models/model.pkl").unlink()
    (root / "models/model.pkl").symlink_to("v7.pkl")
    (root / "src/all").symlink_to("../models")
    (root / "models/big.bin").symlink_to("../weights/big.bin")
    move = watched.take()
    assert (move.root / "models/model.pkl").read_bytes() == b"v7" * 1000
    assert (move.root / "src/all/big.bin").read_bytes() == b"w"
    assert not any(path.is_symlink() for path in move.root.rglob("*"))
    same = [(move.root / name).stat().st_ino for name in ("models/model.pkl", "models/v7.pkl")]
    assert same[0] == same[1], "the same bytes are stored once"


def volume(folder: Mounted, revision: str, content: bytes) -> None:
    """As Kubernetes writes a volume: everything is a link through ..data, which is swapped."""
    root = folder.path / "prod"
    hidden = root / f"..{revision}"
    for name in ("models", "src"):
        (hidden / name).mkdir(parents=True)
    (hidden / "models/model.pkl").write_bytes(content)
    (hidden / "models/vocabulary.txt").write_bytes(content)
    (hidden / "src/serve.py").write_text("x = 1\n")
    beside = root / "..data_tmp"
    beside.symlink_to(hidden.name)
    beside.rename(root / "..data")
    for name in ("models", "src"):
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"..data/{name}")


def test_a_kubernetes_volume_is_followed_through_its_swaps(tmp_path: Path) -> None:
    folder = Mounted(tmp_path / "mnt")
    volume(folder, "2026_1", b"one")
    watched = Watched(folder, tmp_path / "state")
    first = watched.take()
    assert names(first.root) == ["models/model.pkl", "models/vocabulary.txt", "src/serve.py"]
    volume(folder, "2026_2", b"two")
    # Settled before the swap: copied later, it is still the old, whole.
    lease = watched.arrivals.take(PROD, first.tip, None)[1]
    lease.release()
    second = watched.take()
    held = [{p.read_bytes() for p in (m.root / "models").iterdir()} for m in (first, second)]
    assert held == [{b"one"}, {b"two"}]


def test_content_that_goes_before_it_is_copied_is_no_snapshot(tmp_path: Path) -> None:
    folder = Mounted(tmp_path / "mnt")
    volume(folder, "2026_1", b"one")
    watched = Watched(folder, tmp_path / "state")
    tip = watched.tip()
    shutil.rmtree(folder.path / "prod/..2026_1")
    with pytest.raises(RemoteUnavailable, match=r"models/model\.pkl: .*cannot be read"):
        watched.arrivals.take(PROD, tip, None)
    assert names(tmp_path / "state/snapshots") == []


def test_content_that_changes_after_it_stood_is_no_snapshot(
    folder: Mounted, watched: Watched, tmp_path: Path
) -> None:
    tip = watched.tip()
    folder.write("prod", {"src/serve.py": "ROW_WISE = None\n"})
    with pytest.raises(RemoteUnavailable, match=r"src/serve\.py: it changed while it was read"):
        watched.arrivals.take(PROD, tip, None)
    assert names(tmp_path / "state/snapshots") == []
    watched.tip()
    with pytest.raises(MissingRef):
        watched.arrivals.take(PROD, tip, None)


def test_a_sub_folder_that_is_a_swapped_link_is_never_a_mixture(tmp_path: Path) -> None:
    folder = Mounted(tmp_path / "mnt")
    for revision in ("a", "b"):
        folder.write(f".trees/{revision}", {"models/m.pkl": revision, "src/serve.py": revision})
    link = folder.path / "prod"
    link.symlink_to(".trees/a")
    watched = Watched(folder, tmp_path / "state")
    folder.write("other", MODEL)
    first = watched.take()
    beside = folder.path / "beside"
    beside.symlink_to(".trees/b")
    beside.rename(link)
    second = watched.take()
    said = [
        {p.read_text() for p in move.root.rglob("*") if p.is_file()} for move in (first, second)
    ]
    assert said == [{"a"}, {"b"}]


# What is refused


def links_outside(root: Path) -> None:
    (root / "models/secret.pkl").symlink_to("/etc/passwd")


def links_to_our_rows(root: Path) -> None:
    (root / "monitoring").mkdir()
    (root / "models/rows").symlink_to("../monitoring")


def links_nowhere(root: Path) -> None:
    (root / "models/gone.pkl").symlink_to("absent.pkl")


def links_to_itself(root: Path) -> None:
    (root / "models/inner").mkdir()
    (root / "models/inner/again").symlink_to("..")


def links_to_the_root(root: Path) -> None:
    (root / "models/again").symlink_to("..")


def holds_a_pipe(root: Path) -> None:
    os.mkfifo(root / "models/pipe")


def holds_an_lfs_pointer(root: Path) -> None:
    (root / "models/model.pkl").write_text(POINTER)


def holds_a_xet_address(root: Path) -> None:
    (root / "models/model.pkl").write_text("xet://xethub.com/team/models/main/model.pkl\n")


def holds_half_an_lfs_pointer(root: Path) -> None:
    (root / "models/model.pkl").write_text(POINTER.splitlines()[0])


def holds_a_dvc_pointer(root: Path) -> None:
    (root / "models/big.pkl.dvc").write_text("outs: []\n")


@pytest.mark.parametrize(
    ("sin", "said"),
    [
        (links_outside, r"models/secret\.pkl is a symbolic link to '/etc/passwd', which is not"),
        (links_to_our_rows, r"models/rows is a symbolic link to '\.\./monitoring', which is not"),
        (links_nowhere, r"models/gone\.pkl is a symbolic link to 'absent\.pkl', which is not"),
        (links_to_itself, r"models/inner/again is a folder within itself"),
        (links_to_the_root, r"models/again is a symbolic link to '\.\.', which is not"),
        (holds_a_pipe, r"models/pipe is neither a file nor a folder"),
        (holds_an_lfs_pointer, r"models/model\.pkl is a git-lfs pointer.*`git lfs pull`"),
        (holds_a_xet_address, r"models/model\.pkl is a XetHub pointer.*download the file"),
        (holds_half_an_lfs_pointer, r"models/model\.pkl begins like a git-lfs pointer and is none"),
        (holds_a_dvc_pointer, r"models/big\.pkl\.dvc is a DVC pointer and models/big\.pkl is not"),
    ],
)
def test_what_may_not_be_served_is_refused_by_name(
    folder: Mounted, watched: Watched, sin: Callable[[Path], None], said: str
) -> None:
    sin(folder.path / "prod")
    text = watched.refused()
    assert re.search(said, text), text
    assert text.startswith("prod at ")


def test_more_bytes_than_allowed_are_refused_unread(folder: Mounted, tmp_path: Path) -> None:
    watched = Watched(folder, tmp_path / "state", Bounds(snapshot_bytes=2000))
    text = watched.refused()
    assert "at most 2000 may be" in text
    assert "models/model.pkl with 3000" in text


def test_nothing_to_serve_and_an_absent_model_say_what_would_be_right(
    folder: Mounted, watched: Watched
) -> None:
    assert "models/model.pkl" in watched.refused(PROD, "models/other.pkl")
    assert watched.take(PROD, "models/model.pkl").fingerprint != watched.take().fingerprint
    folder.write("exp", {"README.md": "x"})
    assert "nothing to serve" in watched.refused(EXP)


# What it is called


@pytest.fixture
def tree(folder: Mounted) -> Path:
    """prod as a git work tree."""
    root = folder.path / "prod"
    person(root, "init", "--quiet", "--initial-branch=prod")
    person(root, "add", "--all")
    person(root, "commit", "--quiet", "-m", "first")
    return root


def head(root: Path) -> str:
    return person(root, "rev-parse", "HEAD")


def test_a_work_tree_is_called_by_its_commit_and_a_changed_one_by_a_digest(
    tree: Path, watched: Watched
) -> None:
    clean = watched.take()
    assert (clean.tip, clean.commit, clean.commit_known) == (head(tree), head(tree), True)
    (tree / "monitoring").mkdir()
    (tree / "monitoring/a.csv").write_text("x")
    (tree / "README.md").write_text("x")
    assert clean == watched.take()
    (tree / "models/more.txt").write_text("untracked")
    changed = watched.take()
    assert len(changed.commit) == 64
    person(tree, "add", "--all")
    person(tree, "commit", "--quiet", "-m", "second")
    committed = watched.take()
    assert committed.commit == head(tree)
    assert committed.fingerprint == changed.fingerprint
    assert committed.root == changed.root


def test_another_commit_with_the_same_content_is_a_quiet_move(tree: Path, watched: Watched) -> None:
    before = watched.take()
    person(tree, "commit", "--quiet", "--allow-empty", "-m", "nothing")
    after = watched.take()
    assert after.commit == head(tree) != before.commit
    assert after.fingerprint == before.fingerprint


def test_a_linked_work_tree_is_called_by_its_commit(
    tree: Path, folder: Mounted, watched: Watched
) -> None:
    (tree / "src/serve.py").write_text("exp = 1\n")
    person(tree, "commit", "--quiet", "--all", "-m", "exp")
    person(tree, "worktree", "add", "--quiet", str(folder.path / "team/exp"), "HEAD~1")
    move = watched.take(Branch("team/exp"))
    assert move.commit == person(tree, "rev-parse", "HEAD~1")
    assert (move.root / "src/serve.py").read_text() == MODEL["src/serve.py"]
    # As where only the work tree is mounted: what it was made from cannot be read.
    (tree / ".git").rename(tree / "elsewhere")
    alone = watched.take(Branch("team/exp"))
    assert (len(alone.commit), alone.root) == (64, move.root)


def test_links_and_pulled_lfs_content_are_what_was_committed(tree: Path, watched: Watched) -> None:
    content = b"weights" * 1000
    pointer = POINTER.replace("0" * 64, hashlib.sha256(content).hexdigest())
    (tree / "models/model.pkl").write_text(pointer)
    (tree / "models/latest.pkl").symlink_to("model.pkl")
    (tree / "src/all").symlink_to("../models")
    person(tree, "add", "--all")
    person(tree, "commit", "--quiet", "-m", "lfs")
    (tree / "models/model.pkl").write_bytes(content)
    assert watched.take().commit == head(tree)
    (tree / "models/model.pkl").write_bytes(content + b"x")
    assert len(watched.take().commit) == 64


def test_a_submodule_that_is_not_checked_out_is_refused_by_name(
    tree: Path, watched: Watched
) -> None:
    entry = f"160000 commit {head(tree)}\tweights"
    person(tree, "update-index", "--add", "--cacheinfo", f"160000,{head(tree)},models/weights")
    person(tree, "commit", "--quiet", "-m", entry)
    (tree / "models/weights").mkdir()
    assert "models/weights is a submodule that is not checked out" in watched.refused()


def test_nothing_that_a_work_trees_configuration_names_is_run(
    tree: Path, watched: Watched, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\necho $0 $@ >> {ran}\ncat\n")
    evil.chmod(0o755)
    (tree / ".gitattributes").write_text("* filter=evil diff=evil\n")
    for name in ("core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "core.pager"):
        person(tree, "config", name, str(evil))
    for hook in ("post-index-change", "reference-transaction"):
        (tree / ".git/hooks").mkdir(exist_ok=True)
        (tree / ".git/hooks" / hook).symlink_to(evil)
    os.utime(tree / "models/model.pkl", (1, 1))
    ran.unlink(missing_ok=True)
    assert watched.take().commit == head(tree)
    (tree / "models/model.pkl").write_text("changed")
    assert len(watched.take().commit) == 64
    assert not ran.exists(), ran.read_text()


# When it is away


def test_a_folder_that_is_away_or_an_empty_mount_point_is_said_and_one_gone_is_missing(
    folder: Mounted, watched: Watched
) -> None:
    folder.write("exp", MODEL)
    tip = watched.tip(EXP)
    (folder.path / "prod").rename(folder.path / "gone")
    assert watched.look(PROD, EXP) == {EXP: tip}
    away = folder.path.with_name("away")
    folder.path.rename(away)
    with pytest.raises(RemoteUnavailable, match="cannot be read: No such file"):
        watched.look(PROD, EXP)
    folder.path.mkdir()
    (folder.path / "gateway-monitoring").mkdir()
    with pytest.raises(RemoteUnavailable, match="is it mounted"):
        watched.look(PROD, EXP)
    folder.path.joinpath("gateway-monitoring").rmdir()
    folder.path.rmdir()
    away.rename(folder.path)
    assert watched.look(PROD, EXP) == {EXP: tip}


def test_a_branch_that_cannot_be_read_is_its_own_trouble(folder: Mounted, watched: Watched) -> None:
    tip = watched.tip()
    (folder.path / "exp").symlink_to("exp")
    found = watched.look(PROD, EXP)
    assert found[PROD] == tip
    assert isinstance(found[EXP], RemoteUnavailable)
    with pytest.raises(RemoteUnavailable, match="symbolic links"):
        watched.look(EXP)


def test_a_sub_folder_with_nothing_but_our_rows_is_a_branch_that_is_gone(
    folder: Mounted, watched: Watched
) -> None:
    folder.write("exp", {"monitoring/a.csv": "x", "logs/b": "x", ".hidden": "x"})
    assert EXP not in watched.look(PROD, EXP)


def test_a_restart_has_the_last_good_with_the_folder_away(
    folder: Mounted, watched: Watched, tmp_path: Path
) -> None:
    move = watched.take()
    folder.path.rename(tmp_path / "away")
    again = Watched(folder=Mounted(tmp_path / "empty"), state=tmp_path / "state")
    found = again.arrivals.last_good(PROD, None)
    assert found is not None
    assert move == found[0]
    assert again.arrivals.last_good(PROD, "models/other.pkl") is None


# A file beside the content


def test_a_file_beside_the_content_is_read_at_its_tip_and_moves_it_quietly(
    folder: Mounted, watched: Watched
) -> None:
    before = watched.take()
    assert watched.arrivals.read_file(before.tip, "gateway.yaml", 100) is None
    folder.write("prod", {"gateway.yaml": "baseline: prod\n"})
    after = watched.take()
    assert (before.fingerprint, before.commit) == (after.fingerprint, after.commit)
    assert after.tip != before.tip
    assert watched.arrivals.read_file(after.tip, "gateway.yaml", 8) == b"baseline"
    with pytest.raises(MissingRef):
        watched.arrivals.read_file(before.tip, "gateway.yaml", 8)
    folder.write("prod", {"gateway.yaml": "baseline: exp_\n"})
    with pytest.raises(RemoteUnavailable, match="changed while it was read"):
        watched.arrivals.read_file(after.tip, "gateway.yaml", 8)


def test_the_first_tip_can_be_waited_for(folder: Mounted, tmp_path: Path) -> None:
    folder.write("prod", {"gateway.yaml": "baseline: prod\n"})
    environment = {"PATH": os.environ["PATH"]}
    arrivals = FolderArrivals(
        Folder(folder.path),
        WorkTrees(environment),
        Snapshots(tmp_path / "snapshots"),
        Remembered(tmp_path / "branches.json"),
        Bounds(),
    )
    tip, content = arrivals.read_at_tip(PROD, "gateway.yaml", 100)
    assert content == b"baseline: prod\n"
    assert arrivals.heads([PROD]) == {PROD: tip}
    with pytest.raises(MissingRef):
        arrivals.read_at_tip(EXP, "gateway.yaml", 100)
