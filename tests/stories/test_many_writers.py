"""Three gateways write to three branches while people push, squash, rebase, roll back and delete.

Every row that was recorded is in its branch or side branch exactly once, unless a person dropped
it by force; and no push of a gateway ever built on anything but the tip it replaced.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chunkfiles import header, request, request_id, write
from gitdaemon import BreakingLine, git_daemon
from gitrepo import Remote, git
from monitorprocess import MonitorProcess
from waiting import wait_until

from gateway.layout import parse_path
from gateway.monitoring.publisher import side_branch
from gateway.names import Branch

BRANCHES = ["prod", "exp", "team/dev"]
NOBODY = "0" * 40

#: A chunk of one branch: the writer, the chunk's number, the branch.
Part = tuple[str, int, str]


class Story:
    """What was recorded, what people dropped, and who does what meanwhile."""

    def __init__(self, remote: Remote, gateways: list[MonitorProcess]) -> None:
        self.remote = remote
        self.gateways = gateways
        self.recorded: dict[Part, list[str]] = {}
        self.dropped: set[Part] = set()
        self._chunks = 0
        self._requests = 0
        self._changes = 0

    def record(self, *branches: str) -> None:
        """Each gateway seals a chunk with rows of these branches."""
        self._chunks += 1
        chunk = self._chunks
        for place, gateway in enumerate(self.gateways):
            writer = f"{place + 1:08x}"
            lines = [header(chunk, writer=writer)]
            for branch in branches:
                for _ in range(2):
                    self._requests += 1
                    lines.append(request(self._requests, branch))
                    asked = self.recorded.setdefault((writer, chunk, branch), [])
                    asked.append(request_id(self._requests))
            write(gateway.journal, lines)
            gateway.look()

    def push(self, branch: str) -> None:
        self._changes += 1
        self.remote.commit(branch, {f"{branch.replace('/', '-')}-{self._changes}": "changed"})

    def roll_back(self, branch: str) -> None:
        """Back by two commits, whosever they are."""

        def change(before: str) -> str:
            return git(self.remote.person, "rev-parse", f"{before}~2")

        self._drop(*self.remote.force(branch, change))

    def delete(self, branch: str) -> None:
        self._drop(*self.remote.force(branch, lambda _: ""))

    def rebase(self, branch: str, onto: str) -> None:
        before, after = self.remote.rebase(branch, onto)
        assert self._parts(before) <= self._parts(after), "a rebase drops nothing"

    def _drop(self, before: str, after: str) -> None:
        self.dropped |= self._parts(before) - (self._parts(after) if after else set())

    def _parts(self, commit: str) -> set[Part]:
        listed = git(self.remote.person, "ls-tree", "-r", "--name-only", commit, "monitoring/")
        return {part(path) for path in listed.splitlines()}

    def found(self) -> dict[str, list[str]]:
        """The request ids in each branch's own folder, at its tip and on its side branch."""
        found: dict[str, list[str]] = {}
        for branch in map(Branch, BRANCHES):
            folder = f"monitoring/predictions/{branch.folder}/"
            for source in (branch, side_branch(branch)):
                if git(self.remote.path, "branch", "--list", source):
                    for path in self.remote.files(source, folder):
                        lines = self.remote.read(source, path).splitlines()[1:]
                        found.setdefault(branch, []).extend(line.split(",")[1] for line in lines)
        return found


def part(path: str) -> Part:
    parsed = parse_path(path)
    assert parsed is not None, path
    return parsed.key.writer, parsed.key.number, parsed.branch


@pytest.fixture
def line(tmp_path: Path, remote: Remote) -> Iterator[BreakingLine]:
    """The way to the remote; every third push arrives, and nobody learns that it did."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    with (
        git_daemon(remote, environment) as port,
        BreakingLine(port, lambda push: push % 3 == 0).running() as line,
    ):
        yield line


@pytest.fixture
def gateways(tmp_path: Path, remote: Remote, line: BreakingLine) -> Iterator[list[MonitorProcess]]:
    url = f"git://127.0.0.1:{line.port}/{remote.path.name}"
    made = [MonitorProcess(tmp_path / f"g{n}", remote, BRANCHES, url=url) for n in range(3)]
    yield made
    for one in made:
        one.kill()
        print(one.words() if (one.state / "words").exists() else "")  # noqa: T201


@pytest.mark.timeout(600)
def test_every_row_of_three_gateways_is_in_git_once_whatever_people_do(
    remote: Remote, line: BreakingLine, gateways: list[MonitorProcess]
) -> None:
    remote.commit("prod", {"README": "one"})
    for branch in BRANCHES[1:]:
        remote.commit(branch, {branch.replace("/", "-"): "one"}, start="prod")
    # Only the gateways come through the daemon; people push by the path.
    remote.hook("post-receive", '[ -z "$REMOTE_ADDR" ] || cat >> moved')
    story = Story(remote, gateways)
    rng = random.Random(11)
    for gateway in gateways:
        gateway.start()
    acts: list[tuple[str, Callable[[], object]]] = [
        ("prod", lambda: story.push("prod")),
        ("prod", lambda: remote.squash("exp", "prod")),
        ("prod", lambda: story.roll_back("prod")),
        ("exp", lambda: story.push("exp")),
        ("exp", lambda: remote.merge("prod", "exp")),
        ("team/dev", lambda: story.delete("team/dev")),
        ("exp", lambda: story.rebase("exp", "prod")),
        ("prod", lambda: remote.squash("exp", "prod")),
        ("team/dev", lambda: remote.commit("team/dev", {"again": "x"}, start="prod")),
        ("exp", lambda: story.roll_back("exp")),
        ("prod", lambda: remote.merge("exp", "prod")),
        ("team/dev", lambda: story.roll_back("team/dev")),
    ]
    for branch, act in acts:
        begun = line.pushes + rng.randrange(2, 8)
        # The branch is moved when a gateway has built a commit on its tip, and not pushed it yet.
        acted = line.before_the_next_push(act)
        story.record(branch)
        acted.result(120)
        story.record(*BRANCHES)
        wait_until(lambda begun=begun: line.pushes >= begun, 120.0)  # type: ignore[misc]
        victim = rng.choice(gateways)
        victim.kill()
        victim.start()
    assert line.lost, "no acknowledgement was lost: nothing was tried"
    line.breaks = lambda _: False
    story.record(*BRANCHES)
    wait_until(
        lambda: not any(gateway.waiting() for gateway in gateways),
        120.0,
        lambda: [(gateway.waiting(), gateway.status()) for gateway in gateways],
    )
    assert [gateway.finish() for gateway in gateways] == [0, 0, 0]
    check_rows(story)
    check_moves(remote)


def check_rows(story: Story) -> None:
    counts = {branch: Counter(ids) for branch, ids in story.found().items()}
    wrong = {}
    for (writer, chunk, branch), ids in story.recorded.items():
        least = 0 if (writer, chunk, branch) in story.dropped else 1
        for found in (counts[branch].pop(one, 0) for one in ids):
            if not least <= found <= 1:
                wrong[writer, chunk, branch] = found
    assert wrong == {}
    assert all(not left for left in counts.values()), "rows that nobody recorded"
    assert story.dropped <= story.recorded.keys()
    assert len(story.dropped) < len(story.recorded) / 2, "people dropped too much to tell"


def check_moves(remote: Remote) -> None:
    """Each commit that a gateway pushed stands on the very tip that it replaced."""
    moves = [line.split() for line in (remote.path / "moved").read_text().splitlines()]
    for old, new, ref in moves:
        parents = git(remote.path, "log", "-1", "--format=%P", new).split()
        assert parents == ([] if old == NOBODY else [old])
        # Only a side branch is ever begun; a branch that a person deleted is never brought back.
        assert old != NOBODY or ref.startswith("refs/heads/gateway-monitoring/")
    assert len(moves) > 20
