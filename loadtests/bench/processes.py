"""A started server and every process under it: its log, its CPU, its memory, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_MARK = "BENCH_SERVER"
_TICKS = os.sysconf("SC_CLK_TCK")
_ORDERLY_SECONDS = 20.0


@dataclass(frozen=True)
class Memory:
    """Bytes of one process: the most it ever had resident, and its share of what is shared now.

    `share` is None where the system does not tell.
    """

    peak: int
    share: int | None


class Tree:
    """A child process with all its descendants, also those that left its session.

    A descendant is known by its parents, or by a variable that it inherited.
    """

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        self.log = log
        self._token = f"{_MARK}={os.getpid()}-{time.monotonic_ns()}".encode()
        name, _, value = self._token.decode().partition("=")
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches the benchmark alone, which ends all in order.
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**environment, name: value},
                start_new_session=True,
            )
        self._known: set[tuple[int, str]] = set()

    @property
    def exit_code(self) -> int | None:
        return self._child.poll()

    def words(self) -> str:
        """The end of what it logged."""
        return self.log.read_text(errors="replace")[-1500:].strip()

    def members(self) -> list[int]:
        """The processes that live now."""
        below: dict[int, list[int]] = defaultdict(list)
        found = set()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            pid = int(entry.name)
            fields = _stat(pid)
            if fields is None or fields[0] in "ZX":
                continue
            below[int(fields[1])].append(pid)
            if self._is_marked(entry) or (pid, fields[19]) in self._known:
                found.add(pid)
        waiting = [self._child.pid, *found]
        while waiting:
            pid = waiting.pop()
            found.add(pid)
            waiting += [child for child in below[pid] if child not in found]
        alive = {pid: fields for pid in found if (fields := _stat(pid)) and fields[0] not in "ZX"}
        # With the start time, so that a number that was given anew is not taken for ours.
        self._known |= {(pid, fields[19]) for pid, fields in alive.items()}
        return sorted(alive)

    def _is_marked(self, entry: Path) -> bool:
        try:
            return self._token in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def cpu(self) -> dict[int, float]:
        """Seconds of CPU that each process has used so far."""
        used = {}
        for pid in self.members():
            if (fields := _stat(pid)) is not None:
                used[pid] = (int(fields[11]) + int(fields[12])) / _TICKS
        return used

    def memory(self) -> dict[int, Memory]:
        found = {}
        for pid in self.members():
            peak = kibibytes(pid, "status", "VmHWM")
            if peak is not None:
                found[pid] = Memory(peak, kibibytes(pid, "smaps_rollup", "Pss"))
        return found

    def labels(self) -> dict[int, str]:
        """A short name of each process, by its command line."""
        return {pid: label(line) for pid in self.members() if (line := _command(pid))}

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self._child.pid

    def kill(self) -> None:
        """kill -9 of the first process alone."""
        self._child.kill()
        self._child.wait()

    def end(self, seconds: float = _ORDERLY_SECONDS) -> int:
        """SIGTERM to the first process, kill -9 where it takes longer; its exit code."""
        self.members()  # all are known before their parent is gone
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(seconds)
            except subprocess.TimeoutExpired:
                self._child.kill()
        return self._child.wait()

    def stop(self, seconds: float = _ORDERLY_SECONDS) -> int:
        """End it in order, and then whatever is left of it at once; its exit code."""
        code = self.end(seconds)
        end = time.monotonic() + _ORDERLY_SECONDS
        while (members := [pid for pid in self.members() if pid != self._child.pid]) and (
            time.monotonic() < end
        ):
            for pid in members:
                _kill(pid)
            time.sleep(0.05)
        return code


def label(command: Sequence[str]) -> str:
    """What a process is, in a few words: its module, script, or program."""
    text = " ".join(command)
    if "gateway" in text and "monitor" in command:
        return "monitor"
    if "gateway" in text and "serve" in command:
        return "front"
    if "workers/runner" in text:
        return "worker"
    if "multiprocessing" in text:
        return "resource tracker" if "resource_tracker" in text else "spawned worker"
    name = Path(command[0]).name if "/" in command[0] else command[0].split(" ")[0]
    if not name.startswith("python"):
        return name[:40]
    rest = [part for part in command[1:] if part not in ("-P", "-u", "-B", "-I", "-E", "-s")]
    if rest[:1] == ["-m"] and len(rest) > 1:
        return rest[1][:40]
    return Path(rest[0]).name[:40] if rest and not rest[0].startswith("-") else "python"


def _command(pid: int) -> list[str]:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [part for part in line.decode(errors="replace").rstrip("\0").split("\0") if part]


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat after the name: state first, parent second."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def kibibytes(pid: int, file: str, name: str) -> int | None:
    """Bytes, where a line of that file of /proc/<pid> says KiB; None where there is none."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(values[0]) * 1024 if values else None


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
