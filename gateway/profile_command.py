"""`gateway profile`: the file of a model made into its reference, with progress and a last word."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from gateway.fitted import ModelUnusable
from gateway.profiling import file_source, profile_table, save_profile
from gateway.served_model import ServedModel
from gateway.statistics.reference import Profile

_STEPS = 1_000


def run_profile(
    data: Path,
    target: str | None,
    model: Path | None,
    output: Path,
    examples: int,
    skops_types: Sequence[str],
) -> None:
    """Write the profile of `data` to `output` and say what is in it. GatewayError."""
    source = {"type": "training", **file_source(data)}
    with _answering(model, skops_types) as answering, _progress(data) as progress:
        profile = profile_table(
            data,
            target=target,
            columns=None,
            source=source,
            progress=progress,
            answering=answering,
            examples=examples,
        )
    save_profile(output, profile)
    click.echo(_said(profile, output))


@contextlib.contextmanager
def _answering(model: Path | None, skops_types: Sequence[str]) -> Iterator[ServedModel | None]:
    """The model as it is served: this folder is its branch."""
    if model is None:
        yield None
        return
    root = Path.cwd()
    path = root / model
    if not path.is_file():
        raise ModelUnusable("is not a file", where=str(model))
    if not path.is_relative_to(root):
        raise ModelUnusable(
            f"must lie in the folder of its branch, where this is run: {root}", where=str(model)
        )
    with asyncio.Runner() as runner, ServedModel(root, model, skops_types, runner) as answering:
        if answering.mismatch is not None:
            click.echo(f"{model}: {answering.mismatch}", err=True)
        yield answering


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
