"""Every family of errors has its place in the one table, and its answer the one shape."""

from __future__ import annotations

import inspect
import json

import pytest

from gateway import errors
from gateway.errors import GatewayError, UnavailableError
from gateway.web.errors import TABLE, describe

FAMILIES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, GatewayError) and kind is not GatewayError
]
#: Never met in a request: what they say stops a start, a load or a push instead.
NOT_OF_REQUESTS = {"BranchError", "ConfigError", "ContentError", "LoadError", "ProbeError"}
NOT_OF_REQUESTS |= {"ContentAway", "StateError"}


def made(kind: type[GatewayError]) -> GatewayError:
    if kind is errors.ConfigError:
        return errors.ConfigError(["gateway.yaml:1:1: é"])
    return kind('é "quoted"\n', where="body")


@pytest.mark.parametrize("kind", FAMILIES, ids=lambda kind: kind.__name__)
def test_every_error_has_a_row_of_its_own_family(kind: type[GatewayError]) -> None:
    row = next(row for row in TABLE if issubclass(kind, row[0]))
    assert (row[0] is GatewayError) == (kind.__name__ in NOT_OF_REQUESTS)


def test_no_row_hides_a_later_one() -> None:
    for place, (family, _, _) in enumerate(TABLE):
        hidden = [later for later, _, _ in TABLE[place + 1 :] if issubclass(later, family)]
        assert hidden == []


@pytest.mark.parametrize("kind", FAMILIES, ids=lambda kind: kind.__name__)
def test_every_error_body_has_the_one_shape(kind: type[GatewayError]) -> None:
    error = made(kind)
    status, body, headers = describe(error)
    assert 400 <= status < 600
    said = json.loads(body)
    assert set(said) == {"error"}
    assert set(said["error"]) == {"type", "message", "where"}
    assert said["error"]["message"] == error.message
    assert ("Retry-After" in headers) == isinstance(error, UnavailableError)


def test_what_the_caller_can_mend_is_a_4xx_and_nothing_else_is() -> None:
    for family, status, _ in TABLE:
        assert (status < 500) == issubclass(family, errors.RequestError)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.UnreadableBody, 400),
        (errors.UnusableHeader, 400),
        (errors.Unauthorised, 401),
        (errors.NotFound, 404),
        (errors.BodyTooSlow, 408),
        (errors.BodyTooLarge, 413),
        (errors.InvalidInstances, 422),
        (errors.TooMany, 429),
        (errors.ModelError, 500),
        (errors.RemoteUnavailable, 502),
        (errors.NotReady, 503),
        (errors.Overloaded, 503),
        (errors.DeadlineExceeded, 504),
    ],
)
def test_the_status_says_what_the_caller_can_do(kind: type[GatewayError], status: int) -> None:
    assert describe(made(kind))[0] == status


def test_no_two_rows_of_one_status_share_a_type() -> None:
    assert len({(status, word) for _, status, word in TABLE}) == len(TABLE)
    assert len({word for _, _, word in TABLE}) == len(TABLE)
