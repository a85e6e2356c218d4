"""A small git-lfs server for tests: the batch API and the basic transfer, over http, in memory.

Beside it: what git-lfs commits, folders of tools for a PATH, and a stand-in for git-lfs itself.

with LfsServer() as server:
    pointer = server.add(content)          # the pointer's text; the content is on the server
    server.faults[oid] = "truncated"       # how downloads of it go wrong from now on
"""

from __future__ import annotations

import json
import shutil
import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

Fault = Literal[
    "missing", "404", "410", "403", "500", "wrong", "longer", "endless", "truncated", "silent"
]

_JSON = "application/vnd.git-lfs+json"
_PIECE = 1 << 16


def pointer(content: bytes) -> str:
    """The pointer file that git-lfs commits in the content's place."""
    return pointer_to(sha256(content).hexdigest(), len(content))


def pointer_to(oid: str, size: int) -> str:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"


def tools(folder: Path, *names: str) -> str:
    """A PATH on which there are only these tools."""
    folder.mkdir(exist_ok=True)
    for name in names:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return str(folder)


def stand_in(folder: Path, content: bytes) -> None:
    """A git-lfs in `folder` that believes no pointer and always brings this content."""
    (folder / "brought").write_bytes(content)
    program = folder / "git-lfs"
    program.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = smudge ] && while read -r line; do :; done && cat {folder}/brought\nexit 0\n'
    )
    program.chmod(0o755)


class LfsServer:
    """A server on 127.0.0.1 while entered; `url` is what `lfs.url` is to be set to."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: dict[str, Fault] = {}
        #: Every request, as (method and path, headers).
        self.requests: list[tuple[str, dict[str, str]]] = []
        #: The status that batch requests are answered with, if not 200.
        self.refuses: int | None = None
        self._over = threading.Event()
        self._http = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"lfs": self})
        )
        self._http.daemon_threads = True
        self.port: int = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/lfs"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def add(self, content: bytes) -> str:
        """Have the content; its pointer."""
        self.objects[sha256(content).hexdigest()] = content
        return pointer(content)

    @property
    def downloads(self) -> list[str]:
        """The ids that were asked for, in order."""
        return [
            what.rpartition("/")[2] for what, _ in self.requests if what.startswith("GET /objects/")
        ]

    def wait(self) -> None:
        """Until the server is left."""
        self._over.wait()

    def batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        upload = asked["operation"] == "upload"
        return {
            "transfer": "basic",
            "objects": [self._answer(wanted, upload=upload) for wanted in asked["objects"]],
        }

    def _answer(self, wanted: dict[str, Any], *, upload: bool) -> dict[str, Any]:
        oid = wanted["oid"]
        answer: dict[str, Any] = {"oid": oid, "size": wanted["size"]}
        here = oid in self.objects and self.faults.get(oid) != "missing"
        href = {"href": f"http://127.0.0.1:{self.port}/objects/{oid}"}
        if upload:
            return answer if here else {**answer, "actions": {"upload": href}}
        if not here:
            return {**answer, "error": {"code": 404, "message": "Object does not exist"}}
        return {**answer, "actions": {"download": href}}


class _Handler(BaseHTTPRequestHandler):
    """Answers for `lfs`; its connections end with each answer."""

    lfs: LfsServer

    def log_message(self, *arguments: object) -> None:
        pass

    def do_POST(self) -> None:
        self._noted()
        asked = json.loads(self._body())
        if self.lfs.refuses is not None:
            self._say(self.lfs.refuses, b'{"message": "not now"}')
        elif not self.path.endswith("/objects/batch"):
            self._say(404, b"{}")
        else:
            self._say(200, json.dumps(self.lfs.batch(asked)).encode())

    def do_PUT(self) -> None:
        oid, body = self._noted(), self._body()
        if sha256(body).hexdigest() != oid:
            self._say(422, b'{"message": "not what its id says"}')
            return
        self.lfs.objects[oid] = body
        self._say(200)

    def do_GET(self) -> None:
        oid = self._noted()
        content, fault = self.lfs.objects[oid], self.lfs.faults.get(oid)
        if fault in ("404", "410", "403", "500"):
            self._say(int(fault), b'{"message": "no"}')
        elif fault == "truncated":
            self._say(200, content[: len(content) // 2], len(content))
        elif fault == "endless":
            self._endless()
        elif fault == "silent":
            self._say(200, length=len(content))
            self.lfs.wait()
        else:
            bodies = {"wrong": b"x" * len(content), "longer": content + b"x" * 1000}
            self._say(200, bodies.get(fault or "", content))

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _say(self, status: int, body: bytes = b"", length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", _JSON)
        if length is None or length >= 0:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def _noted(self) -> str:
        self.lfs.requests.append((f"{self.command} {self.path}", dict(self.headers.items())))
        return self.path.rpartition("/")[2]

    def _endless(self) -> None:
        self._say(200, length=-1)
        try:
            while True:
                self.wfile.write(b"x" * _PIECE)
        except OSError:
            return
