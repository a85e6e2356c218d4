"""A mounted ConfigMap as a kubelet keeps it: a gateway on it follows every edit."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from gitrepo import Remote
from helmchart import gateway_yaml, manifests, the
from running import Gateway, serve_py
from waiting import wait_until

BRANCHES = {"prod": {"weight": 90}, "ab-test": {"weight": 10}}


class Mounted:
    """A folder whose files are links through `..data`, which is renamed over at each edit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._edits = 0

    def put(self, text: str) -> None:
        self._edits += 1
        version = self.folder / f"..2026_11_30_{self._edits}"
        version.mkdir()
        (version / "gateway.yaml").write_text(text)
        beside = self.folder / "..data_tmp"
        beside.symlink_to(version.name)
        before = (self.folder / "..data").resolve()
        beside.rename(self.folder / "..data")
        file = self.folder / "gateway.yaml"
        if not file.is_symlink():
            file.unlink(missing_ok=True)
            file.symlink_to("..data/gateway.yaml")
        elif before.is_dir():
            (before / "gateway.yaml").unlink()
            before.rmdir()


def shares(gateway: Gateway) -> list[float]:
    return [gateway.branch(name)["share"] for name in BRANCHES]


def test_an_edit_of_the_config_map_is_in_force_without_a_restart(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    for name in BRANCHES:
        remote.commit(name, serve_py(name), start="prod" if name != "prod" else None)
    state = str(tmp_path / "state")
    gateway = Gateway(tmp_path / "etc", remote, BRANCHES, state_dir=state)
    gateways.append(gateway)
    mounted = Mounted(gateway.folder)
    mounted.put(json.dumps(gateway.settings))
    gateway.start()
    assert shares(gateway) == [0.9, 0.1]
    for weight in (50, 20):
        branches = {"prod": {"weight": 100 - weight}, "ab-test": {"weight": weight}}
        mounted.put(json.dumps({**gateway.settings, "branches": branches}))
        wait_until(lambda w=weight: shares(gateway)[1] == w / 100, describe=gateway.words)  # type: ignore[misc]


@pytest.mark.needs("helm")
def test_the_probes_of_the_chart_ask_what_a_gateway_on_its_file_answers(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    for name in BRANCHES:
        remote.commit(name, serve_py(name), start="prod" if name != "prod" else None)
    said = gateway_yaml(manifests("minimal"))
    del said["access"], said["listen"], said["repository"]
    said["state_dir"] = str(tmp_path / "state")
    branches, baseline = said.pop("branches"), said.pop("baseline")
    gateway = Gateway(tmp_path / "etc", remote, branches, baseline=baseline, **said)
    gateways.append(gateway.start())
    (container,) = the("StatefulSet", manifests("minimal"))["spec"]["template"]["spec"][
        "containers"
    ]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        answer = httpx.get(gateway.url + container[probe]["httpGet"]["path"], timeout=60)
        assert answer.status_code == 200
