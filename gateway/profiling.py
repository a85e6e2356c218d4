"""Make a reference profile: of a file, or of the table that a model was just fitted on.

    from gateway.profiling import write_profile
    write_profile("metrics/reference.json", table, model=model)

The same data and model make the same bytes, so that training again gives a branch no new content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gateway.errors import GatewayError
from gateway.fitted import Fitted
from gateway.plain import clean, plain_values
from gateway.state import write_atomically
from gateway.statistics.profiler import Census, Sample, planned, reference_columns
from gateway.statistics.reference import (
    DERIVED,
    MOST_EXAMPLES,
    PREDICTION,
    SCORE,
    Profile,
    ReferenceColumn,
    encode_profile,
)
from gateway.tables import Columns, Progress, Table, open_table

if TYPE_CHECKING:
    from pandas import DataFrame

_FRAME_ROWS = 8_192


class Answering(Protocol):
    """A model that says what it answers to rows.

    `names` are the columns that it wants, if it knows them, and `classes` those of a classifier.
    """

    @property
    def names(self) -> tuple[str, ...] | None: ...
    @property
    def classes(self) -> tuple[Any, ...] | None: ...
    @property
    def by_name(self) -> bool:
        """Whether rows are sent to it by the names of their columns, not in their order."""

    def answers(self, names: Sequence[str], rows: Any) -> dict[str, list[Any]]:
        """What it says of each row: `__prediction__`, and `__score__` if it may have one."""


class NoReference(GatewayError):
    """Name other columns or another table: a reference cannot be made of these."""


def write_profile(
    path: str | Path,
    table: DataFrame,
    *,
    model: Any = None,
    data: str | Path | None = None,
    examples: int = MOST_EXAMPLES,
) -> Profile:
    """Write the profile of the rows that `model` was fitted on, without the target, to `path`.

    With a model that has `predict`, its predictions and scores are part of it. `data` is the file
    the rows came from, to be named in the profile; one beside the folder of `path` by its path
    from there. `examples` is how many of the rows themselves are written down, at most 20.
    """
    if not hasattr(table, "iloc"):
        raise NoReference(f"must be a pandas DataFrame. Given: {type(table).__name__}")
    path, source = Path(path), {"type": "training"}
    if data is not None:
        source |= file_source(Path(data), path.absolute().parent.parent)
    fitted = Fitted(model) if model is not None else None
    named = [str(name) for name in table.columns]
    inputs = _inputs(named, None, None, fitted, "the table")
    frame = table.iloc[:, [named.index(name) for name in inputs]].set_axis(inputs, axis=1)
    making = _Making(inputs, fitted, examples)
    profile = making.of(partial(_of_frame, frame), source, "the table")
    save_profile(path, profile)
    return profile


def profile_table(
    path: Path,
    *,
    target: str | None,
    columns: Sequence[str] | None,
    source: Mapping[str, Any],
    progress: Progress | None = None,
    answering: Answering | None = None,
    examples: int = MOST_EXAMPLES,
) -> Profile:
    """The profile of a CSV or Parquet file: of `columns`, else the model's, else all but `target`.

    In bounded memory, and so in several readings. `source` is said of it in the profile, and
    `answering` is the model.
    TableError: the file cannot be read; NoReference: it lacks a column, or has no rows;
    ModelUnusable: the model does not answer its rows.
    """
    say = progress or (lambda _share: None)
    table = open_table(path, lambda share: say(share / 3))
    inputs = _inputs(table.names, target, columns, answering, str(path))
    rows = partial(_of_table, table, inputs, say)
    profile = _Making(inputs, answering, examples).of(rows, source, str(path))
    say(1.0)
    return profile


def file_source(path: Path, root: Path | None = None) -> dict[str, str]:
    """The path, from `root` if it is below it, and sha256 of a file, as a profile's source."""
    shown = path
    if root is not None and path.absolute().is_relative_to(root):
        shown = path.absolute().relative_to(root)
    try:
        with path.open("rb") as file:
            return {"path": shown.as_posix(), "sha256": file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        raise NoReference(f"cannot be read: {error.strerror}", where=str(path)) from error


def save_profile(path: Path, profile: Profile) -> None:
    """Write it whole or not at all; its folder is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, encode_profile(profile))
        # It goes with the branch, and its readers may be others.
        path.chmod(0o644)
    except OSError as error:
        raise NoReference(f"cannot be written: {error.strerror}", where=str(path)) from error


def _inputs(
    given: Sequence[str],
    target: str | None,
    columns: Sequence[str] | None,
    answering: Answering | None,
    where: str,
) -> list[str]:
    """The profile's input columns, in the model's order."""
    if target is not None and target not in given:
        raise NoReference(f"has no column {target!r}, the target", where=where)
    of_model = answering.names if answering is not None else None
    wanted = columns if columns is not None else of_model
    if wanted is None:
        wanted = [name for name in given if name != target]
    times = Counter(given)
    for name in wanted:
        if name in DERIVED:
            raise NoReference(f"a column must not be called {name!r}", where=where)
        if times[name] > 1:
            raise NoReference(f"column {name!r} stands there twice", where=where)
        if not times[name]:
            needs = ", which the model needs" if of_model is not None else ""
            raise NoReference(f"has no column {name!r}{needs}", where=where)
    if not wanted:
        raise NoReference("has no column but the target", where=where)
    return list(wanted)


class _Portion(NamedTuple):
    """Some rows: the values of their input columns, and the DataFrame they came in, if in one."""

    values: Columns
    frame: Any = None

    @property
    def rows(self) -> int:
        return len(next(iter(self.values.values())))

    def only(self, wanted: list[int]) -> _Portion:
        if len(wanted) == self.rows:
            return self
        values = {name: [column[row] for row in wanted] for name, column in self.values.items()}
        return _Portion(values, None if self.frame is None else self.frame.iloc[wanted])


#: Reads all rows; told for the how manyeth time, from 0.
_Rows = Callable[[int], Iterator[_Portion]]


def _of_table(
    table: Table, inputs: Sequence[str], progress: Progress, reading: int
) -> Iterator[_Portion]:
    # Telling numbers from texts was the first third.
    for values in table.batches(inputs, lambda share: progress((1 + reading + share) / 3)):
        yield _Portion(values)


def _of_frame(frame: DataFrame, _reading: int) -> Iterator[_Portion]:
    for start in range(0, len(frame), _FRAME_ROWS):
        part = frame.iloc[start : start + _FRAME_ROWS]
        values = {str(name): plain_values(column.tolist()) for name, column in part.items()}
        yield _Portion(values, part)


class _Making:
    """How a profile of these input columns is made of rows."""

    def __init__(self, inputs: list[str], answering: Answering | None, examples: int) -> None:
        if not 0 <= examples <= MOST_EXAMPLES:
            raise NoReference(f"examples must be 0 to {MOST_EXAMPLES}. Given: {examples}")
        self._inputs = inputs
        self._answering = answering
        self._most_examples = examples

    def of(self, rows: _Rows, source: Mapping[str, Any], where: str) -> Profile:
        """Few rows are read once; many once more, to be counted by what a sample showed."""
        sample = Sample.wide(len(self._inputs) + len(DERIVED))
        examples = Sample(self._most_examples, whole=True)
        for portion in rows(0):
            for kept, columns in ((sample, self._answered), (examples, _values)):
                wanted, places = kept.places(portion.rows)
                if wanted:
                    kept.put(places, columns(portion.only(wanted)))
        if not sample.rows:
            raise NoReference("has no rows", where=where)
        return Profile(
            n=sample.rows,
            columns=tuple(filter(_says_something, self._columns(sample, rows, where))),
            source=dict(source),
            examples=tuple(self._examples(examples)),
        ).identified()

    def _columns(self, sample: Sample, rows: _Rows, where: str) -> tuple[ReferenceColumn, ...]:
        classifier = self._answering is not None and self._answering.classes is not None
        categorical = [PREDICTION] if classifier else []
        if sample.complete:
            return reference_columns(sample.columns, categorical=categorical)
        census = Census(planned(sample.columns, categorical=categorical))
        for portion in rows(1):
            census.add(self._answered(portion))
        if census.rows != sample.rows:
            raise NoReference("changed while it was read", where=where)
        return census.columns()

    def _answered(self, portion: _Portion) -> Columns:
        """The values, and what the model says of them."""
        if self._answering is None:
            return portion.values
        given = portion.values if portion.frame is None else portion.frame
        return portion.values | self._answering.answers(self._inputs, given)

    def _examples(self, sample: Sample) -> Iterator[Any]:
        """As a request would have them: by name, or in order where the model goes by places."""
        arrays = self._answering is not None and not self._answering.by_name
        for place in sample.in_order():
            row = {name: clean(values[place]) for name, values in sample.columns.items()}
            yield list(row.values()) if arrays else row


def _says_something(column: ReferenceColumn) -> bool:
    """All but the score of a model that has none."""
    return column.name != SCORE or column.reason != "empty"


def _values(portion: _Portion) -> Columns:
    return portion.values
