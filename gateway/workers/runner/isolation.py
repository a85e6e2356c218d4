"""What is arranged before any byte of a branch runs: descriptors, signals, import paths."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_PR_SET_PDEATHSIG = 1
_HOUSE = Path(__file__).resolve().parents[3]
_AUTOGROUP = Path("/proc/self/autogroup")
_OOM = Path("/proc/self/oom_score_adj")
#: Seconds; the kernel lets an unprivileged process write its group's priority ten times a second.
_AGAIN = 0.11


def isolate() -> None:
    """Nothing branch code prints, and no key pressed at the front, reaches the gateway."""
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # Without it a kill -9 of the front would leave workers that compute to their next read.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def hide_house() -> None:
    """Put what is ours out of reach of imports."""
    installed = _HOUSE.name in ("site-packages", "dist-packages")
    if not installed:
        sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _HOUSE]
    sys.meta_path.insert(0, _NotOurs())


def open_environment() -> None:
    """Let what is installed be found where Python was started without (`-S`).

    A branch's own site-packages are its code: a .pth file there runs as soon as it is looked at.
    """
    if sys.flags.no_site:
        import site

        site.main()


def open_source(source: Path) -> None:
    """Put the branch's `src/` first on the import path."""
    if source.is_dir():
        sys.path.insert(0, str(source))
        sys.dont_write_bytecode = True


@contextlib.contextmanager
def lowered(step: int) -> Iterator[None]:
    """Yield to other processes where the kernel shares the machine by session.

    There a thread's own priority only counts within its session. Ends the process if it cannot
    have its full share back: it would serve slowly.
    """
    low = _set_group_priority(step, tries=3)
    yield
    if low and not _set_group_priority(0, tries=100):
        os._exit(3)


def _set_group_priority(number: int, *, tries: int) -> bool:
    if os.getsid(0) != os.getpid():
        return False
    for _ in range(tries):
        try:
            _AUTOGROUP.write_text(str(number))
        except BlockingIOError:
            time.sleep(_AGAIN)
        except OSError:
            return False
        else:
            return True
    return False


@contextlib.contextmanager
def expendable() -> Iterator[None]:
    """When memory runs out, this process goes before any that serves."""
    try:
        before = _OOM.read_text()
        _OOM.write_text("1000")
    except OSError:
        before = None
    yield
    if before is not None:
        _OOM.write_text(before)


class _NotOurs(MetaPathFinder):
    """Hides the gateway's own package, which may be installed in this environment."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != "gateway":
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is None or spec.origin is None or Path(spec.origin).parent != _HOUSE / "gateway":
            return None
        raise ModuleNotFoundError("No module named 'gateway'", name="gateway")
