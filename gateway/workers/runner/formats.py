"""Which files are models, by their endings, and which of them may and can be loaded here.

Nothing of a library is imported before a file of its format is to be loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple


class Format(NamedTuple):
    """One kind of file: how `trust.formats` calls it, and what it takes to load one."""

    name: str
    endings: tuple[str, ...]
    library: str
    #: The module here that loads it; None for pickles, whose loading is `source`'s.
    loader: str | None
    #: How such a file begins, where its ending alone says nothing.
    begins: re.Pattern[bytes] | None = None


class Rules(NamedTuple):
    """What the operator lets be loaded: `formats` (None: all, and code), `types` of .skops."""

    formats: tuple[str, ...] | None
    types: tuple[str, ...]

    def allows(self, name: str) -> bool:
        return self.formats is None or name in self.formats


#: What may stand in the list beside formats: the branch's own Python in src/.
CODE = "code"
_PACKED = (".bz2", ".gz", ".lz4", ".lzma", ".xz", ".z")
_BEGINNING = 256

FORMATS = (
    Format("pickle", (".pkl", ".joblib"), "joblib", None),
    Format("skops", (".skops",), "skops", "skops_file"),
    Format("onnx", (".onnx",), "onnxruntime", "onnx_graph"),
    Format("xgboost", (".ubj",), "xgboost", "xgboost_model"),
    Format("xgboost", (".json",), "xgboost", "xgboost_model", re.compile(rb'\s*\{\s*"learner"')),
    Format("lightgbm", (".txt",), "lightgbm", "lightgbm_model", re.compile(rb"tree\r?\nversion=")),
)


def format_of(path: Path) -> Format | None:
    """The format of a file by its name, and by its beginning where many files are called so."""
    found = named(path.name)
    if found is None or found.begins is None:
        return found
    with path.open("rb") as file:
        return found if found.begins.match(file.read(_BEGINNING)) else None


def named(name: str) -> Format | None:
    """The format that a file so called has, if it is a model."""
    bare = name.lower()
    for packed in _PACKED:
        if bare.endswith(packed):
            bare = bare.removesuffix(packed)
            return FORMATS[0] if bare.endswith(FORMATS[0].endings) else None
    return next((one for one in FORMATS if bare.endswith(one.endings)), None)


def loaded(kind: Format, path: Path, name: Path, rules: Rules) -> Any:
    """What the format's module makes of the file."""
    return import_module(f".{kind.loader}", __package__).load(path, name, rules)


def loadable(rules: Rules) -> str:
    """What would work here, in words."""
    installed, absent = [], []
    for one in FORMATS:
        if rules.allows(one.name):
            endings = " ".join(one.endings)
            if _is_installed(one.library):
                installed.append(endings)
            else:
                absent.append(f"{endings} with {one.library} installed")
    return ", ".join([*installed, *absent]) or "no model file at all"


def allowed(rules: Rules) -> str:
    """The operator's list, in words."""
    return ", ".join(rules.formats or ()) or "none"


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except (ImportError, ValueError):
        return False


def listed(paths: Iterable[Path], root: Path, most: int = 5) -> str:
    """Their names as a person knows them, the first few."""
    names = sorted(str(path.relative_to(root)) for path in paths)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
