"""The address of the replicas' Redis: read where gateway.yaml says, and shown nowhere."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from gitrepo import Remote
from redisserver import RedisServer
from running import Gateway, serve_py
from secretwatch import SecretWatch
from waiting import wait_until

from gateway.config import RedisConfig
from gateway.errors import StateError
from gateway.shared.door import Door, SharedAway
from gateway.shared.place import Address, RedisSettings, open_redis, parsed, prefix_of

PASSWORD = "hunter2 & more"
QUOTED = "hunter2%20%26%20more"
UNIT_KEY = "0123456789abcdef"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache", Address("redis", "cache")),
        ("redis://cache:7000/3", Address("redis", "cache", 7000, db=3)),
        ("redis://cache/?db=4", Address("redis", "cache", db=4)),
        ("rediss://[::1]:7000", Address("rediss", "::1", 7000)),
        ("unix:///run/redis%201/s", Address("unix", path="/run/redis 1/s")),
        ("unix://:p@/run/s?db=2", Address("unix", path="/run/s", db=2, password="p")),
        (
            f"rediss://ada%40x:{QUOTED}@cache/1",
            Address("rediss", "cache", db=1, username="ada@x", password=PASSWORD),
        ),
    ],
)
def test_an_address_says_where_redis_is(url: str, expected: Address) -> None:
    assert parsed(url.encode(), "here") == expected
    assert "hunter2" not in repr(parsed(url.encode(), "here"))
    assert "ada" not in repr(parsed(url.encode(), "here"))


@pytest.mark.parametrize(
    "url",
    [
        *("", "cache:6379", "http://:hunter2@cache", "redis://", "redis://:hunter2@", "unix://"),
        *("redis://cache:hunter2", "redis://cache/hunter2", "redis://cache/-1", "redis://[hunter2"),
        *("redis://:hunter2/x@cache", "redis://cache?password=hunter2", "redis://c?timeout=9"),
        "redis://cache/0#hunter2",
        "rediss://cache?ssl_cert_reqs=none",
    ],
)
def test_an_address_that_is_none_is_refused_and_never_repeated(url: str) -> None:
    with pytest.raises(StateError, match=r"^here: must (be|have no)") as caught:
        parsed(url.encode(), "here")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_bytes_that_are_no_text_are_no_address() -> None:
    with pytest.raises(StateError, match="must be redis://"):
        parsed(b"redis://\xff", "here")


def opened(environ: dict[str, str], **config: Any) -> RedisSettings:
    return open_redis(
        RedisConfig.model_validate(config), environ, repository="/r.git", replica="r", key="k"
    )


def test_an_address_of_a_variable_is_held_in_a_file_without_a_name(tmp_path: Path) -> None:
    url = f"redis://:{QUOTED}@cache"
    settings = opened({"REDIS_URL": f" {url}\n"}, url_env="REDIS_URL", chunk_bytes="1MiB")
    (held,) = settings.descriptors
    try:
        assert settings.url_at == f"/dev/fd/{held}"
        assert not os.get_inheritable(held)
        for _ in range(2):
            assert settings.address() == Address("redis", "cache", password=PASSWORD)
        assert "hunter2" not in repr(settings)
        assert b"hunter2" not in msgspec.json.encode(settings)
        assert (settings.prefix, settings.chunk_bytes) == (prefix_of("/r.git"), 1024**2)
        assert settings.prefix.startswith("gateway:")
        assert len(settings.prefix) == 20
        assert prefix_of("/other.git") != settings.prefix
    finally:
        os.close(held)


def test_an_address_of_a_file_is_read_where_it_stands(tmp_path: Path) -> None:
    file, authority = tmp_path / "url", tmp_path / "ca.pem"
    file.write_text("redis://cache\n")
    authority.write_text("")
    settings = opened({}, url_file=str(file), ca_file=str(authority), prefix="p")
    assert (settings.url_at, settings.descriptors) == (str(file), ())
    assert (settings.ca_file, settings.prefix) == (str(authority), "p")
    file.write_text("redis://another")
    assert settings.address().host == "another"
    file.unlink()
    with pytest.raises(StateError, match=r"redis\.url_file .*url: cannot be read: No such file"):
        settings.address()
    with Door(settings) as door, pytest.raises(SharedAway, match="cannot be read"):
        door.chunks()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"url_env": "NONE"}, r"redis\.url_env: environment variable NONE: is not set"),
        ({"url_env": "WRONG"}, r"redis\.url_env WRONG: must be redis://"),
        ({"url_file": "/none"}, r"redis\.url_file: /none: cannot be read: No such file"),
        ({"url_env": "RIGHT", "ca_file": "/none"}, r"redis\.ca_file /none: cannot be read"),
    ],
)
def test_what_is_missing_of_an_address_is_named(config: dict[str, str], words: str) -> None:
    environ = {"WRONG": "hunter2", "RIGHT": "redis://c"}
    with pytest.raises(StateError, match=words) as caught:
        opened(environ, **config)
    assert "hunter2" not in str(caught.value)


@pytest.fixture
def guarded(server: RedisServer) -> RedisServer:
    """A server that wants a password."""
    with server.client() as client:
        client.config_set("requirepass", PASSWORD)
    return server


def test_a_password_opens_and_a_wrong_one_is_refused_without_being_shown(
    guarded: RedisServer,
) -> None:
    for wrong in ("", f":{QUOTED}x@", f"ada:{QUOTED}@"):
        settings = guarded.settings(url=f"unix://{wrong}{guarded.socket}")
        with Door(settings) as door, pytest.raises(SharedAway) as caught:
            door.chunks()
        assert "hunter2" not in f"{caught.value!r} {caught.value} {caught.value.__cause__}"
        assert "redis: " in str(caught.value)
    with Door(guarded.settings(url=f"unix://:{QUOTED}@{guarded.socket}")) as door:
        assert door.chunks() == {}


def test_a_password_that_was_changed_in_the_file_is_taken_from_there(
    guarded: RedisServer,
) -> None:
    with Door(guarded.settings(url=f"unix://:old@{guarded.socket}")) as door:
        with pytest.raises(SharedAway, match="invalid username-password"):
            door.chunks()
        guarded.settings(url=f"unix://:{QUOTED}@{guarded.socket}")
        assert door.chunks() == {}


def relay(listener: socket.socket, context: ssl.SSLContext, to: Path) -> None:
    """TLS in front of a server that has none, for one caller after the other."""
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        try:
            caller = context.wrap_socket(plain, server_side=True)
        except OSError:
            plain.close()
            continue
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(to))
        back = threading.Thread(target=_pass_on, args=(server, caller), daemon=True)
        back.start()
        _pass_on(caller, server)
        back.join()
        caller.close()
        server.close()


def _pass_on(here: socket.socket, there: socket.socket) -> None:
    try:
        while data := here.recv(65536):
            there.sendall(data)
        there.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_a_server_of_an_own_authority_is_believed_only_with_its_certificate(
    tmp_path: Path, server: RedisServer
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        relaying = threading.Thread(target=relay, args=(listener, context, server.socket))
        relaying.start()
        port = listener.getsockname()[1]
        plain = server.settings(url=f"rediss://localhost:{port}")
        with Door(plain) as door, pytest.raises(SharedAway, match="certificate verify failed"):
            door.chunks()
        known = msgspec.structs.replace(plain, ca_file=str(tmp_path / "ca.pem"))
        with Door(known) as door:
            assert door.agree_on_key("00000000") == "00000000"
        by_number = server.settings("n", url=f"rediss://127.0.0.1:{port}")
        by_number = msgspec.structs.replace(by_number, ca_file=known.ca_file)
        with Door(by_number) as door, pytest.raises(SharedAway, match="IP address mismatch"):
            door.chunks()
        listener.shutdown(socket.SHUT_RDWR)
    relaying.join()


def gateway_on(folder: Path, remote: Remote, url: str, key: str = UNIT_KEY) -> Gateway:
    return Gateway(
        folder,
        remote,
        {"prod": {"weight": 1}},
        environ={"REDIS_URL": url, "UNIT_KEY": key},
        redis={"url_env": "REDIS_URL"},
        unit_key_env="UNIT_KEY",
    )


def test_the_address_reaches_the_monitor_and_nothing_else(
    remote: Remote, tmp_path: Path, gateways: list[Gateway], guarded: RedisServer
) -> None:
    remote.commit("prod", serve_py("a"))
    url = f"unix://:{QUOTED}@{guarded.socket}"
    gateway = gateway_on(tmp_path / "g", remote, url)
    gateways.append(gateway)
    with SecretWatch("", PASSWORD, "hunter2") as watch:
        gateway.start()
        assert gateway.predict().json()["predictions"] == ["a"]
        pid = wait_until(
            lambda: gateway.get("/branches").json()["recording"].get("monitor_pid"),
            describe=gateway.words,
        )
        state = tmp_path / "g" / ".gateway"
        said = json.loads((state / "monitor-settings.json").read_text())
        held = said["redis"]["url_at"].removeprefix("/dev/fd/")
        assert Path(f"/proc/{pid}/fd/{held}").read_bytes() == f"{url}\n".encode()
        assert Path(f"/proc/{pid}/environ").read_bytes().count(b"REDIS_URL") == 0
        pages = [gateway.get(path).text for path in ("/branches", "/branches/prod", "/metrics")]
        watch.look()
        assert gateway.stop() == 0
    assert (said["home"], said["state_dir"]) == (str(state), str(state / "shared"))
    assert watch.found == set()
    assert not any("hunter2" in text for text in (gateway.words(), *pages))
    assert watch.files(tmp_path / "g") == []


def test_a_replica_with_another_unit_key_does_not_start(
    remote: Remote, tmp_path: Path, gateways: list[Gateway], server: RedisServer
) -> None:
    remote.commit("prod", serve_py("a"))
    first = gateway_on(tmp_path / "1", remote, server.url)
    gateways.append(first)
    first.start()
    second = gateway_on(tmp_path / "2", remote, server.url, "another key of users")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", str(second.file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **second.environ},
    )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "the unit key: has the id" in done.stderr
    assert "another key" not in done.stderr
    third = gateway_on(tmp_path / "3", remote, server.url)
    gateways.append(third)
    third.start()
    ids = {(g.folder / ".gateway" / "replica.id").read_text() for g in (first, third)}
    assert len(ids) == 2
    with server.client() as client:
        assert client.keys("*:key") == [f"{prefix_of(remote.address)}:key".encode()]


def test_a_replica_starts_and_serves_while_redis_is_frozen(
    remote: Remote, tmp_path: Path, gateways: list[Gateway], server: RedisServer
) -> None:
    remote.commit("prod", serve_py("a"))
    server.freeze()
    gateway = gateway_on(tmp_path / "1", remote, server.url)
    gateways.append(gateway)
    gateway.start()
    assert gateway.predict().json()["predictions"] == ["a"]
    assert "are not asked for their unit key" in gateway.words()
    server.thaw()
