"""Whatever is sent, a real gateway answers it as documented, records it once, and lives on."""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import joblib
import pandas as pd
import pytest
import rawjson
from asdocumented import check, usual
from gitrepo import Remote
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from running import Gateway, recorded
from sklearn.linear_model import LogisticRegression
from waiting import wait_until

COLUMNS = ("radius", "texture", "perimeter")
ECHO = "def load(root):\n    return None\ndef predict(model, instances):\n    return instances\n"
SECRET = "the secret of the hook"
#: Those that a branch was asked for, so that a row says what became of it.
RECORDED = (200, 422, 500, 503, 504)

#: Bounded, and the same requests at every run where CI is set: Hypothesis' own profile for it.
often = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass
class World:
    """The gateway that is asked, and what it answered by request id."""

    gateway: Gateway
    remote: Remote
    client: httpx.Client
    answered: dict[str, int] = field(default_factory=dict)

    def ask(self, path: str, body: bytes, headers: dict[str, bytes] | None = None) -> int:
        """The status of the answer, which must be a documented one."""
        sent = [(name.encode(), value) for name, value in (headers or {}).items()]
        answer = self.client.post(path, content=body, headers=sent)
        check("POST", path, answer)
        request_id = answer.headers.get("gateway-request-id")
        if request_id is not None and answer.status_code in RECORDED:
            assert request_id not in self.answered
            self.answered[request_id] = answer.status_code
        return answer.status_code


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Half of the users get a fitted model of named columns, the others what they sent."""
    folder = tmp_path_factory.mktemp("fuzzed")
    remote = Remote(folder / "project.git")
    rows = pd.DataFrame([[0.0, 1, 2], [3, 4, 5], [6, 7, 8]], columns=COLUMNS)
    joblib.dump(LogisticRegression().fit(rows, ["a", "b", "a"]), folder / "model.joblib")
    model = (folder / "model.joblib").read_bytes()
    remote.commit("prod", {"models/model.joblib": model})
    remote.commit("echo", {"models/model.joblib": None, "src/serve.py": ECHO}, start="prod")
    gateway = Gateway(
        folder / "g",
        remote,
        {
            "prod": {"weight": 1, "timeout": "30s"},
            "echo": {"weight": 1, "timeout": "30s", "fallback": False},
        },
        environ={"HOOK": SECRET},
        webhook={"secret_env": "HOOK"},
        limits={"body_bytes": "64KiB", "rows": 16},
        spare_workers=0,
    ).start()
    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        yield World(gateway, remote, client)
    gateway.kill()


rows = st.one_of(
    rawjson.values(COLUMNS),
    st.lists(rawjson.scalars, min_size=3, max_size=3).map(rawjson.array),
    st.tuples(*[st.floats(-1e6, 1e6).map(lambda v: repr(v).encode()) for _ in COLUMNS]).map(
        lambda values: rawjson.record(
            [(b'"%s"' % name.encode(), value) for name, value in zip(COLUMNS, values, strict=True)]
        )
    ),
)
envelopes = st.one_of(
    st.lists(rows, max_size=18).map(lambda parts: b'{"instances":%s}' % rawjson.array(parts)),
    st.builds(
        lambda parts, unit: b'{"unit":%s,"instances":%s}' % (unit, rawjson.array(parts)),
        st.lists(rows, min_size=1, max_size=2),
        rawjson.values(),
    ),
    st.lists(
        st.tuples(rawjson.names(("instances", "unit", "instances")), rawjson.values()), max_size=3
    ).map(rawjson.record),
    rawjson.values(("instances",)),
    st.binary(max_size=200),
    st.binary(max_size=4).map(lambda extra: b'{"instances":[[1,2,3]]}' + extra),
)


@often
@given(body=envelopes, user=st.binary(max_size=12), wait=st.sampled_from([b"", b"30000", b"x"]))
@example(body=b'{"instances":[[1,2,3]],"instances":[[1,2,3],[4,5,6]]}', user=b"a", wait=b"")
@example(
    body=b'{"instances":[{"radius":1,"radius":2,"texture":1,"perimeter":1}]}', user=b"", wait=b""
)
@example(body=b'{"instances":[' + b"[1,2,3]," * 9000 + b"[1,2,3]]}", user=b"", wait=b"")
@example(body=b'{"instances":[' + b"[" * 30000 + b"]" * 30000 + b"]}", user=b"", wait=b"")
def test_every_body_of_a_prediction_is_answered_as_documented(
    world: World, body: bytes, user: bytes, wait: bytes
) -> None:
    # What no client can send as a header's value is not a body's business.
    printable = bytes(byte for byte in user if byte >= 0x21 and byte != 0x7F)
    headers = {"X-User-Id": printable, **({"Gateway-Timeout-Ms": wait} if wait else {})}
    status = world.ask("/predict", body, headers)
    assert status in (200, 400, 413, 422)


ITEM = ("request_id", "row", "metric", "value", "label", "ts")
texts = {
    b'"request_id"': b'"01a20a9f-29ba-79d5-80dc-5fa64189782e"',
    b'"metric"': b'"reward"',
    b'"value"': b"1",
    b'"row"': b"0",
    b'"ts"': b'"2026-11-23T10:00:00Z"',
}
good = list(texts.items())
items = st.one_of(
    st.lists(st.tuples(rawjson.names(ITEM), rawjson.values()), max_size=6).map(rawjson.record),
    # All but one field is as it ought to be.
    st.builds(
        lambda name, value: rawjson.record([*(p for p in good if p[0] != name), (name, value)]),
        rawjson.names(ITEM),
        rawjson.values(),
    ),
    rawjson.values(ITEM),
)
feedback = st.one_of(
    items,
    st.lists(items, max_size=6).map(lambda parts: b'{"items":%s}' % rawjson.array(parts)),
    st.builds(lambda one, other: b'{"items":%s,"row":%s}' % (one, other), items, items),
    st.binary(max_size=200),
)


@often
@given(body=feedback)
@example(body=b'{"items":[' + b"1," * 1000 + b"1]}")
@example(body=b'{"label":' + b"[" * 30000 + b"]" * 30000 + b"}")
def test_every_body_of_an_outcome_is_answered_as_documented(world: World, body: bytes) -> None:
    assert world.ask("/feedback", body) in (202, 400, 413)


@settings(often, max_examples=30)
@given(body=st.binary(max_size=300), kind=st.sampled_from(["", "signed", "token", "wrong"]))
def test_every_body_of_a_webhook_is_answered_as_documented(
    world: World, body: bytes, kind: str
) -> None:
    headers = {
        "": {},
        "signed": {
            "X-Hub-Signature-256": b"sha256="
            + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest().encode()
        },
        "token": {"X-Gitlab-Token": SECRET.encode()},
        "wrong": {"X-Hub-Signature-256": b"sha256=" + b"0" * 64},
    }[kind]
    status = world.ask("/webhooks/git", body, headers)
    assert status in ((202, 429) if kind in ("signed", "token") else (401, 429))


pieces = st.one_of(
    st.sampled_from(
        [
            *(b"GET", b"POST", b"PUT", b"TRACE", b"CONNECT", b"OPTIONS", b"get", b"PRI", b""),
            *(b" ", b"/predict", b"/branches/%2e%2e", b"/branches/\xff", b"/branches/%ff", b"*"),
            *(b"/branches/prod", b"//", b"http://other/predict", b"/predict?a=%zz", b"/docs#x"),
            *(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b" HTTP/9\r\n", b"\r\n", b"\n"),
            *(b"host: x\r\n", b"content-length: 5\r\n", b"content-length: -1\r\n", b"a\x00: b\r\n"),
            *(b"content-length: 99999999999999999999\r\n", b"transfer-encoding: chunked\r\n"),
            *(b"expect: 100-continue\r\n", b"upgrade: websocket\r\nconnection: upgrade\r\n"),
            *(b"connection: close\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"zz\r\n", b"\r\n\r\n"),
            *(b": empty\r\n", b"x" * 70_000, b"a: b\r\n" * 300, b'{"instances":[[1,2,3]]}'),
        ]
    ),
    st.binary(max_size=30),
)
POST = (
    b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 23\r\n\r\n" + b'{"instances":[[1,2,3]]}'
)


@settings(often, max_examples=60)
@given(parts=st.lists(pieces, min_size=1, max_size=10), before=st.booleans(), after=st.booleans())
def test_whatever_comes_over_a_connection_is_answered_by_http_or_by_its_end(
    world: World, parts: list[bytes], before: bool, after: bool
) -> None:
    """In front of and behind requests that are good, as well."""
    sent = POST * before + b"".join(parts) + POST * after
    said = over_a_connection(world.gateway.url, sent)
    known = {
        status
        for one in usual().document["paths"].values()
        for op in one.values()
        for status in op["responses"]
    } | {"100", "404", "405"}
    for status in statuses(said):
        assert status in known, said
    for line in said.split(b"\r\n"):
        if line.lower().startswith(b"gateway-request-id: "):
            # What became of it is in its row; here it is enough that there is one.
            world.answered.pop(line.partition(b": ")[2].decode(), None)


def over_a_connection(url: str, sent: bytes) -> bytes:
    """All that comes back until the server closes, after everything was sent."""
    host, port = httpx.URL(url).host, httpx.URL(url).port
    said = b""
    with socket.create_connection((host, port), timeout=60) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                said += part
        except (ConnectionResetError, BrokenPipeError):
            pass
    return said


def statuses(said: bytes) -> Iterator[str]:
    """Of every response in what a server said: it says nothing else."""
    rest = said
    while rest:
        head, end, rest = rest.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 "), said
        if not end:
            return  # cut short by the end of the connection
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        yield head.split(b" ")[1].decode()
        if fields.get(b"transfer-encoding") == b"chunked":
            return
        if b"content-length" in fields and not head.startswith(b"HTTP/1.1 100"):
            rest = rest[int(fields[b"content-length"]) :]


def test_every_request_that_was_answered_is_recorded_once_and_the_gateway_serves_on(
    world: World,
) -> None:
    for path in ("/branches", "/experiment", "/metrics", "/readyz"):
        assert world.gateway.get(path).status_code == 200
    assert world.ask("/predict", b'{"instances":[[1,2,3]]}') == 200

    def rows() -> Counter[str]:
        found = [*recorded(world.remote, "prod"), *recorded(world.remote, "echo")]
        assert {row["status"] for row in found} <= {"ok", "invalid", "error", "timeout", "overload"}
        return Counter(row["request_id"] for row in found if row["row"] == "0")

    wait_until(lambda: world.answered.keys() <= rows().keys(), 60.0, world.gateway.words)
    assert set(rows().values()) == {1}
    recording = world.gateway.get("/branches").json()["recording"]
    assert recording["waiting"]["unreadable"] == 0
    assert recording["dropping"] is False
    assert '"level": "error"' not in world.gateway.words()
