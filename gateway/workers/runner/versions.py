"""What a model was saved with, read from its file without unpickling, against what is installed.

scikit-learn writes its version into what it pickles, numpy shows by the names of its modules
whether it is 2 or older, and the rest is told by the branch's lock, which the model was made with.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import mmap
import re
import zlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import IO, Any, NamedTuple, Optional

#: How many numbers of a version must be equal: what their makers promise to keep readable.
_NUMBERS = {"scikit-learn": 2, "numpy": 1, "joblib": 1}
#: As in gateway.environments.asked; nothing of ours can be imported here.
LOCKS = ("uv.lock", "pylock.toml", "requirements.txt")
_TOLD = "metrics/model.json"
_PIECE = 1024 * 1024
_OVERLAP = 256
#: A compressed file may stand for any number of bytes.
_MOST_BYTES = 512 * 1024 * 1024
_MOST_TEXT = 16 * 1024 * 1024
_LONGEST = 40
#: The key and its text as pickle writes them, the first time: remembered (protocol 4, 2 or 3).
_SKLEARN = re.compile(
    rb"_sklearn_version(?:\x94|q.|r....)?(?:\x8c(?P<short>.)|X(?P<long>....))(?P<text>\d[\w.+]{0,40})",
    re.DOTALL,
)
_NUMPY = re.compile(rb"numpy\.(?P<new>_)?core\.")


class Saved(NamedTuple):
    """Versions by library; those that are not known are left out."""

    versions: dict[str, str]
    mismatch: Optional[str]  # as Python 3.9 has it


class Check:
    """The comparison for one load. `lock` is what the environment was built from; None is ours."""

    def __init__(self, root: Path, lock: str | None, *, strict: bool) -> None:
        self.strict = strict
        self._root = root
        self._lock = lock
        self.saved = Saved({}, None)

    def look(self, path: Path) -> Saved:
        """Before the file is unpickled."""
        found = {**_pinned(self._root), **_told(self._root)}
        for name, version in _in_file(path).items():
            if not found.get(name, "").startswith(f"{version}."):  # else that says more
                found[name] = version
        self.saved = Saved(found, self._compared(path, found))
        return self.saved

    def _compared(self, path: Path, found: dict[str, str]) -> str | None:
        other = []
        for name, numbers in _NUMBERS.items():
            if name in found:
                here = installed(name)
                if here is None or _series(here, numbers) != _series(found[name], numbers):
                    other.append((name, found[name], here))
        if not other:
            return None
        file = path.relative_to(self._root)
        saved = " and ".join(f"{name} {version}" for name, version, _ in other)
        have = ", ".join(f"{name} {here}" if here else f"no {name}" for name, _, here in other)
        wanted = ", ".join(f"{name}=={version}" for name, version, _ in other)
        if self._lock is None:
            return (
                f"{file} was saved with {saved}; the gateway's environment has {have}. Give the "
                f"branch `environment: branch`, and its uv.lock, pylock.toml or requirements.txt "
                f"{wanted}"
            )
        return (
            f"{file} was saved with {saved}; its environment, `environment: branch`, has {have}. "
            f"Let {self._lock} name {wanted}, or save the model again with what it names"
        )


def installed(name: str) -> str | None:
    """The version that an import would find, without importing it."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _series(version: str, numbers: int) -> list[str]:
    return re.findall(r"\d+", version)[:numbers]


def _pinned(root: Path) -> dict[str, str]:
    """What the branch's lock names exactly, of the first lock there is."""
    path = next((root / name for name in LOCKS if (root / name).is_file()), None)
    if path is None or path.stat().st_size > _MOST_TEXT:
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    found = {}
    for name in _NUMBERS:
        if path.suffix == ".txt":
            pattern = rf"^{name}\s*==\s*([0-9][\w.+]*)"
        else:
            pattern = rf'^name = "{name}"\s+version = "([^"]+)"'
        versions = set(re.findall(pattern, text, re.MULTILINE | re.IGNORECASE))
        if len(versions) == 1:
            found[name] = versions.pop()[:_LONGEST]
    return found


def _told(root: Path) -> dict[str, str]:
    """`versions` of metrics/model.json, if the training wrote them down."""
    path = root / _TOLD
    try:
        if path.stat().st_size > _MOST_TEXT:
            return {}
        said: Any = json.loads(path.read_bytes())
        versions = said["versions"]
        return {
            name: versions[name][:_LONGEST]
            for name in _NUMBERS
            if isinstance(versions.get(name), str)
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _in_file(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        for piece in _pieces(path):
            if "scikit-learn" not in found and (match := _SKLEARN.search(piece)):
                found["scikit-learn"] = _text(match)
            if "numpy" not in found and (match := _NUMPY.search(piece)):
                found["numpy"] = "2" if match["new"] else "1"
            if len(found) == 2:
                break
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return found  # whatever is wrong with it, loading it will say
    return found


def _text(match: re.Match[bytes]) -> str:
    length = match["short"] or match["long"]
    return match["text"][: int.from_bytes(length, "little")].decode("ascii", "replace")


def _pieces(path: Path) -> Iterator[Any]:
    """The file's bytes, unpacked; what may be found is whole in one of the pieces."""
    with path.open("rb") as file:
        packed = _unpacking(file)
        if packed is None:
            if path.stat().st_size:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                    yield whole
            return
        with packed:
            before, total = b"", 0
            while total < _MOST_BYTES and (piece := packed.read(_PIECE)):
                yield before + piece
                before, total = piece[-_OVERLAP:], total + len(piece)


def _unpacking(file: IO[bytes]) -> Any:
    """By the first bytes, as joblib goes by them; None for a file that is not packed."""
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if head.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if head.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
        return lzma.LZMAFile(file)
    if head[:1] == b"\x78":
        return _Zlib(file)
    return None


class _Zlib:
    """joblib's usual packing."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._unpack = zlib.decompressobj()

    def read(self, most: int) -> bytes:
        while True:
            piece = self._unpack.unconsumed_tail or self._file.read(most)
            if not piece:
                return b""
            if out := self._unpack.decompress(piece, most):
                return out

    def __enter__(self) -> _Zlib:
        return self

    def __exit__(self, *_: object) -> None:
        self._unpack = zlib.decompressobj()
