"""What the front tells the monitor in state_dir/monitor-settings.json, typed.

Numbers are plain here (seconds, bytes): gateway.yaml's own words were read by the front. Keys this
version does not know are left alone. No secret stands in it: only where one can be read.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from datetime import timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import force_setattr

from gateway.config.sections import GATEWAY, MESSAGE
from gateway.config.settings import Config
from gateway.errors import StateError
from gateway.experiments.metrics import Metric
from gateway.names import Branch, InvalidName
from gateway.repositories.credentials import Credentials
from gateway.shared.place import RedisSettings
from gateway.state import write_atomically

#: The file's name in the state directory.
SETTINGS_FILE = "monitor-settings.json"
#: The folder in a replica's state directory where its monitor works on what all of them share.
SHARED_FOLDER = "shared"


class Monitoring(msgspec.Struct, frozen=True):
    """The part of gateway.yaml's `monitoring` that concerns publishing."""

    flush: float
    retention: float
    journal_bytes: int
    target: Literal["branch", "side-branch", "none"] = "branch"
    author: str = GATEWAY
    committer: str = GATEWAY
    message: str = MESSAGE
    redact: tuple[str, ...] = ()


class ReferenceSettings(msgspec.Struct, frozen=True):
    """The data a branch without a profile is compared with."""

    path: str
    target: str | None = None
    max_bytes: int = 256 * 1024**2


class DriftSettings(msgspec.Struct, frozen=True):
    """gateway.yaml's `drift`; names of values only where they are allowed to be told."""

    window: float = 3600.0
    min_rows: int = 200
    longest: float = 86400.0
    tolerance: float = 0.05
    tolerances: dict[str, float] = {}
    new_categories: bool = True
    metric_columns: int = 50
    reference: ReferenceSettings | None = None


class RampSettings(msgspec.Struct, frozen=True):
    """A branch's ramp: percent of all users step by step, and what each step waits for."""

    steps: tuple[float, ...]
    dwell: float
    min_units: int


class ArmSettings(msgspec.Struct, frozen=True):
    """What gateway.yaml says of a branch as a part of an experiment."""

    weight: float
    #: Differs once weight or ramp are edited.
    configured: str
    ramp: RampSettings | None = None
    shadow: bool = False


class ExperimentSettings(msgspec.Struct, frozen=True):
    """What experiments measure, and what is decided by it. Without branches there are none."""

    metrics: tuple[Metric, ...] = ()
    salt: str = ""
    #: Are weights moved to what does best?
    adaptive: bool = False
    alpha: float = 0.05
    guardrail_alpha: float = 0.01
    branches: dict[str, ArmSettings] = {}


class _File(msgspec.Struct, frozen=True):
    repository: str
    state_dir: str
    monitoring: Monitoring
    branches: list[str]
    credentials: Credentials = Credentials()
    baseline: str | None = None
    drift: DriftSettings = DriftSettings()
    experiment: ExperimentSettings = ExperimentSettings()
    home: str = ""
    redis: RedisSettings | None = None


class MonitorSettings(msgspec.Struct, frozen=True):
    """One reading of the file. `stamp` differs whenever the file was written anew.

    `state_dir` is where the monitor works, on its own rows or on those of all replicas.
    """

    repository: str
    state_dir: Path
    monitoring: Monitoring
    branches: tuple[Branch, ...]
    credentials: Credentials
    stamp: str
    #: Without one, no branch is compared with another.
    baseline: Branch | None = None
    drift: DriftSettings = DriftSettings()
    experiment: ExperimentSettings = ExperimentSettings()
    #: What other replicas share with this one; None where there is one gateway only.
    redis: RedisSettings | None = None
    #: The front's state directory, where snapshots, served.json and commands are; left out, the
    #: monitor works there too.
    home: Path = Path()

    def __post_init__(self) -> None:
        if self.home == Path():
            force_setattr(self, "home", self.state_dir)

    @property
    def retention(self) -> timedelta:
        return timedelta(seconds=self.monitoring.retention)


def load_settings(path: Path) -> MonitorSettings:
    """StateError if the file is not there or not what the front writes."""
    try:
        data = path.read_bytes()
        written = path.stat().st_mtime_ns
        file = msgspec.json.decode(data, type=_File)
        branches = tuple(Branch(name) for name in file.branches)
    except OSError as error:
        raise StateError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (msgspec.MsgspecError, InvalidName) as error:
        raise StateError(f"not the monitor's settings: {error}", where=str(path)) from error
    stamp = blake2b(data + b"%d" % written, digest_size=8).hexdigest()
    return MonitorSettings(
        file.repository,
        Path(file.state_dir),
        file.monitoring,
        branches,
        file.credentials,
        stamp,
        Branch(file.baseline) if file.baseline is not None else None,
        file.drift,
        file.experiment,
        file.redis,
        Path(file.home),
    )


def write_settings(
    path: Path,
    config: Config,
    address: str,
    credentials: Credentials,
    redis: RedisSettings | None = None,
) -> None:
    """What the front says; the monitor reads it again when it was written anew.

    `address` is the repository's, as `repositories.kind` located it.
    """
    home = config.state_dir
    drift = config.drift.model_dump(mode="json")
    if config.monitoring.privacy.withhold:
        drift["new_categories"] = False
    settings = {
        "repository": address,
        "state_dir": str(home / SHARED_FOLDER if redis else home),
        "home": str(home),
        "redis": msgspec.to_builtins(redis),
        "monitoring": config.monitoring.model_dump(mode="json"),
        "branches": list(config.branches),
        "baseline": config.baseline,
        "drift": drift,
        "experiment": msgspec.to_builtins(_experiment(config)),
        "credentials": asdict(credentials),
        # Two writes within one tick of the file system's clock are two all the same.
        "written": secrets.token_hex(8),
    }
    write_atomically(path, json.dumps(settings).encode())


def _experiment(config: Config) -> ExperimentSettings:
    branches = {}
    for name, branch in config.branches.items():
        found = branch.ramp
        ramp = RampSettings(found.steps, found.dwell, found.min_units) if found else None
        said = config.configured(name)
        branches[str(name)] = ArmSettings(branch.weight, said, ramp, branch.shadow)
    return ExperimentSettings(
        metrics=config.measured,
        salt=config.salt,
        adaptive=config.allocation == "thompson",
        branches=branches,
    )
