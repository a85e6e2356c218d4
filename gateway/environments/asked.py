"""What a branch asks for: the requirements that its lock names, as lines that uv can install.

Reads files of the snapshot only; nothing of the branch runs. Where packages come from is the
operator's word, so a lock's own addresses are passed over, and its hashes hold.
"""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.environments.uv import NotBuilt

#: The first that is there counts.
LOCKS = ("uv.lock", "pylock.toml", "requirements.txt")
_MOST_BYTES = 16 * 1024**2
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_ELSEWHERE = re.compile(r"@|://|^[./~]|\.(whl|zip|tar\.\w+|tgz)(\s|$)")


@dataclass(frozen=True, slots=True)
class Asked:
    """Requirements, one a line, hashes beside them.

    `closed`: they are all there is, so nothing need be resolved. `python` is the range of
    versions that they are for, "" where nothing is said.
    """

    lock: str
    lines: tuple[str, ...]
    closed: bool
    python: str


def lock_in(root: Path) -> Path:
    """The file that says what the branch's environment holds; NotBuilt if there is none."""
    for name in LOCKS:
        if (path := root / name).is_file():
            if path.stat().st_size > _MOST_BYTES:
                raise NotBuilt(f"{name}: has more than {_MOST_BYTES // 1024**2} MiB, so is no lock")
            return path
    raise NotBuilt(
        "`environment: branch` needs a uv.lock, pylock.toml or requirements.txt at the top of the "
        "branch, and the commit has none; without `environment` it has the gateway's libraries"
    )


def asked(root: Path, export: Callable[[Path, str], str]) -> Asked:
    """`export` has uv write the uv.lock of a folder, for a range of Pythons, as requirements."""
    path = lock_in(root)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise NotBuilt(f"{path.name}: must be UTF-8 text: {error}") from error
    if path.name == "requirements.txt":
        return Asked(path.name, _checked(path.name, text), closed=False, python="")
    try:
        said = tomllib.loads(text)
        python = said.get("requires-python", "")
        if not isinstance(python, str):
            raise TypeError("requires-python must be text")
        if path.name == "uv.lock":
            lines = _checked(path.name, _exported(text, said, python, export))
        else:
            lines = _checked(path.name, "\n".join(_of_pylock(said)))
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise NotBuilt(f"{path.name}: is no lock that can be read: {error!r}") from error
    return Asked(path.name, lines, closed=True, python=python)


def _exported(text: str, said: Any, python: str, export: Callable[[Path, str], str]) -> str:
    """uv needs the project that the lock belongs to, of which only the name counts here."""
    own = [
        package["name"]
        for package in said["package"]
        if {"virtual", "editable", "directory"} & package["source"].keys()
        and "." in package["source"].values()
    ]
    if len(own) != 1 or _NAME.fullmatch(own[0]) is None:
        raise NotBuilt("uv.lock: must lock one project, which lies at the top of the branch")
    project = f'[project]\nname = "{own[0]}"\nversion = "0"\n'
    if python:
        project += f"requires-python = {_quoted(python)}\n"
    with tempfile.TemporaryDirectory(prefix="gateway-lock-") as folder:
        Path(folder, "uv.lock").write_text(text, encoding="utf-8")
        Path(folder, "pyproject.toml").write_text(project, encoding="utf-8")
        return export(Path(folder), python)


def _quoted(text: str) -> str:
    if not text.isprintable() or set(text) & set("'\"\\"):
        raise TypeError("requires-python must be a range of versions")
    return f"'{text}'"


def _of_pylock(said: Any) -> Iterator[str]:
    for package in said["packages"]:
        name, version = package["name"], package.get("version")
        for kind in ("vcs", "directory", "archive"):
            if kind in package:
                raise NotBuilt(f"pylock.toml: {name} is a {kind}; it must come from an index")
        if version is None:
            raise NotBuilt(f"pylock.toml: {name} has no version")
        files = [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
        hashes = sorted({file["hashes"]["sha256"] for file in files if "sha256" in file["hashes"]})
        marker = f" ; {package['marker']}" if package.get("marker") else ""
        yield " ".join([f"{name}=={version}{marker}", *(f"--hash=sha256:{one}" for one in hashes)])


def _checked(lock: str, text: str) -> tuple[str, ...]:
    """The logical lines, without comments; NotBuilt where one leads elsewhere."""
    lines = []
    for number, line in _logical(text.splitlines()):
        where = f"{lock}:{number}" if lock == "requirements.txt" else lock
        requirement = re.split(r"\s--hash[= ]", line)[0]
        if line.startswith("-"):
            option = re.split(r"[\s=]", line)[0]
            raise NotBuilt(
                f"{where}: {option} is not followed: indexes are the operator's "
                "(environments.index), and all requirements must stand in this one file, such as "
                "`uv pip compile --generate-hashes` writes it"
            )
        # A variable would bring what stands in the gateway's environment into uv's words.
        if _ELSEWHERE.search(requirement.partition(";")[0].strip()) or "$" in line:
            raise NotBuilt(
                f"{where}: {requirement[:100]} is an address, a path or a variable; it must be "
                "the name and version of a package that an index has"
            )
        lines.append(" ".join(line.split()))
    return tuple(lines)


def _logical(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    whole, begun = "", 0
    for number, line in enumerate(lines, 1):
        begun = begun if whole else number
        if line.rstrip().endswith("\\"):
            whole += line.rstrip()[:-1] + " "
            continue
        whole = re.sub(r"(^|\s)#.*$", "", whole + line).strip()
        if whole:
            yield begun, whole
        whole = ""
    if whole.strip():
        yield begun, whole.strip()
