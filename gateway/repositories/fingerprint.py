"""What of a commit is served, and its fingerprint: equal content, equal fingerprint.

Reads trees only; blobs are never needed for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from itertools import islice

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
    require_served((entry.path for entry in entries), where=where)
    if model is not None:
        named = git.ls_paths(commit, [model])
        if not named:
            listed = git.ls_tree(commit, "models")
            raise absent_model(model, (entry.path for entry in listed), where=where)
        entries += named
    return entries


def require_served(paths: Iterable[str], *, where: str) -> None:
    """ContentError if nothing at or below these paths can be a model."""
    if not {"models", "src"} & {path.partition("/")[0] for path in paths}:
        raise ContentError(
            "nothing to serve: the branch must hold its model in models/ (such as"
            " models/model.pkl), or its own serving code in src/serve.py",
            where=where,
        )


def absent_model(model: str, models: Iterable[str], *, where: str) -> ContentError:
    """What is wrong where the model that gateway.yaml names is not among those of models/."""
    return ContentError(
        f"no {model}, which gateway.yaml names as the model;"
        f" models/ holds {', '.join(islice(models, 10)) or 'nothing'}",
        where=where,
    )


def fingerprint(entries: Iterable[Entry]) -> Fingerprint:
    """The digest of the entries, in whatever order they come."""
    digest = blake2b(digest_size=16)
    for entry in sorted(entries, key=lambda entry: entry.path):
        line = f"{entry.mode} {entry.kind} {entry.oid} {entry.path}\0"
        digest.update(line.encode(errors="surrogateescape"))
    return Fingerprint(digest.hexdigest())
