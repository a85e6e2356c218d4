"""Real Prometheus and Alertmanager for tests, on ports of their own, which end with the test."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx
from ports import free_port
from waiting import wait_until


def free_address() -> str:
    """An address of this machine where nothing listens."""
    return f"127.0.0.1:{free_port()}"


class _Server:
    """A program that answers HTTP at `address`; it speaks if the test fails."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.address = free_address()
        self.url = f"http://{self.address}"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        with (self.folder / "words").open("ab") as words:
            self._process = subprocess.Popen(self.command(), stdout=words, stderr=words)
        wait_until(self._is_ready, 30.0, self.words)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def words(self) -> str:
        return (self.folder / "words").read_text(errors="replace")[-5000:]

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.words()
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/-/ready", timeout=5).status_code == 200
        return False


class Prometheus(_Server):
    """Scrapes `targets`, by job, each second."""

    def __init__(
        self,
        folder: Path,
        targets: Mapping[str, Sequence[str]],
        *,
        rules: Sequence[Path] = (),
        alertmanagers: Sequence[str] = (),
    ) -> None:
        super().__init__(folder)
        managers = [{"static_configs": [{"targets": list(alertmanagers)}]}]
        self._config = {
            "global": {
                "scrape_interval": "1s",
                "scrape_timeout": "1s",
                "evaluation_interval": "1s",
            },
            "rule_files": [str(file) for file in rules],
            "alerting": {"alertmanagers": managers},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
                for job, addresses in targets.items()
            ],
        }

    def command(self) -> Sequence[str]:
        file = self.folder / "prometheus.yml"
        file.write_text(json.dumps(self._config, indent=1))
        return [
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={self.folder / 'tsdb'}",
            f"--web.listen-address={self.address}",
        ]

    def query(self, promql: str) -> list[dict[str, Any]]:
        """The series of an expression, now; AssertionError says what is wrong with it."""
        found = httpx.post(f"{self.url}/api/v1/query", data={"query": promql}, timeout=30).json()
        assert found["status"] == "success", (promql, found)
        series: list[dict[str, Any]] = found["data"]["result"]
        return series


class Alertmanager(_Server):
    """With a configuration of the test's."""

    def __init__(self, folder: Path, config: str) -> None:
        super().__init__(folder)
        (folder / "alertmanager.yml").write_text(config)

    def command(self) -> Sequence[str]:
        program = shutil.which("alertmanager") or "prometheus-alertmanager"
        return [
            program,
            f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
        ]


class Receiver:
    """What Alertmanager calls: keeps every alert it was told of."""

    def __init__(self) -> None:
        told: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                told.extend(json.loads(body)["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        self.told = told
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def firing(self) -> dict[str, list[dict[str, Any]]]:
        """By the alert's name, every one that fired."""
        found: dict[str, list[dict[str, Any]]] = {}
        for alert in list(self.told):
            if alert["status"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert)
        return found
