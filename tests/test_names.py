"""The names: what they accept git accepts, and what they say of themselves is so."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from gateway.names import Branch, Commit, Epoch, Fingerprint, InvalidName, RequestId, Unit

#: Mostly the characters that git has rules about, so that the rules are met.
branch_like = st.text(
    st.sampled_from("ab/.@{~^:?*[\\-_ \t\x7f\n") | st.characters(exclude_characters="\0"),
    min_size=1,
    max_size=12,
) | st.lists(st.sampled_from([".lock", "a", "/", ".", "@", "-", "HEAD", "é"]), min_size=1).map(
    "".join
)


def git_accepts(name: str) -> bool:
    done = subprocess.run(
        ["git", "check-ref-format", "--branch", name], capture_output=True, check=False
    )
    return done.returncode == 0 and done.stdout.decode().removesuffix("\n") == name


def is_branch(name: str) -> bool:
    try:
        Branch(name)
    except InvalidName:
        return False
    return True


@given(branch_like)
@settings(max_examples=150, deadline=None)
@example("HEAD")
@example("@")
@example("-a")
@example("a.lock/b")
@example("a/.b")
@example("a..b")
@example("a.")
@example("refs/heads/a")
@example("@{-1}")
def test_every_branch_name_accepted_here_is_accepted_by_git(name: str) -> None:
    assume(is_branch(name))
    assert git_accepts(name)


@given(branch_like)
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@example("a@b")
@example("feature/deep")
@example("ветка")
@example("{}")
def test_every_short_branch_name_git_accepts_is_accepted_here(name: str) -> None:
    # Git would take `@`, but everywhere else reads it as HEAD.
    assume(name.isprintable() and name != "@" and git_accepts(name))
    assert is_branch(name)


@pytest.mark.parametrize("name", ["", "\udcff", "a" * 201, "HEAD", "a\0b"])
def test_a_name_that_cannot_be_a_branch_is_refused(name: str) -> None:
    with pytest.raises(InvalidName, match="not a git branch name"):
        Branch(name)


@given(branch_like)
def test_a_branch_comes_back_from_its_folder(name: str) -> None:
    assume(is_branch(name))
    branch = Branch(name)
    assert "/" not in branch.folder
    assert Branch.of_folder(branch.folder) == branch


def test_a_branch_knows_its_ref() -> None:
    assert Branch("feature/deep").ref == "refs/heads/feature/deep"


@pytest.mark.parametrize(
    ("kind", "length"), [(Commit, 40), (Commit, 64), (Fingerprint, 32), (Epoch, 12), (Unit, 16)]
)
def test_hexadecimal_names_have_their_length_and_lower_case(kind: type[str], length: int) -> None:
    assert kind("a0" * (length // 2)) == "a0" * (length // 2)
    for wrong in ("", "a" * (length - 1), "a" * (length + 1), "A" * length, "g" * length):
        with pytest.raises(InvalidName, match="lower-case hex digits"):
            kind(wrong)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.binary(min_size=1, max_size=64))
def test_a_unit_is_sixteen_digits_whose_first_two_are_the_bucket(raw: str, key: bytes) -> None:
    unit = Unit.keyed(raw, key)
    assert Unit(unit) == unit
    assert unit.bucket == bytes.fromhex(unit)[0]


def test_a_unit_depends_on_the_id_and_on_the_key() -> None:
    unit = Unit.keyed("user-1", b"key")
    assert unit == Unit.keyed("user-1", b"key") == "835b217813c48a1a"
    assert unit != Unit.keyed("user-2", b"key")
    assert unit != Unit.keyed("user-1", b"yek")


milliseconds = st.integers(0, 2**48 - 1)
randomness = st.integers(0, 2**74 - 1)


@given(milliseconds, randomness, milliseconds, randomness)
def test_request_ids_sort_by_time(first: int, one: int, second: int, other: int) -> None:
    assume(first < second)
    assert RequestId.build(first, one) < RequestId.build(second, other)


@given(milliseconds, randomness, randomness)
@example(0, 0, 1 << 61)
@example(0, 0, 1 << 62)
@example(0, 0, 1 << 73)
def test_a_request_id_holds_its_time_and_all_its_randomness(
    time: int, one: int, other: int
) -> None:
    built = RequestId.build(time, one)
    assert RequestId(built) == built
    assert built.milliseconds == time
    assert (built == RequestId.build(time, other)) == (one == other)


def test_a_request_id_is_a_version_7_uuid_of_rfc_9562() -> None:
    # The example of RFC 9562, appendix A.6.
    assert (
        RequestId.build(0x017F22E279B0, 0xCC3 << 62 | 0x18C4DC0C0C07398F)
        == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
        "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-18c4-dc0c0c07398f",
        "017f22e279b07cc398c4dc0c0c07398f",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f\n",
    ],
)
def test_what_is_no_version_7_uuid_is_no_request_id(text: str) -> None:
    with pytest.raises(InvalidName, match="UUIDv7"):
        RequestId(text)
