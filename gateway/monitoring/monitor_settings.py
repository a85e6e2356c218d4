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

from gateway.config.sections import GATEWAY, MESSAGE
from gateway.config.settings import Config
from gateway.errors import StateError
from gateway.names import Branch, InvalidName
from gateway.repositories.credentials import Credentials
from gateway.state import write_atomically

#: The file's name in the state directory.
SETTINGS_FILE = "monitor-settings.json"


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


class _File(msgspec.Struct, frozen=True):
    repository: str
    state_dir: str
    monitoring: Monitoring
    branches: list[str]
    credentials: Credentials = Credentials()
    baseline: str | None = None
    drift: DriftSettings = DriftSettings()


class MonitorSettings(msgspec.Struct, frozen=True):
    """One reading of the file. `stamp` differs whenever the file was written anew."""

    repository: str
    state_dir: Path
    monitoring: Monitoring
    branches: tuple[Branch, ...]
    credentials: Credentials
    stamp: str
    #: Without one, no branch is compared with another.
    baseline: Branch | None = None
    drift: DriftSettings = DriftSettings()

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
    )


def write_settings(path: Path, config: Config, address: str, credentials: Credentials) -> None:
    """What the front says; the monitor reads it again when it was written anew.

    `address` is the repository's, as `repositories.kind` located it.
    """
    drift = config.drift.model_dump(mode="json")
    if config.monitoring.privacy.withhold:
        drift["new_categories"] = False
    settings = {
        "repository": address,
        "state_dir": str(config.state_dir),
        "monitoring": config.monitoring.model_dump(mode="json"),
        "branches": list(config.branches),
        "baseline": config.baseline,
        "drift": drift,
        "credentials": asdict(credentials),
        # Two writes within one tick of the file system's clock are two all the same.
        "written": secrets.token_hex(8),
    }
    write_atomically(path, json.dumps(settings).encode())
