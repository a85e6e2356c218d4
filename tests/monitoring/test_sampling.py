"""Which requests are kept, and that their weights add up to the truth."""

from __future__ import annotations

import json
import random
from typing import Literal

import msgspec
import pytest
from chunkfiles import request
from hypothesis import given
from hypothesis import strategies as st

from gateway.chunks import Request
from gateway.monitoring.sampling import Sample, rank


def asked(number: int, rows: int) -> Request:
    return msgspec.json.decode(json.dumps(request(number, rows=rows)), type=Request)


def kept(requests: list[Request], limit: int | Literal["all"]) -> tuple[list[Request], float]:
    sample = Sample(limit)
    for place, one in enumerate(requests):
        sample.add(place, one)
    chosen, weight = sample.kept()
    return [one for _, one in chosen], weight


some_requests = st.lists(st.integers(1, 40), min_size=1, max_size=60).map(
    lambda rows: [asked(number, count) for number, count in enumerate(rows)]
)


@given(some_requests, st.integers(1, 100))
def test_weights_sum_to_the_true_number_of_rows(requests: list[Request], limit: int) -> None:
    chosen, weight = kept(requests, limit)
    assert sum(weight * one.rows for one in chosen) == pytest.approx(
        sum(one.rows for one in requests)
    )


@given(some_requests, st.integers(1, 100))
def test_the_kept_are_the_first_by_hash_up_to_the_limit(
    requests: list[Request], limit: int
) -> None:
    expected: list[Request] = []
    for one in sorted(requests, key=lambda one: rank(one.request_id)):
        if expected and sum(other.rows for other in expected) + one.rows > limit:
            break
        expected.append(one)
    chosen, _ = kept(requests, limit)
    assert {one.request_id for one in chosen} == {one.request_id for one in expected}


@given(some_requests, st.integers(1, 100), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(
    requests: list[Request], limit: int, rng: random.Random
) -> None:
    shuffled = rng.sample(requests, len(requests))
    first, second = kept(requests, limit), kept(shuffled, limit)
    assert {one.request_id for one in first[0]} == {one.request_id for one in second[0]}
    assert first[1] == second[1]


def test_all_keeps_every_request_with_weight_one() -> None:
    requests = [asked(number, 3) for number in range(50)]
    assert kept(requests, "all") == (requests, 1.0)


def test_kept_requests_stay_in_the_order_they_came_in() -> None:
    chosen, _ = kept([asked(number, 1) for number in range(200)], 50)
    ids = [one.request_id for one in chosen]
    assert ids == sorted(ids)
    assert len(ids) == 50


def test_memory_is_bounded_by_the_sample_not_by_the_traffic() -> None:
    sample = Sample(10)
    for number in range(5000):
        sample.add(number, asked(number, 1))
    assert len(sample._held) <= 11


def test_the_rank_is_the_same_for_ever() -> None:
    """Golden: a new hash would sample another set after an upgrade, under the same path."""
    assert (
        f"{rank('019aaaaa-0000-7000-8000-000000000001'):032x}" == "1b43b6c33391107b91ff6ad7393e225f"
    )
