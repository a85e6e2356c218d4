"""Looks for secrets where none may be: in every process of the machine, and in files."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from urllib.parse import quote

#: Commands that an operator starts: what stands in their environment was put there by the operator.
_OPERATORS = (b"gateway\0serve\0", b"gateway\0export\0")


class SecretWatch:
    """Samples all processes without pause between `with` and its end.

    `found` says where a secret was seen; `seen` are the programs that were looked into, each with
    its names of variables, so that a test can tell that it looked at those it means.
    """

    def __init__(self, username: str, *passwords: str) -> None:
        self.forms = [form for password in passwords for form in _forms(username, password)]
        self.found: set[str] = set()
        self.seen: dict[str, set[str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def within(self, content: bytes) -> bool:
        return any(form in content for form in self.forms)

    def files(self, folder: Path) -> list[Path]:
        """The files below `folder` that hold a secret."""
        return [path for path in _files(folder) if self.within(path.read_bytes())]

    def look(self) -> None:
        """One sample."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                # In this order: between fork and exec a child still shows what its parent has.
                arguments = (process / "cmdline").read_bytes()
                environment = (process / "environ").read_bytes()
                is_still_it = (process / "cmdline").read_bytes() == arguments
            except OSError:
                continue
            if not arguments or not is_still_it:
                # In the middle of exec; the next sample sees it whole.
                continue
            program = os.path.basename(arguments.partition(b"\0")[0]).decode(errors="replace")  # noqa: PTH119
            names = {line.partition(b"=")[0].decode() for line in environment.split(b"\0") if line}
            self.seen.setdefault(program, set()).update(names)
            if self.within(arguments):
                self.found.add(f"arguments of {program}")
            if self.within(environment) and not any(o in arguments for o in _OPERATORS):
                self.found.add(f"environment of {program}: {arguments!r}")

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()


def _forms(username: str, password: str) -> Iterator[bytes]:
    pair = base64.b64encode(f"{username}:{password}".encode())
    yield from (password.encode(), pair, pair.rstrip(b"="), quote(password, safe="").encode())


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path
