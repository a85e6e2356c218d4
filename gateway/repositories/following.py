"""What the watcher follows, by the kind of the repository."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config.settings import OperatorConfig
from gateway.errors import ConfigError
from gateway.repositories.arrivals import Arrivals, Bounds
from gateway.repositories.authorship import Authorships
from gateway.repositories.credentials import Credentials
from gateway.repositories.folder_arrivals import FolderArrivals
from gateway.repositories.git import Git
from gateway.repositories.kind import folder_of
from gateway.repositories.remembered import Remembered
from gateway.repositories.snapshots import Snapshots
from gateway.repositories.vouching import Vouching
from gateway.repositories.worktree import WorkTrees

Following = Arrivals | FolderArrivals


def repository_of(
    address: str,
    operator: OperatorConfig,
    environment: Mapping[str, str],
    credentials: Credentials,
) -> Following:
    """The repository at an address that `kind.located` gave; `environment` is git's children's.

    ConfigError if the operator's `trust` cannot be kept there.
    """
    state, trust = operator.state_dir, operator.trust
    bounds = Bounds(snapshot_bytes=operator.limits.snapshot_bytes)
    snapshots, remembered = Snapshots(state / "snapshots"), Remembered(state / "branches.json")
    authors = Authorships(state / "commits.json")
    folder = folder_of(address)
    if folder is not None:
        if trust.signed_by is not None:
            raise ConfigError(
                [f"trust.signed_by: needs a git repository: nobody signs the files of {folder}"]
            )
        trees = WorkTrees(environment)
        return FolderArrivals(folder, trees, snapshots, remembered, bounds, authors=authors)
    git = Git(state / "git" / "read", address, environment, credentials=credentials)
    vouching = Vouching(trust, state, environment) if trust.signed_by is not None else None
    if vouching is not None:
        vouching.open()
    return Arrivals(git, snapshots, remembered, bounds, authors=authors, vouching=vouching)
