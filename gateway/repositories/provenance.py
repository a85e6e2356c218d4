"""Which commit brought what a branch serves: the oldest first-parent commit with this content.

Looks at no more than `WINDOW` commits, and only at their root trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.errors import RemoteUnavailable
from gateway.names import Commit
from gateway.repositories.fingerprint import SERVED
from gateway.repositories.git import Git
from gateway.repositories.trees import Entry

WINDOW = 500
_STEPS = (50, WINDOW)


def provenance(
    git: Git, tip: Commit, entries: Iterable[Entry], *, deadline: float, clock: Callable[[], float]
) -> tuple[Commit, bool]:
    """The oldest first-parent commit of `tip` that serves `entries`, and whether that is certain.

    History is deepened, commits and trees only, where the remote can leave the blobs out. It is
    certain once the history's root or the whole window was seen. RemoteUnavailable if deepening
    takes more than `deadline` seconds by `clock` (monotonic) or fails.
    """
    end = clock() + deadline
    wanted = root_of(entries)
    for step in _STEPS:
        if _ended(git, git.history(tip, WINDOW)) or not git.filters:
            break
        left = end - clock()
        if left <= 0:
            raise RemoteUnavailable(f"no time left for the history of {tip}")
        git.deepen(tip, step, deadline=left)
    commits = git.history(tip, WINDOW)
    matching = [commit for commit, root in roots(git, commits) if root == wanted]
    oldest = matching[-1] if matching else tip
    reached_root = len(commits) < WINDOW and commits[-1] not in git.shallow()
    if reached_root or (len(commits) == WINDOW and oldest != commits[-1]):
        return oldest, True
    return tip, False


def follows(git: Git, commit: Commit, parent: Commit) -> bool:
    """Whether it is that commit or its first-parent child (local, also where shallow)."""
    if commit == parent:
        return True
    raw = git.run(["cat-file", "commit", commit]).decode(errors="replace")
    parents = [line[7:] for line in raw.split("\n\n", 1)[0].splitlines() if line[:7] == "parent "]
    return parents[:1] == [parent]


def _ended(git: Git, commits: list[Commit]) -> bool:
    return len(commits) >= WINDOW or commits[-1] not in git.shallow()


def root_of(entries: Iterable[Entry]) -> frozenset[tuple[str, str, str]]:
    """What of a commit's root tree decides what it serves."""
    # A model that gateway.yaml names lies in models/, whose tree id settles it.
    return frozenset(
        (entry.mode, entry.oid, entry.path) for entry in entries if entry.path in SERVED
    )


def roots(git: Git, commits: list[Commit]) -> list[tuple[Commit, frozenset[tuple[str, str, str]]]]:
    """The commits, each with what it serves, to be compared with `root_of` (local)."""
    with git.blobs() as reader:
        return [(commit, _parse(reader.read(f"{commit}^{{tree}}"), commit)) for commit in commits]


def _parse(tree: bytes, commit: Commit) -> frozenset[tuple[str, str, str]]:
    width = len(commit) // 2
    found = []
    while tree:
        head, _, rest = tree.partition(b"\0")
        mode, _, name = head.partition(b" ")
        text = name.decode(errors="surrogateescape")
        if text in SERVED:
            found.append((mode.decode().zfill(6), rest[:width].hex(), text))
        tree = rest[width:]
    return frozenset(found)
