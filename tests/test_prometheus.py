"""A real Prometheus scrapes a real gateway."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gitrepo import Remote
from ports import free_port
from running import Gateway, serve_py
from waiting import wait_until


@pytest.fixture
def gateway(tmp_path: Path, remote: Remote, gateways: list[Gateway]) -> Gateway:
    remote.commit("prod", serve_py("old"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    return gateway.start()


@pytest.fixture
def prometheus(tmp_path: Path, gateway: Gateway) -> Iterator[str]:
    address = f"127.0.0.1:{free_port()}"
    config = tmp_path / "prometheus.yml"
    target = gateway.url.removeprefix("http://")
    scrape = {"job_name": "gateway", "static_configs": [{"targets": [target]}]}
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address={address}",
        ],
        stderr=subprocess.DEVNULL,
    )
    yield f"http://{address}"
    process.terminate()
    process.wait(30)


@pytest.mark.needs("promtool")
def test_promtool_finds_nothing_wrong_with_the_metrics(gateway: Gateway) -> None:
    exposition = gateway.get("/metrics").content
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


@pytest.mark.needs("prometheus")
def test_a_series_is_there_at_0_before_its_first_event_and_counts_it(
    gateway: Gateway, prometheus: str
) -> None:
    def value(query: str) -> str | None:
        try:
            found = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}).json()
        except (httpx.TransportError, ValueError):
            return None  # it is starting: away, or "Service Unavailable" as text
        results = found.get("data", {}).get("result", [])
        return str(results[0]["value"][1]) if results else None

    ok = 'gateway_requests_total{branch="prod",status="ok"}'
    wait_until(lambda: value(ok) == "0", 30.0, lambda: value("up"))
    assert value('gateway_requests_total{branch="prod",status="timeout"}') == "0"
    assert gateway.predict().status_code == 200
    wait_until(lambda: value(ok) == "1", 30.0, lambda: value(ok))
    assert value("gateway_branch_info") == "1"
