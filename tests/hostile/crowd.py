"""A gateway that serves a good branch and every hostile one there is, each behind its own name."""

from __future__ import annotations

import io
import os
import pickle
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
from gitrepo import Remote
from running import Gateway
from waiting import wait_until

BRANCHES = Path(__file__).parent / "branches"
GOOD = "ROW_WISE = True\ndef predict(model, rows): return ['good' for _ in rows]\n"


class Calling:
    """Unpickled, it calls a function instead."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@dataclass(frozen=True)
class Places:
    """What the hostile branches are after; each is there before the gateway is started."""

    state: Path
    marker: Path

    @property
    def victim(self) -> Path:
        """A file of the gateway's."""
        return self.state / "victim"

    @property
    def second(self) -> Path:
        """A pickle outside every snapshot, that runs a program."""
        return self.state / "second.joblib"


def command(places: Places) -> Calling:
    return Calling(os.system, f"touch {places.marker}")


def compressed(what: Any) -> bytes:
    stream = io.BytesIO()
    joblib.dump(what, stream, compress=("zlib", 6))
    return stream.getvalue()


def models(places: Places) -> dict[str, bytes]:
    """Model files by the names of their sins."""
    second = Calling(joblib.load, str(places.second))
    over = Calling(np.memmap, str(places.victim), "uint8", "w+", 0, (1,))
    return {
        "unpickles_a_second_file": pickle.dumps(second),
        "maps_over_the_state": pickle.dumps(over),
        "runs_a_command_compressed": compressed(command(places)),
    }


class Crowd:
    """The running gateway, and what it was like before anybody sinned."""

    def __init__(self, folder: Path, prefix: list[str]) -> None:
        folder.mkdir()
        self.remote = Remote(folder / "project.git")
        self.places = Places(folder / "g" / "state", folder / "ran")
        self.places.state.mkdir(parents=True, mode=0o700)
        self.places.victim.write_text("what the gateway needs")
        joblib.dump(command(self.places), self.places.second)
        self.remote.commit("prod", {"src/serve.py": GOOD})
        codes = {path.stem: path.read_text() for path in sorted(BRANCHES.glob("*.py"))}
        for name, code in codes.items():
            self.remote.commit(name, {"src/serve.py": code})
        for name, model in models(self.places).items():
            self.remote.commit(name, {"models/model.joblib": model})
        self.names = [*codes, *models(self.places)]
        patient = {"timeout": "10s"}
        settings: dict[str, dict[str, Any]] = {
            name: {"weight": 0, **patient} for name in self.names
        }
        settings["fills_memory"]["memory"] = "300MiB"
        self.gateway = Gateway(
            folder / "g",
            self.remote,
            {"prod": {"weight": 1, **patient}, **settings},
            environ={"GATEWAY_PASSWORD": "to be read by nobody"},
            state_dir=str(self.places.state),
            access={"anonymous": ["predict", "override", "read"]},
            limits={"worker_scratch": "8MiB"},
            # So that there always is an open chunk to be after.
            monitoring={"target": "none", "flush": "1h"},
            spare_workers=0,
        )
        self.gateway.prefix = prefix
        #: Who waits for those that call home.
        self.home = socket.create_server(("127.0.0.1", 0))

    def start(self) -> None:
        self.gateway.start()
        wait_until(self._all_tried, 240.0, self.gateway.words)
        self.pid = self.worker("prod")
        self.gateway.predict()
        wait_until(self.chunks, describe=self.gateway.words)

    def chunks(self) -> list[Path]:
        """Of the journal: each holds rows."""
        return sorted((self.places.state / "journal").rglob("*.open"))

    def _all_tried(self) -> bool:
        branches = self.gateway.get("/branches").json()["branches"]
        return all(branches[name]["state"] in ("ready", "failed") for name in self.names)

    def worker(self, branch: str) -> int:
        (worker,) = self.gateway.branch(branch)["workers"]
        pid: int = worker["pid"]
        return pid

    def ask(self, branch: str, row: Any) -> httpx.Response:
        """A prediction of the branch, for which no other answers."""
        return self.gateway.post(f"/branches/{branch}/predict", {"instances": [[row]]})

    def containment(self, branch: str) -> dict[str, Any]:
        found: dict[str, Any] = self.gateway.branch(branch)["containment"]
        return found
