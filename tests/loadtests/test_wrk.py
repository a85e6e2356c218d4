"""What wrk says is read as it is, and nothing is made of what it does not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.bench import wrk
from loadtests.bench.forms import INSTANCES

OUTPUT = """Running 4s test @ http://127.0.0.1:1234/
  1 threads and 32 connections
  1840 requests in 4.00s, 0.89MB read

FIGURES {"requests":1840,"microseconds":4000000,"p50":17000,"p99":42500,"most":90000,\
"refused":40,"timeouts":2,"connection_errors":3}
"""


def test_rates_count_answers_and_times_are_seconds() -> None:
    load = wrk.parse(OUTPUT)
    assert load.rate == (1840 - 40) / 4  # a refusal is quick, and no answer
    assert (load.p50, load.p99, load.slowest) == (0.017, 0.0425, 0.09)
    assert load.requests == 1840


def test_refusals_timeouts_and_broken_connections_are_all_errors() -> None:
    assert wrk.parse(OUTPUT).errors == 40 + 2 + 3


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("Running 4s test\nunable to connect\n", "0 lines of figures"),
        (OUTPUT + OUTPUT, "2 lines of figures"),
        ("FIGURES {\n", "cannot be read"),
        ('FIGURES {"requests":1}\n', "cannot be read"),
        (OUTPUT.replace("4000000", "0"), "cannot be read"),
    ],
)
def test_an_output_without_figures_is_a_failure_and_no_zero(output: str, words: str) -> None:
    with pytest.raises(wrk.LoadFailed, match=words):
        wrk.parse(output)


def test_every_prepared_request_is_whole_and_of_another_user(tmp_path: Path) -> None:
    wrk.write_requests(tmp_path / "requests", INSTANCES, [[[1.5, 2.0]], [[3.0, 4.0]]])
    text = (tmp_path / "requests").read_bytes()
    requests = []
    while text:
        length, _, text = text.partition(b"\n")
        requests.append(text[: int(length)])
        text = text[int(length) :]
    heads, bodies = zip(*(request.split(b"\r\n\r\n") for request in requests), strict=True)
    assert bodies == (b'{"instances":[[1.5,2.0]]}', b'{"instances":[[3.0,4.0]]}')
    assert [b"X-User-Id: user-%d\r\n" % number in heads[number] for number in (0, 1)] == [True] * 2
    assert b"Content-Length: %d" % len(bodies[0]) in heads[0]


def test_a_wrk_that_fails_says_so(tmp_path: Path) -> None:
    """Whether wrk is missing or cannot connect, it is a failure with its words."""
    wrk.write_requests(tmp_path / "requests", INSTANCES, [[[1.0]]])
    with pytest.raises(wrk.LoadFailed, match="wrk"):
        wrk.run(1, tmp_path / "requests", 1, 1)
