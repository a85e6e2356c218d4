"""What the front writes the monitor reads, and no secret is in between."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.errors import StateError
from gateway.monitoring.monitor_settings import load_settings, write_settings
from gateway.names import Branch
from gateway.repositories.credentials import open_credentials


def config(folder: Path) -> Config:
    return Config.model_validate(
        {
            "repository": "https://git.example.org/x.git",
            "baseline": "team/prod",
            "branches": {"team/prod": {"weight": 1}},
            "state_dir": str(folder),
            "credentials": {"username": "ada", "password_env": "GIT_TOKEN"},
        }
    )


def test_the_monitor_reads_what_the_front_wrote(tmp_path: Path) -> None:
    whole = config(tmp_path)
    credentials = open_credentials(whole.credentials, {"GIT_TOKEN": "s3cret"})
    file = tmp_path / "monitor-settings.json"
    write_settings(file, whole, whole.repository, credentials)
    read = load_settings(file)
    assert (read.repository, read.state_dir) == (whole.repository, whole.state_dir)
    assert read.branches == (Branch("team/prod"),)
    assert read.monitoring.flush == whole.monitoring.flush
    assert read.credentials == credentials
    assert read.credentials.descriptors == credentials.descriptors
    assert "s3cret" not in file.read_text()
    stamp = read.stamp
    write_settings(file, whole, whole.repository, credentials)
    assert load_settings(file).stamp != stamp


def test_settings_without_credentials_or_with_more_keys_are_read_and_wrong_ones_named(
    tmp_path: Path,
) -> None:
    file = tmp_path / "monitor-settings.json"
    whole = config(tmp_path)
    known = open_credentials(whole.credentials, _TOKEN)
    write_settings(file, whole, whole.repository, known)
    written = json.loads(file.read_text())
    credentials = written.pop("credentials")
    file.write_text(json.dumps({**written, "later": 1}))
    assert load_settings(file).credentials.password_at is None
    file.write_text(json.dumps({**written, "credentials": {**credentials, "username": 7}}))
    with pytest.raises(StateError, match=r"not the monitor's settings: .*username"):
        load_settings(file)
    with pytest.raises(StateError, match="cannot be read: No such file"):
        load_settings(tmp_path / "gone.json")


_TOKEN = {"GIT_TOKEN": "s3cret"}
