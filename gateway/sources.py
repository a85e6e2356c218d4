"""Where the configuration comes from: a file, or a file in the repository beside the operator's.

Reads and parses; when it is looked at and what comes of it is `reload`'s business.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gateway.config import Config, OperatorConfig
from gateway.config.document import combined, load_config, load_operator, parse_team
from gateway.errors import ConfigError, RepositoryError
from gateway.names import Branch, Commit, InvalidName
from gateway.state import write_atomically

log = logging.getLogger(__name__)

#: The file's name in the repository, at the top of its tree.
IN_REPOSITORY = "gateway.yaml"


class Source(Protocol):
    """What `reload` follows."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def place(self) -> dict[str, str | None]:
        """For status and decisions: `file`, and the `commit` it stands in."""
        ...

    def content(self) -> bytes:
        """Differs whenever `load` may say something else; reads files."""
        ...

    def load(self) -> Config:
        """ConfigError with every mistake, in words that may be shown in the repository."""
        ...

    def remember(self) -> None:
        """What `load` gave last is in force: keep what the next start needs."""
        ...


class FileSource:
    """One gateway.yaml on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = path.name

    @property
    def place(self) -> dict[str, str | None]:
        return {"file": str(self._path), "commit": None}

    def content(self) -> bytes:
        return _bytes(self._path)

    def load(self) -> Config:
        try:
            return load_config(self._path)
        except ConfigError as error:
            raise _without_folder(error, self._path) from None

    def remember(self) -> None:
        """The file itself is there at the next start."""


class BranchSource:
    """gateway.yaml at the tip of a branch, as it is handed over by `offer`.

    The operator's half comes from a file of its own, or is fixed where there is none. `memory` is
    a file that keeps what was last in force: a start needs no remote, and no good commit.
    """

    def __init__(
        self, branch: Branch, operator: OperatorConfig, operator_file: Path | None, memory: Path
    ) -> None:
        self.branch = branch
        self.name = f"{branch}:{IN_REPOSITORY}"
        self._operator = operator
        self._operator_file = operator_file
        self._memory = memory
        self._offered: tuple[Commit | None, bytes | None] = (None, None)
        self._loaded: tuple[Commit | None, bytes | None] = (None, None)

    @property
    def place(self) -> dict[str, str | None]:
        return {"file": self.name, "commit": self._offered[0]}

    def offer(self, commit: Commit, content: bytes | None) -> None:
        """The file's content at the branch's tip; None if there is no such file.

        A tip that leaves it as it was does not count: our own commits move the tip too.
        """
        if self._offered[0] is None or content != self._offered[1]:
            self._offered = (commit, content)

    def begin(self, read: Callable[[], tuple[Commit, bytes | None]]) -> Config:
        """The configuration to start with: what the branch holds, else what was last in force.

        RepositoryError or ConfigError where neither is to be had.
        """
        last = self._last()
        try:
            self.offer(*read())
        except RepositoryError as error:
            if last is None:
                raise
            log.warning("%s cannot be read, the last one known is used: %s", self.name, error)
            self.offer(*last)
        try:
            config = self.load()
        except ConfigError as error:
            if last is None or last == self._offered:
                raise
            log.error("refused, the last good %s is in force:\n%s", self.name, error.message)
            return combined(self._operator, parse_team(last[1], self.name))
        self.remember()
        return config

    def content(self) -> bytes:
        _, team = self._offered
        operator = b"" if self._operator_file is None else _bytes(self._operator_file)
        # Neither contains a NUL when it is good, so the two cannot be taken for one another.
        return operator + b"\0" + (b"\0" if team is None else team)

    def load(self) -> Config:
        commit, team = self._offered
        if self._operator_file is not None:
            try:
                self._operator = load_operator(self._operator_file)
            except ConfigError as error:
                raise _without_folder(error, self._operator_file) from None
        if team is None:
            raise ConfigError([f"{self.name}: there is no such file in the branch at {commit}"])
        config = combined(self._operator, parse_team(team, self.name))
        self._loaded = (commit, team)
        return config

    def remember(self) -> None:
        commit, team = self._loaded
        if commit is None or team is None or self._last() == (commit, team):
            return
        memory = {"branch": self.branch, "commit": commit, "text": team.decode("utf-8-sig")}
        write_atomically(self._memory, json.dumps(memory).encode())

    def _last(self) -> tuple[Commit, bytes] | None:
        """What was last in force from this branch; an unreadable memory is as good as none."""
        try:
            found = json.loads(self._memory.read_text())
            if found["branch"] != self.branch:
                return None
            team = found["text"].encode()
            parse_team(team, self.name)
            return Commit(found["commit"]), team
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError, InvalidName):
            log.warning("%s is unreadable and begun anew", self._memory)
            return None


def _without_folder(error: ConfigError, path: Path) -> ConfigError:
    """The folder is the operator's business; the mistakes are also written into the branch."""
    return ConfigError([mistake.replace(str(path), path.name) for mistake in error.mistakes])


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        # Stands for the content: the change is seen, and `load` says what is wrong.
        return f"\x00{error.strerror}".encode()
