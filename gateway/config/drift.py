"""`drift` in gateway.yaml: how served rows are compared with those the model was made of."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from gateway.config.mapping import Section
from gateway.config.quantities import ByteSize, Seconds


def _data_file(value: str) -> str:
    path = PurePosixPath(value)
    if not value or path.is_absolute() or ".." in path.parts:
        raise ValueError("must be a path inside the branch, such as data/train.csv")
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise ValueError("must name a .csv or .parquet file, such as data/train.csv")
    return str(path)


def _not_short(value: float) -> float:
    if value < 1:
        raise ValueError("must be at least 1s")
    return value


Tolerance = Annotated[float, Field(ge=0.001, le=10)]


class ReferenceConfig(Section):
    """The data that a branch without metrics/reference.json is compared with."""

    path: Annotated[str, AfterValidator(_data_file)] = Field(
        description="The file in each branch, or in a submodule of it, as CSV or Parquet."
    )
    target: str | None = Field(
        default=None, description="Its column that the model predicts, which is no input."
    )
    max_bytes: ByteSize = Field(
        default=256 * 1024**2, description="A larger file is not read, and status says so."
    )


class DriftConfig(Section):
    """When served rows have drifted away from a branch's reference."""

    window: Annotated[Seconds, AfterValidator(_not_short)] = Field(
        default=3600.0,
        description="Rows are compared window by window; windows begin at multiples of this.",
    )
    min_rows: int = Field(
        default=200, ge=1, description="A window with fewer rows is extended by another."
    )
    longest: Seconds = Field(
        default=86400.0, description="A window is extended up to this, then closed as partial."
    )
    tolerance: Tolerance = Field(
        default=0.05,
        description="Distance from the reference, about a PSI, that is no drift; alerts are beyond"
        " it, warnings beyond 0.4 and critical ones beyond 4 times as much.",
    )
    tolerances: dict[str, Tolerance] = Field(
        default={}, description="Another tolerance for some columns, by name."
    )
    new_categories: bool = Field(
        default=True,
        description="Name values of categorical columns that the reference does not know, up to"
        " 20 a column; never where `monitoring` keeps values out of git.",
    )
    metric_columns: int = Field(
        default=50,
        ge=0,
        description="Columns a branch with gauges of their own in /metrics, the worst first.",
    )
    reference: ReferenceConfig | None = Field(
        default=None,
        description="What a branch without metrics/reference.json is compared with; without"
        " this, its first 5,000 served rows.",
    )

    @model_validator(mode="after")
    def _longest_is_longer(self) -> Self:
        if self.longest < self.window:
            raise ValueError("must have a `longest` of at least its `window`")
        return self
