"""seccomp: which system calls the kernel refuses, in every thread.

A program of the kernel's filter machine, written out here: it looks at a call's number and plain
arguments, never at what they point to, so paths are Landlock's business and this is all else. What
a library may try in good faith is refused as if it were not permitted; what none does ends the
process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from . import kernel
from .numbers import MACHINES, NEWEST, numbers

ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NOT_PERMITTED, NOT_THERE = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
#: Says it was done and does nothing: who copies a file may go on, and no mode is changed.
PRETENDED = ERRNO | 0
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_FILTER, _ALL_THREADS = 1, 1
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN, _AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

_KILLED = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"),
    *("mount", "umount2", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("mount_setattr", "pivot_root", "chroot", "setns", "reboot", "swapon", "swapoff", "acct"),
    *("bpf", "open_by_handle_at", "iopl", "ioperm", "quotactl"),
)
_REFUSED = (
    *("execve", "execveat", "fork", "vfork", "unshare"),
    *("bind", "listen", "accept", "accept4"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("userfaultfd", "perf_event_open", "fanotify_init", "modify_ldt", "syslog", "vhangup"),
    *("add_key", "keyctl", "request_key", "tkill", "pidfd_open", "pidfd_send_signal"),
    *("process_madvise", "process_mrelease", "migrate_pages", "move_pages", "ioprio_set"),
    *("shmget", "shmat", "shmctl", "msgget", "msgsnd", "msgrcv", "msgctl"),
    *("semget", "semop", "semctl", "semtimedop", "mq_open"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
)
#: Landlock knows nothing of these, and a gateway that is not root owns all that it reads.
_PRETENDED = (
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat"),
    *("utime", "utimes", "futimesat", "utimensat"),
)
_SIGNALS = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
_OF_ITSELF = (
    *("prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr"),
)
_CLONE_THREAD, _PR_SET_PDEATHSIG, _TIOCSTI = 0x10000, 1, 0x5412
_UNIX, _INET, _NETLINK, _INET6, _STREAM, _TYPE = 1, 2, 16, 10, 1, 0xF
_EMPTY, _MODE = 0o1000, 0o3


class Step(NamedTuple):
    """One instruction: what, where to if it holds and if not, and with which number."""

    code: int
    yes: int
    no: int
    value: int


class NoSeccomp(OSError):
    """Why there is none."""

    def __str__(self) -> str:
        return str(self.args[0])


def restrict(*, network: bool, landlock: int) -> str:
    """From now on for ever; `landlock` is the ABI that looks after files, 0 if none does."""
    machine = os.uname().machine
    if machine not in MACHINES:
        raise NoSeccomp(f"which calls there are on {machine} is not known here")
    steps = program(machine, os.getpid(), network=network, landlock=landlock)
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    held = ctypes.create_string_buffer(code, len(code))
    head = _Program(len(steps), ctypes.addressof(held))
    kernel.prctl(38, 1)  # no new privileges: without, only a privileged process may filter
    flags = (ctypes.c_uint(_SET_FILTER), ctypes.c_uint(_ALL_THREADS))
    if thread := kernel.call(_SECCOMP[machine], *flags, ctypes.byref(head)):
        raise NoSeccomp(f"thread {thread} has a filter of its own")
    return "programs, processes, tracing" + ("" if network else ", sockets")


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]


class _Builder:
    """Puts a program together for one architecture."""

    def __init__(self, machine: str) -> None:
        kind, self._numbers = MACHINES[machine], numbers(machine)
        self.steps = [Step(_LOAD, 0, 0, _ARCHITECTURE), Step(_EQUAL, 1, 0, kind.audit), _end(KILL)]
        self.steps.append(Step(_LOAD, 0, 0, _NUMBER))
        if kind.foreign is not None:
            self.steps += [Step(_AT_LEAST, 0, 1, kind.foreign), _end(KILL)]
        self.steps += [Step(_AT_LEAST, 0, 1, NEWEST + 1), _end(NOT_THERE)]

    def when(self, name: str, *body: Step) -> None:
        """The body, which always ends, if it is this call."""
        if (number := self._numbers[name]) is not None:
            self.steps += [Step(_EQUAL, 0, len(body), number), *body]


def program(machine: str, pid: int, *, network: bool, landlock: int) -> list[Step]:
    """For the process `pid`."""
    building = _Builder(machine)
    when = building.when
    if not network:
        _send_without_address(building)  # first, since every answer goes through it
    for names, end in ((_KILLED, KILL), (_REFUSED, NOT_PERMITTED), (_PRETENDED, PRETENDED)):
        for name in names:
            if not (network and name == "bind"):
                when(name, _end(end))
    when("clone3", _end(NOT_THERE))  # its flags lie in memory; libraries then ask by `clone`
    when("clone", _argument(0), Step(_ANY_BIT, 1, 0, _CLONE_THREAD), _end(NOT_PERMITTED), _end())
    for name in _SIGNALS:
        when(name, *_one_of(0, pid))
    for name in _OF_ITSELF:
        when(name, *_one_of(0, 0, pid))
    of_one = Step(_EQUAL, 1, 0, 0), _end(NOT_PERMITTED)
    when("setpriority", _argument(0), *of_one, *_one_of(1, 0, pid))
    when("prctl", *_none_of(0, _PR_SET_PDEATHSIG, end=KILL))
    when("ioctl", *_none_of(1, _TIOCSTI))
    _sockets(building, network=network)
    if landlock < 3:
        # Landlock does it from its third ABI on: a file is also emptied by opening it to read.
        emptied = Step(_AND, 0, 0, _EMPTY | _MODE), Step(_EQUAL, 0, 1, _EMPTY)
        for name, place in (("open", 1), ("openat", 2)):
            when(name, _argument(place), *emptied, _end(NOT_PERMITTED), _end())
        when("truncate", _end(NOT_PERMITTED))
        when("openat2", _end(NOT_THERE))
    return [*building.steps, _end()]


def _sockets(building: _Builder, *, network: bool) -> None:
    stream = Step(_AND, 0, 0, _TYPE), Step(_EQUAL, 1, 0, _STREAM), _end(NOT_PERMITTED), _end()
    pair = _argument(0), Step(_EQUAL, 1, 0, _UNIX), _end(NOT_PERMITTED), _argument(1), *stream
    building.when("socketpair", *pair)  # a loop of asyncio wakes itself through one
    if network:
        building.when("socket", *_one_of(0, _INET, _INET6, _NETLINK))
        return
    building.when("socket", _end(NOT_PERMITTED))
    building.when("connect", _end(NOT_PERMITTED))


def _send_without_address(building: _Builder) -> None:
    """As the channel does: both halves of the pointer are 0."""
    low, high = _ARGUMENTS + 8 * 4, _ARGUMENTS + 8 * 4 + 4
    load, equal = Step(_LOAD, 0, 0, low), Step(_EQUAL, 0, 2, 0)
    rest = Step(_LOAD, 0, 0, high), Step(_EQUAL, 1, 0, 0), _end(NOT_PERMITTED), _end()
    building.when("sendto", load, equal, *rest)


def _end(how: int = ALLOW) -> Step:
    return Step(_RETURN, 0, 0, how)


def _argument(place: int) -> Step:
    """Its lower half, which is all of it that the kernel looks at in these calls."""
    return Step(_LOAD, 0, 0, _ARGUMENTS + 8 * place)


def _one_of(place: int, *values: int) -> list[Step]:
    """Allowed if the argument is one of these."""
    return _compared(place, values, [_end(NOT_PERMITTED), _end()])


def _none_of(place: int, *values: int, end: int = NOT_PERMITTED) -> list[Step]:
    """Allowed if it is not."""
    return _compared(place, values, [_end(), _end(end)])


def _compared(place: int, values: Sequence[int], ends: list[Step]) -> list[Step]:
    """To the second of the ends if it is one of the values, else to the first."""
    count = len(values)
    equal = [Step(_EQUAL, count - at, 0, value) for at, value in enumerate(values)]
    return [_argument(place), *equal, *ends]
