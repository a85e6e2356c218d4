"""Who the process is: another user, without privileges, that ends with its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from . import kernel

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_PR_CAP_AMBIENT, _CLEAR_ALL = 47, 4
_CAPSET = {"x86_64": 126, "aarch64": 91}
_VERSION_3 = 0x20080522
#: What the front must have to start a stranger, end it, and tidy up behind it.
_NEEDED = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7}


class NoOtherUser(OSError):
    """Why the process stays who it is."""

    def __str__(self) -> str:
        return str(self.args[0])


def become(number: int, group: int, scratch: str | None, needed: Iterable[str]) -> str:
    """Another user for good, if all of `needed` can be read as that one; NoOtherUser if not."""
    held = _effective()
    absent = [f"CAP_{name}" for name, bit in _NEEDED.items() if not held >> bit & 1]
    if absent:
        raise NoOtherUser(f"the gateway is root without {', '.join(absent)}")
    groups = os.getgroups()
    try:
        os.setgroups([])
        os.setegid(group)
        os.seteuid(number)
    except OSError as error:
        _return(groups)
        raise NoOtherUser(f"user {number} cannot be had here: {error.strerror}") from None
    try:
        hidden = next((found for path in needed if (found := _hidden(Path(path)))), None)
    finally:
        _return(groups)
    if hidden is not None:
        raise NoOtherUser(f"{hidden} cannot be read by any user but the gateway's own")
    if scratch is not None:
        os.chown(scratch, number, group)
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(number, number, number)
    return f"user {number}"


def _return(groups: list[int]) -> None:
    with contextlib.suppress(OSError):
        os.seteuid(0)
        os.setegid(os.getgid())
        os.setgroups(groups)


def _hidden(path: Path) -> Path | None:
    """What keeps this user from what lies at the path, also from its first level of entries."""
    for folder in [*reversed(path.parents), path]:
        try:
            folder.stat()
        except PermissionError:
            return folder.parent
        except OSError:
            return None
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                reads = os.R_OK | (os.X_OK if entry.is_dir() else 0)
                there = entry.is_dir() or entry.is_file()
                if there and not os.access(entry.path, reads, effective_ids=True):
                    return Path(entry.path)
    except PermissionError:
        return path
    except OSError:
        return None
    return None


def give_up_privileges() -> str:
    """No program gives any, and those there were are gone: also root is then an ordinary user."""
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if _effective():
        number = _CAPSET.get(os.uname().machine)
        if number is None:
            raise NoOtherUser(f"capabilities cannot be given up on {os.uname().machine}")
        kernel.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL)
        header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
        kernel.call(number, ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))
    return "no new ones, no capabilities"


def close_to_others() -> None:
    """No process of the same user may look into this one; with Landlock none could anyway."""
    with contextlib.suppress(OSError):
        kernel.prctl(_PR_SET_DUMPABLE, 0)


def die_with_parent() -> str:
    """Asked again, since the kernel forgets it with the user."""
    kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return "killed with the gateway"


def _effective() -> int:
    """The capabilities that count, as bits."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
