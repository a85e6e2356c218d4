"""What replicas say of each other is read as far as it can be, and told in words that are few."""

from __future__ import annotations

import msgspec
import pytest

from gateway.shared.replica import LONGEST, MOST_LINES, Replica, Serving, decode, encode, skew

ONE, OTHER = Serving("1" * 32, "a" * 40), Serving("2" * 32, "b" * 40)


def replica(name: str = "a", config: str = "c1", key: str = "k1", **serving: Serving) -> Replica:
    return Replica(name, "a1b2c3d4", "host-1", 7, dict(serving), config, key, 3, 5.5, 6.5)


def test_what_is_said_is_read_as_it_was_said() -> None:
    assert decode(encode(replica(prod=ONE))) == replica(prod=ONE)


def test_of_a_later_version_what_is_known_is_read() -> None:
    words = msgspec.json.decode(encode(replica(prod=ONE)))
    words["mood"] = "good"
    assert decode(msgspec.json.encode(words)) == replica(prod=ONE)


@pytest.mark.parametrize(
    "words",
    [b"", b"{}", b"[" * 10_000, b"\xff", encode(replica()) + b" " * LONGEST],
    ids=["nothing", "no-id", "deep", "no-text", "long"],
)
def test_what_no_version_would_say_is_nothing(words: bytes) -> None:
    assert decode(words) is None


def test_replicas_that_agree_have_no_skew() -> None:
    assert skew(replica(prod=ONE), [replica(prod=ONE), replica("b", prod=ONE)]) == []


def test_each_difference_is_said_once_with_the_names_of_those_who_differ() -> None:
    others = [
        replica("b", config="c2", prod=ONE, exp=OTHER),
        replica("c", config="c2", prod=ONE, exp=OTHER),
        replica("d", key="k2", prod=ONE),
    ]
    assert skew(replica(prod=ONE, exp=ONE), others) == [
        "unit key differs: d has k2, and k1 is here",
        "config differs: b, c run with other settings than this replica",
        "exp serves commit aaaaaaaaaaaa here and commit bbbbbbbbbbbb at b, c",
        "exp serves commit aaaaaaaaaaaa here and nothing at d",
    ]


def test_a_branch_that_is_not_served_here_is_named_too() -> None:
    assert skew(replica(), [replica("b", exp=ONE)]) == [
        "exp serves nothing here and commit aaaaaaaaaaaa at b"
    ]


def test_of_equal_commits_the_contents_are_told_apart() -> None:
    """A folder has no commit, and what a commit leads to may be elsewhere."""
    for commit in ("", "a" * 40):
        here, there = Serving("1" * 32, commit), Serving("2" * 32, commit)
        assert skew(replica(exp=here), [replica("b", exp=there)]) == [
            "exp serves content 111111111111 here and content 222222222222 at b"
        ]


def test_many_names_are_counted_and_many_lines_too() -> None:
    many = [replica(f"r{n:02}", exp=OTHER) for n in range(30)]
    assert skew(replica(exp=ONE), many) == [
        "exp serves commit aaaaaaaaaaaa here and commit bbbbbbbbbbbb at r00, r01, r02 and 27 more"
    ]
    branches = {f"b{n:03}": ONE for n in range(100)}
    lines = skew(replica(), [msgspec.structs.replace(replica("b"), serving=branches)])
    assert len(lines) == MOST_LINES
    assert lines[-1] == f"and {100 - MOST_LINES + 1} differences more"


def test_a_line_is_short_whatever_was_said() -> None:
    long = "x" * 100_000
    other = Replica(long, long, long, 1, {long: Serving(long, long)}, long, long)
    assert max(map(len, skew(replica(), [other]))) < 300
