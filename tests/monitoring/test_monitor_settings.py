"""What the front writes the monitor reads, and no secret is in between."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.errors import StateError
from gateway.experiments.metrics import Metric
from gateway.monitoring.monitor_settings import (
    ArmSettings,
    ExperimentSettings,
    RampSettings,
    load_settings,
    write_settings,
)
from gateway.names import Branch
from gateway.repositories.credentials import open_credentials
from gateway.shared.place import RedisSettings


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


def test_a_monitor_that_shares_works_in_a_folder_of_its_own(tmp_path: Path) -> None:
    whole = config(tmp_path)
    credentials = open_credentials(whole.credentials, _TOKEN)
    file = tmp_path / "monitor-settings.json"
    write_settings(file, whole, "r", credentials)
    alone = load_settings(file)
    assert (alone.state_dir, alone.home, alone.redis) == (tmp_path, tmp_path, None)
    redis = RedisSettings("/dev/fd/7", "redis.url_env R", "p", 1, "0" * 16, "0" * 8, "/ca.pem")
    write_settings(file, whole, "r", credentials, redis)
    shared = load_settings(file)
    assert (shared.state_dir, shared.home) == (tmp_path / "shared", tmp_path)
    assert shared.redis == redis
    assert shared.redis is not None
    assert shared.redis.descriptors == (7,)


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


def test_the_monitor_is_told_what_experiments_measure_and_what_each_branch_is(
    tmp_path: Path,
) -> None:
    whole = Config.model_validate(
        {
            **config(tmp_path).model_dump(include={"repository"}),
            "baseline": "prod",
            "salt": "churn-1",
            "branches": {
                "prod": {"weight": 90},
                "exp": {"ramp": {"steps": [1, 50], "dwell": "2m", "min_units": 7}},
                "dev": {"shadow": True},
            },
            "metrics": {
                "bought": {"kind": "binary", "role": "primary", "window": "1h"},
                "latency_over_slo": {"slo": "50ms"},
            },
        }
    )
    file = tmp_path / "monitor-settings.json"
    write_settings(file, whole, "r", open_credentials(whole.credentials, {}))
    read = load_settings(file).experiment
    assert read.metrics == whole.measured
    assert read.metrics[0] == Metric("bought", "binary", "primary", window=3600.0)
    assert [metric.slo for metric in read.metrics if metric.slo] == [0.05]
    assert (read.salt, read.adaptive, read.alpha, read.guardrail_alpha) == (
        *("churn-1", False),
        *(0.05, 0.01),
    )
    digests = {str(name): whole.configured(name) for name in whole.branches}
    assert read.branches == {
        "prod": ArmSettings(90.0, digests["prod"]),
        "exp": ArmSettings(0.0, digests["exp"], RampSettings((1.0, 50.0), 120.0, 7)),
        "dev": ArmSettings(0.0, digests["dev"], shadow=True),
    }


def test_thompson_sampling_reaches_the_monitor(tmp_path: Path) -> None:
    changes = {
        "allocation": "thompson",
        "metrics": {"bought": {"kind": "binary", "role": "primary"}},
    }
    whole = Config.model_validate(
        {
            "repository": "r",
            "baseline": "prod",
            "branches": {"prod": {"weight": 1}, "exp": {"weight": 1}},
            **changes,
        }
    )
    file = tmp_path / "monitor-settings.json"
    write_settings(file, whole, "r", open_credentials(whole.credentials, {}))
    assert load_settings(file).experiment.adaptive


def test_settings_of_a_version_without_experiments_are_read_as_without_any(tmp_path: Path) -> None:
    file = tmp_path / "monitor-settings.json"
    whole = config(tmp_path)
    write_settings(file, whole, "r", open_credentials(whole.credentials, _TOKEN))
    written = json.loads(file.read_text())
    del written["experiment"]
    file.write_text(json.dumps(written))
    assert load_settings(file).experiment == ExperimentSettings()


_TOKEN = {"GIT_TOKEN": "s3cret"}
