"""What the monitor writes of drift is what the gateway answers, whatever a branch is called."""

from __future__ import annotations

import json
from pathlib import Path

from driftdocs import document, people
from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until

BRANCHES = {"prod": {"weight": 1}, "team/exp": {"weight": 1}, "team/drift": {"weight": 1}}


def test_the_document_of_a_branch_is_handed_on_and_one_without_waits(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    for branch in BRANCHES:
        remote.commit(branch, serve_py(branch))
    found = Gateway(tmp_path / "g", remote, BRANCHES)
    gateways.append(found)
    found.start()
    file = found.folder / ".gateway" / "drift" / "team~exp.json"
    # The monitor writes what it knows once, and again when there is news: here there is none.
    wait_until(lambda: len(list(file.parent.glob("*.json"))) == len(BRANCHES))
    moved = document(people(1, 500, "before"), people(2, 500, "moved"), branch="team/exp")
    file.write_text(json.dumps(moved))

    for name in ("team/exp", "team~exp"):
        answer = found.get(f"/branches/{name}/drift")
        assert answer.headers["content-type"] == "application/json"
        assert answer.content == file.read_bytes()

    (file.parent / "prod.json").unlink()
    waiting = found.get("/branches/prod/drift").json()
    assert waiting.keys() == answer.json().keys()
    assert (waiting["branch"], waiting["state"]) == ("prod", "waiting")
    assert {str(value) for value in waiting.values()} == {"prod", "waiting", "None", "[]"}

    unknown = found.get("/branches/gone/drift")
    assert unknown.status_code == 404
    assert unknown.json()["error"]["message"].startswith("no branch 'gone' is served; there are:")

    # A branch whose own name ends so is still found.
    assert found.get("/branches/team/drift").json()["branch"] == "team/drift"
    assert found.get("/branches/team/drift/drift").json()["state"] == "waiting"

    file.unlink()
    file.mkdir()
    broken = found.get("/branches/team/exp/drift")
    assert broken.status_code == 500
    assert "team~exp.json" in broken.json()["error"]["where"]

    counted = [
        line.split('"')[1]
        for line in found.get("/metrics").text.splitlines()
        if line.startswith("gateway_drift_rows_total{")
    ]
    assert counted == sorted(BRANCHES)
