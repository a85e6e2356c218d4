"""When each branch is pushed: ever more rarely while it is refused, whatever comes meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from chunkfiles import header, request, request_id, write
from gitrepo import Remote
from monitorprocess import pushed_rows

from gateway.monitoring.drift.files import GitFiles
from gateway.monitoring.git_shelf import GitShelf
from gateway.monitoring.monitor import Finishing, Monitor
from gateway.monitoring.monitor_settings import Monitoring, MonitorSettings
from gateway.names import Branch
from gateway.repositories.credentials import Credentials
from gateway.repositories.data import BranchData
from gateway.repositories.git import Git
from gateway.store.sqlite import SqliteStore

PROD, DEV = Branch("prod"), Branch("dev")
SIDE = "refs/heads/gateway-monitoring/prod"
NOW = datetime(2026, 11, 23, 10, 20, tzinfo=UTC)


class Clocked:
    """A monitor whose seconds pass when told; `asked` are the refs the remote saw pushes of."""

    def __init__(self, state: Path, remote: Remote, store: SqliteStore) -> None:
        self.at = 0.0
        self.journal = state / "journal"
        self._log = remote.path / "asked"
        environment = {"PATH": os.environ["PATH"], "HOME": str(state)}
        git = Git(state / "git", str(remote.path), environment)
        git.prepare()
        monitoring = Monitoring(flush=900.0, retention=1e9, journal_bytes=2**30)
        self._monitor = Monitor(
            MonitorSettings(
                str(remote.path), state, monitoring, (PROD, DEV), Credentials(), "stamp"
            ),
            GitShelf(git),
            GitFiles(BranchData(git, state / "data")),
            store,
            Finishing(10.0),
            clock=lambda: self.at,
            now=lambda: NOW,
            jitter=lambda: 1.0,
        )

    def asked(self) -> list[str]:
        return self._log.read_text().split() if self._log.exists() else []

    def until(self, second: int) -> dict[int, list[str]]:
        """A step each second up to that one; the refs that were pushed in each."""
        pushed: dict[int, list[str]] = {}
        while self.at <= second:
            before = len(self.asked())
            self._monitor.step()
            if refs := self.asked()[before:]:
                pushed[int(self.at)] = refs
            self.at += 1
        return pushed


@pytest.fixture
def clocked(tmp_path: Path, remote: Remote) -> Iterator[Clocked]:
    for branch in (PROD, DEV):
        remote.commit(branch, {"README": branch})
    with SqliteStore(tmp_path / "store.sqlite") as store:
        yield Clocked(tmp_path / "state", remote, store)


def test_a_branch_refused_everywhere_is_tried_ever_more_rarely_and_delays_no_other(
    clocked: Clocked, remote: Remote
) -> None:
    hook = remote.hook(
        "pre-receive",
        'while read old new ref; do echo "$ref" >> asked; case "$ref" in *prod) no=1;; esac; done'
        '; [ -z "$no" ]',
    )
    write(clocked.journal, [header(1), request(1), request(2, "dev")])
    pushed = clocked.until(300)
    assert pushed.pop(0) == ["refs/heads/dev", "refs/heads/prod", SIDE]
    # What refused once is not asked again under the same settings; what is left, at these seconds.
    assert pushed == {second: [SIDE] for second in (1, 3, 7, 15, 31, 63, 123, 183, 243)}
    write(clocked.journal, [header(2), request(3), request(4, "dev")])
    # New rows do not bring its turn forward, and another branch's go at once.
    assert clocked.until(302) == {301: ["refs/heads/dev"]}
    refusing = hook.read_text()
    hook.write_text(refusing.replace("no=1", ":"))
    assert clocked.until(370) == {303: [SIDE]}
    found = sorted(line.split(",")[1] for line in pushed_rows(remote))
    assert found == [request_id(number) for number in (1, 2, 3, 4)]
    # After a success the waits begin anew.
    hook.write_text(refusing)
    write(clocked.journal, [header(3), request(5)])
    assert clocked.until(380) == {second: [SIDE] for second in (371, 372, 374, 378)}
