"""Equal content, equal fingerprint; what is not served does not count."""

from __future__ import annotations

import pytest
from gitrepo import Remote
from gitrepo import git as person

from gateway.errors import ContentError
from gateway.names import Branch, Fingerprint
from gateway.repositories.fingerprint import fingerprint, served_entries
from gateway.repositories.git import Git


def of(git: Git, branch: str = "prod", model: str | None = None) -> Fingerprint:
    return fingerprint(served_entries(git, git.fetch_tip(Branch(branch)), model, where=branch))


@pytest.mark.parametrize(
    "path",
    ["README.md", "monitoring/predictions/prod/a.csv", "logs/prod/a.jsonl", "data/train.csv"],
)
def test_what_is_not_served_leaves_the_fingerprint(git: Git, remote: Remote, path: str) -> None:
    before = of(git)
    remote.commit("prod", {path: "new"})
    assert before == of(git)


@pytest.mark.parametrize(
    "path",
    [
        "models/model.pkl",
        "models/other.txt",
        "src/serve.py",
        "metrics/model.json",
        "requirements.txt",
        "uv.lock",
        "pylock.toml",
    ],
)
def test_each_served_path_changes_the_fingerprint(git: Git, remote: Remote, path: str) -> None:
    before = of(git)
    remote.commit("prod", {path: "new"})
    assert before != of(git)


def test_a_merged_challenger_has_its_fingerprint_and_a_revert_the_old_one(
    git: Git, remote: Remote
) -> None:
    prod = of(git)
    remote.commit("ab", {"models/model.pkl": "challenger"}, start="prod")
    challenger = of(git, "ab")
    remote.merge("ab", "prod")
    assert challenger == of(git) != prod
    remote.revert("prod")
    assert prod == of(git)


def test_the_configured_model_is_part_of_the_fingerprint(git: Git, remote: Remote) -> None:
    remote.commit("prod", {"models/a.pkl": "a", "models/b.pkl": "b"})
    assert len({of(git), of(git, model="models/a.pkl"), of(git, model="models/b.pkl")}) == 3


def test_an_executable_bit_changes_the_fingerprint(git: Git, remote: Remote) -> None:
    remote.commit("prod", {"requirements.txt": "numpy"})
    before = of(git)
    person(remote.person, "update-index", "--chmod=+x", "requirements.txt")
    person(remote.person, "commit", "--quiet", "-m", "executable")
    person(remote.person, "push", "--quiet", "origin", "HEAD:refs/heads/prod")
    assert before != of(git)


def test_nothing_to_serve_says_what_a_branch_must_hold(git: Git, remote: Remote) -> None:
    remote.commit("empty", {"README.md": "x", "metrics/model.json": "{}"})
    with pytest.raises(ContentError, match=r"empty: nothing to serve.*models/model\.pkl"):
        of(git, "empty")


def test_own_serving_code_alone_is_enough(git: Git, remote: Remote) -> None:
    remote.commit("code", {"src/serve.py": "x"})
    assert of(git, "code")


def test_an_absent_configured_model_names_what_is_there(git: Git) -> None:
    with pytest.raises(ContentError, match=r"no models/x\.pkl.*holds models/model\.pkl"):
        of(git, model="models/x.pkl")
