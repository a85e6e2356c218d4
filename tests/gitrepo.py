"""A real git repository for tests: a bare remote and commits made on it as people make them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

_PERSON = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    # Models of random bytes only get slower by it.
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "core.compression",
    "GIT_CONFIG_VALUE_0": "0",
}

#: Of a person's pushes: a gateway that has rows each second is often first where git is slow.
_TRIES = 200


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Run git in `folder` as a person; its standard output, stripped."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        env={**os.environ, **_PERSON},
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"git {' '.join(arguments)}: {done.stderr.decode()}")
    return done.stdout.decode().strip()


class Remote:
    """A bare repository at `path` and a person's clone of it at `path`-person."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.person = path.with_name(path.name + "-person")
        path.mkdir(parents=True)
        git(path, "init", "--bare", "--quiet", "--initial-branch=prod")
        git(path, "config", "core.compression", "0")  # of what is pushed, too
        self.person.mkdir()
        git(self.person, "init", "--quiet", "--initial-branch=prod")
        git(self.person, "remote", "add", "origin", str(path))

    @property
    def address(self) -> str:
        """What gateway.yaml calls it."""
        return str(self.path)

    def commit(
        self,
        branch: str,
        files: Mapping[str, bytes | str | None],
        message: str = "change",
        *,
        start: str | None = None,
    ) -> str:
        """Commit `files` (None deletes) on the branch's present tip, push, and return the id.

        A branch that does not exist yet starts at branch `start`, or empty.
        """

        def change() -> None:
            for name, content in files.items():
                target = self.person / name
                if content is None:
                    target.unlink(missing_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.encode() if isinstance(content, str) else content)
            git(self.person, "add", "--all")
            git(self.person, "commit", "--quiet", "--allow-empty", "-m", message)

        return self._push(branch, change, start)

    def _push(self, branch: str, change: Callable[[], object], start: str | None = None) -> str:
        """Make a change on the branch as it is now and push it; again if the branch moved."""
        for _ in range(_TRIES):
            self.checkout(branch, start)
            change()
            try:
                git(self.person, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
            except AssertionError as error:
                # As a person would: somebody, perhaps the gateway, pushed in between.
                if "rejected" in str(error):
                    continue
                raise
            return git(self.person, "rev-parse", "HEAD")
        raise AssertionError(f"{branch} moved under {_TRIES} pushes in a row")

    def checkout(self, branch: str, start: str | None = None) -> None:
        """Put the person's clone on the branch as the remote has it now."""
        git(self.person, "fetch", "--quiet", "--prune", "origin")
        known = git(self.person, "branch", "--remotes", "--format=%(refname:short)").split()
        if f"origin/{branch}" in known:
            git(self.person, "checkout", "--quiet", "--force", "-B", branch, f"origin/{branch}")
        elif start is not None:
            git(self.person, "checkout", "--quiet", "--force", "-B", branch, f"origin/{start}")
        else:
            git(self.person, "checkout", "--quiet", "--force", "--orphan", branch)
            git(self.person, "rm", "-r", "--quiet", "--force", "--ignore-unmatch", ".")

    def merge(self, source: str, into: str, message: str = "merge") -> str:
        """A person merges `source` into `into` and pushes; the merge commit's id."""
        return self._push(
            into,
            lambda: git(
                self.person, "merge", "--quiet", "--no-ff", "-m", message, f"origin/{source}"
            ),
        )

    def squash(self, source: str, into: str) -> str:
        """A person squashes `source` into one commit on `into` and pushes."""

        def change() -> None:
            git(self.person, "merge", "--quiet", "--squash", f"origin/{source}")
            git(self.person, "commit", "--quiet", "--allow-empty", "-m", f"squash of {source}")

        return self._push(into, change)

    def merge_on_the_server(self, source: str, into: str) -> str:
        """As a forge does it: in the bare repository, without a work tree or a person."""
        before, merged = self.tip(into), self.tip(source)
        tree = git(self.path, "merge-tree", "--write-tree", before, merged)
        parents = ("-p", before, "-p", merged)
        made = git(self.path, "commit-tree", tree, *parents, "-m", f"merge of {source}")
        git(self.path, "update-ref", f"refs/heads/{into}", made, before)
        return made

    def rebase(self, branch: str, onto: str) -> tuple[str, str]:
        """A person rebases `branch` on `onto` and pushes it by force; the tips before and after."""

        def change(before: str) -> str:
            git(self.person, "checkout", "--quiet", "--force", "-B", branch, before)
            git(self.person, "rebase", "--quiet", f"origin/{onto}")
            return git(self.person, "rev-parse", "HEAD")

        return self.force(branch, change)

    def force(self, branch: str, change: Callable[[str], str]) -> tuple[str, str]:
        """A person moves the branch by force, from the tip that `change` was given and no other.

        `change` returns the new tip, or "" to delete the branch; the tips before and after.
        """
        for _ in range(_TRIES):
            git(self.person, "fetch", "--quiet", "--prune", "origin")
            before = git(self.person, "rev-parse", f"origin/{branch}")
            after = change(before)
            lease = f"--force-with-lease={branch}:{before}"
            try:
                git(self.person, "push", "--quiet", lease, "origin", f"{after}:refs/heads/{branch}")
            except AssertionError as error:
                if "rejected" in str(error):
                    continue
                raise
            return before, after
        raise AssertionError(f"{branch} moved under {_TRIES} pushes in a row")

    def revert(self, branch: str, commit: str = "HEAD") -> str:
        """A person reverts a commit (of a merge, its first parent stays) and pushes."""

        def change() -> None:
            parents = git(self.person, "rev-list", "--parents", "-1", commit).split()[1:]
            mainline = ["-m", "1"] if len(parents) > 1 else []
            git(self.person, "revert", "--no-edit", *mainline, commit)

        return self._push(branch, change)

    def hook(self, name: str, script: str) -> Path:
        """Install a shell script as a server-side hook; its path."""
        path = self.path / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def tip(self, branch: str) -> str:
        return git(self.path, "rev-parse", f"refs/heads/{branch}")

    def files(self, branch: str, under: str = "") -> list[str]:
        """Paths in the branch's tip, below `under`; none of a branch that is not there."""
        if not git(self.path, "for-each-ref", f"refs/heads/{branch}"):
            return []
        listed = git(self.path, "ls-tree", "-r", "--name-only", f"refs/heads/{branch}")
        return [name for name in listed.splitlines() if name.startswith(under)]

    def read(self, branch: str, path: str) -> str:
        return git(self.path, "show", f"refs/heads/{branch}:{path}")


def pin(remote: Remote, branch: str, path: str, url: str | None, commit: str) -> str:
    """A person pins a submodule at `path`, whatever was there; the new tip of the branch."""
    remote.checkout(branch)
    if url is not None:
        file = remote.person / ".gitmodules"
        for key, value in (("path", path), ("url", url)):
            git(remote.person, "config", "--file", str(file), f"submodule.{path}.{key}", value)
        git(remote.person, "add", ".gitmodules")
    git(remote.person, "rm", "-r", "--quiet", "--force", "--cached", "--ignore-unmatch", path)
    git(remote.person, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    git(remote.person, "commit", "--quiet", "-m", f"pin {path}")
    git(remote.person, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    return git(remote.person, "rev-parse", "HEAD")
