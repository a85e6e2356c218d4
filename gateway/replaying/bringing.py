"""Brings back what answered a row: the snapshot of its commit, also of one that no branch is at.

Nothing of a running gateway is touched: caches and snapshots live in a folder of their own, and
of its state_dir only a snapshot is ever copied.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gateway.config.trust import TrustConfig
from gateway.errors import (
    ConfigError,
    ContentError,
    MissingRef,
    RemoteUnavailable,
    RepositoryError,
    StateError,
)
from gateway.monitoring.published import Published, published, published_through
from gateway.names import Branch, Commit, Fingerprint
from gateway.repositories.arrivals import Bounds
from gateway.repositories.content import write_content
from gateway.repositories.credentials import Credentials
from gateway.repositories.fingerprint import SERVED, fingerprint, served_entries
from gateway.repositories.folder_arrivals import FolderArrivals
from gateway.repositories.git import Git
from gateway.repositories.history import bring_history
from gateway.repositories.kind import folder_of
from gateway.repositories.remembered import Remembered
from gateway.repositories.repository import Repository
from gateway.repositories.snapshots import Snapshots
from gateway.repositories.trees import Entry
from gateway.repositories.vouching import Vouching
from gateway.repositories.worktree import WorkTrees

#: Seconds that the download of a model may take.
_DOWNLOAD = 1800.0


@dataclass(frozen=True, slots=True)
class Brought:
    """A snapshot in a folder of ours; `model` is the file that gateway.yaml named, if one was."""

    branch: Branch
    commit: Commit
    fingerprint: Fingerprint
    root: Path
    model: str | None
    #: Where it was found, in words.
    found: str


class Bringer(Protocol):
    """What of a repository can be computed with."""

    def commit(self, branch: Branch, commit: Commit, wanted: Fingerprint) -> Brought:
        """What answered as this commit; RepositoryError, ContentError."""

    def tip(self, branch: Branch, model: str | None) -> Brought:
        """What the branch would serve now; RepositoryError, ContentError."""


@dataclass(frozen=True, slots=True)
class Source:
    """A repository, and how it is read; `stored` are the snapshots of a gateway of this machine."""

    address: str
    environ: Mapping[str, str]
    credentials: Credentials
    stored: Path | None
    most_bytes: int
    #: The model files that gateway.yaml names.
    models: Mapping[Branch, str] = field(default_factory=dict)
    trust: TrustConfig = field(default_factory=TrustConfig)


@contextlib.contextmanager
def opened(source: Source) -> Iterator[tuple[Published, Bringer]]:
    """Its rows and its contents, as long as they are read; RemoteUnavailable, ConfigError."""
    with tempfile.TemporaryDirectory(prefix="gateway-replay-") as name:
        folder = Path(name)
        snapshots = Snapshots(folder / "snapshots")
        snapshots.open()
        stored = _Stored(snapshots, source.stored, source.models, source.trust)
        mounted = folder_of(source.address)
        if mounted is None:
            git = Git(
                folder / "cache", source.address, source.environ, credentials=source.credentials
            )
            git.prepare()
            vouching = Vouching(source.trust, folder, source.environ)
            if source.trust.signed_by is not None:
                vouching.open()
            bringer = _FromGit(git, snapshots, stored, vouching, source.most_bytes)
            yield published_through(git), bringer
            return
        if source.trust.signed_by is not None:
            raise ConfigError([f"trust.signed_by: nobody signs the files of {mounted}"])
        arrivals = FolderArrivals(
            mounted,
            WorkTrees(source.environ),
            snapshots,
            Remembered(folder / "branches.json"),
            Bounds(snapshot_bytes=source.most_bytes),
        )
        arrivals.open()
        try:
            with published(mounted, source.environ) as rows:
                yield rows, _FromFolder(arrivals, stored)
        finally:
            arrivals.close()


class _Stored:
    """Snapshots that a gateway of this machine keeps; copied, since it may prune them any time."""

    def __init__(
        self,
        snapshots: Snapshots,
        folder: Path | None,
        models: Mapping[Branch, str],
        trust: TrustConfig,
    ) -> None:
        self._snapshots = snapshots
        self._folder = folder
        self._trust = trust
        self.models = models

    def bring(self, branch: Branch, commit: Commit, wanted: Fingerprint) -> Brought | None:
        if self._folder is None or not (self._folder / wanted).is_dir():
            return None
        kept = self._folder / wanted
        if self._trust.signers_of(branch) is not None:
            raise ContentError(
                "the repository has this commit no more, so nobody can tell who signed it"
                " (trust.signed_by)",
                where=f"{branch} at {commit}",
            )

        def write(target: Path) -> None:
            shutil.copytree(kept, target, symlinks=True, dirs_exist_ok=True)

        try:
            root = self._snapshots.build(wanted, write).root
        except (OSError, shutil.Error) as error:
            raise StateError(
                f"a kept snapshot cannot be copied: {error}", where=str(kept)
            ) from None
        # Which of its models was named stands nowhere beside it.
        model = self.models.get(branch)
        return Brought(branch, commit, wanted, root, model, f"the gateway's own {kept}")

    def __str__(self) -> str:
        return str(self._folder) if self._folder else "no state_dir: --config would name one"


class _FromGit:
    def __init__(
        self,
        git: Git,
        snapshots: Snapshots,
        stored: _Stored,
        vouching: Vouching,
        most_bytes: int,
    ) -> None:
        self._git = git
        self._vouching = vouching
        self._snapshots = snapshots
        self._stored = stored
        self._most_bytes = most_bytes
        self._has_history = False

    def commit(self, branch: Branch, commit: Commit, wanted: Fingerprint) -> Brought:
        where = f"{branch} at {commit}"
        try:
            found = self._fetch(commit)
        except MissingRef:
            brought = self._stored.bring(branch, commit, wanted)
            if brought is None:
                raise MissingRef(
                    "the repository has this commit no more. Looked: by its id, in the history of"
                    f" every ref, and for content {wanted} in {self._stored}",
                    where=where,
                ) from None
            return brought
        entries = served_entries(self._git, commit, None, where=where)
        for model, what in self._models(commit, entries):
            if fingerprint(what) == wanted:
                self._require(branch, commit, what, wanted, where)
                root = self._build(commit, entries, wanted, where)
                return Brought(branch, commit, wanted, root, model, found)
        raise ContentError(
            f"the row says that this commit was served as content {wanted}, and the repository's is"
            f" {fingerprint(entries)}: by a model that gateway.yaml named outside of models/, or by"
            " another version of the gateway",
            where=where,
        )

    def tip(self, branch: Branch, model: str | None) -> Brought:
        commit = self._git.fetch_tip(branch)
        where = f"{branch} at {commit}"
        entries = served_entries(self._git, commit, model, where=where)
        found = fingerprint(entries)
        self._require(branch, commit, entries, found, where)
        root = self._build(commit, entries, found, where)
        return Brought(branch, commit, found, root, model, "the repository")

    def _require(
        self, branch: Branch, commit: Commit, entries: list[Entry], found: Fingerprint, where: str
    ) -> None:
        """That somebody vouched for it, as where it serves."""
        self._vouching.require(
            self._git, branch, commit, entries, found, deadline=_DOWNLOAD, where=where
        )

    def _fetch(self, commit: Commit) -> str:
        """Where it was found; MissingRef."""
        try:
            self._git.fetch(commit, deadline=_DOWNLOAD)
        except MissingRef:
            # A server need not give out by its id what no ref is at.
            if not self._has_history:
                bring_history(self._git)
                self._has_history = True
            if not self._git.has(commit):
                raise
            return "the repository's history"
        return "the repository"

    def _models(
        self, commit: Commit, entries: list[Entry]
    ) -> Iterator[tuple[str | None, list[Entry]]]:
        """What may have been served: all that is, and that with one of the models named."""
        yield None, entries
        for entry in self._git.ls_tree(commit, "models", recursive=True):
            yield entry.path, [*entries, entry]

    def _build(
        self, commit: Commit, entries: Iterable[Entry], found: Fingerprint, where: str
    ) -> Path:
        paths = [entry.path for entry in entries if entry.path in SERVED]

        def write(target: Path) -> None:
            write_content(
                self._git,
                commit,
                paths,
                target,
                most_bytes=self._most_bytes,
                deadline=_DOWNLOAD,
                where=where,
            )

        return self._snapshots.build(found, write).root


class _FromFolder:
    """A mounted folder has no history: what stands there now, or what a gateway kept."""

    def __init__(self, arrivals: Repository, stored: _Stored) -> None:
        self._arrivals = arrivals
        self._stored = stored

    def commit(self, branch: Branch, commit: Commit, wanted: Fingerprint) -> Brought:
        if (brought := self._stored.bring(branch, commit, wanted)) is not None:
            return brought
        found = None
        with contextlib.suppress(RepositoryError, ContentError):
            found = self.tip(branch, self._stored.models.get(branch))
        if found is not None and found.fingerprint == wanted:
            return found
        raise RemoteUnavailable(
            "a mounted folder has no history, and holds other content by now. Looked: in the"
            f" branch's folder, and for content {wanted} in {self._stored}",
            where=f"{branch} at {commit}",
        )

    def tip(self, branch: Branch, model: str | None) -> Brought:
        tip, _ = self._arrivals.read_at_tip(branch, "gateway.yaml", 1)
        move, lease = self._arrivals.take(branch, tip, model)
        return Brought(branch, move.commit, move.fingerprint, lease.root, model, "the folder")
