"""`gateway profile`: the file of a model made into its reference, with progress and a last word."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from gateway.fitted import ModelUnusable
from gateway.profiling import file_source, profile_table, save_profile
from gateway.statistics.reference import Profile

_STEPS = 1_000


def run_profile(
    data: Path, target: str | None, model: Path | None, output: Path, examples: int
) -> None:
    """Write the profile of `data` to `output` and say what is in it. GatewayError."""
    source = {"type": "training", **file_source(data)}
    fitted = _loaded(model) if model is not None else None
    with _progress(data) as progress:
        profile = profile_table(
            data,
            target=target,
            columns=None,
            source=source,
            progress=progress,
            model=fitted,
            examples=examples,
        )
    save_profile(output, profile)
    click.echo(_said(profile, output))


def _loaded(path: Path) -> Any:
    """As a worker loads it: with the branch's own modules in reach."""
    import joblib

    source = Path.cwd() / "src"
    if source.is_dir():
        sys.path.insert(0, str(source))
    try:
        return joblib.load(path)
    except ModuleNotFoundError as error:
        raise ModelUnusable(
            f"needs the module {error.name!r}, which is neither installed nor in {source}",
            where=str(path),
        ) from error
    except OSError as error:
        raise ModelUnusable(f"cannot be read: {error.strerror}", where=str(path)) from error
    except Exception as error:
        raise ModelUnusable(
            f"cannot be unpickled: {type(error).__name__}: {error}", where=str(path)
        ) from error


@contextlib.contextmanager
def _progress(data: Path) -> Iterator[Callable[[float], None] | None]:
    """A bar on standard error, where somebody looks at it."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=_STEPS, label=f"Reading {data}", file=sys.stderr) as bar:

        def advance(share: float) -> None:
            bar.update(int(share * _STEPS) - bar.pos)

        yield advance


def _said(profile: Profile, output: Path) -> str:
    kinds = Counter(column.kind for column in profile.columns if column.kind != "skipped")
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "no columns"
    lines = [f"{output}: {profile.n:,} rows; {counted}"]
    reasons = {"nested": "holds nested values", "empty": "holds no usable value"}
    lines += [
        f"  {column.name} is skipped: it {reasons.get(column.reason or '', column.reason)}"
        for column in profile.columns
        if column.kind == "skipped"
    ]
    return "\n".join(lines)
