"""A real gateway process for tests: configured, started on port 0, asked over HTTP."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from asdocumented import check
from gitrepo import Remote, git
from mounted import Mounted
from waiting import wait_until

#: A branch's whole code where a test needs a model that starts in a blink and says who it is.
SERVE = """
NAME = {name!r}
def load(root):
    return NAME
def predict(model, instances):
    return [model for _ in instances]
"""

#: A branch's timeout where a test says none. After two seconds, as without it, another branch would
#: answer, or nobody, and a machine may be busy with other tests for so long.
TIMEOUT = "20s"
#: Seconds that a monitor has for its last push.
_LAST_PUSH = 10.0


def serve_py(name: str) -> dict[str, str]:
    """The files of a branch whose model answers `name`."""
    return {"src/serve.py": SERVE.format(name=name)}


def team(branches: Mapping[str, Mapping[str, Any]], baseline: str = "prod") -> dict[str, Any]:
    """The half of gateway.yaml that may stand in the repository."""
    return {"baseline": baseline, "branches": patient(branches)}


def patient(branches: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The same, each with a timeout."""
    return {name: {"timeout": TIMEOUT, **branch} for name, branch in branches.items()}


class Gateway:
    """One `gateway serve` process on a folder of its own."""

    def __init__(
        self,
        folder: Path,
        remote: Remote | Mounted,
        branches: Mapping[str, Mapping[str, Any]],
        *,
        baseline: str = "prod",
        environ: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        """`settings` are further keys of gateway.yaml; flush and poll are short here.

        With `--config-branch` among the `arguments`, baseline and branches stay out of it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = folder / "gateway.yaml"
        self.environ = dict(environ or {})
        self.arguments = list(arguments)
        #: What runs the command, where it is not run as it is.
        self.prefix: list[str] = []
        monitoring = {"flush": "1s", "sample_rows": "all", **settings.pop("monitoring", {})}
        self.settings: dict[str, Any] = {
            "repository": remote.address,
            **(team(branches, baseline) if "--config-branch" not in self.arguments else {}),
            "listen": "127.0.0.1:0",
            "poll": "300ms",
            "monitoring": monitoring,
            **settings,
        }
        self.write()
        self.process: subprocess.Popen[bytes] | None = None
        self._log = folder / "gateway.log"
        self._began = self._ended_in = 0.0
        self.url = ""
        #: An API key that `predict` and `get` send, and what a certificate is checked against.
        self.key: str | None = None
        self.trusts: ssl.SSLContext | bool = True

    def write(self, **changes: Any) -> None:
        """Write gateway.yaml (JSON is YAML)."""
        self.settings.update(changes)
        if "branches" in changes:
            self.settings["branches"] = patient(changes["branches"])
        self.put(json.dumps(self.settings, indent=1))

    def put(self, text: str) -> None:
        """Have gateway.yaml say this, at once: half of it would be another file, or a bad one."""
        beside = self.file.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.file)

    def start(self, *, ready: bool = True) -> Gateway:
        mark = len(self.words())
        self._began = time.time()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.prefix,
                    *(sys.executable, "-m", "gateway", "serve", str(self.file)),
                    *self.arguments,
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environ},
                start_new_session=True,
            )
        found = wait_until(
            lambda: (
                self._died() or re.search(r"listening on (https?://[^ \"]+)", self.words()[mark:])
            ),
            describe=self.words,
        )
        assert isinstance(found, re.Match), self.words()
        self.url = found[1]
        if ready:
            wait_until(lambda: self._died() or self.is_ready(), 180.0, self.words)
            assert self.process.poll() is None, self.words()
        return self

    def _died(self) -> str | None:
        assert self.process is not None
        return "it ended" if self.process.poll() is not None else None

    def words(self) -> str:
        """All it has logged so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def is_ready(self) -> bool:
        try:
            return self._ask("GET", "/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    # Asking

    def predict(
        self,
        instances: Sequence[Any] = ((1,),),
        unit: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        sent = {"X-User-Id": unit} if unit is not None else {}
        return self.post("/predict", {"instances": instances}, headers={**sent, **(headers or {})})

    def post(
        self, path: str, body: Any, *, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        return self._ask("POST", path, json=body, headers=headers)

    def get(self, path: str) -> httpx.Response:
        return self._ask("GET", path)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
        **sent: Any,
    ) -> httpx.Response:
        """The answer, which must be as documented."""
        own = {"Authorization": f"Bearer {self.key}"} if self.key is not None else {}
        answer = httpx.request(
            method,
            f"{self.url}{path}",
            headers={**own, **(headers or {})},
            timeout=timeout,
            # To read all certificates there are takes longer than the request.
            verify=self.trusts if self.url.startswith("https:") else False,
            **sent,
        )
        check(method, path, answer)
        return answer

    def branch(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/branches/{name}").json()
        return found

    def serving(self, name: str) -> str | None:
        """The commit the branch serves."""
        serving = self.branch(name)["serving"]
        return serving["commit"] if serving else None

    def metric(self, sample: str) -> float:
        """One sample of /metrics, written as there: `name{label="value"}`."""
        for line in self.get("/metrics").text.splitlines():
            if line.startswith(sample + " "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no sample {sample}")

    def until_steered(self) -> None:
        """Its monitor takes commands, and not only the one before this start."""
        file = self.folder / ".gateway" / "experiment.json"
        wait_until(
            lambda: file.exists() and file.stat().st_mtime >= self._began, describe=self.words
        )

    # Ending

    def stop(self, deadline: float = 90.0) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(deadline)
        self._ended_in = time.monotonic() - began
        return code

    def stop_published(self, is_published: Callable[[], object]) -> None:
        """SIGTERM, and what there is to publish is there."""
        assert self.stop() == 0
        self.publish_rest(is_published)

    def publish_rest(self, is_published: Callable[[], object]) -> None:
        """Once stopped: the next start has only what a busy machine had no time for at the end."""
        if not is_published():
            assert self._ended_in > _LAST_PUSH, self.words()
            self.start(ready=False)
            wait_until(is_published, describe=self.words)
            assert self.stop() == 0

    def kill(self) -> None:
        """kill -9 of the front alone, as a crash is; its children must end by themselves."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def holds(remote: Remote, wanted: Mapping[str, Iterable[str]]) -> bool:
    """Whether each of these branches has pushed rows of all these requests."""
    return all(
        set(ids) <= {row["request_id"] for row in recorded(remote, branch)}
        for branch, ids in wanted.items()
    )


def recorded(remote: Remote, branch: str, ref: str | None = None) -> list[dict[str, str]]:
    """Every row of the branch's pushed prediction segments, at the tip of the git branch."""
    ref = ref or branch
    folder = f"monitoring/predictions/{branch.replace('/', '~')}/"
    rows: list[dict[str, str]] = []
    csv.field_size_limit(10**8)
    for path in remote.files(ref, folder):
        text = git(remote.path, "show", f"refs/heads/{ref}:{path}")
        rows += csv.DictReader(io.StringIO(text))
    return rows
