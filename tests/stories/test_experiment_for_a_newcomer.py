"""What a newcomer does with an experiment that runs: edits what is measured, and who takes part."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until

from gateway.cli import main

BRANCHES = {"prod": {"weight": 1}, "exp": {"weight": 1}}


class Traffic:
    """Users, each of them new, and what becomes of their predictions."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.users = itertools.count()

    def come(self, metric: str, many: int = 60) -> None:
        """Some: exp is right for all but every tenth, and prod for these; every fourth buys."""
        items = []
        with httpx.Client(base_url=self.gateway.url, timeout=30) as client:
            for user in itertools.islice(self.users, many):
                answer = client.post(
                    "/predict", json={"instances": [[1]]}, headers={"X-User-Id": f"user-{user}"}
                ).json()
                told: dict[str, Any] = {"value": user % 4 == 0}
                if metric == "accuracy":
                    told = {"label": "exp" if user % 10 else "prod"}
                items.append({"request_id": answer["request_id"], "metric": metric, **told})
            judged = client.post("/feedback", json={"items": items}).json()["items"]
        assert {one["status"] for one in judged} == {"accepted"}, judged

    def until(self, metric: str, enough: Any) -> dict[str, Any]:
        """Let them come until what is shown of exp is enough; that."""

        def looks() -> dict[str, Any] | None:
            self.come(metric)
            recording = self.gateway.get("/branches").json()["recording"]
            assert (recording["experiments"] or {"trouble": None})["trouble"] is None
            found = self.gateway.get("/experiment").json()
            assert found["trouble"] is None or found["contrasts"] == []
            shown = [one for one in found["contrasts"] if one["current"]]
            return shown[0] if shown and enough(shown[0]) else None

        found = wait_until(looks, 120, self.gateway.words)
        assert isinstance(found, dict)
        return found


def units(readout: dict[str, Any], metric: str) -> int:
    """How many a metric is known of; 0 where it is not measured."""
    found = [one for one in readout["metrics"] if one["name"] == metric]
    return sum(one["baseline"]["units"] + one["candidate"]["units"] for one in found)


def test_what_is_measured_and_who_takes_part_may_change_while_it_runs(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    for name in BRANCHES:
        remote.commit(name, serve_py(name), start="prod" if name != "prod" else None)
    labels = {"accuracy": {"kind": "ratio", "role": "primary", "window": "8s"}}
    sales = {"sale": {"kind": "binary", "role": "primary", "window": "5s"}}
    patient = {"accuracy": {**labels["accuracy"], "window": "30s"}}
    gateway = Gateway(tmp_path / "g", remote, BRANCHES, metrics=patient)
    gateways.append(gateway)
    traffic = Traffic(gateway.start())
    first = traffic.until("accuracy", bool)

    # Its labels are awaited still when nobody asks for them any more.
    gateway.write(metrics=sales)
    wait_until(lambda: "sale" in _taken(gateway), describe=gateway.words)
    sold = traffic.until("sale", lambda one: units(one, "sale") > 100)
    assert sold["contrast"] == first["contrast"]
    assert {one["name"] for one in sold["metrics"] if one["role"] == "primary"} == {"sale"}

    # The same content is a shadow, judged by labels, and then answers users again.
    gateway.write(branches={"prod": {"weight": 1}, "exp": {"shadow": True}}, metrics=labels)
    wait_until(lambda: gateway.branch("exp")["shadow"], describe=gateway.words)
    wait_until(lambda: "accuracy" in _taken(gateway), describe=gateway.words)
    shadow = traffic.until("accuracy", lambda one: one["paired"] and one["paired"][0]["difference"])
    assert shadow["contrast"] == first["contrast"]
    assert shadow["paired"][0]["difference"]["estimate"] == pytest.approx(0.8, abs=0.1)
    gateway.write(branches=BRANCHES)
    before = sum(one["candidate_units"] for one in shadow["epochs"])
    again = traffic.until(
        "accuracy", lambda one: sum(e["candidate_units"] for e in one["epochs"]) > before
    )
    assert again["contrast"] == first["contrast"]

    assert gateway.stop() == 0
    assert "stand still" not in gateway.words()
    page = CliRunner().invoke(main, ["results", "exp", "--repository", str(remote.path)])
    assert page.exit_code == 0, page.output
    assert "passed over" not in page.output
    assert "exp beside prod" in page.output


def _taken(gateway: Gateway) -> str:
    """The metrics that outcomes may be of, as the gateway says of one that is of none."""
    item = {"request_id": "01a20a9f-29ba-79d5-80dc-5fa64189782e", "metric": "?", "value": 1}
    answer = httpx.post(f"{gateway.url}/feedback", json=item, timeout=30).json()
    return str(answer["reason"]).partition("Given")[0]


pytestmark = pytest.mark.timeout(500)
