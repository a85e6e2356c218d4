"""A secret that gateway.yaml names: read from a variable or a file at the start, shown nowhere.

Owns too how one is handed on to a child: in an anonymous file, whose descriptor it inherits.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from gateway.errors import StateError

#: Where a process finds the files that it holds open.
DESCRIPTORS = "/dev/fd/"


def named_secret(
    setting: str, environ: Mapping[str, str], *, env: str | None, file: Path | None
) -> bytes:
    """What `setting`_env or `setting`_file names, without the blanks around it.

    StateError, naming setting and place, if it is not there or empty: an empty secret would let
    everybody in.
    """
    if env is not None:
        where = f"{setting}_env: environment variable {env}"
        if env not in environ:
            raise StateError("is not set; it must hold the secret", where=where)
        secret = os.fsencode(environ[env]).strip()
    elif file is not None:
        where = f"{setting}_file: {file}"
        try:
            secret = file.read_bytes().strip()
        except OSError as error:
            raise StateError(f"cannot be read: {error.strerror}", where=where) from error
    else:
        raise StateError("names neither a variable nor a file", where=setting)
    if not secret:
        raise StateError("is empty; it must hold the secret", where=where)
    return secret


def held_open(secret: bytes) -> int:
    """A descriptor of a file without a name that holds the secret."""
    try:
        descriptor = os.memfd_create("password", os.MFD_CLOEXEC)
    except (AttributeError, OSError):
        descriptor, name = tempfile.mkstemp(prefix="gateway-")
        Path(name).unlink()
    os.write(descriptor, secret + b"\n")
    return descriptor
