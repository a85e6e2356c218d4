"""The rows that a gateway has written into a repository, read from git itself."""

from __future__ import annotations

import csv
import io
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.demo.repository import git
from gateway.layout import parse_path
from gateway.monitoring.publisher import side_branch

_FOLDER = "monitoring/predictions"


@dataclass(frozen=True)
class Segment:
    """A prediction segment: its path, and the blob that it is."""

    path: str
    blob: str


class Written:
    """The segments at the tips of all branches.

    A segment counts where it belongs, in its own branch or that one's side branch, and once though
    it be in both. Copies that merges carried elsewhere must be the same.
    """

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self.segments: list[Segment] = []
        self.problems: list[str] = []
        #: Commits that touched nothing but what the gateway writes, by branch.
        self.commits: Counter[str] = Counter()
        listed = git(repository, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads")
        blobs: dict[str, str] = {}
        homes: set[str] = set()
        for name in listed.splitlines():
            log = git(repository, "log", "--first-parent", "--format=%s", f"refs/heads/{name}")
            self.commits[name] = sum("[skip ci]" in line for line in log.splitlines())
            for path, blob in self._listed(name):
                parsed = parse_path(path)
                if parsed is None:
                    self.problems.append(f"{name}: {path} is no segment")
                    continue
                if blobs.setdefault(path, blob) != blob:
                    self.problems.append(f"{path} is another one in {name}")
                if name in (parsed.branch, side_branch(parsed.branch)):
                    homes.add(path)
        self.problems += [f"{path} is not in its own branch" for path in blobs.keys() - homes]
        self.segments = [Segment(path, blobs[path]) for path in sorted(homes)]

    def _listed(self, branch: str) -> Iterator[tuple[str, str]]:
        listed = git(self._repository, "ls-tree", "-r", f"refs/heads/{branch}", f"{_FOLDER}/")
        for line in listed.splitlines():
            fields, _, path = line.partition("\t")
            yield path, fields.split(" ")[2]

    def rows(self) -> Iterator[dict[str, str]]:
        """Every row of every segment."""
        for content in self._contents():
            yield from csv.DictReader(io.StringIO(content.decode(), newline=""))

    def _contents(self) -> Iterator[bytes]:
        wanted = "".join(f"{segment.blob}\n" for segment in self.segments)
        with subprocess.Popen(
            ["git", "cat-file", "--batch"],
            cwd=self._repository,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            for line in wanted.splitlines(keepends=True):
                child.stdin.write(line.encode())
                child.stdin.flush()
                size = int(child.stdout.readline().split()[2])
                yield child.stdout.read(size)
                child.stdout.read(1)
            child.stdin.close()
