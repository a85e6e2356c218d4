"""Gateways that much befalls at once, so that every alert has its cause: the world of one test.

Each gateway has a fixed address, so that Prometheus sees its counters at 0 before anything happens.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
from click.testing import CliRunner
from faultproxy import FaultProxy
from gitrepo import Remote, git
from observed import Users, files, sin
from observing import free_address
from redisserver import RedisServer
from running import Gateway, serve_py
from waiting import wait_until

from gateway.assignment import Split
from gateway.cli import main
from gateway.names import Branch

#: Of the gateway with experiments: its branches but for the shadow, and what they are for.
WEIGHTS = {"prod": 8, "better": 8, "worse": 8, "broken": 2, "dies": 2, "lost": 8, "gone": 2}
METRICS = {"returned": {"kind": "binary", "role": "primary", "window": "1s", "planned_units": 300}}
#: How many of ten users come back, by the branch that answered.
COME_BACK = {"prod": 4, "better": 9, "worse": 1}
#: Parts of the rules' times: they are hours and days.
FASTER = 15
#: A branch that answers, and tries what it may not.
NOSY = {
    "src/serve.py": """
import contextlib, socket
def load(root):
    return None
def predict(model, instances):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    return ["b"] * len(instances)
"""
}
#: What no machine lets happen within minutes, as a page that says it did.
STAND_IN = """
gateway_keeper_restarts_total{{keeper="watcher"}} {growing}
gateway_keys_file_up 0
gateway_certificate_up 0
gateway_open_files 990
gateway_open_files_limit 1000
gateway_drift_window_end_timestamp_seconds{{branch="stand-in"}} 0
gateway_drift_lag_rows 2000000
gateway_drift_left_out_rows_total 0
gateway_feedback_joined_total{{status="unknown"}} {growing}00
"""


def shortened(rules: str) -> str:
    """The rules with `for` of a second and every range a fifteenth, of 20 s at least."""
    units = {"m": 60, "h": 3600, "d": 86400}

    def shorter(found: re.Match[str]) -> str:
        seconds = int(found[1]) * units[found[2]]
        return f"[{max(20, seconds // FASTER)}s]"

    return re.sub(r"\[(\d+)([mhd])\]", shorter, re.sub(r"for: \d+[mh]", "for: 1s", rules))


class Mishaps:
    """All of it, from `with` on; `happen` lets the worst begin."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sins = folder / "sins"
        self._opened = contextlib.ExitStack()
        self._remotes: dict[str, Remote] = {}
        self._calm = threading.Event()
        self._crowds: dict[Gateway, list[Users]] = {}
        #: What Prometheus knows of a series; the test says it.
        self.scraped: Callable[[str], float | None] = lambda _: None
        self._server = RedisServer()
        self._line = FaultProxy(self._server.socket)
        self.main = self._gateway("main", **self._of_main())
        self.down = self._gateway("down", **self._of_down())
        self.alone = self._gateway("alone", **self._of_alone())
        self.full = self._gateway("full", **self._of_full())
        self.replicas = [self._gateway(f"replica-{n}", **self._of_replica(n)) for n in range(2)]
        self.gateways = [self.main, self.down, self.alone, self.full, *self.replicas]

    def __enter__(self) -> Self:
        self._opened.enter_context(self._server)
        self._opened.enter_context(self._line)
        for replica in self.replicas:
            replica.environ["REDIS_URL"] = self._line.url
        self._opened.callback(self._end)
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _end(self) -> None:
        for gateway in self.gateways:
            if gateway.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(gateway.process.pid, signal.SIGCONT)
            gateway.kill()
            print(f"--- {gateway.folder.name} ---\n{gateway.words()[-3000:]}")  # noqa: T201

    @staticmethod
    def address(gateway: Gateway) -> str:
        return str(gateway.settings["listen"])

    # Who they are

    def _remote(self, name: str, code: Mapping[str, Mapping[str, bytes | str]]) -> Remote:
        remote = self._remotes[name] = Remote(self._folder / f"{name}.git")
        for branch, content in code.items():
            remote.commit(branch, content, start=None if branch == "prod" else "prod")
        return remote

    def _gateway(
        self, name: str, remote: Remote, branches: dict[str, Any], **settings: Any
    ) -> Gateway:
        contained = {"sandbox": "off"}  # its branches are told what to do by files
        settings = {"spare_workers": 0, "listen": free_address(), **contained, **settings}
        # Not what tests have else: of some it is too little, and that is told.
        hurried = {one: {"timeout": "2s", **said} for one, said in branches.items()}
        return Gateway(self._folder / name, remote, hurried, **settings)

    def _of_main(self) -> dict[str, Any]:
        edges = {name: number / 100 for number, name in enumerate([*WEIGHTS, "shadow", "hoards"])}
        code = {name: files(self._sins, name, edge) for name, edge in edges.items()}
        branches: dict[str, Any] = {name: {"weight": weight} for name, weight in WEIGHTS.items()}
        branches["shadow"] = {"shadow": True, "shadow_rows": 1}
        branches["hoards"] = {"weight": 0, "memory": "256MiB"}
        self.sin("hoards", "hoards")
        self.sin("shadow", "is slow")
        return {
            "remote": self._remote("main", code),
            "branches": branches,
            "metrics": METRICS,
            "drift": {"window": "4s", "min_rows": 120},
        }

    def _of_down(self) -> dict[str, Any]:
        code = {"prod": files(self._sins, "down"), "exp": files(self._sins, "exp", 0.5)}
        self.sin("down", "never loads")
        self.sin("exp", "never loads")
        secret = self._folder / "secret"
        secret.write_text("a secret of the git server's")
        return {
            "remote": self._remote("down", code),
            "branches": {"prod": {"weight": 1}, "exp": {"weight": 1}},
            "webhook": {"secret_file": str(secret)},
        }

    def _of_alone(self) -> dict[str, Any]:
        code = {"prod": files(self._sins, "alone"), "exp": files(self._sins, "fails", 0.5)}
        return {
            "remote": self._remote("alone", code),
            "branches": {"prod": {"weight": 1}, "exp": {"weight": 1}},
            "limits": {"queue_rows": 2},
            "monitoring": {"journal_bytes": "100KiB"},
            "arguments": ["--no-monitor"],
        }

    def _of_full(self) -> dict[str, Any]:
        return {
            "remote": self._remote("full", {"prod": serve_py("old")}),
            "branches": {"prod": {"weight": 1}},
        }

    def _of_replica(self, number: int) -> dict[str, Any]:
        if number == 0:
            # `unpushed` is no other gateway's: one that pushes a branch speaks for all of a job.
            code = {"prod": serve_py("a"), "exp": NOSY, "unpushed": serve_py("c")}
            shared = self._remote("shared", code)
            shared.hook("pre-receive", "echo nobody may push here >&2; exit 1")
        return {
            "remote": self._remotes["shared"],
            "branches": {
                "prod": {"weight": 1 + number},
                **{name: {"weight": 1} for name in ("exp", "unpushed")},
            },
            "sandbox": "best-effort",
            "redis": {"url_env": "REDIS_URL", "prefix": "m", "chunk_bytes": "64KiB"},
            "unit_key_env": "UNIT_KEY",
            "environ": {"UNIT_KEY": "one key for all of them"},
        }

    def sin(self, name: str, word: str) -> None:
        self._sins.mkdir(exist_ok=True)
        sin(self._sins, name).write_text(word)

    # What befalls them

    def begin(self) -> None:
        """Start them, side by side."""
        state = self.full.folder / ".gateway"
        state.mkdir()
        script = 'mount -t tmpfs -o size=24m tmpfs "$0" && exec "$@"'
        self.full.prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(state)]
        starting = [
            threading.Thread(target=gateway.start, kwargs={"ready": gateway is not self.down})
            for gateway in self.gateways
        ]
        for thread in starting:
            thread.start()
        for thread in starting:
            thread.join(300)
        for gateway in self.gateways:
            assert gateway.url, gateway.words()

    def happen(self) -> None:
        """All that may happen beside each other."""
        self._users(self.main, names=self._found_users(), moved=lambda: 6.0)
        for number in range(6):
            self._users(self.alone, names=(f"{number}-{k}" for k in itertools.count()))
        self._users(self.replicas[0])
        self._users(self.full)
        self.sin("alone", "is slow")
        self.sin("broken", "fails")
        self.sin("dies", "dies")
        self.sin("fails", "fails")
        git(self._remotes["main"].path, "update-ref", "-d", "refs/heads/gone")
        self._command("hold", "lost", "--reason", "it is being looked at")
        self._fill()
        self._opened.enter_context(self._pauses())
        for _ in range(9):
            httpx.post(f"{self.down.url}/webhooks/git", content=b"{}", timeout=30)
        (self._folder / "down.git" / "HEAD").write_text("what is this\n")
        self.down.write(baseline="nobody")

    def _users(
        self,
        gateway: Gateway,
        *,
        names: Iterator[str] | None = None,
        moved: Callable[[], float] = lambda: 0.0,
    ) -> None:
        users = Users(
            gateway,
            returned=lambda branch, turn: turn % 10 < COME_BACK.get(branch, 4),
            names=names,
            moved=moved,
        )
        self._opened.enter_context(users)
        self._crowds.setdefault(gateway, []).append(users)

    def _found_users(self) -> Iterator[str]:
        """Those of the branch `lost` never get here but for a few."""
        split = Split("gateway", {Branch(name): weight for name, weight in WEIGHTS.items()})
        everybody = (f"user-{number}" for number in itertools.count())
        return (
            name
            for number, name in enumerate(everybody)
            if number % 8 == 0 or split.assign(name) != "lost"
        )

    def _fill(self) -> None:
        """The disk of one, which is then to hold another commit as well."""
        front = self.full.process
        assert front is not None
        filler = Path(f"/proc/{front.pid}/root{self.full.folder / '.gateway' / 'filler'}")
        with filler.open("wb", buffering=0) as file:
            for size in (2**20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)
        large: dict[str, bytes | str] = {**serve_py("new"), "models/large.bin": os.urandom(300_000)}
        self._remotes["full"].commit("prod", large)

    @contextlib.contextmanager
    def _pauses(self) -> Iterator[None]:
        """A front that is stopped for half a second, again and again."""
        thread = threading.Thread(target=self._pause, daemon=True)
        thread.start()
        yield
        self.calm()
        thread.join(60)

    def _pause(self) -> None:
        front = self.down.process
        assert front is not None
        while not self._calm.wait(2.0):
            with contextlib.suppress(ProcessLookupError):
                os.kill(front.pid, signal.SIGSTOP)
                self._calm.wait(0.5)
                os.kill(front.pid, signal.SIGCONT)

    def calm(self) -> None:
        """No more of these pauses."""
        self._calm.set()

    # What befalls them one after the other

    def kill_monitors(self) -> None:
        """That of the main gateway, each that is started in its place."""
        killed: set[int] = set()

        def another() -> bool:
            pid = self.main.get("/branches").json()["recording"]["monitor_pid"]
            if pid and pid not in killed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
            return len(killed) >= 4

        wait_until(another, 300.0, self.main.words)

    def lose_redis(self) -> None:
        self._line.cut()

    def slow_down(self) -> None:
        """The baseline of the main gateway, which answers most once others' users are gone."""
        for gateway, crowds in self._crowds.items():
            for users in crowds if gateway is not self.main else ():
                users.go()
        self.sin("prod", "is slow")

    def restart(self) -> None:
        """The gateway that is down anyway, until somebody asks why."""
        self.calm()
        self.down.write(baseline="prod")
        for _ in range(4):
            self.down.kill()
            self.down.start(ready=False)
            self.until_scraped(self.down)

    def until_scraped(self, gateway: Gateway) -> None:
        """Prometheus asked it since."""
        pages = 'gateway_start_timestamp_seconds{instance="' + self.address(gateway) + '"}'
        began = gateway.metric("gateway_start_timestamp_seconds")
        wait_until(lambda: self.scraped(pages) == began, 120.0)

    def lose(self) -> None:
        """A gateway, as a machine that loses its power."""
        self.down.kill()

    def _command(self, *words: str) -> None:
        found = CliRunner().invoke(main, [*words, "--config", str(self.main.file)])
        assert found.exit_code == 0, found.output
