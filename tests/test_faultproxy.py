"""The bad line does what it says: else the stories of replicas would try nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from faultproxy import FaultProxy
from redisserver import RedisServer


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.socket) as proxy:
        yield proxy


def caller(proxy: FaultProxy, patience: float = 30.0) -> redis.Redis:
    return redis.Redis(
        port=proxy.port,
        socket_timeout=patience,
        retry=None,  # type: ignore[arg-type]
    )


def test_a_cut_line_refuses_and_a_mended_one_is_at_the_same_port(proxy: FaultProxy) -> None:
    with caller(proxy) as asking:
        assert asking.set("a", 1)
        proxy.cut()
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                asking.get("a")
        proxy.mend()
        assert asking.get("a") == b"1"


def test_a_dumb_line_takes_what_is_sent_and_says_nothing(proxy: FaultProxy) -> None:
    with caller(proxy) as asking, caller(proxy, 0.3) as impatient:
        proxy.is_dumb = True
        with pytest.raises(redis.TimeoutError):
            impatient.incr("a")
        proxy.mend()
        assert asking.incr("a") == 1


def test_a_lost_answer_is_one_to_what_was_done(proxy: FaultProxy) -> None:
    with caller(proxy) as asking:
        assert asking.ping()
        proxy.loses_answers = True
        with pytest.raises(redis.ConnectionError):
            asking.incr("a")
        proxy.mend()
        assert proxy.lost > 0
        assert int(asking.get("a") or 0) > 0


def test_a_slow_line_is_slower_than_its_callers_patience(proxy: FaultProxy) -> None:
    with caller(proxy) as asking, caller(proxy, 0.3) as impatient:
        proxy.delay = 0.4
        with pytest.raises(redis.TimeoutError):
            impatient.ping()
        proxy.mend()
        assert asking.ping()
