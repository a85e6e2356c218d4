"""A monitor follows its front's settings; its secrets and what it is built around stay its own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config
from gateway.errors import StateError
from gateway.monitoring.monitor_settings import SETTINGS_FILE, write_settings
from gateway.monitoring.settings_file import Own, SettingsFile
from gateway.repositories.credentials import Credentials
from gateway.shared.place import RedisSettings

REDIS = RedisSettings("/dev/fd/31", "redis.url_env", "gateway:x", 1, "a" * 16, "b" * 8)
OURS = RedisSettings("/dev/fd/9", "redis.url_file", "", 2, "", "", ca_file="/ca.pem")
FRONTS = Credentials("git", "/dev/fd/30", "credentials.password_env")
MINE = Credentials("git", "/dev/fd/8", "credentials.password_env")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / SETTINGS_FILE


def write(
    path: Path, *, repository: str = "/srv/x.git", redis: RedisSettings | None = None, **said: Any
) -> None:
    """As a front does."""
    whole = {
        "repository": repository,
        "baseline": "prod",
        "branches": {"prod": {"weight": 1}},
        "state_dir": str(path.parent),
        **said,
    }
    write_settings(path, Config.model_validate(whole), repository, FRONTS, redis)


def never(seconds: float) -> None:
    raise AssertionError("waited")


def first(file: SettingsFile) -> Any:
    return file.first(lambda: False, never)


def test_the_fronts_child_has_the_places_that_it_inherits(path: Path) -> None:
    write(path, redis=REDIS)
    read = first(SettingsFile(path))
    assert (read.credentials, read.redis) == (FRONTS, REDIS)


def test_a_process_of_its_own_reads_its_own_secrets_and_shares_as_its_front_does(
    path: Path,
) -> None:
    write(path, redis=REDIS)
    read = first(SettingsFile(path, Own(MINE, OURS)))
    assert read.credentials == MINE
    assert (read.redis.url_at, read.redis.url_from) == ("/dev/fd/9", "redis.url_file")
    assert read.redis.ca_file == "/ca.pem"
    agreed = ("prefix", "chunk_bytes", "replica", "key")
    assert [getattr(read.redis, name) for name in agreed] == ["gateway:x", 1, "a" * 16, "b" * 8]
    assert SettingsFile(path, Own(MINE, OURS)).again(read).credentials == MINE


def test_a_process_of_its_own_waits_for_a_front_and_says_once_what_for(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            write(path)

    file = SettingsFile(path, Own(MINE, None))
    found = file.first(lambda: False, wait)
    assert found is not None
    assert found.repository == "/srv/x.git"
    assert len(waits) == 3
    (said,) = (record.message for record in caplog.records if "waiting" in record.message)
    missing = f"{path}: cannot be read: No such file or directory"
    assert said == f"waiting for `gateway serve --no-monitor`: {missing}"


def test_an_end_that_is_asked_for_during_the_start_is_no_end_before_the_work(path: Path) -> None:
    """A front that ends soon after its start counts on the last push."""
    write(path)
    found = SettingsFile(path).first(lambda: True, never)
    assert found is not None
    assert found.branches == ("prod",)


def test_waiting_ends_in_order_and_the_fronts_child_does_not_wait(path: Path) -> None:
    over: list[float] = []
    assert SettingsFile(path, Own(MINE, None)).first(lambda: bool(over), over.append) is None
    with pytest.raises(StateError, match="cannot be read"):
        first(SettingsFile(path))


@pytest.mark.parametrize(
    ("fronts", "ours", "word"), [(REDIS, None, "with"), (None, OURS, "without")]
)
def test_it_waits_for_a_front_that_shares_as_gateway_yaml_says(
    path: Path, fronts: RedisSettings | None, ours: RedisSettings | None, word: str
) -> None:
    write(path, redis=fronts)
    file = SettingsFile(path, Own(MINE, ours))
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        write(path, redis=REDIS if ours else None)

    assert file.first(lambda: False, wait) is not None
    assert len(waits) == 1
    write(path, redis=fronts)
    with pytest.raises(StateError, match=f"started {word} `redis`"):
        file._load()


def test_a_front_on_another_repository_ends_a_process_of_its_own_and_not_the_child(
    path: Path,
) -> None:
    """Its rows would be published into the repository that was served before."""
    write(path, redis=REDIS)
    own, childs = SettingsFile(path, Own(MINE, OURS)), SettingsFile(path)
    ours, its = first(own), first(childs)
    own.check(ours)
    write(path, redis=REDIS, monitoring={"flush": "3s"})
    own.check(ours)
    assert own.again(ours).monitoring.flush == 3
    write(path, repository="/srv/y.git", redis=REDIS)
    assert own.again(ours) == ours
    with pytest.raises(StateError, match="another repository"):
        own.check(ours)
    childs.check(its)
    write(path)
    with pytest.raises(StateError, match="another repository, state_dir or redis"):
        own.check(ours)
    path.unlink()
    own.check(ours)
    assert own.again(ours) == ours
