"""Follow a page as a reader does: its blocks of commands, in one bash session, one after the other.

A block that is followed by what it says is asked again until it says that, as the page tells its
reader to; one that says nothing is run once, and must succeed.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from waiting import wait_until

_BLOCK = re.compile(r"^```(sh|text|json)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NUMBER = r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?"
#: Of a full minute the seconds may be left out.
_TIME = r"\b\d\d:\d\d(?::\d\d)?\b"
_ID = r"[0-9a-f]{8,}(?:-[0-9a-f]+)*-?"


class Step(NamedTuple):
    """A block of commands, and what it says where that is shown."""

    commands: str
    says: str | None


def steps(page: str) -> list[Step]:
    found: list[Step] = []
    for language, text in _BLOCK.findall(page):
        if language == "sh":
            found.append(Step(text, None))
        else:
            assert found, f"something is said before anything is asked: {text}"
            assert found[-1].says is None, f"nothing is asked between two answers: {text}"
            found[-1] = found[-1]._replace(says=text)
    return found


def alike(shown: str, said: str) -> bool:
    """Whether this was said as it is shown, but for numbers, ids and blanks, and what `…` hides."""
    pattern = ""
    for token in re.findall(rf"…|\s+|{_TIME}|{_ID}|{_NUMBER}|[^\W\d]+|.", shown.strip()):
        if token == "…":
            pattern += ".*?"
        elif token.isspace():
            pattern += r"\s*"
        elif re.fullmatch(_TIME, token):
            pattern += _TIME
        elif re.fullmatch(_ID, token) and re.search(r"\d", token):
            pattern += _ID
        elif re.fullmatch(_NUMBER, token):
            pattern += _NUMBER
        else:
            pattern += re.escape(token)
    return re.fullmatch(pattern, said.strip(), re.DOTALL) is not None


class Session:
    """A bash in `folder` that takes one block after another."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder / ".session"
        self._folder.mkdir()
        self._count = 0
        self._said: list[str] = []
        self.bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def end(self) -> None:
        """End it with all that it began."""
        assert self.bash.stdin is not None
        with contextlib.suppress(OSError):
            self.bash.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.bash.pid, signal.SIGKILL)
        self.bash.wait(20)

    def follow(self, step: Step) -> None:
        if step.says is None:
            failed, said = self.run(step.commands)
            assert not failed, f"{failed} failed in\n{step.commands}\nIt says:\n{said}"
            return
        shown = step.says
        wait_until(
            lambda: alike(shown, self.run(step.commands)[1]),
            240.0,
            lambda: f"{self._said[-1]}\nfor\n{step.commands}",
        )

    def run(self, commands: str) -> tuple[str, str]:
        """The command of the block that failed, if any, and all that was said."""
        self._count += 1
        block = self._folder / f"{self._count}.sh"
        said, done = block.with_suffix(".said"), block.with_suffix(".done")
        block.write_text(commands)
        assert self.bash.stdin is not None
        self.bash.stdin.write(
            f"failed=; trap 'failed=$BASH_COMMAND' ERR\n"
            f". {block} > {said} 2>&1 < /dev/null\n"
            f'printf %s "$failed" > {done}.new; mv {done}.new {done}\n'
        )
        self.bash.stdin.flush()
        wait_until(lambda: done.exists() or self.bash.poll() is not None, 600.0, said.read_text)
        assert done.exists(), f"the session ended in\n{commands}\nIt says:\n{said.read_text()}"
        self._said.append(said.read_text())
        return done.read_text(), self._said[-1]
