"""What of a commit is served, and its fingerprint: equal content, equal fingerprint.

Reads trees only; blobs are never needed for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from gateway.errors import ContentError
from gateway.names import Commit, Fingerprint
from gateway.repositories.git import Git
from gateway.repositories.trees import Entry

SERVED = ("metrics", "models", "pylock.toml", "requirements.txt", "src", "uv.lock")


def served_entries(git: Git, commit: Commit, model: str | None, *, where: str) -> list[Entry]:
    """The entries whose content a branch serves, and the configured model's own.

    ContentError if there is nothing to serve, or not the model that gateway.yaml names.
    """
    entries = git.ls_paths(commit, SERVED)
    folders = {entry.path for entry in entries}
    if "models" not in folders and "src" not in folders:
        raise ContentError(
            "nothing to serve: the branch must hold its model in models/ (such as"
            " models/model.pkl), or its own serving code in src/serve.py",
            where=where,
        )
    if model is not None:
        named = git.ls_paths(commit, [model])
        if not named:
            raise ContentError(_absent(git, commit, model), where=where)
        entries += named
    return entries


def fingerprint(entries: Iterable[Entry]) -> Fingerprint:
    """The digest of the entries, in whatever order they come."""
    digest = blake2b(digest_size=16)
    for entry in sorted(entries, key=lambda entry: entry.path):
        line = f"{entry.mode} {entry.kind} {entry.oid} {entry.path}\0"
        digest.update(line.encode(errors="surrogateescape"))
    return Fingerprint(digest.hexdigest())


def _absent(git: Git, commit: Commit, model: str) -> str:
    there = [entry.path for entry in git.ls_tree(commit, "models", recursive=True)][:10]
    return (
        f"no {model}, which gateway.yaml names as the model;"
        f" models/ holds {', '.join(there) or 'nothing'}"
    )
