"""What a spare imports before it knows its branch, and whether a branch may have that.

A branch may only where it could not tell: where each import would have found the same file, in
the same environment, had the branch's own code run first.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from .isolation import lowered

_OURS = __name__.partition(".")[0]
#: Enough for all that serves to go first, and not so much that a busy machine starves the imports.
_STEP_BACK = 5
_WRITTEN_BYTES = 1024 * 1024
_INSTALLED = (".dist-info", ".egg-info")


class Warmth:
    """Knows this process's modules from its hello on; made before anything of a branch is seen."""

    def __init__(self) -> None:
        self._first = frozenset(sys.modules)
        self._path = [*sys.path]
        #: What was looked for: also what is not installed could be a branch's.
        self._sought: set[str] = set()
        self._stamps: list[int] | None = None
        self._variables: Mapping[str, str] = {}

    # -- a spare --------------------------------------------------------------------------------

    def import_ahead(self, names: Sequence[str]) -> list[str]:
        """Import what of these is there, yielding to all that serves; those that broke."""
        broken: list[str] = []
        if not names:
            return broken

        def work() -> None:
            if sys.platform == "linux":
                # Of this thread alone, which then ends: an ordinary process may not go back up.
                os.nice(_STEP_BACK)
            for name in names:
                try:
                    importlib.import_module(name)
                except BaseException as error:
                    if not (isinstance(error, ModuleNotFoundError) and _is_in(name, error.name)):
                        broken.append(name)

        noting = _Noting(self._sought)
        sys.meta_path.append(noting)
        with lowered(_STEP_BACK):
            thread = threading.Thread(target=work, name="imports")
            thread.start()
            thread.join()
        sys.meta_path.remove(noting)
        self._stamps = _stamps(self._path)
        return broken

    @property
    def spare(self) -> bool:
        """Whether anything was imported before the branch was known."""
        return self._stamps is not None

    def obstacle(self, source: Path) -> str | None:
        """Why a branch with this `src/` must have a cold worker, if so."""
        if not self.spare:
            return None
        if self._stamps != _stamps(self._path):
            return "packages were installed since the spare was started"
        return self._shadow(source, self._ahead())

    # -- any worker -----------------------------------------------------------------------------

    def begin(self) -> None:
        """The branch's own code runs from here on."""
        if not self.spare:  # its environment may have been opened since
            self._path = [*sys.path]
        self._variables = dict(os.environ)

    def meddled(self, root: Path, modules: Iterable[str]) -> str | None:
        """What the branch's code changed that imports go by, if it did: it needs cold workers.

        `modules` are those it imported.
        """
        source = root / "src"
        known = [str(source), *self._path] if source.is_dir() else self._path
        path = [str(entry) for entry in sys.path]
        if [entry for entry in path if entry in known] != known:
            return "src/ changes the order of sys.path"
        names = self._ahead() | {_top(name) for name in modules}
        for entry in path:
            if entry not in known and (reason := self._shadow(Path(entry), names)):
                return reason
        now = dict(os.environ)
        changed = {key for key, _ in now.items() ^ self._variables.items()}
        own = next((key for key in sorted(changed) if _mentions(source, key)), None)
        return f"src/ sets the variable {own}" if own else None

    def modules(self, root: Path) -> list[str]:
        """What was imported since the hello and is not the branch's own, in order."""
        places = tuple(f"{entry}{os.sep}" for entry in self._path)
        own = f"{root}{os.sep}"
        found = []
        for name, module in list(sys.modules.items()):
            spec = getattr(module, "__spec__", None)
            if name in self._first or spec is None or spec.name != name or not spec.origin:
                continue
            origin = spec.origin
            known = origin in ("built-in", "frozen") or _top(name) == _OURS
            if known or (origin.startswith(places) and not origin.startswith(own)):
                found.append(name)
        return found

    def _ahead(self) -> set[str]:
        if not self.spare:
            return set()
        imported = {_top(name) for name in sys.modules.keys() - self._first}
        return imported | {_top(name) for name in self._sought}

    def _shadow(self, folder: Path, names: Iterable[str]) -> str | None:
        """The first of the names that would have been found in the folder instead."""
        if not folder.is_dir():
            return None
        if any(entry.suffix in _INSTALLED for entry in folder.iterdir()):
            return f"{folder.name}/ holds an installed package"
        for name in sorted(names):
            if PathFinder.find_spec(name, [str(folder)]) is not None:
                return f"{folder.name}/ has a {name} of its own"
        return None


class _Noting(MetaPathFinder):
    """Asked last: notes what nobody found."""

    def __init__(self, sought: set[str]) -> None:
        self._sought = sought

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        self._sought.add(fullname)
        return None


def _top(name: str) -> str:
    return name.partition(".")[0]


def _is_in(name: str, missing: str | None) -> bool:
    """Whether it is the module itself or a package above it that is missing."""
    return missing is not None and f"{name}.".startswith(f"{missing}.")


def _stamps(path: Iterable[str]) -> list[int]:
    """Changes with whatever is installed there or removed."""
    return [Path(entry).stat().st_mtime_ns if Path(entry).exists() else 0 for entry in path]


def _mentions(source: Path, word: str) -> bool:
    """Whether it stands in a file that a person may have written."""
    return any(
        word.encode() in file.read_bytes()
        for file in source.rglob("*")
        if file.is_file() and file.stat().st_size <= _WRITTEN_BYTES
    )
