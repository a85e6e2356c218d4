"""A refusal of a real server is said in git's own words, and ends with what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from githttp import GitHttp, Reply
from gitrepo import Remote
from sshserver import SshServer, new_key

from gateway.errors import PushRefused, RemoteUnavailable
from gateway.names import Branch
from gateway.repositories.credentials import Credentials
from gateway.repositories.git import Git
from gateway.repositories.gitprocess import Address, Done, GitProcess
from gateway.repositories.pushes import push_error

Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, environment: dict[str, str], open_as: Callable[..., Any]) -> Refused:
    """What is said when the heads of a URL are asked for with these credentials."""

    def ask(url: str, **settings: str) -> str:
        git = Git(tmp_path / "c", url, environment, credentials=open_as(**settings), deadline=120)
        git.prepare()
        with pytest.raises(RemoteUnavailable) as raised:
            git.heads()
        return str(raised.value)

    return ask


def test_a_wrong_password(http: GitHttp, remote: Remote, tmp_path: Path, refused: Refused) -> None:
    url = http.url(remote.path)
    http.password = "changed"
    said = refused(url, password_env="GIT_TOKEN")
    assert f"fatal: Authentication failed for '{url}/'" in said
    assert said.endswith(
        "put a valid password of git (credentials.username) into"
        " credentials.password_env GIT_TOKEN, and restart"
    )
    (tmp_path / "token").write_text("x")
    said = refused(url, password_file=str(tmp_path / "token"), username="ada")
    assert said.endswith(
        "put a valid password of ada (credentials.username) into"
        f" credentials.password_file {tmp_path}/token, which is read anew each time"
    )


def test_no_password(http: GitHttp, remote: Remote, refused: Refused) -> None:
    said = refused(http.url(remote.path))
    assert "could not read Username" in said
    assert said.endswith("give a password or token by credentials.password_env or password_file")


def test_a_password_file_that_was_emptied(
    http: GitHttp, remote: Remote, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "token").write_text("")
    emptied = Credentials("git", f"{tmp_path}/token", "credentials.password_file token")
    git = Git(tmp_path / "c", http.url(remote.path), environment, credentials=emptied)
    git.prepare()
    with pytest.raises(RemoteUnavailable) as raised:
        git.heads()
    assert str(raised.value).endswith(
        "look at credentials.password_file token: its first line must be the password or token"
    )


def test_a_password_without_the_right(
    http: GitHttp, remote: Remote, known: dict[str, Credentials], url_by: Callable[[str], str]
) -> None:
    """Reading waits for the right; a push that may not be is refused for good."""
    http.instead = lambda asked: Reply(403)
    url = url_by("http")
    advised = f"give the owner of {known[url].password_from} the right to do this"
    git = Git(remote.path.parent / "c", url, {}, credentials=known[url])
    git.prepare()
    with pytest.raises(RemoteUnavailable) as raised:
        git.heads()
    assert "The requested URL returned error: 403" in str(raised.value)
    assert str(raised.value).endswith(advised)

    http.instead = lambda asked: Reply(403) if "receive-pack" in asked.path + asked.query else None
    tip = git.fetch_tip(Branch("prod"))
    with pytest.raises(PushRefused) as declined:
        git.push(tip, "refs/heads/side", None)
    assert str(declined.value).endswith(advised)


def test_a_certificate_that_nobody_known_signed(
    https: GitHttp, remote: Remote, tmp_path: Path, refused: Refused
) -> None:
    advised = f"put the certificate that signed {https.address}'s into credentials.ca_file"
    said = refused(https.url(remote.path), password_env="GIT_TOKEN")
    assert "certificate" in said.partition(" — ")[0]
    assert said.endswith(advised)
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    said = refused(https.url(remote.path), password_env="GIT_TOKEN", ca_file=str(other))
    assert said.endswith(f"{advised} {other}")


def test_a_repository_that_is_not_there(
    http: GitHttp, tmp_path: Path, daemon: str, refused: Refused
) -> None:
    advised = "look at `repository`, and whether the gateway may read it"
    elsewhere = str(tmp_path / "nowhere.git")
    for url in (http.url(Path(elsewhere)), elsewhere, daemon.replace("remote.git", "no.git")):
        said = refused(url, password_env="GIT_TOKEN")
        assert said.partition(" — ")[0].count("git ls-remote: fatal: ") == 1
        assert said.endswith(advised)


@pytest.mark.needs("sshd")
def test_a_host_key_that_is_not_known_or_not_the_known_one(
    ssh: SshServer, remote: Remote, tmp_path: Path, refused: Refused
) -> None:
    known_hosts = tmp_path / "known_hosts"
    key = str(ssh.key_file)
    known_hosts.write_text("")
    advised = f"into credentials.known_hosts_file {known_hosts} (ssh-keyscan prints it)"
    said = refused(ssh.url(remote.path), ssh_key_file=key, known_hosts_file=str(known_hosts))
    assert "Host key verification failed" in said
    assert said.endswith(advised)
    new_key(tmp_path / "other")
    host = ssh.known_hosts_file.read_text().split()[0]
    known_hosts.write_text(f"{host} {(tmp_path / 'other.pub').read_text()}")
    said = refused(ssh.url(remote.path), ssh_key_file=key, known_hosts_file=str(known_hosts))
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in said
    assert said.endswith(advised)


@pytest.mark.needs("sshd")
def test_a_key_that_is_not_taken(
    ssh: SshServer, remote: Remote, tmp_path: Path, refused: Refused
) -> None:
    new_key(tmp_path / "other")
    hosts = str(ssh.known_hosts_file)
    said = refused(
        ssh.url(remote.path), ssh_key_file=str(tmp_path / "other"), known_hosts_file=hosts
    )
    assert "Permission denied (publickey)" in said
    assert said.endswith(
        f"give the server the public key of credentials.ssh_key_file {tmp_path}/other,"
        " or name another key there"
    )
    ssh.key_file.chmod(0o644)
    said = refused(ssh.url(remote.path), ssh_key_file=str(ssh.key_file), known_hosts_file=hosts)
    assert said.endswith(
        f"let nobody else read credentials.ssh_key_file {ssh.key_file} (chmod 600)"
    )


def test_a_key_refused_in_a_push_says_nothing_about_the_branch() -> None:
    """Else the branch's rows would go to its side branch until a restart."""
    process = GitProcess(Path("/c"), Address("ssh://host/x"), {}, Credentials())
    done = Done(128, b"", "git@host: Permission denied (publickey).; fatal: Could not read")
    error = push_error(done, process, "refs/heads/x")
    assert type(error) is RemoteUnavailable
    assert "credentials.ssh_key_file" in str(error)


def test_what_is_not_known_is_left_as_git_said_it(
    http: GitHttp, remote: Remote, refused: Refused
) -> None:
    http.instead = lambda asked: Reply(503)
    said = refused(http.url(remote.path), password_env="GIT_TOKEN")
    assert said.endswith("The requested URL returned error: 503")
