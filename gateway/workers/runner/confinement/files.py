"""Landlock: which files may be read, which written, and what else it keeps a process from.

A kernel's Landlock has a version, its ABI: what came with a later one is left out on an older, and
`calls` stands in for it where it can. What must be reached is allowed, everything else is not.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import kernel

#: The newest ABI that is made use of.
NEWEST = 7
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION_FLAG, _BENEATH = 1, 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST = (1 << 13) - 1
#: Rights by the ABI that brought them.
_RIGHTS = {1: _FIRST, 2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEV}
_READ = _READ_FILE | _READ_DIR
#: All but running programs and making devices or sockets.
_OWN = (_FIRST | _REFER | _TRUNCATE) & ~(_EXECUTE | 1 << 6 | 1 << 9 | 1 << 11)
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_SCOPE_SOCKETS, _SCOPE_SIGNALS = 1 << 0, 1 << 1

#: Where libraries lie, and what they look at: nothing here is anybody's secret.
_SYSTEM = (
    *("/usr", "/lib", "/lib64", "/lib32", "/nix/store", "/gnu/store", "/proc"),
    *("/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage"),
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld-musl-x86_64.path"),
    *("/etc/localtime", "/etc/timezone", "/etc/os-release", "/etc/mime.types", "/etc/fonts"),
    *("/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/OpenCL", "/etc/openmpi"),
)
_FOR_NETWORK = (
    *("/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/run/systemd/resolve", "/etc/gai.conf"),
    *("/etc/services", "/etc/protocols", "/etc/ssl/certs", "/etc/ssl/openssl.cnf"),
    *("/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted", "/etc/ca-certificates"),
)
_SINKS = ("/dev/null", "/dev/zero", "/dev/full")


class _Ruleset(ctypes.Structure):
    _fields_ = [
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    ]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


class NoLandlock(OSError):
    """Why there is none."""

    def __str__(self) -> str:
        return str(self.args[0])


def version() -> int:
    """The kernel's ABI; 0 where there is no Landlock."""
    if sys.platform != "linux":
        return 0
    try:
        return kernel.call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    except OSError:
        return 0


def environment() -> list[str]:
    """Where this interpreter's modules and libraries lie."""
    found = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *sys.path]
    # Started without `site`, older Pythons do not know yet that this is where they are.
    own = Path(sys.executable).parents[1]
    found += [str(own)] if (own / "pyvenv.cfg").is_file() else []
    whole = {os.path.realpath(path) for path in found if path and Path(path).exists()}
    return sorted(path for path in whole if path != "/")


def readable(root: Path, *, network: bool) -> list[str]:
    """What may be read: the branch's own snapshot, its environment, and the system's libraries."""
    ours = str(Path(__file__).resolve().parents[1])
    system = (*_SYSTEM, *(_FOR_NETWORK if network else ()))
    found = [os.path.realpath(root), ours, *environment(), *map(os.path.realpath, system)]
    return list(dict.fromkeys(path for path in found if Path(path).exists()))


def writable(scratch: str | None) -> list[str]:
    """What may be written to."""
    return [*([os.path.realpath(scratch)] if scratch is not None else []), *_SINKS]


def restrict(abi: int, readable: Sequence[str], writable: Sequence[str], *, network: bool) -> str:
    """Nothing else, from now on for ever; NoLandlock if it cannot be had."""
    if abi < 1:
        raise NoLandlock("this kernel has none, or it is turned off")
    if others := kernel.other_threads():
        raise NoLandlock(f"{others} other threads run already, and it binds only one")
    handled = sum(right for since, right in _RIGHTS.items() if since <= abi)
    tcp = _BIND_TCP | _CONNECT_TCP if abi >= 4 and not network else 0
    scoped = _SCOPE_SOCKETS | _SCOPE_SIGNALS if abi >= 6 else 0
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    asked = _Ruleset(handled, tcp, scoped)
    rules = kernel.call(_CREATE, ctypes.byref(asked), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        _allow(rules, readable, _READ & handled)
        _allow(rules, writable, (_OWN | _READ) & handled)
        kernel.prctl(38, 1)  # no new privileges: Landlock asks for it
        kernel.call(_RESTRICT, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)
    what = ["files", *(["TCP"] if tcp else []), *(["signals"] if scoped else [])]
    return f"ABI {abi}: {', '.join(what)}"


def _allow(rules: int, paths: Iterable[str], rights: int) -> None:
    for path in paths:
        # What is not there, or may not even be looked up, is not allowed, and that is all.
        with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError):
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                allowed = rights if Path(path).is_dir() else rights & _OF_A_FILE
                rule = _Beneath(allowed, fd)
                call = (ctypes.c_int(rules), ctypes.c_int(_BENEATH), ctypes.byref(rule))
                kernel.call(_ADD, *call, ctypes.c_uint32(0))
            finally:
                os.close(fd)
