"""How a git child proves who it is: where its password, keys and certificates are, never they.

Owns what of it stands in a child's environment and how a password given by an environment
variable is handed on: in an anonymous file, whose descriptor the children inherit. `askpass.sh`
reads the password at the moment a server asks for it.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from gateway.config.sections import CredentialsConfig
from gateway.errors import StateError
from gateway.secret import DESCRIPTORS, held_open

_ASKPASS = Path(__file__).with_name("askpass.sh")
_USERINFO = re.compile(r"(?<=://)[^/\s'\"]*@")
_REMEMBERED = 4
#: How ssh is started where neither settings nor operator say otherwise: it never asks a person.
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Names of places; harmless in a log or a file. `password_from` names the password's setting.

    `password_at` is the password's file, or `/dev/fd/N` for one that this process holds open.
    """

    username: str = "git"
    password_at: str | None = None
    password_from: str = ""
    ssh_key_file: str | None = None
    known_hosts_file: str | None = None
    ca_file: str | None = None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What children must inherit."""
        if self.password_at is None or not self.password_at.startswith(DESCRIPTORS):
            return ()
        return (int(self.password_at.removeprefix(DESCRIPTORS)),)

    def environment(self, server: str | None) -> dict[str, str]:
        """What a child's environment holds of it; `server` is `scheme://host:port` of an http(s)
        repository, None for others.
        """
        found: dict[str, str] = {}
        if self.password_at is not None and server is not None:
            found["GIT_ASKPASS"] = str(_ASKPASS)
            found["GATEWAY_GIT_SERVER"] = server
            found["GATEWAY_GIT_USERNAME"] = self.username
            found["GATEWAY_GIT_PASSWORD_AT"] = self.password_at
        if self.ca_file is not None:
            found["GIT_SSL_CAINFO"] = self.ca_file
        if self.ssh_key_file is not None or self.known_hosts_file is not None:
            found["GIT_SSH_COMMAND"] = shlex.join([*SSH, *self._ssh_options()])
        return found

    def config(self, server: str | None) -> dict[str, str]:
        """What a child's git configuration holds of it."""
        if self.password_at is None or server is None:
            return {}
        # A helper of the user's would be asked first, and would store the password after.
        return {"credential.helper": "", "http.followRedirects": "initial"}

    def password(self) -> bytes:
        """The password as it is now, empty if there is none to be read."""
        if self.password_at is None:
            return b""
        try:
            # As the script reads it: opened anew, from the start, to the end of the first line.
            return _first_line(Path(self.password_at).read_bytes())
        except OSError:
            return b""

    def _ssh_options(self) -> list[str]:
        options: list[str] = []
        if self.ssh_key_file is not None:
            options += [f"IdentityFile={_for_ssh(self.ssh_key_file)}", "IdentitiesOnly=yes"]
        if self.known_hosts_file is not None:
            options += [f"UserKnownHostsFile={_for_ssh(self.known_hosts_file)}"]
            options += ["GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes"]
        return [part for option in options for part in ("-o", option)]


class Veil:
    """Takes passwords out of words: the one that is valid now and, as files change, a few before.

    Thread-safe.
    """

    __slots__ = ("_credentials", "_seen")

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._seen: tuple[bytes, ...] = ()

    def look(self) -> None:
        """Note the password as it is now: a child may use it from here on."""
        now = self._credentials.password()
        if now and now not in self._seen:
            self._seen = (now, *self._seen)[:_REMEMBERED]

    def hide(self, text: str) -> str:
        """The text without any password, also as http sends it, and without users in URLs."""
        for form in _forms(self._credentials.username, self._seen):
            text = text.replace(form, "***")
        return _USERINFO.sub("***@", text)


def open_credentials(settings: CredentialsConfig, environ: Mapping[str, str]) -> Credentials:
    """The credentials of a process, checked; StateError names the setting and what it names.

    A password taken from `environ` stays open, for children to inherit, until the process ends.
    """
    at = source = ""
    if settings.password_env is not None:
        source = f"credentials.password_env {settings.password_env}"
        at = f"{DESCRIPTORS}{held_open(_from_variable(settings.password_env, environ, source))}"
    elif settings.password_file is not None:
        source = f"credentials.password_file {settings.password_file}"
        _checked(_from_file(settings.password_file, source), source)
        at = str(settings.password_file.absolute())
    if at and not os.access(_ASKPASS, os.X_OK):
        raise StateError("cannot be executed: install the gateway anew", where=str(_ASKPASS))
    return Credentials(
        settings.username,
        at or None,
        source,
        _readable(settings.ssh_key_file, "ssh_key_file"),
        _readable(settings.known_hosts_file, "known_hosts_file"),
        _readable(settings.ca_file, "ca_file"),
    )


def _from_variable(name: str, environ: Mapping[str, str], source: str) -> bytes:
    if name not in environ:
        raise StateError("there is no such environment variable", where=source)
    return _checked(os.fsencode(environ[name]), source)


def _from_file(path: Path, source: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StateError(f"cannot be read: {error.strerror}", where=source) from error


def _checked(content: bytes, source: str) -> bytes:
    password = _first_line(content)
    if not password:
        raise StateError("must hold a password or token; its first line is empty", where=source)
    return password


def _readable(path: Path | None, setting: str) -> str | None:
    if path is None:
        return None
    _from_file(path, f"credentials.{setting} {path}")
    return str(path.absolute())


def _for_ssh(path: str) -> str:
    """A path as ssh reads it: it splits at spaces, and replaces what follows a percent sign."""
    escaped = re.sub(r'(["\\])', r"\\\1", path).replace("%", "%%")
    return f'"{escaped}"'


def _first_line(content: bytes) -> bytes:
    return re.split(rb"[\r\n]", content, maxsplit=1)[0]


def _forms(username: str, passwords: Iterable[bytes]) -> list[str]:
    """Every text that would give a password away, the longest first."""
    forms = set()
    for password in passwords:
        pair = base64.b64encode(username.encode() + b":" + password).decode()
        forms |= {password.decode(errors="replace"), quote(password, safe=""), pair}
        forms.add(pair.rstrip("="))
    return sorted(forms, key=len, reverse=True)
