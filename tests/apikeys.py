"""API keys for tests: made as `gateway key` makes them, in a file that may be written anew."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from gateway.access.keys_file import digest_of, new_key


class KeysFile:
    """A file of keys on disk; `keys` are the keys themselves, by name."""

    def __init__(self, path: Path, **entries: Any) -> None:
        """Each entry is a list of scopes, or a mapping with `scopes` and more."""
        self.path = path
        self.keys: dict[str, str] = {}
        self.entries: list[dict[str, Any]] = []
        for name, entry in entries.items():
            self.add(name, entry)
        self.write()

    def add(self, name: str, entry: Any) -> str:
        """The new key; `write` puts it in force."""
        key = self.keys[name] = new_key()
        said = entry if isinstance(entry, dict) else {"scopes": entry}
        self.entries.append({"name": name, "sha256": digest_of(key.encode()), **said})
        return key

    def drop(self, key: str) -> None:
        digest = digest_of(key.encode())
        self.entries = [one for one in self.entries if one["sha256"] != digest]

    def write(self) -> None:
        self.put(json.dumps({"keys": self.entries}, indent=1))

    def put(self, text: str) -> None:
        """Have the file say this, at once."""
        beside = self.path.with_name(f"{self.path.name}.new")
        beside.write_text(text)
        beside.replace(self.path)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def basic(key: str, user: str = "any") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()}
