"""`gateway healthcheck` says whether the gateway of a file lives, quickly and in one line."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from answers import Answers
from click.testing import CliRunner, Result
from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until

from gateway.health_command import healthcheck


def asked(*arguments: object) -> Result:
    return CliRunner().invoke(healthcheck, [str(argument) for argument in arguments])


def written(folder: Path, text: str) -> Path:
    file = folder / "gateway.yaml"
    file.write_text(text)
    return file


@pytest.fixture
def alive(answers: Answers) -> Answers:
    answers.pages["/healthz"] = (200, '{"status":"ok"}')
    return answers


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of one that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_gateway_that_serves_is_healthy_and_one_that_ended_is_not(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("prod"))
    gateway = Gateway(tmp_path / "a", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    gateway.file.write_text(json.dumps({"listen": gateway.url.removeprefix("http://")}))
    command = [sys.executable, "-m", "gateway", "healthcheck", str(gateway.file)]

    def healthy() -> bool:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.returncode, done.stderr) == (0, "")

    # It gives the gateway 2 s, which a machine that does much else may take.
    wait_until(healthy, describe=gateway.words)
    assert gateway.stop() == 0
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{gateway.url}: Connection refused\n"


def test_what_else_is_wrong_in_the_file_leaves_the_gateway_alive(
    tmp_path: Path, alive: Answers
) -> None:
    file = written(tmp_path, f"listen: 127.0.0.1:{alive.server_port}\nbranches: {{prod: 7}}\n")
    assert asked(file).exit_code == 0


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "127.0.0.1", "localhost"])
def test_everywhere_is_asked_on_this_machine(
    tmp_path: Path, alive: Answers, everywhere: str
) -> None:
    done = asked(written(tmp_path, f"listen: {everywhere}:{alive.server_port}\n"))
    assert done.exit_code == 0, done.output
    assert "0.0.0.0" not in done.output


def test_an_address_of_the_sixth_version_is_asked_in_brackets(tmp_path: Path) -> None:
    done = asked(written(tmp_path, 'listen: "[::]:1"\n'))
    assert done.exit_code == 1
    assert done.output.startswith("http://[::1]:1: ")


def test_with_tls_it_is_asked_over_https_whoever_its_certificate_is_for(
    tmp_path: Path, alive: Answers
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("gateway.example.org").configure_cert(context)
    alive.socket = context.wrap_socket(alive.socket, server_side=True)
    listen = f"listen: 127.0.0.1:{alive.server_port}\n"
    assert asked(written(tmp_path, listen)).exit_code == 1
    done = asked(written(tmp_path, f"{listen}tls: {{cert_file: c.pem, key_file: k.pem}}\n"))
    assert done.exit_code == 0, done.output


def test_a_url_needs_no_file(alive: Answers) -> None:
    assert asked("nowhere.yaml", "--url", f"{alive.url}/").exit_code == 0


def test_one_that_does_not_answer_in_time_is_not_healthy(silent: int) -> None:
    done = asked("--url", f"http://127.0.0.1:{silent}")
    assert done.exit_code == 1
    assert done.output == f"http://127.0.0.1:{silent}: no answer within 2 s\n"


def test_one_that_answers_a_little_at_a_time_has_no_longer(silent: int) -> None:
    """A deadline for each read would be another one, and never end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()
        trickling = threading.Thread(target=_trickle, args=(listener, ended))
        trickling.start()
        done = asked("--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
        ended.set()
        trickling.join()
    assert done.exit_code == 1
    assert "no answer within 2 s" in done.output


def _trickle(listener: socket.socket, ended: threading.Event) -> None:
    connection, _ = listener.accept()
    with connection:
        while not ended.wait(0.05):
            connection.send(b"H")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('listen: "127\n', "gateway.yaml:1:9: the quoted text that begins here must end"),
        ("listen: 8080\n", "listen: must be HOST:PORT, such as 127.0.0.1:8080. Given: 8080"),
        ("listen: 127.0.0.1:0\n", "listen: takes any free port; give --url"),
    ],
)
def test_a_file_that_does_not_say_where_is_named(tmp_path: Path, text: str, says: str) -> None:
    done = asked(written(tmp_path, text))
    assert done.exit_code == 1
    assert says in done.output
    assert len(done.output.splitlines()) == 1


def test_other_answers_and_addresses_are_told(tmp_path: Path, answers: Answers) -> None:
    answers.pages["/healthz"] = (503, "")
    done = asked("--url", answers.url)
    assert done.output == f"{answers.url}/healthz: must answer 200. Given: 503\n"
    for wrong in ("localhost:8080", "ftp://localhost", "http://localhost:none"):
        done = asked("--url", wrong)
        assert done.exit_code == 1
        assert f"--url must be an address, such as http://127.0.0.1:8080. Given: '{wrong}'" in (
            done.output
        )
    missing = tmp_path / "gateway.yaml"
    assert asked(missing).output == f"{missing}: cannot be read: No such file or directory\n"


def test_it_does_not_import_what_the_gateway_needs_to_serve() -> None:
    """It runs every few seconds: what it imports would be paid for as often."""
    code = (
        "import sys; from gateway.__main__ import main\n"
        "sys.argv = ['gateway', 'healthcheck', '--url', 'x']\n"
        "try: main()\n"
        "finally: print([m for m in ('numpy', 'sklearn', 'uvicorn', 'starlette', 'jinja2')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "[]\n"), done.stderr
