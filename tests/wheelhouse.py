"""Small wheels made on the spot, so that environments are built without a package index."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


class Wheelhouse:
    """A folder of wheels; `add` says the line of a requirements.txt that asks for one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(
        self, name: str, version: str, source: str, more: Mapping[str, str] | None = None
    ) -> str:
        """A wheel of one module, and `more` files beside it."""
        about = f"{name}-{version}.dist-info"
        files = {
            f"{name}.py": source,
            **(more or {}),
            f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
            "Tag: py3-none-any\n",
        }
        record = "".join(
            f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items()
        )
        files[f"{about}/RECORD"] = f"{record}{about}/RECORD,,\n"
        wheel = self.folder / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, text in files.items():
                archive.writestr(path, text)
        return self.line(name, version)

    def line(self, name: str, version: str) -> str:
        """What asks for a wheel that is there, with its hash."""
        wheel = self.folder / f"{name}-{version}-py3-none-any.whl"
        return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


class Index(ThreadingHTTPServer):
    """A package index over a wheelhouse; `status` is what it says while it is out of order."""

    def __init__(self, wheels: Wheelhouse) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wheels = wheels
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/simple"


class _Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        folder, name = self.path.strip("/").split("/")
        content, kind = b"", "text/html"
        found = sorted(self.server.wheels.folder.glob(f"{name}-*.whl"))
        if folder == "wheels":
            content, kind = (self.server.wheels.folder / name).read_bytes(), "application/zip"
        else:
            links = (f'<a href="/wheels/{wheel.name}">{wheel.name}</a>' for wheel in found)
            content = f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
        status = self.server.status
        if status == 200 and folder == "simple" and not found:
            status = 404
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815 - the name that the server looks for

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def indexed(wheels: Wheelhouse) -> Iterator[Index]:
    """An index that runs."""
    with Index(wheels) as index:
        thread = Thread(target=index.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield index
        finally:
            index.shutdown()
            thread.join()


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
