"""What a real gateway answers is what the document says: its examples, and all its states."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import pytest
from asdocumented import Documented, strict
from gitrepo import Remote
from redisserver import RedisServer
from replicas import Replicas
from running import Gateway, serve_py
from sklearn.linear_model import LogisticRegression
from waiting import wait_until

from gateway.web.openapi.page import ORIGIN, _shown

SLOW = """
import time
def load(root):
    while not (root / "never").exists():
        time.sleep(0.05)
"""
SECRET = "the secret of the hook"


def model(folder: Path) -> bytes:
    """Of three columns and two classes, as the examples have them."""
    rng = np.random.default_rng(1)
    rows = rng.normal([14, 19, 90], [3, 4, 20], (200, 3))
    fitted = LogisticRegression(max_iter=1000).fit(rows, rows[:, 2] > 90)
    joblib.dump(fitted, folder / "model.joblib")
    return (folder / "model.joblib").read_bytes()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("documented")
    remote = Remote(folder / "project.git")
    remote.commit("prod", {"models/model.joblib": model(folder)})
    remote.commit("ab-test", {"README.md": "the same"}, start="prod")
    gateway = Gateway(
        folder / "g",
        remote,
        {"prod": {"weight": 1}, "ab-test": {"weight": 1}},
        environ={"HOOK": SECRET},
        webhook={"secret_env": "HOOK"},
        limits={"rows": 16},
        access={"anonymous": ["predict", "feedback", "operate", "override", "read"]},
    ).start()
    wait_until(lambda: remote.files("prod", "monitoring/decisions/"), describe=gateway.words)
    yield gateway
    gateway.kill()


@pytest.fixture(scope="module")
def documented(served: Gateway) -> Documented:
    """The document that this very gateway sends."""
    found = served.get("/openapi.json").json()
    return Documented(found)


def test_each_command_of_the_page_is_answered_as_documented(
    served: Gateway, documented: Documented
) -> None:
    asked = 0
    for path, methods in documented.document["paths"].items():
        for method, operation in methods.items():
            for name, command in _shown(method, path, operation).commands.items():
                answer = curl(served, command)
                documented.check(method, str(answer.request.url.path), answer)
                assert str(answer.status_code) == expected(operation, name), (command, answer.text)
                asked += 1
    assert asked == 20


def expected(operation: dict[str, Any], name: str) -> str:
    """The status of the answer that has an example of that name; the good one if there is none."""
    for status, answer in operation["responses"].items():
        for content in answer.get("content", {}).values():
            if name and name in content.get("examples", {}):
                return str(status)
    return next(str(status) for status in operation["responses"] if status.startswith("2"))


def curl(gateway: Gateway, command: str) -> httpx.Response:
    """What a shell would make of it, asked of this gateway."""
    words = shlex.split(command.replace(ORIGIN, gateway.url))
    assert words[:2] == ["curl", "-s"]
    fields = [value.partition(": ") for option, value in pairs(words) if option == "-H"]
    headers = {name: value for name, _, value in fields}
    bodies = [value for option, value in pairs(words) if option == "-d"]
    if not bodies:
        return httpx.get(words[2], headers=headers, timeout=30)
    return httpx.post(words[2], headers=headers, content=bodies[0], timeout=30)


def pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    return zip(words[3::2], words[4::2], strict=True)


#: Method, path, headers, body, and the status that this must have.
ASKED: list[tuple[str, str, dict[str, str], bytes | None, int]] = [
    ("POST", "/predict", {}, b"", 400),
    ("POST", "/predict", {}, b"{", 400),
    ("POST", "/predict", {}, b'{"instances": [[1, 2]]}', 422),
    ("POST", "/predict", {}, b'{"instances": [[1, 2, 3]], "more": 1}', 400),
    ("POST", "/predict", {"Gateway-Timeout-Ms": "soon"}, b'{"instances": [[1, 2, 3]]}', 400),
    ("POST", "/predict", {}, json.dumps({"instances": [[1, 2, 3]] * 17}).encode(), 413),
    ("POST", "/predict", {}, b" " * (1024 * 1024 + 1), 413),
    ("POST", "/predict?x=1", {}, b'{"instances": [[1, 2, 3]]}', 200),
    ("POST", "/predict?branch=none", {}, b'{"instances": [[1, 2, 3]]}', 404),
    ("POST", "/predict?branch=prod", {"Gateway-Branch": "x"}, b'{"instances": [[1, 2, 3]]}', 400),
    ("POST", "/branches/none/predict", {}, b'{"instances": [[1, 2, 3]]}', 404),
    ("POST", "/branches/prod/hold", {}, b"", 400),
    ("POST", "/branches/prod/hold", {"Sec-Fetch-Site": "cross-site"}, b"", 403),
    ("POST", "/branches/none/release", {"Content-Type": "application/json"}, b"", 404),
    ("POST", "/feedback", {}, b"", 400),
    ("POST", "/feedback", {}, b'{"items": []}', 400),
    ("POST", "/feedback", {}, b'{"metric": 7}', 202),
    ("POST", "/feedback", {}, json.dumps({"items": [None, {}, 1] * 300}).encode(), 202),
    ("POST", "/feedback", {}, json.dumps({"items": [1] * 1001}).encode(), 413),
    ("GET", "/feedback/none", {}, None, 400),
    ("GET", "/feedback/01a20a9f-29ba-79d5-80dc-5fa64189782e", {}, None, 200),
    ("GET", "/experiment?candidate=ab-test", {}, None, 200),
    ("GET", "/experiment?candidate=none", {}, None, 404),
    ("GET", "/branches/none", {}, None, 404),
    ("GET", "/branches/none/drift", {}, None, 404),
    ("GET", "/branches/none/monitoring/predictions.csv", {}, None, 404),
    ("GET", "/branches/prod/monitoring/none.csv", {}, None, 404),
    ("POST", "/webhooks/git", {}, b"{}", 401),
    ("POST", "/webhooks/git", {"X-Hub-Signature-256": "sha256=0"}, b"{}", 401),
    ("POST", "/webhooks/git", {"X-Gitlab-Token": SECRET}, b"\xff", 202),
    ("POST", "/webhooks/git", {"X-Gitlab-Token": SECRET, "X-Gitlab-Event": "x"}, b"1", 202),
    ("GET", "/docs/none", {}, None, 404),
    ("GET", "/nothing", {}, None, 404),
    ("DELETE", "/predict", {}, None, 405),
    ("TRACE", "/branches", {}, None, 405),
]


@pytest.mark.parametrize(("method", "path", "headers", "body", "status"), ASKED)
def test_what_is_refused_is_refused_as_documented(
    served: Gateway,
    documented: Documented,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes | None,
    status: int,
) -> None:
    answer = httpx.request(method, f"{served.url}{path}", headers=headers, content=body, timeout=30)
    assert answer.status_code == status, answer.text
    documented.check(method, path.partition("?")[0], answer)
    if status == 405:
        assert answer.headers["allow"]
        assert method not in answer.headers["allow"]


def test_an_unknown_path_leads_to_the_documentation(served: Gateway) -> None:
    said = served.get("/nothing").json()["error"]["message"]
    assert "GET /docs" in said


def test_other_settings_give_another_document(served: Gateway) -> None:
    """Without a restart, as they come into force."""

    def most() -> int:
        shapes = served.get("/openapi.json").json()["components"]["schemas"]
        return int(shapes["Predict"]["properties"]["instances"]["maxItems"])

    assert most() == 16
    served.write(limits={"rows": 32})
    wait_until(lambda: most() == 32, describe=served.words)
    assert "at most 32 rows" not in served.get("/docs").text
    assert "or 32 rows" in served.get("/docs").text
    served.write(limits={"rows": 16})
    wait_until(lambda: most() == 16, describe=served.words)


PAGES = ("/branches", "/experiment", "/healthz", "/readyz", "/metrics")


def test_every_state_of_a_branch_is_as_documented(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    """`Gateway.get` holds each answer against the document."""
    remote.commit("prod", {"src/serve.py": SLOW})
    remote.commit("exp", serve_py("exp"), start="prod")
    remote.commit("broken", {"src/serve.py": "def load(root):\n    raise ValueError"}, start="prod")
    remote.commit("empty", {"src/serve.py": None, "README.md": "nothing"}, start="prod")
    branches: dict[str, dict[str, Any]] = {
        "prod": {"weight": 1},
        "exp": {"ramp": {"steps": [10, 50]}},
        "broken": {"weight": 0},
        "empty": {"weight": 0},
        "missing": {"weight": 0},
        "copy": {"shadow": True},
    }
    remote.commit("copy", serve_py("copy"), start="prod")
    gateway = Gateway(tmp_path / "g", remote, branches)
    gateways.append(gateway)
    gateway.start(ready=False)

    def states() -> dict[str, str]:
        pages = {path: gateway.get(path) for path in PAGES}
        assert (pages["/readyz"].status_code == 200) == (
            pages["/readyz"].json()["waiting_for"] == {}
        )
        for name in branches:
            gateway.get(f"/branches/{name}")
            gateway.get(f"/branches/{name}/drift")
        found = pages["/branches"].json()["branches"]
        return {name: found[name]["state"] for name in branches}

    first = {"prod": "loading", "exp": "ready", "broken": "failed", "empty": "failed"}
    wait_until(lambda: first.items() <= states().items(), describe=gateway.words)
    assert states()["missing"] in ("absent", "failed")
    assert gateway.predict().status_code in (200, 503)
    remote.commit("prod", serve_py("prod"))
    wait_until(lambda: states()["prod"] == "ready", 60.0, gateway.words)
    for user in range(20):
        assert gateway.predict(unit=f"user-{user}").status_code == 200
    wait_until(lambda: gateway.branch("copy")["shadow"]["agreement"], describe=gateway.words)
    remote.commit("prod", {"src/serve.py": "raise ValueError"})
    wait_until(lambda: gateway.branch("prod")["quarantined"], describe=gateway.words)
    gateway.write(branches={"prod": {"weight": "heavy"}})
    refused = "refused"
    wait_until(
        lambda: gateway.get("/branches").json()["configuration"]["state"] == refused,
        describe=gateway.words,
    )
    wait_until(
        lambda: gateway.branch("exp")["monitoring"]["last_push"] is not None,
        describe=gateway.words,
    )
    states()
    gateway.get("/branches/prod/monitoring/predictions.csv")


def test_replicas_are_as_documented(tmp_path: Path, remote: Remote) -> None:
    remote.commit("prod", serve_py("prod"))
    with (
        RedisServer() as server,
        Replicas(tmp_path, remote, {"prod": {"weight": 1}}, server, count=2) as replicas,
    ):

        def roles() -> list[str]:
            pages = [one.get("/branches").json() for one in replicas.fronts]
            known = all(len(page["replicas"]) == 2 for page in pages)
            return sorted(page["shared"]["role"] for page in pages) if known else []

        wait_until(lambda: roles() == ["leads", "stands by"], 60.0)


def test_fields_to_come_are_allowed_by_the_document_and_not_by_these_tests() -> None:
    shape = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert "additionalProperties" not in shape
    assert strict([shape])[0]["additionalProperties"] is False
