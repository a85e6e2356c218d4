"""What a person can do about a remote's usual refusals, from the words of git, ssh and curl.

Advice only: which family an error belongs to is decided elsewhere.
"""

from __future__ import annotations

import re

from gateway.repositories.credentials import Credentials

_ELSEWHERE = re.compile(r"(\S+) asked for the password of \S+")
_NO_PASSWORD = re.compile(r"no password could be read from")
_NONE_GIVEN = re.compile(r"could not read (Username|Password) for")
_WRONG_PASSWORD = re.compile(r"Authentication failed for|returned error: 401|HTTP 401")
_FORBIDDEN = re.compile(r"returned error: 403|HTTP 403")
_WRONG_HOST_KEY = re.compile(r"Host key verification failed|HOST IDENTIFICATION HAS CHANGED")
_OPEN_KEY = re.compile(r"UNPROTECTED PRIVATE KEY FILE")
_WRONG_KEY = re.compile(r"Permission denied \(|Load key \".*\":")
_NO_CERTIFICATES = re.compile(r"error (setting|reading|adding) (certificate|ca cert|trust)", re.I)
_CERTIFICATE = re.compile(
    r"certificate verif|SSL certificate problem|certificate subject name|peer certificate"
    r"|certificate signer",
    re.IGNORECASE,
)
_NOT_FOUND = re.compile(
    r"repository '.*' not found|Repository not found|does not appear to be a git repository"
    r"|repository not exported|(project|repository) .*could not be found",
    re.IGNORECASE,
)


def advice(words: str, server: str | None, credentials: Credentials) -> str | None:
    """The setting to look at, and what for; None where the words say nothing known.

    `server` is `scheme://host:port` of an http(s) repository.
    """
    if server is not None:
        return _about_http(words, server, credentials) or _about_the_repository(words)
    return _about_ssh(words, credentials) or _about_the_repository(words)


def _about_http(words: str, server: str, credentials: Credentials) -> str | None:
    password = credentials.password_from
    if found := _ELSEWHERE.search(words):
        return (
            f"the password is sent to {server} alone: name {found[1]} in `repository`"
            " if that is where the repository is now"
        )
    if _NO_PASSWORD.search(words):
        return f"look at {password}: its first line must be the password or token"
    if not password:
        if _NONE_GIVEN.search(words) or _WRONG_PASSWORD.search(words):
            return "give a password or token by credentials.password_env or password_file"
    elif _WRONG_PASSWORD.search(words):
        then = "and restart" if credentials.descriptors else "which is read anew each time"
        return (
            f"put a valid password of {credentials.username} (credentials.username) into"
            f" {password}, {then}"
        )
    if _FORBIDDEN.search(words):
        return f"give the owner of {password or 'the credentials'} the right to do this"
    if _NO_CERTIFICATES.search(words):
        return f"look at {_ca(credentials)}: it must hold certificates in PEM form"
    if _CERTIFICATE.search(words):
        return f"put the certificate that signed {server}'s into {_ca(credentials)}"
    return None


def _about_ssh(words: str, credentials: Credentials) -> str | None:
    if _WRONG_HOST_KEY.search(words):
        known = credentials.known_hosts_file
        return (
            "put the server's host key, once you know it for the right one, into"
            f" credentials.known_hosts_file{f' {known}' if known else ''} (ssh-keyscan prints it)"
        )
    key = credentials.ssh_key_file
    named = f"credentials.ssh_key_file{f' {key}' if key else ''}"
    if _OPEN_KEY.search(words):
        return f"let nobody else read {named} (chmod 600)"
    if _WRONG_KEY.search(words):
        return f"give the server the public key of {named}, or name another key there"
    return None


def _about_the_repository(words: str) -> str | None:
    if _NOT_FOUND.search(words):
        return "look at `repository`, and whether the gateway may read it"
    return None


def _ca(credentials: Credentials) -> str:
    return f"credentials.ca_file{f' {credentials.ca_file}' if credentials.ca_file else ''}"
