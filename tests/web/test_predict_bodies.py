"""Every body is answered with predictions or with a 4xx that says what would be right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import joblib
import pytest
from gitrepo import Remote
from running import Gateway
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

ECHO = "def predict(model, instances):\n    return instances\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """`prod` with 30 named columns, `wide` with 32, `echo` answering what it is given."""
    folder = tmp_path_factory.mktemp("bodies")
    remote = Remote(folder / "project.git")
    data = load_breast_cancer(as_frame=True)
    remote.commit("prod", {"models/model.joblib": _model(folder, data.data, data.target)})
    wide = data.data.assign(extra_1=1.0, extra_2=data.data.iloc[:, 0] * 2)
    remote.commit("wide", {"models/model.joblib": _model(folder, wide, data.target)}, start="prod")
    remote.commit("echo", {"models/model.joblib": None, "src/serve.py": ECHO}, start="prod")
    gateway = Gateway(
        folder / "g",
        remote,
        {"prod": {"weight": 0}, "wide": {"weight": 0}, "echo": {"weight": 1}},
        limits={"body_bytes": "64KiB", "rows": 8},
        unit=["header:X-User-Id", "body:unit", "cookie:uid"],
    ).start()
    yield gateway
    gateway.kill()


def _model(folder: Path, columns: Any, target: Any) -> bytes:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(columns, target)
    joblib.dump(model, folder / "model.joblib")
    return (folder / "model.joblib").read_bytes()


def only(gateway: Gateway, branch: str) -> None:
    """Send all traffic to one branch."""
    from waiting import wait_until

    weights = {name: {"weight": int(name == branch)} for name in ("prod", "wide", "echo")}
    gateway.write(branches=weights)
    wait_until(lambda: gateway.branch(branch)["share"] == 1.0)


def post(gateway: Gateway, body: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{gateway.url}/predict", content=body, headers=headers, timeout=30)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "empty"),
        (b"{", 400, "not JSON"),
        (b'{"instances": [[1]]', 400, "not JSON"),
        (b'{"instances": [[NaN]]}', 400, "JSON"),
        (b'\xff{"instances": [[1]]}', 400, "UTF-8 at byte 0"),
        (b"[[1]]", 400, '"instances"'),
        (b"{}", 400, "instances"),
        (b'{"instances": []}', 400, "empty"),
        (b'{"instances": {"a": 1}}', 400, "Expected `array`"),
        (b'{"instances": [[1]], "instance": 1}', 400, "instance"),
        (b'{"instances": [[1]], "unit": [1]}', 400, "unit"),
        (b'{"instances": [' + b"[1]," * 8 + b"[1]]}", 413, "at most 8 instances"),
        (b'{"instances": [["' + b"x" * 70000 + b'"]]}', 413, "at most 65536 bytes"),
        (b'{"instances": ' + b"[" * 30000 + b"]" * 30000 + b"}", 400, "nested"),
        (b'{"instances": ' + b"[" * 90 + b"]" * 90 + b"}", 400, "more than 64 levels"),
        (b'{"instances": [' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"]}", 400, "64 levels"),
    ],
)
def test_a_body_that_is_no_request_is_refused_with_what_would_be_right(
    served: Gateway, body: bytes, status: int, words: str
) -> None:
    answer = post(served, body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"type", "message", "where"}
    assert words in error["message"]
    assert answer.headers["Gateway-Request-Id"]


@pytest.mark.parametrize("value", [0, False, [], "", None, {"a": [1.5, None]}, "é\n\u2028"])
def test_falsy_and_nested_answers_are_answers(served: Gateway, value: Any) -> None:
    only(served, "echo")
    answer = served.predict([value])
    assert answer.status_code == 200
    assert answer.json()["predictions"] == [value]


def test_line_ends_between_tokens_do_not_matter(served: Gateway) -> None:
    only(served, "echo")
    answer = post(served, b'{\r\n "instances": [\n  [1,\n 2]\n ]\n}')
    assert answer.json()["predictions"] == [[1, 2]]


def test_one_client_serves_a_30_column_prod_and_a_32_column_challenger(served: Gateway) -> None:
    data = load_breast_cancer(as_frame=True).data.assign(extra_1=1.0, extra_2=2.0)
    record = json.loads(data.iloc[[0]].to_json(orient="records"))[0]
    backwards = dict(reversed(record.items()))
    for branch in ("prod", "wide"):
        only(served, branch)
        answer = served.predict([record, backwards])
        assert answer.status_code == 200, answer.text
        first, second = answer.json()["probabilities"]
        assert first == second
        assert sum(first) == pytest.approx(1)
    assert served.metric('gateway_ignored_columns_total{branch="prod"}') == 2

    only(served, "wide")
    missing = served.predict([{k: v for k, v in record.items() if k != "extra_2"}])
    assert missing.status_code == 422
    assert "extra_2" in missing.json()["error"]["message"]
    narrow = served.predict([list(record.values())[:30]])
    assert narrow.status_code == 422
    assert "32" in narrow.json()["error"]["message"]
    assert served.metric('gateway_requests_total{branch="wide",status="invalid"}') == 2


def test_a_missing_value_the_model_cannot_use_is_the_requests_fault(served: Gateway) -> None:
    only(served, "prod")
    row: list[Any] = [1.0] * 30
    assert served.predict([row]).status_code == 200
    answer = served.predict([[None, *row[1:]]])
    assert answer.status_code == 422
    assert "NaN" in answer.json()["error"]["message"]
    assert served.predict([["ten", *row[1:]]]).status_code == 422


def test_the_unit_is_the_first_configured_source_that_is_not_empty(served: Gateway) -> None:
    only(served, "echo")
    body = b'{"instances": [[1]], "unit": 17}'
    plain = b'{"instances": [[1]]}'
    assert post(served, body).status_code == 200
    assert post(served, plain, **{"X-User-Id": "17"}).status_code == 200
    assert post(served, body, **{"X-User-Id": ""}).status_code == 200
    assert post(served, plain, Cookie="uid=17").status_code == 200
    assert post(served, plain).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/predict", 405, "POST"),
        ("GET", "/nothing", 404, "POST /predict"),
        ("GET", "/branches/nope", 404, "prod"),
        ("GET", "/branches/prod/monitoring/nope.csv", 404, "predictions"),
    ],
)
def test_every_error_has_the_one_shape(
    served: Gateway, method: str, path: str, status: int, words: str
) -> None:
    answer = httpx.request(method, f"{served.url}{path}", timeout=30)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"type", "message", "where"}
    assert words in error["message"]
