"""A served repository as people use it: a clone to push from, and what each branch ever was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.demo.repository import git
from gateway.errors import GatewayError

_PUSHES = 10
_NOT_OURS = ("!/monitoring/", "!/logs/")


class DidNotLand(Exception):
    """What a person did has not come into force in time, or could not be done."""


class Commits:
    """Every commit that was ever on a branch, asked of git where it is not known yet.

    Nobody rewrites history here, so a branch's first parents are all that it ever was.
    """

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._known: dict[str, set[str]] = {}

    def was_on(self, branch: str, commit: str) -> bool:
        if commit in self._known.get(branch, ()):
            return True
        listed = git(self._repository, "rev-list", "--first-parent", f"refs/heads/{branch}")
        self._known[branch] = set(listed.split())
        return commit in self._known[branch]


class Clone:
    """Somebody's clone: commits, merges and pushes while the gateway pushes too.

    Its work tree is without what the gateway writes, which may be a lot.
    """

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder = folder
        if not folder.exists():
            git(folder.parent, "clone", "--quiet", "--no-checkout", str(repository), str(folder))
            git(folder, "sparse-checkout", "set", "--no-cone", "/*", *_NOT_OURS)

    def git(self, *arguments: str) -> str:
        return git(self.folder, *arguments)

    def commit(self, message: str, *paths: str) -> str:
        """All that changed below the paths, as a commit; its id."""
        self.git("add", "--all", *paths)
        self.git("commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD")

    def merge(self, branch: str, into: str, message: str) -> str:
        """The branch into another, as a merge commit; its id."""

        def change() -> None:
            self.git("merge", "--quiet", "--no-ff", "-m", message, f"origin/{branch}")

        return self.push(into, change)

    def push(self, branch: str, change: Callable[[], object]) -> str:
        """The change on the tip as it is now; anew where others pushed in between. The new tip."""
        for _ in range(_PUSHES):
            self.checkout(branch)
            change()
            try:
                self.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
            except GatewayError as error:
                if "rejected" in str(error) or "failed to update ref" in str(error):
                    continue
                raise
            return self.git("rev-parse", "HEAD")
        raise DidNotLand(f"{branch} moved under {_PUSHES} pushes in a row")

    def checkout(self, branch: str) -> None:
        self.git("fetch", "--quiet", "--prune", "origin")
        self.git("checkout", "--quiet", "--force", "-B", branch, f"origin/{branch}")
