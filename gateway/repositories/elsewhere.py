"""Addresses that a commit's own files name: submodules' in .gitmodules, git-lfs's in .lfsconfig.

Read by git's own parser and resolved as git does. A branch's author chose them, so they are
checked before anything follows them: they may name another server, but no program and no file of
this machine.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from gateway.errors import ContentError
from gateway.names import Commit
from gateway.repositories.git import DamagedCache, Git
from gateway.repositories.gitprocess import Address

_SCHEMES = ("file", "git", "http", "https", "ssh")
_LFS_SCHEMES = ("file", "http", "https", "ssh")
_MOST_BYTES = 1 << 20
_FILES = ("100644", "100755")
_HELPER = re.compile(r"[\w+.-]+::")
_USER = re.compile(r"(?<=://)[^/]*@")


def lfs_address(git: Git, commit: Commit, *, where: str) -> str | None:
    """`lfs.url` of the commit's .lfsconfig, checked; None if it names none.

    Nothing else in that file is looked at: it could name programs.
    """
    found = [
        value for key, value in _settings(git, commit, ".lfsconfig", where) if key == "lfs.url"
    ]
    if not found or not found[-1]:
        return None
    url = _checked(found[-1], git.address, _LFS_SCHEMES, "lfs.url in .lfsconfig", where)
    return f"file://{url}" if url.startswith("/") else url


def submodule_address(git: Git, commit: Commit, path: str, *, where: str) -> str:
    """The address of the submodule at `path`, resolved against the cache's remote, and checked."""
    url = named_address(git, commit, path, where=where)
    if not url:
        raise ContentError(
            f"{path} is a submodule and .gitmodules names no url for it: add it with"
            f" `git submodule add URL {path}`",
            where=where,
        )
    what = f"the url of {path} in .gitmodules"
    if url.startswith(("./", "../")):
        try:
            url = resolved(git.address.url, url)
        except ValueError:
            above = f"{what} leads above everything: take a ../ away. Given: {shown(url)!r}"
            raise ContentError(above, where=where) from None
    return _checked(url, git.address, _SCHEMES, what, where)


def named_address(git: Git, commit: Commit, path: str, *, where: str) -> str | None:
    """What .gitmodules says of the submodule at `path`, as it stands there."""
    paths: dict[str, str] = {}
    urls: dict[str, str] = {}
    for key, value in _settings(git, commit, ".gitmodules", where):
        section, _, rest = key.partition(".")
        name, _, variable = rest.rpartition(".")
        if section == "submodule" and variable == "path":
            paths[name] = value.rstrip("/")
        elif section == "submodule" and variable == "url":
            urls[name] = value
    return next((urls[name] for name in paths if paths[name] == path and name in urls), None)


def shown(url: str) -> str:
    """The address for people: without user or password, on one line."""
    return "".join(sign if sign.isprintable() else "?" for sign in _USER.sub("***@", url))[:300]


def resolved(remote: str, url: str) -> str:
    """A relative submodule address (`../data.git`) against a remote's, as git resolves it.

    ValueError where git has no answer either.
    """
    base, joint = remote.removesuffix("/"), "/"
    while True:
        if url.startswith("../"):
            if base == ".":
                raise ValueError("leads above everything")
            url = url[3:]
            head, slash, _ = base.rpartition("/")
            if not slash:
                head, colon, _ = base.rpartition(":")
                joint = ":" if colon else joint
                head = head if colon else "."
            base = head
        elif url.startswith("./"):
            url = url[2:]
        else:
            break
    whole = f"{base}{joint}{url}".removeprefix("./")
    return whole.removesuffix("/") if url.endswith("/") else whole


def _settings(git: Git, commit: Commit, name: str, where: str) -> list[tuple[str, str]]:
    """Keys and values of a file in git's own format, in its order; [] if it is not there."""
    entries = [entry for entry in git.ls_paths(commit, [name]) if entry.kind == "blob"]
    if not entries:
        return []
    entry = entries[0]
    if entry.mode not in _FILES:
        raise ContentError(f"{name} is a symbolic link: commit a file in its place", where=where)
    git.prefetch([entry.oid])
    size = git.sizes([entry.oid])[entry.oid]
    if size > _MOST_BYTES:
        raise ContentError(
            f"{name} has {size} bytes and at most {_MOST_BYTES} are read: make it smaller",
            where=where,
        )
    try:
        listed = git.run(["config", f"--blob={entry.oid}", "--no-includes", "--list", "-z"])
    except DamagedCache as error:
        if git.missing([entry.oid]):
            raise
        raise ContentError(
            f"{name} is not in git's configuration format: mend it (git config --file {name}"
            " --list says where)",
            where=where,
        ) from error
    lines = listed.decode(errors="replace").split("\0")[:-1]
    return [(key, value) for key, _, value in (line.partition("\n") for line in lines)]


def _checked(url: str, origin: Address, schemes: tuple[str, ...], what: str, where: str) -> str:
    """The address as it may be followed; ContentError says why it may not."""
    reason = _reason(url, origin, schemes)
    if reason is not None:
        raise ContentError(f"{what} {reason}. Given: {shown(url)!r}", where=where)
    scheme, separator, _ = url.partition("://")
    if separator and scheme.lower() in ("http", "https", "git"):
        # A user's name alone, as some forges write it, must not be taken for the gateway's.
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return url


def _reason(url: str, origin: Address, schemes: tuple[str, ...]) -> str | None:
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if separator and scheme == "xet":
        return (
            "is a XetHub address, and XetHub is not read: commit the files themselves, or keep"
            " them in git-lfs"
        )
    if not url.isprintable() or url.startswith("-"):
        return "must be an address, not an option, of printable signs"
    known = ", ".join(f"{name}://" for name in schemes)
    if (separator and scheme not in schemes) or _HELPER.match(url):
        return f"must begin with one of {known}"
    if Address(_USER.sub("", url)).local:
        return _local_reason(url, origin)
    user, _, host = (
        rest.partition("/")[0].rpartition("@")
        if separator
        else url.partition(":")[0].rpartition("@")
    )
    if ":" in user:
        return "must not carry a password: a secret in a branch is none"
    if not host or host.startswith("-") or not _port_is_right(url):
        return "must name a host"
    return None


def _local_reason(url: str, origin: Address) -> str | None:
    if not origin.local:
        return "must not be a path of the gateway's machine: the repository is not on it"
    if not url.startswith(("/", "file:///")):
        return "must be absolute, or begin with ./ or ../"
    return None


def _port_is_right(url: str) -> bool:
    try:
        return "://" not in url or urlsplit(url).port != 0
    except ValueError:
        return False
