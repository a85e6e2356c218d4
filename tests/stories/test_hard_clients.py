"""Callers that are slow, gone, greedy or hostile cost the others nothing, and little memory."""

from __future__ import annotations

import json
import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from gitrepo import Remote
from running import Gateway, recorded, serve_py
from traffic import Traffic
from waiting import wait_until

IDLE = 10_000
BODY = b'{"instances": [[1]]}'
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"


@pytest.fixture
def gateway(tmp_path: Path, remote: Remote, gateways: list[Gateway]) -> Gateway:
    remote.commit("prod", serve_py("one"))
    found = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(found)
    return found.start()


@contextmanager
def files(wanted: int) -> Iterator[int]:
    """Room for as many open files in this process as there may be, at most `wanted`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    try:
        yield most
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(gateway: Gateway) -> socket.socket:
    url = httpx.URL(gateway.url)
    made = socket.create_connection((url.host, url.port or 80), timeout=30)
    made.settimeout(30)
    return made


def memory(gateway: Gateway) -> int:
    """The front's resident bytes."""
    assert gateway.process is not None
    pages = Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def answer(connection: socket.socket) -> bytes:
    """One response, whole."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def test_ten_thousand_idle_connections_stay_open_and_users_are_answered(gateway: Gateway) -> None:
    before = memory(gateway)
    with files(IDLE + 500) as room:
        count = min(IDLE, room - 500) - 100  # the users need some
        idle = [connect(gateway) for _ in range(count)]
        try:
            for connection in (idle[0], idle[-1]):  # each was used once, as a pool's are
                connection.sendall(HEAD % len(BODY) + BODY)
                assert answer(connection).startswith(b"HTTP/1.1 200")
            wait_until(lambda: gateway.metric("gateway_connections") >= count)
            with Traffic(gateway) as traffic:
                traffic.more(100)
            assert traffic.failures == []
            assert memory(gateway) - before < count * 16 * 1024
            idle[count // 2].sendall(HEAD % len(BODY) + BODY)
            assert answer(idle[count // 2]).startswith(b"HTTP/1.1 200")
        finally:
            for connection in idle:
                connection.close()
    wait_until(lambda: gateway.metric("gateway_connections") < 10)


def test_who_stops_hangs_up_or_bombs_harms_nobody(gateway: Gateway, remote: Remote) -> None:
    """Every answered row is recorded once, also those whose caller was gone."""
    before = memory(gateway)
    reset = struct.pack("ii", 1, 0)
    stuck = []
    with Traffic(gateway) as traffic:
        for _ in range(200):
            stopped, gone, bomb, large = (connect(gateway) for _ in range(4))
            stopped.sendall(HEAD % 1000 + BODY)  # a body that stops in the middle
            stuck.append(stopped)
            gone.sendall(HEAD % len(BODY) + BODY)  # a reset before the answer
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            gone.close()
            bomb.sendall(b"POST /predict HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n")
            assert answer(bomb).startswith(b"HTTP/1.1 431 ")
            bomb.close()
            large.sendall(HEAD % 10**12 + b"x" * 3 * 2**20)
            assert answer(large).startswith(b"HTTP/1.1 413 ")
            large.close()
        pipelined = connect(gateway)
        pipelined.sendall((HEAD % len(BODY) + BODY) * 500)
        data = b""
        while data.count(b'"request_id"') < 500:
            data += pipelined.recv(1 << 20)
        pipelined.close()
        traffic.more(50)
    assert traffic.failures == []
    assert memory(gateway) - before < 32 * 2**20
    for connection in stuck:
        connection.close()
    wait_until(lambda: gateway.metric("gateway_connections") < 10)
    assert gateway.metric('gateway_refused_requests_total{reason="too_large"}') == 400
    # Behind those of the callers who were gone.
    assert gateway.predict().status_code == 200
    answered = gateway.metric('gateway_requests_total{branch="prod",status="ok"}')
    gateway.stop_published(lambda: len(recorded(remote, "prod")) >= answered)
    rows = [row["request_id"] for row in recorded(remote, "prod")]
    assert len(rows) == len(set(rows)) == answered
    mine = {body["request_id"] for body in traffic.answered}
    mine |= {json.loads(part)["request_id"] for part in _bodies(data)}
    assert mine <= set(rows)


def _bodies(responses: bytes) -> list[bytes]:
    return [part.partition(b"\r\n\r\n")[2] for part in responses.split(b"HTTP/1.1 ") if part]


def test_an_answer_comes_whole_and_at_once(gateway: Gateway) -> None:
    """Nagle's algorithm with delayed acknowledgements make 40 ms of an answer in two parts."""
    connection = connect(gateway)
    for _ in range(3):
        connection.sendall(HEAD % len(BODY) + BODY)
        assert connection.recv(1 << 16).endswith(b"}")
    connection.close()
    assert gateway.process is not None
    assert "uvloop" in Path(f"/proc/{gateway.process.pid}/maps").read_text()
