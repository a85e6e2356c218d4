"""What each branch served last, kept over restarts: a start needs no remote, and no new epoch.

As a keeper it writes beside the loop, and again while the disk refuses.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.names import Branch, Commit, Fingerprint
from gateway.state import write_atomically

log = logging.getLogger(__name__)

_TRY_AGAIN = 5.0


@dataclass(frozen=True, slots=True)
class Served:
    """One branch's last loaded and probed content."""

    tip: Commit
    commit: Commit
    commit_known: bool
    fingerprint: Fingerprint


class ServedFile:
    """The file in the state directory; small, replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.branches: dict[Branch, Served] = {}
        self._news: dict[Branch, Served] = {}
        self._wake = asyncio.Event()

    def read(self) -> None:
        """Take over what is there; an unreadable file is as good as none, and said."""
        try:
            found: dict[str, dict[str, Any]] = json.loads(self._path.read_text())
            self.branches = {Branch(name): _served(fields) for name, fields in found.items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is unreadable and begun anew: %s", self._path, error)

    def note(self, branch: Branch, served: Served) -> None:
        """To be written down by `run`, or by `write` at the end."""
        self._news[branch] = served
        self._wake.set()

    async def run(self) -> None:
        """The keeper's body."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await asyncio.to_thread(self.write)
            except OSError as error:
                log.warning("what serves could not be written down: %s", error)
                await asyncio.sleep(_TRY_AGAIN)
                self._wake.set()

    def write(self) -> None:
        """Write what was noted; OSError while the disk refuses it."""
        for branch, served in list(self._news.items()):
            self.put(branch, served)

    def put(self, branch: Branch, served: Served) -> None:
        """Remember, if it is news; OSError while the disk refuses it."""
        if self.branches.get(branch) == served:
            return
        branches = {**self.branches, branch: served}
        content = {
            name: {
                "tip": one.tip,
                "commit": one.commit,
                "commit_known": one.commit_known,
                "fingerprint": one.fingerprint,
            }
            for name, one in branches.items()
        }
        write_atomically(self._path, json.dumps(content, indent=1).encode())
        # Only now: what could not be written is news again the next time.
        self.branches = branches


def _served(fields: dict[str, Any]) -> Served:
    return Served(
        Commit(fields["tip"]),
        Commit(fields["commit"]),
        bool(fields["commit_known"]),
        Fingerprint(fields["fingerprint"]),
    )
