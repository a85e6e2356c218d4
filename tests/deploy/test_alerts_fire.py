"""Every alert is fired, once, by what it is for: through real gateways, Prometheus, Alertmanager.

The committed rules are loaded with `for` of a second and every range a fifteenth, 20 s at least
(`mishaps.shortened`): they are hours and days. The committed configuration of Alertmanager has
other waiting times and another address here, and in one of two no inhibitions, so that all are
heard.

A stand-in page says what cannot be brought about within minutes: KeeperRestarts (a defect of ours),
FilesNearLimit, DriftIsBlind (two days without a window), DriftFallsBehind (a million rows),
OutcomesOfNobody (known for nobody's after ten minutes), and KeysFileRefused and CertificateRefused,
whose causes are tried in the tests of access.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from alertrules import ALERTS, DEPLOY, RECORDING, alerts
from mishaps import STAND_IN, Mishaps, shortened
from observing import Alertmanager, Prometheus, Receiver
from waiting import wait_until

pytestmark = [
    pytest.mark.needs("prometheus"),
    pytest.mark.needs("prometheus-alertmanager"),
    pytest.mark.needs("unshare"),
    pytest.mark.timeout(1200),
]
STOOD_IN = {
    *("KeeperRestarts", "FilesNearLimit", "DriftIsBlind", "DriftFallsBehind"),
    *("OutcomesOfNobody", "KeysFileRefused", "CertificateRefused"),
}
#: What is let happen only when its alert is waited for, as it would hide others; in this order.
LATE: dict[str, Callable[[Mishaps], None]] = {
    "MonitorRestarts": Mishaps.kill_monitors,
    "RedisAway": Mishaps.lose_redis,
    "NobodyLeads": Mishaps.lose_redis,
    "AnswersAreSlow": Mishaps.slow_down,
    "GatewayRestarts": Mishaps.restart,
    "GatewayDown": Mishaps.lose,
}
NAMES = [alert.name for alert in alerts()]
ORDER = [name for name in NAMES if name not in LATE] + list(LATE)


@dataclass
class World:
    """What there is to ask."""

    mishaps: Mishaps
    prometheus: Prometheus
    receiver: Receiver
    inhibiting: Alertmanager

    def firing(self, name: str, since: int = 0) -> list[dict[str, Any]]:
        return [
            alert
            for alert in self.receiver.told[since:]
            if (alert["labels"]["alertname"], alert["status"]) == (name, "firing")
        ]

    def is_over(self, name: str) -> bool:
        """Whether the end was told of all that was told of it."""
        last = {str(alert["labels"]): alert for alert in self.receiver.told}
        return not any(
            (alert["labels"]["alertname"], alert["status"]) == (name, "firing")
            for alert in last.values()
        )


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    """The stand-in, whose counters grow with each scrape."""
    turns = iter(range(10**6))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = STAND_IN.format(growing=next(turns)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            with suppress(ConnectionError):  # who asked did not wait
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def quick(config: str, url: str) -> str:
    """Alertmanager's configuration without its patience, for this receiver."""
    config = re.sub(r"(group_wait|group_interval): \w+", r"\1: 1s", config)
    return config.replace("http://alerts.example.org/gateway", url)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, page: str) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("fired")
    rules = []
    for file in (RECORDING, ALERTS):
        rules.append(folder / file.name)
        rules[-1].write_text(shortened(file.read_text()))
    config = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
    heard, _, inhibitions = config.partition("# What follows from another alert")
    assert "inhibit_rules" in inhibitions
    with Mishaps(folder) as mishaps, Receiver() as receiver, Receiver() as other:
        targets = [*map(mishaps.address, mishaps.gateways), page]
        with (
            Alertmanager(folder / "all", quick(heard, receiver.url)) as manager,
            Alertmanager(folder / "some", quick(config, other.url)) as inhibiting,
            Prometheus(
                folder / "prometheus",
                {"gateway": targets},
                rules=rules,
                alertmanagers=[manager.address, inhibiting.address],
            ) as prometheus,
        ):
            mishaps.scraped = lambda series: next(
                (float(one["value"][1]) for one in prometheus.query(series)), None
            )
            mishaps.begin()
            seen = "count(count_over_time(gateway_build_info[1m]) > 2)"
            count = str(len(mishaps.gateways))
            wait_until(
                lambda: [one["value"][1] for one in prometheus.query(seen)] == [count],
                180.0,
                lambda: prometheus.query(seen),
            )
            mishaps.happen()
            yield World(mishaps, prometheus, receiver, inhibiting)


@pytest.mark.parametrize("name", ORDER)
def test_an_alert_fires_and_is_told(world: World, name: str) -> None:
    if name == "GatewayDown":  # as the one that was started anew was: told once, not again
        wait_until(lambda: world.is_over(name), 180.0, lambda: world.firing(name))
    since = len(world.receiver.told) if name in LATE else 0
    if name in LATE:
        LATE[name](world.mishaps)
    expr = next(alert.expr for alert in alerts() if alert.name == name)
    # They may have fired before: while replicas start, and on a machine with other work to do.
    since = 0 if name in ("RedisAway", "NobodyLeads", "AnswersAreSlow") else since
    wait_until(
        lambda: world.firing(name, since),
        300.0,
        lambda: (world.prometheus.query(shortened(expr)), sorted(seen(world))),
    )
    told = world.firing(name, since)[-1]
    labels, said = told["labels"], told["annotations"]
    assert labels["severity"] in ("critical", "warning", "info")
    assert said["runbook_url"].endswith(f"#{name.lower()}")
    text = said["summary"] + said["description"]
    assert "<no value>" not in text
    for label in ("branch", "column", "metric", "keeper"):
        if label in labels:
            assert labels[label] in text, f"{name} does not name its {label}"
    stood_in = labels.get("branch") == "stand-in" or name in STOOD_IN
    assert stood_in == (name in STOOD_IN)


def seen(world: World) -> set[str]:
    return {alert["labels"]["alertname"] for alert in world.receiver.told}


def test_what_follows_from_another_alert_is_not_told_beside_it(world: World) -> None:
    """Without its monitor a gateway publishes nothing: one message, not two."""

    def suppressed() -> list[Any]:
        found = httpx.get(f"{world.inhibiting.url}/api/v2/alerts", timeout=30).json()
        instance = world.mishaps.address(world.mishaps.alone)
        return [
            alert["status"]["inhibitedBy"]
            for alert in found
            if alert["labels"]["alertname"] == "NothingPublished"
            and alert["labels"]["instance"] == instance
            and alert["status"]["state"] == "suppressed"
        ]

    assert wait_until(suppressed, 180.0)


def test_all_alerts_are_tried() -> None:
    assert sorted(ORDER) == sorted(NAMES)


def test_the_shortened_rules_are_the_same_rules() -> None:
    text = "for: 10m [5m] [1h] [3d] 15m"
    assert shortened(text) == "for: 1s [20s] [240s] [17280s] 15m"


def test_the_world_of_mishaps_reads_the_committed_files(tmp_path: Path) -> None:
    config = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
    assert "group_wait: 1s" in quick(config, "http://here/")
    assert "http://here/" in quick(config, "http://here/")
