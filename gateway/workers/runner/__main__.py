"""Started by path: gives this folder its private package name, then lives there."""

from __future__ import annotations

import sys

if not getattr(sys.flags, "safe_path", False):  # before 3.11 there is no -P
    del sys.path[0]

from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

NAME = "_gateway_runner"


def main() -> None:
    here = Path(__file__).resolve().parent
    spec = spec_from_file_location(
        NAME, here / "__init__.py", submodule_search_locations=[str(here)]
    )
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot load {here}")
    package = module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)
    import_module(f"{NAME}.life").live(int(sys.argv[1]))


if __name__ == "__main__":
    main()
