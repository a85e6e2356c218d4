"""A password reaches the repository's own server, and nothing and nobody else."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from githttp import Asked, GitHttp, Reply
from gitrepo import Remote

from gateway.config import CredentialsConfig
from gateway.errors import PushRefused, RemoteUnavailable, StateError
from gateway.names import Branch
from gateway.repositories.credentials import Credentials, open_credentials
from gateway.repositories.git import Git
from gateway.repositories.gitprocess import Address, Done, GitProcess
from gateway.repositories.pushes import push_error

PROD = Branch("prod")
ASKPASS = Path(__file__).parents[2] / "gateway" / "repositories" / "askpass.sh"
TOKEN = "t0k3n/with+odd%41 $characters'"
PAIR = base64.b64encode(f"git:{TOKEN}".encode()).decode()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "a folder" / "token"
    file.parent.mkdir()
    file.write_text(f"{TOKEN}\n")
    return file


@pytest.fixture
def git_of(tmp_path: Path, environment: dict[str, str]) -> Callable[..., Git]:
    """A cache of a server's repository with these settings of `credentials:`."""

    def make(url: str, **settings: Any) -> Git:
        environ = {"GIT_TOKEN": TOKEN, "WRONG": "wrong"}
        credentials = open_credentials(CredentialsConfig(**settings), environ)
        cache = tmp_path / f"cache-{len(list(tmp_path.glob('cache-*')))}"
        made = Git(cache, url, environment, deadline=120, credentials=credentials)
        made.prepare()
        return made

    return make


def ask(prompt: str, password_at: object) -> subprocess.CompletedProcess[bytes]:
    """What the script answers, with nothing but our own variables in its environment."""
    return subprocess.run(
        [ASKPASS, prompt],
        env={
            "GATEWAY_GIT_SERVER": "https://git.example.org:8443",
            "GATEWAY_GIT_USERNAME": "ada",
            "GATEWAY_GIT_PASSWORD_AT": str(password_at),
        },
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Username for 'https://git.example.org:8443': ", "ada"),
        ("Password for 'https://ada@git.example.org:8443': ", TOKEN),
        ("Password for 'https://ada%40x.org@git.example.org:8443': ", TOKEN),
        ("Password for 'https://ada@git.example.org:8443/team/project.git': ", TOKEN),
        ('Username for "https://git.example.org:8443"', "ada"),
        ('Password for "https://ada@git.example.org:8443"', TOKEN),
    ],
)
def test_the_repositorys_server_is_answered_in_the_words_of_git_and_git_lfs(
    prompt: str, answer: str, token_file: Path
) -> None:
    assert f"{answer}\n" == ask(prompt, token_file).stdout.decode()


@pytest.mark.parametrize(
    "prompt",
    [
        "Password for 'https://ada@evil.org': ",
        "Password for 'https://ada@git.example.org': ",
        "Password for 'http://ada@git.example.org:8443': ",
        "Password for 'https://git.example.org:8443.evil.org': ",
        "Password for 'https://git.example.org:8443@evil.org': ",
        "Password for 'https://evil.org/ada@git.example.org:8443': ",
        "Password for 'https://evil.org/https://git.example.org:8443': ",
        'Password for "https://evil.org\'@git.example.org:8443"',
        "Username for 'https://evil.org': ",
        "Enter passphrase for key 'https://git.example.org:8443': ",
        "Are you sure you want to continue connecting (yes/no)? ",
        "",
    ],
)
def test_nobody_else_is_answered(prompt: str, token_file: Path) -> None:
    done = ask(prompt, token_file)
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize(
    "content",
    [b"tok en", b" tok\\en \n", b"tok%sen\r\n", b"to\tken\nanother line\n", "tök€n\n".encode()],
)
def test_the_first_line_of_the_file_is_the_password_and_is_what_words_are_searched_for(
    content: bytes, token_file: Path
) -> None:
    token_file.write_bytes(content)
    said = ask("Password for 'https://git.example.org:8443': ", token_file).stdout
    assert content.splitlines()[0] + b"\n" == said
    credentials = Credentials(password_at=str(token_file))
    assert content.splitlines()[0] == credentials.password()


@pytest.mark.parametrize("name", ["empty", "gone"])
def test_a_file_without_a_password_is_no_answer(name: str, token_file: Path) -> None:
    if name == "empty":
        token_file.write_text("\n")
    else:
        token_file.unlink()
    done = ask("Password for 'https://git.example.org:8443': ", token_file)
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"no password could be read from {token_file}" in done.stderr.decode()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"password_env": "GONE"},
            "credentials.password_env GONE: there is no such environment variable",
        ),
        ({"password_env": "BLANK"}, "credentials.password_env BLANK: must hold a password"),
        (
            {"password_file": "{}/gone"},
            "credentials.password_file {}/gone: cannot be read: No such",
        ),
        ({"password_file": "{}"}, "credentials.password_file {}: cannot be read: Is a directory"),
        ({"password_file": "{}/blank"}, "credentials.password_file {}/blank: must hold a password"),
        ({"ssh_key_file": "{}/gone"}, "credentials.ssh_key_file {}/gone: cannot be read: No such"),
        ({"known_hosts_file": "{}/gone"}, "credentials.known_hosts_file {}/gone: cannot be read"),
        ({"ca_file": "{}/gone"}, "credentials.ca_file {}/gone: cannot be read: No such"),
    ],
)
def test_what_is_missing_at_the_start_is_named_with_its_setting(
    settings: dict[str, str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "blank").write_text("\nsecond line\n")
    given: dict[str, Any] = {key: value.format(tmp_path) for key, value in settings.items()}
    with pytest.raises(StateError) as raised:
        open_credentials(CredentialsConfig(**given), {"BLANK": "\n"})
    assert str(raised.value).startswith(said.format(tmp_path))


def test_credentials_hold_no_password_themselves(token_file: Path) -> None:
    both: list[dict[str, Any]] = [
        {"password_env": "GIT_TOKEN"},
        {"password_file": str(token_file)},
    ]
    for settings in both:
        credentials = open_credentials(CredentialsConfig(**settings), {"GIT_TOKEN": TOKEN})
        assert TOKEN.encode() == credentials.password()
        shown = f"{credentials!r} {credentials.environment('https://h')}"
        assert not [form for form in (TOKEN, PAIR, quote(TOKEN, safe="")) if form in shown]


@pytest.mark.parametrize("memory", [True, False])
def test_a_password_from_a_variable_is_read_again_and_again_and_has_no_name_on_disk(
    memory: bool,
    http: GitHttp,
    remote: Remote,
    git_of: Callable[..., Git],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not memory:
        monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    git = git_of(http.url(remote.path), password_env="GIT_TOKEN")
    for _ in range(3):
        assert remote.tip("prod") == git.heads()[PROD]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_rotated_file_is_used_from_the_next_question_on(
    http: GitHttp, remote: Remote, git_of: Callable[..., Git], token_file: Path
) -> None:
    git = git_of(http.url(remote.path), password_file=str(token_file))
    assert PROD in git.heads()
    http.password = "another one"
    with pytest.raises(RemoteUnavailable, match="Authentication failed"):
        git.heads()
    beside = token_file.with_name("new")
    beside.write_text("another one")
    beside.replace(token_file)
    assert PROD in git.heads()


@pytest.mark.parametrize("first", ["asks", "does not ask"])
def test_a_redirect_to_another_server_does_not_bring_it_the_password(
    first: str, http: GitHttp, remote: Remote, tmp_path: Path, git_of: Callable[..., Git]
) -> None:
    with GitHttp(tmp_path, password=TOKEN) as other:

        def redirect(asked: Asked) -> Reply | None:
            if first == "asks" and asked.authorization is None:
                return None
            there = f"{other.address}{asked.path}?{asked.query}"
            return Reply(302, b"", {"Location": there})

        http.instead = redirect
        git = git_of(http.url(remote.path), password_env="GIT_TOKEN")
        with pytest.raises(RemoteUnavailable) as raised:
            git.heads()
        if first == "does not ask":
            assert f"name {other.address} in `repository`" in str(raised.value)
        assert other.asked
        assert {None} == {asked.authorization for asked in other.asked}


def test_a_credential_helper_of_the_users_neither_answers_nor_stores(
    http: GitHttp, remote: Remote, tmp_path: Path, git_of: Callable[..., Git]
) -> None:
    """HOME is the operator's, and `store` would write the token there in clear."""
    server = http.address
    (tmp_path / ".gitconfig").write_text(
        f'[credential]\n\thelper = store\n[credential "{server}"]\n\thelper = store\n'
    )
    (tmp_path / ".git-credentials").write_text(server.replace("://", "://git:stale@") + "\n")
    assert PROD in git_of(http.url(remote.path), password_env="GIT_TOKEN").heads()
    kept = (tmp_path / ".git-credentials").read_text()
    assert "stale" in kept
    assert quote(TOKEN, safe="") not in kept


def test_a_password_that_the_server_repeats_is_hidden(
    http: GitHttp, remote: Remote, git_of: Callable[..., Git], token_file: Path
) -> None:
    git = git_of(http.url(remote.path), password_file=str(token_file))
    tip = git.fetch_tip(PROD)
    token_file.write_text("2nd t0k3n\n")

    def echo(asked: Asked) -> Reply | None:
        if asked.authorization is None:
            return None
        # The operator changes the file again, at the very moment of the question.
        token_file.write_text("a new one\n")
        said = f"{asked.authorization} is 2nd t0k3n or 2nd%20t0k3n, was {TOKEN}, will be a new one"
        return Reply(403, said.encode(), {"Content-Type": "text/plain"})

    http.password = "2nd t0k3n"
    http.instead = echo
    with pytest.raises(RemoteUnavailable) as raised:
        git.heads()
    assert "remote: Basic *** is *** or ***, was ***, will be ***" in str(raised.value)
    assert "returned error: 403" in str(raised.value)

    http.instead = lambda asked: None
    http.password = "a new one"
    hook = remote.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho we know 'a new one' now >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(PushRefused, match=r"we know \*\*\* now"):
        git.push(tip, "refs/heads/side", None)


def test_settings_that_say_nothing_leave_the_operators_own_ways_in_force(
    tmp_path: Path, environment: dict[str, str], http: GitHttp, remote: Remote
) -> None:
    own = tmp_path / "own"
    own.write_text(f"#!/bin/sh\ncase $1 in User*) echo git ;; *) echo {quote(TOKEN)} ;; esac\n")
    own.chmod(0o755)
    http.password = quote(TOKEN)
    git = Git(tmp_path / "c", http.url(remote.path), {**environment, "GIT_ASKPASS": str(own)})
    git.prepare()
    assert PROD in git.heads()


@pytest.mark.parametrize("by", ["operator", "settings"])
def test_ssh_is_the_operators_own_unless_the_settings_name_its_files(
    by: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    seen = tmp_path / "seen"
    for name in ("own", "ssh"):
        script = tmp_path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@" > {seen}\nexit 1\n')
        script.chmod(0o755)
    key = tmp_path / "my key"
    key.write_text("k")
    settings: dict[str, Any] = {"ssh_key_file": str(key)} if by == "settings" else {}
    git = Git(
        tmp_path / "c",
        "ssh://host/x",
        {
            **environment,
            "PATH": f"{tmp_path / 'bin'}:{environment['PATH']}",
            "GIT_SSH_COMMAND": f"{tmp_path / 'bin' / 'own'} -v",
            "GIT_SSH_VARIANT": "ssh",
        },
        credentials=open_credentials(CredentialsConfig(**settings), {}),
    )
    git.prepare()
    with pytest.raises(RemoteUnavailable):
        git.heads()
    words = seen.read_text().splitlines()
    if by == "operator":
        assert words[:2] == ["own", "-v"]
    else:
        assert words[0] == "ssh"
        assert f'IdentityFile="{key}"' in words
        assert {"BatchMode=yes", "ConnectTimeout=15", "IdentitiesOnly=yes"} <= set(words)


def test_a_password_in_a_servers_reason_for_refusing_a_push_is_hidden(token_file: Path) -> None:
    known = Credentials(password_at=str(token_file), password_from="the file")
    process = GitProcess(Path("/c"), Address("https://host/x"), {}, known)
    output = f"To x\n!\ta:refs/heads/x\t[remote rejected] (not with {TOKEN})\nDone\n".encode()
    done = Done(1, output, process.words(b"error: failed to push some refs"))
    assert "(not with ***)" in str(push_error(done, process, "refs/heads/x"))
