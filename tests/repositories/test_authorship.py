"""Who made a commit: read where it lies, remembered over restarts, and never anybody's trouble."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from gitrepo import Remote

from gateway.names import Branch, Commit
from gateway.repositories.arrivals import Arrivals
from gateway.repositories.authorship import MOST, QUESTION, Authorship, Authorships, parse
from gateway.repositories.git import Git

PROD = Branch("prod")
FILES = {"src/serve.py": "def predict(model, rows): return rows\n"}


def asked(git: Git, commit: str, authors: Authorships) -> Authorship | None:
    authors.note(Commit(commit), lambda: git.run([*QUESTION, commit]))
    return authors.get(Commit(commit))


def test_git_says_who_made_a_commit_when_and_what_for(
    remote: Remote, arrivals_in: Callable[..., Arrivals], tmp_path: Path
) -> None:
    commit = Commit(remote.commit("prod", FILES, "Retrain with the new rows\n\nAnd more words."))
    arrivals = arrivals_in(tmp_path / "state", str(remote.path))
    move, lease = arrivals.take(PROD, commit, None)
    lease.release()

    found = arrivals.authors.get(move.commit)
    assert found is not None
    assert (found.author, found.subject) == ("Ada", "Retrain with the new rows")
    assert found.committed_at.endswith("Z")


def test_a_commit_that_is_found_later_to_have_brought_the_content_is_told_of_too(
    remote: Remote, arrivals_in: Callable[..., Arrivals], tmp_path: Path
) -> None:
    brought = Commit(remote.commit("prod", FILES, "Bring it"))
    tip = Commit(remote.commit("prod", {"README.md": "more"}, "Say more of it"))
    arrivals = arrivals_in(tmp_path / "state", str(remote.path))
    move, lease = arrivals.take(PROD, tip, None)
    lease.release()
    settled = arrivals.settle(PROD, move, 20.0)

    assert settled is not None
    assert settled.commit == brought
    found = arrivals.authors.get(brought)
    assert found is not None
    assert found.subject == "Bring it"


def test_a_restart_remembers_without_asking(tmp_path: Path) -> None:
    file, commit = tmp_path / "commits.json", Commit("a" * 40)
    answer = b"commit " + commit.encode() + b"\nAda\x001700000000\x00Try a forest\n"
    Authorships(file).note(commit, lambda: answer)

    def never() -> bytes:
        raise AssertionError("it was asked again")

    again = Authorships(file)
    again.note(commit, never)
    assert again.get(commit) == Authorship("Ada", "Try a forest", "2023-11-14T22:13:20.000Z")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"x": 1}', b"\xff"])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "commits.json"
    file.write_bytes(content)
    assert Authorships(file).get(Commit("a" * 40)) is None


@pytest.mark.parametrize("answer", [b"", b"fatal: bad object\n", b"commit x\nAda\n", None])
def test_what_git_cannot_say_is_nobodys(answer: bytes | None) -> None:
    authors = Authorships()
    authors.note(Commit("a" * 40), lambda: answer)
    assert authors.get(Commit("a" * 40)) is None


def test_only_so_many_commits_and_characters_are_kept(tmp_path: Path) -> None:
    authors = Authorships(tmp_path / "commits.json")
    said = b"commit x\n" + b"n" * 5000 + b"\x001\x00" + b"s" * 5000 + b"\n"
    for number in range(MOST + 5):
        authors.note(Commit(f"{number:040x}"), lambda: said)

    assert authors.get(Commit(f"{4:040x}")) is None
    found = authors.get(Commit(f"{MOST:040x}"))
    assert found is not None
    assert len(found.author) == 100
    assert len(found.subject) == 200


def test_nothing_in_a_subject_turns_text_around_or_acts_upon_a_terminal() -> None:
    found = parse("commit x\nA\x1b[31mda\x001\x00safe \u202eevil\u2066\n".encode())
    assert found is not None
    assert (found.author, found.subject) == ("A [31mda", "safe  evil")


def test_any_language_comes_as_it_was_written(remote: Remote, git: Git, tmp_path: Path) -> None:
    commit = remote.commit("prod", FILES, "Grüße, 数据 and <script>alert(1)</script>")
    git.fetch(Commit(commit))
    found = asked(git, commit, Authorships())
    assert found is not None
    assert found.subject == "Grüße, 数据 and <script>alert(1)</script>"
