"""Whose request it is, by every form of a key; what each may do; how often; and what is said."""

from __future__ import annotations

from typing import Any

import pytest
from apikeys import basic, bearer

from gateway.access.guard import Guard, Headers, Needs
from gateway.access.keys_file import Key, digest_of, new_key
from gateway.access.rate import Rates, network
from gateway.access.scopes import SCOPES, is_loopback
from gateway.config import Config
from gateway.errors import Forbidden, GatewayError, KeyNeeded, TooMany
from gateway.metrics import ACCESS_REFUSED, Metrics

CALLER = ("192.0.2.7", 4711)
READ: Needs = frozenset({"read"})
PREDICT: Needs = frozenset({"predict"})
OVERRIDE: Needs = frozenset({"predict", "override"})


class World:
    """A guard with two clocks that stand still."""

    def __init__(self, *keys: Key, has_keys: bool = True, **access: Any) -> None:
        self.clock, self.now = 0.0, 1.8e9
        self.metrics = Metrics()
        if has_keys:
            access["keys_file"] = "keys.yaml"
        self.guard = Guard(
            config(**access), self.metrics, clock=lambda: self.clock, now=lambda: self.now
        )
        self.guard.use(keys if has_keys else None)

    def refused(self, reason: str) -> float:
        found = self.metrics.registry.get_sample_value(
            "gateway_access_refused_requests_total", {"reason": reason}
        )
        assert found is not None
        return found

    def error(
        self, headers: Headers, needs: Needs, client: tuple[str, int] = CALLER
    ) -> GatewayError:
        with pytest.raises(GatewayError) as raised:
            self.guard.admit(headers, client, needs)
        return raised.value


def config(**access: Any) -> Config:
    return Config.model_validate(
        {
            "repository": "r",
            "baseline": "prod",
            "branches": {"prod": {"weight": 1}},
            "access": access,
        }
    )


def entry(key: str, *scopes: str, name: str = "ci", **more: Any) -> Key:
    sha256 = digest_of(key.encode())
    return Key.model_validate({"name": name, "sha256": sha256, "scopes": list(scopes), **more})


def raw(headers: dict[str, str], **more: str) -> Headers:
    found = {**headers, **{name.replace("_", "-"): value for name, value in more.items()}}
    return [(name.lower().encode(), value.encode()) for name, value in found.items()]


def test_a_key_comes_as_a_bearer_or_as_the_password_of_any_user() -> None:
    key = new_key()
    world = World(entry(key, "read"))
    forms = [bearer(key), basic(key), basic(key, ""), {"Authorization": f"bearer   {key} "}]
    for headers in forms * 2:  # the second time it is remembered
        assert world.guard.admit(raw(headers), CALLER, READ).name == "ci"


def test_what_is_no_key_or_no_known_one_is_401_and_says_what_would_be_right() -> None:
    key = new_key()
    world = World(entry(key, "read"))
    error = world.error([], OVERRIDE)
    assert isinstance(error, KeyNeeded)
    assert "an API key with the scopes predict and override: send it as" in error.message
    for sent in ("", "Bearer", f"Digest {key}", key, "Basic !!!", "Basic YTo=", f"Basic {key}"):
        assert "must be `Bearer KEY`" in world.error(raw({"Authorization": sent}), READ).message
    twice = [*raw(bearer(key)), *raw(bearer(key))]
    assert "given once" in world.error(twice, READ).message
    error = world.error(raw(bearer(new_key())), READ)
    assert isinstance(error, KeyNeeded)
    assert "is not known" in error.message
    assert [world.refused(r) for r in ("missing", "malformed", "unknown")] == [1, 8, 1]
    assert all(key not in str(one) for one in (error, world.error(twice, READ)))


def test_a_key_in_a_query_or_another_header_is_none() -> None:
    key = new_key()
    world = World(entry(key, "read"))
    assert isinstance(world.error(raw({"X-Api-Key": key, "Cookie": key}), READ), KeyNeeded)


def test_a_known_key_without_the_scope_is_403_and_says_which_it_has() -> None:
    key = new_key()
    world = World(entry(key, "read", "predict"))
    error = world.error(raw(bearer(key)), OVERRIDE)
    assert isinstance(error, Forbidden)
    assert error.message == (
        "needs the scopes predict and override; the key ci has the scopes predict and read"
    )
    assert world.refused("scope") == 1


def test_what_anybody_may_do_a_key_may_too_but_an_unknown_key_is_not_anybody() -> None:
    key = new_key()
    world = World(entry(key, "read"), anonymous=["predict"])
    assert world.guard.admit([], CALLER, PREDICT).name == "anonymous"
    assert world.guard.admit(raw(bearer(key)), CALLER, PREDICT).name == "ci"
    assert isinstance(world.error(raw(bearer(new_key())), PREDICT), KeyNeeded)
    assert isinstance(world.error([], READ), KeyNeeded)


def test_without_keys_an_authorization_is_somebody_elses_and_override_says_what_to_set() -> None:
    world = World(has_keys=False)
    assert world.guard.anybody_predicts
    for scope in ("predict", "feedback", "operate", "read"):
        headers = raw({"Authorization": "Bearer of something else"})
        assert world.guard.admit(headers, CALLER, frozenset({scope})).name == "anonymous"
    error = world.error([], OVERRIDE)
    assert isinstance(error, Forbidden)
    assert "`access: {keys_file: PATH}`" in error.message
    assert "`access: {anonymous: [predict, feedback, operate, override, read]}`" in error.message


def test_an_expired_key_says_so_also_once_it_was_remembered() -> None:
    key = new_key()
    world = World(entry(key, "read", expires="2027-01-16T00:00:00Z"))
    assert world.guard.admit(raw(bearer(key)), CALLER, READ)
    world.now += 10 * 86400
    assert "the key ci ended at 2027-01-1" in world.error(raw(bearer(key)), READ).message
    assert world.refused("expired") == 1


def test_keys_that_are_taken_back_end_at_once_and_new_ones_begin() -> None:
    old, new = new_key(), new_key()
    world = World(entry(old, "read"))
    world.guard.admit(raw(bearer(old)), CALLER, READ)
    world.guard.use((entry(old, "read"), entry(new, "read")))
    for key in (old, new):
        assert world.guard.admit(raw(bearer(key)), CALLER, READ).name == "ci"
    world.guard.use((entry(new, "read"),))
    assert isinstance(world.error(raw(bearer(old)), READ), KeyNeeded)


def test_wrong_keys_of_one_address_end_in_429_while_others_and_right_ones_are_answered() -> None:
    key = new_key()
    world = World(entry(key, "read"))
    errors = [world.error(raw(bearer(new_key())), READ) for _ in range(25)]
    kinds = [type(one) for one in errors]
    assert kinds == [KeyNeeded] * 20 + [TooMany] * 5
    last = errors[-1]
    assert isinstance(last, TooMany)
    assert last.retry_after == 5
    assert world.guard.admit(raw(bearer(key)), CALLER, READ)
    elsewhere = world.error(raw(bearer(new_key())), READ, ("192.0.2.8", 1))
    assert isinstance(elsewhere, KeyNeeded)
    world.clock += 6
    assert isinstance(world.error(raw(bearer(new_key())), READ), KeyNeeded)
    assert world.refused("attempts") == 5


def test_a_rate_is_a_keys_own_and_outlives_a_change_of_the_file() -> None:
    slow, free = new_key(), new_key()
    keys = (entry(slow, "read", rate=2), entry(free, "read", name="free"))
    world = World(*keys)
    for _ in range(2):
        world.guard.admit(raw(bearer(slow)), CALLER, READ)
    error = world.error(raw(bearer(slow)), READ)
    assert isinstance(error, TooMany)
    assert "too many requests of the key ci" in error.message
    world.guard.use((*keys, entry(new_key(), "read", name="third")))
    assert isinstance(world.error(raw(bearer(slow)), READ), TooMany)
    for _ in range(50):
        world.guard.admit(raw(bearer(free)), CALLER, READ)
    world.clock += 0.5
    assert world.guard.admit(raw(bearer(slow)), CALLER, READ)


def test_anybody_is_bounded_by_address_where_the_file_says_so() -> None:
    world = World(has_keys=False, rate=3)
    assert not world.guard.anybody_predicts
    for _ in range(3):
        world.guard.admit([], CALLER, PREDICT)
    assert isinstance(world.error([], PREDICT), TooMany)
    assert world.guard.admit([], ("192.0.2.9", 1), PREDICT)
    world.guard.configure(config())
    assert world.guard.admit([], CALLER, PREDICT)
    assert world.guard.anybody_predicts


def test_pages_are_bounded_for_each_caller() -> None:
    key = new_key()
    world = World(entry(key, "read"), anonymous=["read"], page_rate=2)
    for _ in range(4):
        world.guard.admit_page([], CALLER, READ)
    with pytest.raises(TooMany):
        world.guard.admit_page([], CALLER, READ)
    assert world.guard.admit_page(raw(bearer(key)), CALLER, READ)
    assert world.guard.admit([], CALLER, READ)


def test_a_browsers_password_does_not_act_for_another_sites_page() -> None:
    key = new_key()
    world = World(entry(key, *SCOPES))
    operate: Needs = frozenset({"operate"})
    for needs in (operate, PREDICT):
        error = world.error(raw(basic(key), sec_fetch_site="cross-site"), needs)
        assert isinstance(error, Forbidden)
    assert world.refused("cross_site") == 2
    assert world.guard.admit(raw(basic(key), sec_fetch_site="cross-site"), CALLER, READ)  # a link
    assert world.guard.admit(raw(basic(key), sec_fetch_site="same-origin"), CALLER, operate)
    assert world.guard.admit(raw(bearer(key), sec_fetch_site="cross-site"), CALLER, operate)


def test_every_reason_of_a_refusal_is_a_series_from_the_start() -> None:
    assert {reason: World().refused(reason) for reason in ACCESS_REFUSED} == dict.fromkeys(
        ACCESS_REFUSED, 0
    )


def test_headers_that_were_found_good_are_remembered_within_a_bound() -> None:
    key = new_key()
    world = World(entry(key, "read"))
    for number in range(5000):
        world.guard.admit(raw(basic(key, str(number))), CALLER, READ)
    assert len(world.guard._known) <= 2048


def test_callers_are_remembered_within_a_bound_and_ipv6_by_network() -> None:
    rates = Rates(1, 1, lambda: 0.0, remembered=2)
    assert rates.take("a") == 0
    assert rates.take("a") == 1
    assert [rates.take(caller) for caller in ("b", "c")] == [0, 0]
    assert rates.take("a") == 0  # forgotten
    assert network("2001:db8:1:2:3::4") == network("2001:db8:1:2::9%eth0") == "2001:db8:1:2::/64"
    assert network("::ffff:192.0.2.1") == network("192.0.2.1") == "192.0.2.1"
    assert network("not:one") == "not:one"


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.0.1", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "gateway.example")),
    ],
)
def test_only_addresses_of_this_machine_are_loopback(host: str, is_one: bool) -> None:
    assert is_loopback(host) == is_one
