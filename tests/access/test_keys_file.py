"""The file of keys: every mistake at once with its place, and never a key in what is said."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.access.keys_file import PREFIX, digest_of, new_key, parse_keys
from gateway.errors import ConfigError

DIGEST = "ab" * 32


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        parse_keys(text, "keys.yaml")
    return raised.value.mistakes


def test_every_field_can_be_given_and_an_empty_list_is_a_file_that_lets_nobody_in() -> None:
    (key,) = parse_keys(
        f"keys:\n- name: ci\n  sha256: {DIGEST.upper()}\n  scopes: [read, predict]\n"
        "  expires: 2027-01-01T01:00:00+01:00\n  rate: 2.5\n",
        "keys.yaml",
    )
    assert (key.name, key.sha256, key.scopes) == ("ci", DIGEST, ("read", "predict"))
    assert key.expires == datetime(2027, 1, 1, tzinfo=UTC)
    assert key.rate == 2.5
    assert parse_keys("keys: []", "keys.yaml") == ()


def test_all_mistakes_are_said_at_once_each_with_its_place() -> None:
    secret = new_key()
    found = mistakes(
        "keys:\n"
        f"- {{name: ci, sha256: {secret}, scopes: [read]}}\n"
        f"- {{name: 'a b', sha256: {DIGEST}, scopes: [reed]}}\n"
        f"- {{name: local, sha256: {'cd' * 32}, scopes: []}}\n"
        "- {name: x, scopes: [read], expires: 2027-01-01, rate: 0}\n"
        "more: 1\n"
    )
    assert [line.split(": must")[0] for line in found] == [
        "keys.yaml:2:22: keys[0].sha256",
        "keys.yaml:3:10: keys[1].name",
        "keys.yaml:3:100: keys[1].scopes[0]",
        "keys.yaml:4:10: keys[2].name",
        "keys.yaml:4:99: keys[2].scopes",
        "keys.yaml:5:3: keys[3].sha256: is missing: the SHA-256 of the key, in hex",
        "keys.yaml:5:38: keys[3].expires",
        "keys.yaml:5:56: keys[3].rate",
        "keys.yaml:6:1: more: is not a setting here; these are: keys",
    ]
    assert found[7].endswith("must be a number from 0.01 to 1000000")
    assert "must be predict, feedback, operate, override or read" in found[2]
    assert not any(secret in line for line in found)


def test_a_key_in_the_place_of_a_name_is_not_repeated() -> None:
    secret = new_key()
    found = mistakes(f"keys:\n- {{{secret}: 1, name: a, sha256: {DIGEST}, scopes: [read]}}\n")
    assert len(found) == 1
    assert secret not in found[0]
    assert f"{PREFIX}…" in found[0]


def test_one_key_cannot_be_two_but_one_name_may_have_two_while_it_is_rotated() -> None:
    one = f"{{name: a, sha256: {DIGEST}, scopes: [read]}}"
    assert "must be another key: b has the one of a" in "".join(
        mistakes(f"keys: [{one}, {one.replace('name: a', 'name: b')}]")
    )
    assert len(parse_keys(f"keys: [{one}, {one.replace(DIGEST, 'cd' * 32)}]", "k")) == 2


def test_new_keys_are_256_bits_that_can_be_recognised() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith(PREFIX) and len(key) == len(PREFIX) + 43 for key in keys)
    assert digest_of(b"abc").startswith("ba7816bf8f01cfea")
