"""Makes the demonstration's secrets once, in a folder for each who needs some and mounts no other.

`gateway/` has the unit key, the address of Redis with its password, and the hashes of API keys;
`redis/` the settings of Redis, of which the password is one; `keys/` the API keys themselves.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
from pathlib import Path

REDIS = "redis:6379"
#: An append-only file: what is not in git yet outlives a restart, and is never evicted.
REDIS_CONF = """\
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory 512mb
maxmemory-policy noeviction
"""
#: What each may do: the one that asks all the time, and the person who looks on.
SCOPES = {
    "traffic": ["predict", "feedback"],
    "operator": ["predict", "feedback", "operate", "override", "read"],
}


def make(folder: Path) -> None:
    """Whatever is there stays: another unit key would make other users of all."""
    for name in ("gateway", "redis", "keys"):
        (folder / name).mkdir(exist_ok=True)
    _once(folder / "gateway" / "unit_key", secrets.token_hex(32) + "\n")
    password = secrets.token_urlsafe(32)
    # Last, what says that all of it is there.
    if not (folder / "redis" / "redis.conf").exists():
        _write(folder / "gateway" / "redis_url", f"redis://:{password}@{REDIS}/0\n")
        _write(folder / "redis" / "redis.conf", REDIS_CONF.format(password=password))
    if not (folder / "gateway" / "keys.yaml").exists():
        entries = []
        for name, scopes in SCOPES.items():
            key = f"gw_{secrets.token_urlsafe(32)}"
            _write(folder / "keys" / name, key + "\n")
            digest = hashlib.sha256(key.encode()).hexdigest()
            entries.append({"name": name, "sha256": digest, "scopes": scopes})
        # JSON is YAML.
        _write(folder / "gateway" / "keys.yaml", json.dumps({"keys": entries}, indent=1) + "\n")


def _once(file: Path, text: str) -> None:
    if not file.exists():
        _write(file, text)


def _write(file: Path, text: str) -> None:
    """Whole or not at all; its readers are other users than its maker."""
    beside = file.with_name(f".{file.name}")
    beside.write_text(text)
    beside.chmod(0o444)
    beside.replace(file)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
