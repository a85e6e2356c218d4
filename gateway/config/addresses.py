"""Where things are: addresses to listen on, paths, and the repository's address."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

FOLDER = "folder://"
_SCHEMES = ("file", "git", "http", "https", "ssh")


class Listen(str):
    """`HOST:PORT`; port 0 takes a free one."""

    __slots__ = ()

    @property
    def host(self) -> str:
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.rpartition(":")[2])


def parse_listen(value: Any) -> Listen:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:8080")
    return Listen(value)


def as_path(value: Any) -> Path:
    """The path a setting holds, `~` spelt out; ValueError says what would be right."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a path")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError("must be a path; no home directory is known for its ~") from None


def is_address(repository: str) -> bool:
    """Whether it is no path: `…://…`, or by git's own rule a colon before any slash."""
    return re.match(r"[a-z0-9+.-]+://|[^/]+:", repository, re.IGNORECASE) is not None


PathText = Annotated[Path, BeforeValidator(as_path)]
NO_SECRETS = "must not carry a user or password; use `credentials`"


def carries_secret(repository: str) -> bool:
    """Whether a user stands in the address, other than ssh's, whose user is no secret."""
    scheme, separator, rest = repository.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    return bool(separator and at and (scheme != "ssh" or ":" in user))


def checked_repository(value: str) -> str:
    """A repository's address or path, checked; never one with a secret in it."""
    scheme, separator, rest = value.partition("://")
    if carries_secret(value):
        # The value itself must not reach the message: it holds the secret.
        raise PydanticCustomError("secret_in_address", NO_SECRETS)
    if value.startswith("-"):
        raise ValueError("must be a path or address of a git repository")
    if value.startswith(FOLDER):
        if not rest:
            raise ValueError("must name the folder, such as folder:///mnt/models")
    elif (separator and scheme.lower() not in _SCHEMES) or re.match(r"[\w+.-]+::", value):
        known = ", ".join(f"{name}://" for name in (*_SCHEMES, "folder"))
        raise ValueError(f"must be a path or begin with one of {known}")
    elif not is_address(value):
        as_path(value)
    return value
