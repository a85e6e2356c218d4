"""A whole gateway on a server that wants a password: it works, it heals, and the secret stays one.

The token may stand in the environment of `gateway serve` as its operator set it, in the file its
operator wrote, and at the git server. Nowhere else: no log, file, argument, child or page.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from githttp import Asked, GitHttp
from gitrepo import Remote, git
from running import Gateway, recorded, serve_py
from secretwatch import SecretWatch
from sshserver import SshServer
from waiting import wait_until


@pytest.fixture
def token() -> str:
    return f"t0k/{secrets.token_hex(8)}+e5%a=="


@pytest.fixture
def server(remote: Remote, tmp_path: Path, token: str) -> Iterator[GitHttp]:
    """The remote over https; `ca.pem` beside it holds the authority."""
    git(remote.path, "config", "uploadpack.allowFilter", "true")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with GitHttp(tmp_path, password=token, authority=authority) as running:
        yield running


def gateway_on(server: GitHttp, remote: Remote, folder: Path, **credentials: str) -> Gateway:
    variables = {key: credentials.pop(key) for key in list(credentials) if key.isupper()}
    return Gateway(
        folder / "g",
        remote,
        {"prod": {"weight": 1}},
        environ=variables,
        repository=server.url(remote.path),
        credentials={"ca_file": str(folder / "ca.pem"), **credentials},
    )


def reading(asked: Asked) -> bool:
    return asked.path.endswith("git-upload-pack")


def pushing(asked: Asked) -> bool:
    return asked.path.endswith("git-receive-pack")


def everything_in(repository: Path) -> bytes:
    """Every object of it, uncompressed."""
    return subprocess.run(
        ["git", "cat-file", "--batch", "--batch-all-objects"],
        cwd=repository,
        check=True,
        capture_output=True,
    ).stdout


def held_open_by(pid: int) -> list[str]:
    names = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            names.append(os.readlink(descriptor))  # noqa: PTH115
        except FileNotFoundError:
            continue
    return [name for name in names if "password" in name]


@pytest.mark.parametrize("place", ["variable", "file"])
def test_a_token_is_nowhere_but_where_its_operator_put_it(
    place: str,
    tmp_path: Path,
    remote: Remote,
    server: GitHttp,
    token: str,
    gateways: list[Gateway],
) -> None:
    remote.commit("prod", serve_py("old"))
    if place == "variable":
        told = {"GIT_TOKEN": token, "password_env": "GIT_TOKEN"}
    else:
        (tmp_path / "token").write_text(f"{token}\n")
        told = {"password_file": str(tmp_path / "token")}
    gateway = gateway_on(server, remote, tmp_path, **told)
    gateways.append(gateway)
    with SecretWatch("git", token) as watch:
        gateway.start()
        assert gateway.process is not None
        with server.held(pushing):
            assert gateway.predict().json()["predictions"] == ["old"]
            wait_until(lambda: server.waiting, describe=gateway.words)
            watch.look()
        wait_until(lambda: recorded(remote, "prod"), describe=gateway.words)
        with server.held(reading):
            tip = remote.commit("prod", serve_py("new"))
            wait_until(lambda: server.waiting, describe=gateway.words)
            watch.look()
        wait_until(lambda: gateway.serving("prod") == tip, describe=gateway.words)
        assert gateway.predict().json()["predictions"] == ["new"]
        pages = [gateway.get(path) for path in ("/branches", "/branches/prod", "/metrics")]
        view = gateway.get("/branches/prod/monitoring/predictions.csv")
        told_of = gateway.get("/branches").json()["recording"]
        holders = {
            "front": held_open_by(gateway.process.pid),
            "monitor": held_open_by(told_of["monitor_pid"]),
        }
        answers = {'"old"', '"new"'}
        gateway.stop_published(
            lambda: answers <= {row["prediction"] for row in recorded(remote, "prod")}
        )
        exported = subprocess.run(
            [sys.executable, "-m", "gateway", "export", "prod", "--config", str(gateway.file)],
            env={**os.environ, **gateway.environ},
            capture_output=True,
            check=True,
        )

    assert watch.found == set()
    remotes = [names for program, names in watch.seen.items() if "remote-http" in program]
    assert remotes
    assert all("GATEWAY_GIT_PASSWORD_AT" in names for names in remotes)
    held = {"variable": 1, "file": 0}[place]
    assert {name: len(files) for name, files in holders.items()} == {
        "front": held,
        "monitor": held,
    }
    assert watch.files(gateway.folder) == []
    assert not [page.url for page in (*pages, view) if watch.within(page.content)]
    assert view.text.count("\n") > 1
    assert exported.stdout.startswith(view.content[:20])
    assert not watch.within(exported.stdout + exported.stderr)
    assert not watch.within(everything_in(remote.path))
    assert answers == {row["prediction"] for row in recorded(remote, "prod")}
    assert {None} != {asked.authorization for asked in server.asked if pushing(asked)}


def test_a_worker_of_a_branch_inherits_no_password(
    tmp_path: Path, remote: Remote, server: GitHttp, token: str, gateways: list[Gateway]
) -> None:
    remote.commit(
        "prod",
        {
            "src/serve.py": """
import os
def load(root):
    return None
def predict(model, instances):
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink("/proc/self/fd/" + name))
        except OSError:
            pass
    return [sorted(found) + sorted(os.environ) for _ in instances]
"""
        },
    )
    gateway = gateway_on(server, remote, tmp_path, GIT_TOKEN=token, password_env="GIT_TOKEN")
    gateways.append(gateway)
    gateway.start()
    (said,) = gateway.predict().json()["predictions"]
    assert any("socket" in name for name in said)
    assert not [name for name in said if "password" in name or "GIT" in name.upper()]


def test_a_wrong_token_is_said_and_mended_and_a_new_one_taken_without_a_restart(
    tmp_path: Path, remote: Remote, server: GitHttp, token: str, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    file = tmp_path / "token"
    file.write_text("a wrong one")
    gateway = gateway_on(server, remote, tmp_path, password_file=str(file))
    gateways.append(gateway)
    gateway.start(ready=False)
    advice = f"into credentials.password_file {file}, which is read anew each time"

    def trouble() -> str:
        return str((gateway.branch("prod")["repository"] or {}).get("text"))

    wait_until(lambda: trouble().endswith(advice), describe=trouble)
    assert "Authentication failed" in trouble()
    assert trouble() in gateway.get("/branches").json()["repository"]["last_error"]
    file.write_text(token)
    wait_until(gateway.is_ready, 60.0, gateway.words)
    assert gateway.branch("prod")["repository"]["trouble"] is None

    server.password = "rotated"
    gateway.predict()

    def failure() -> str:
        monitoring: dict[str, Any] = gateway.branch("prod")["monitoring"] or {}
        return str((monitoring.get("last_failure") or {}).get("reason"))

    wait_until(lambda: failure().endswith(advice), describe=gateway.words)
    beside = tmp_path / "new"
    beside.write_text("rotated\n")
    beside.replace(file)
    tip = remote.commit("prod", serve_py("new"))
    wait_until(lambda: recorded(remote, "prod"), 60.0, gateway.words)
    wait_until(lambda: gateway.serving("prod") == tip, 60.0, gateway.words)
    assert gateway.stop() == 0
    watch = SecretWatch("git", token, "rotated", "a wrong one")
    assert watch.files(gateway.folder) == []


@pytest.mark.needs("sshd")
def test_an_unknown_host_key_is_said_and_mended(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    with SshServer(tmp_path / "s") as server:
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text("")
        gateway = Gateway(
            tmp_path / "g",
            remote,
            {"prod": {"weight": 1}},
            repository=server.url(remote.path),
            credentials={
                "ssh_key_file": str(server.key_file),
                "known_hosts_file": str(known_hosts),
            },
        )
        gateways.append(gateway)
        gateway.start(ready=False)

        def trouble() -> str:
            return str((gateway.branch("prod")["repository"] or {}).get("text"))

        wait_until(lambda: f"known_hosts_file {known_hosts}" in trouble(), describe=trouble)
        assert "Host key verification failed" in trouble()
        known_hosts.write_text(server.known_hosts_file.read_text())
        wait_until(gateway.is_ready, 60.0, gateway.words)
        gateway.predict()
        wait_until(lambda: recorded(remote, "prod"), 60.0, gateway.words)
        assert gateway.stop() == 0


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ({"password_env": "GATEWAY_TEST_GONE"}, "password_env GATEWAY_TEST_GONE: there is no"),
        ({"password_file": "gone"}, "password_file {folder}/gone: cannot be read: No such file"),
        ({"ssh_key_file": "gone"}, "ssh_key_file {folder}/gone: cannot be read: No such file"),
    ],
)
def test_a_secret_that_is_not_there_ends_the_start_but_not_the_check(
    credentials: dict[str, str], said: str, tmp_path: Path, remote: Remote
) -> None:
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}}, credentials=credentials)

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gateway", *command],
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("check", str(gateway.file)).returncode == 0
    for command in (
        ["serve", str(gateway.file)],
        ["export", "prod", "--config", str(gateway.file)],
    ):
        done = run(*command)
        assert done.returncode == 2
        assert f"credentials.{said.format(folder=gateway.folder)}" in done.stderr
        assert "Traceback" not in done.stderr
