"""The image is what deploy/image.md says, seen in one that is built and runs."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pip
import pytest
from imagebuild import (
    DOCKERFILE,
    ROOT,
    Builder,
    Container,
    Image,
    cache_folder,
    removed,
    run,
    users_of,
)
from ports import free_port
from ruamel.yaml import YAML
from waiting import wait_until

from gateway import __version__

COMPOSE = ROOT / "deploy" / "compose"
PINS = ROOT / "deploy" / "image"

_Test = TypeVar("_Test", bound=Callable[..., None])


def in_an_image(test: _Test) -> _Test:
    """Marks a test that looks into an image, which is built first."""
    for tool in ("buildah", "bwrap", "debootstrap"):
        pytest.mark.needs(tool)(test)
    pytest.mark.timeout(1200)(test)
    return test


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    own = tmp_path_factory.mktemp("image") / "build"
    builder = Builder(cache_folder(own))
    builder.build()
    yield builder
    removed(own)


@pytest.fixture(scope="module")
def image(builder: Builder) -> Iterator[Image]:
    with builder.opened() as image:
        yield image


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[list[Container]]:
    started: list[Container] = []
    yield started
    for container in reversed(started):
        container.kill()
        print(f"---\n{container.words()[-4000:]}")  # noqa: T201


# What the files say


@pytest.mark.needs("hadolint")
def test_hadolint_finds_nothing() -> None:
    assert run(["hadolint", DOCKERFILE]) == ""


@pytest.mark.needs("checkov")
def test_checkov_finds_nothing() -> None:
    look = ["checkov", "--file", DOCKERFILE, "--framework", "dockerfile", "--skip-download"]
    done = json.loads(run([*look, "--output", "json"]))
    assert done["summary"]["failed"] == 0
    assert done["summary"]["passed"] > 50
    assert [check["check_id"] for check in done["results"]["skipped_checks"]] == ["CKV_DOCKER_7"]


def test_the_image_has_the_version_of_the_gateway() -> None:
    assert f"\nARG VERSION={__version__}\n" in DOCKERFILE.read_text()


def test_the_base_is_one_image_by_tag_and_digest() -> None:
    given = re.search(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert given is not None
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", given[1])


def pinned(file: Path) -> dict[str, str]:
    """Versions by name; every one of them must have a hash."""
    text = file.read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, version = re.match(r"([a-z0-9-]+)==(\S+)", line).groups()  # type: ignore[union-attr]
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), line
            found[name] = version
    return found


def test_the_image_has_the_versions_that_the_tests_passed_with() -> None:
    constraints = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    installed = pinned(PINS / "requirements.txt")
    other = {
        name: version
        for name, version in (installed | pinned(PINS / "build.txt")).items()
        if name in constraints and constraints[name] != version
    }
    assert other == {}, "make pins"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for wanted in [*project["dependencies"], *extras["pandas"], *extras["parquet"]]:
        name = re.split(r"[<>=;\s\[]", wanted)[0].replace(".", "-")
        assert name in installed, "make pins"


def test_only_what_the_dockerfile_copies_is_in_the_context() -> None:
    copied = {
        path.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
        for path in line.split()
    }
    let_in = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    top = {path if "/" not in path else "/".join(path.split("/")[:2]) for path in copied}
    assert let_in - {"deploy"} == top


# What is built


@in_an_image
def test_it_says_how_it_is_run(image: Image) -> None:
    config = image.config
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["/usr/bin/tini", "--", "gateway"]
    assert config["Cmd"] == ["serve", "/etc/gateway/gateway.yaml"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert config["Volumes"] == {"/var/lib/gateway": {}}
    test = config["Healthcheck"]["Test"]
    assert test == ["CMD", "gateway", "healthcheck", "/etc/gateway/gateway.yaml"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "MIT"
    assert image.environment["HOME"] == "/tmp"


@in_an_image
def test_it_is_small(image: Image) -> None:
    assert image.mebibytes("/opt/gateway") < 450  # a tenth of it uv
    assert image.mebibytes() < 750  # a third of it the base


@in_an_image
def test_its_user_can_write_to_its_state_and_nowhere_else(image: Image) -> None:
    """Of a root that is not even mounted read-only."""
    look = "find / -xdev \\( -path /proc -o -path /dev -o -path /tmp \\) -prune"
    look += " -o ! -type l -writable -print 2>/dev/null || true"  # it may not look into all
    assert image.says("sh", "-c", look, writable_root=True) == "/var/lib/gateway\n"


@in_an_image
def test_nothing_in_it_makes_somebody_else_of_its_user(image: Image) -> None:
    assert image.found("-type", "f", "-perm", "/6000") == []


@in_an_image
def test_it_brings_no_compiler_no_tests_and_no_history(image: Image) -> None:
    names = ("gcc", "cc", "g++", "make", "pip", "hatchling", "buildah")
    for place in ("/usr/bin", "/usr/local/bin", "/opt/gateway/bin"):
        folder = image.root / place[1:]
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        assert not there & set(names)
    site = "/opt/gateway/lib/*"
    for what in ("tests", "pip", "setuptools", "hatchling"):
        assert image.found("-type", "d", "-path", site, "-name", what) == []
    assert image.found("-name", ".git", "-o", "-name", "gateway.yaml", "-path", "/etc/*") == []


@in_an_image
def test_what_it_needs_of_the_system_works(image: Image) -> None:
    assert image.says("git", "--version").startswith("git version 2.")
    assert image.says("git", "lfs", "version").startswith("git-lfs/")
    assert image.says("ssh", "-V").startswith("OpenSSH_")
    assert image.says("id") == "uid=10001(gateway) gid=10001(gateway) groups=10001(gateway)\n"
    assert image.says("gateway", "--version") == f"gateway, version {__version__}\n"


@in_an_image
def test_its_libraries_go_together(image: Image) -> None:
    said = image.says(
        *("env", "PYTHONPATH=/tmp", "python", "-m", "pip", "check"),
        readable={"/tmp/pip": Path(pip.__file__).parent},
    )
    assert said.splitlines()[-1] == "No broken requirements found."


@in_an_image
def test_all_it_imports_comes_from_bytecode(image: Image) -> None:
    """Which a read-only root could never keep, so that each worker would compile it anew."""
    said = image.says(
        *("python", "-v", "-c"),
        "import gateway.cli, gateway.monitoring.monitor, sklearn.ensemble, pandas, duckdb, asyncio",
    )
    used = re.findall(r"^# code object from '(.*\.pyc)'$", said, re.MULTILINE)
    compiled = re.findall(r"^# code object from (/.*\.py)$", said, re.MULTILINE)
    assert len(used) > 500
    assert compiled == []
    assert [path for path in used if "/gateway/__pycache__/cli." in path]


@in_an_image
def test_it_serves_the_demonstration_and_ends_in_order(
    image: Image, tmp_path: Path, containers: list[Container]
) -> None:
    """As compose runs it, but for Redis: its repository, its traffic, its settings."""
    port, git_port = free_port(), free_port()
    repository, state = image.owned(tmp_path / "repository"), image.owned(tmp_path / "state")
    python = [*image.config["Entrypoint"][:-1], "python", "-P"]
    demo = {"/tmp/demo": COMPOSE}
    containers.append(
        Container(
            image.command(
                *("/tmp/demo/repository.py", "/var/lib/gateway", "127.0.0.1", git_port),
                entry=python,
                binds={"/var/lib/gateway": repository},
                readable=demo,
            ),
            tmp_path / "repository.log",
        )
    )
    address = f"git://127.0.0.1:{git_port}/repository.git"

    def listed(ref: str) -> bool:
        asked = ["git", "ls-remote", "--exit-code", address, ref]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    wait_until(lambda: listed("ab-test-210323"), 240, containers[0].words)
    settings = YAML(typ="safe").load((COMPOSE / "gateway.yaml").read_text())
    del settings["redis"], settings["unit_key_file"], settings["access"]
    settings |= {"repository": address, "listen": f"127.0.0.1:{port}"}
    settings["monitoring"]["flush"] = "1s"
    config = tmp_path / "config"
    config.mkdir()
    (config / "gateway.yaml").write_text(json.dumps(settings))
    mounts = {"/etc/gateway": config}
    gateway = Container(
        image.command(*image.config["Cmd"], binds={"/var/lib/gateway": state}, readable=mounts),
        tmp_path / "gateway.log",
    )
    containers.append(gateway)
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(f"{url}/readyz"), 120, gateway.words)
    assert users_of(gateway.inside()) == {"10001 10001 10001 10001"}
    assert len(gateway.inside()) > 4  # tini, the front, its monitor and workers

    check = image.config["Healthcheck"]["Test"][1:]
    assert image.says(*check, readable=mounts) == f"{url} answers\n"

    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "traffic").write_text("gw_a-key\n")
    traffic = Container(
        image.command(
            *("/tmp/demo/traffic.py", "/tmp/repository/repository.git", url, "--rate=20"),
            *("--key-file=/tmp/keys/traffic", "--alive=/tmp/alive"),
            entry=python,
            readable={**demo, "/tmp/repository": repository, "/tmp/keys": keys},
        ),
        tmp_path / "traffic.log",
    )
    containers.append(traffic)
    clone = tmp_path / "clone.git"
    run(["git", "clone", "--quiet", "--mirror", address, clone])

    def rows() -> str:
        run(["git", "-C", clone, "fetch", "--quiet"])
        return run(["git", "-C", clone, "ls-tree", "-r", "--name-only", "prod", "monitoring/"])

    wait_until(lambda: "monitoring/predictions/prod/" in rows(), 60, traffic.words)
    assert traffic.stop() == 0
    assert gateway.stop() == 0, gateway.words()
    dead = image.command(*check[1:], entry=check[:1], readable=mounts)
    done = subprocess.run(dead, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"{url}: Connection refused\n")


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
