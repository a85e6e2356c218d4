"""What gateway.yaml says, typed and frozen; every field's description is its documentation."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gateway.config.quantities import BranchName, ByteSize, Seconds
from gateway.names import Branch


class Section(BaseModel):
    """A mapping of gateway.yaml: unknown keys are mistakes, nothing is coerced."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True
    )


def _inside_tree(value: str) -> str:
    path = PurePosixPath(value)
    if not value or path.is_absolute() or ".." in path.parts or path.parts[0] != "models":
        raise ValueError("must be a path inside the branch's models/, such as models/model.pkl")
    return str(path)


class BranchConfig(Section):
    """One branch that is served."""

    weight: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Share of the split, relative to the other branches' weights.",
    )
    model: Annotated[str, AfterValidator(_inside_tree)] | None = Field(
        default=None, description="The model file, where models/ holds several."
    )
    workers: int = Field(
        default=1, ge=1, le=64, description="Worker processes that share its load."
    )
    timeout: Seconds = Field(
        default=2.0,
        description="Deadline of a request here; the baseline, if it must answer, has its own.",
    )
    fallback: bool = Field(
        default=True,
        description="Answer by the baseline where this branch cannot; false answers an error.",
    )
    strict_columns: bool = Field(
        default=False, description="Refuse named records that carry columns the model does not use."
    )


class UnitSource(str):
    """`header:NAME`, `body:FIELD` or `cookie:NAME`."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        return self.partition(":")[0]

    @property
    def key(self) -> str:
        return self.partition(":")[2]


def _unit_source(value: Any) -> UnitSource:
    kind, _, key = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind not in ("header", "body", "cookie") or not key:
        raise ValueError("must be header:NAME, body:FIELD or cookie:NAME")
    if key == "instances" or not key.isprintable() or any(mark in key for mark in '"\\'):
        raise ValueError("must name a field, without quotes or backslashes, besides instances")
    return UnitSource(value)


class MonitoringConfig(Section):
    """What the gateway writes back into the branches, and when."""

    flush: Seconds = Field(default=900.0, description="A chunk is closed and published this often.")
    segment_bytes: ByteSize = Field(
        default=512 * 1024,
        description="A chunk is closed early when its segments would pass this size.",
    )
    sample_rows: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        default=500,
        description="Answered rows written per branch and flush; `all` writes every row.",
    )
    features: Literal["segments", "journal", "none"] = Field(
        default="segments",
        description="Where the instances go: into git, only the local journal, or nowhere.",
    )
    redact: tuple[str, ...] = Field(
        default=(), description="Columns that are written nowhere, neither to disk nor to git."
    )
    target: Literal["branch", "side-branch", "none"] = Field(
        default="branch",
        description="Commit to the branch itself, to gateway-monitoring/<branch>, or not at all.",
    )
    retention: Seconds = Field(
        default=14 * 86400.0, description="Older segments are deleted from the branch's tip."
    )
    journal_bytes: ByteSize = Field(
        default=1024**3,
        description="Bound of the local journal; beyond it rows are dropped and counted.",
    )

    @field_validator("redact", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class LimitsConfig(Section):
    """Bounds that keep one client or branch from harming the rest."""

    body_bytes: ByteSize = Field(default=1024**2, description="Largest request body.")
    rows: int = Field(default=1024, ge=1, description="Most instances in one request.")
    queue_rows: int = Field(default=4096, ge=1, description="Most rows waiting for one branch.")
    batch_rows: int = Field(default=256, ge=1, description="Most rows in one call of a model.")


class Listen(str):
    """`HOST:PORT`; port 0 takes a free one."""

    __slots__ = ()

    @property
    def host(self) -> str:
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.rpartition(":")[2])


def _listen(value: Any) -> Listen:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:8080")
    return Listen(value)


def as_path(value: Any) -> Path:
    """The path a setting holds, `~` spelt out; ValueError says what would be right."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a path")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError("must be a path; no home directory is known for its ~") from None


def is_address(repository: str) -> bool:
    """Whether it is no path: `…://…`, or by git's own rule a colon before any slash."""
    return re.match(r"[a-z0-9+.-]+://|[^/]+:", repository, re.IGNORECASE) is not None


PathText = Annotated[Path, BeforeValidator(as_path)]


#: The type of the error that says which settings do not go together.
CONTRADICTIONS = "contradictions"


def contradictions(
    *,
    baseline: str | None,
    names: list[str],
    weights: list[float] | None,
    unit_keys: set[str],
) -> list[tuple[str, str]]:
    """Settings that are right each by itself but not together, each with what would be right.

    A `baseline` or `weights` of None is one that is not known to be right by itself.
    """
    found = []
    if baseline is not None and names and baseline not in names:
        found.append(("baseline", f"must be one of the branches: {', '.join(names)}"))
    if weights and not any(weight > 0 for weight in weights):
        found.append(("branches", "at least one must have a weight above 0"))
    if len(unit_keys) > 1:
        found.append(("unit_key_file", "must be left out where unit_key_env is given"))
    return found


class Config(Section):
    """The whole file."""

    repository: str = Field(
        min_length=1, description="The git repository: a path, file://, https:// or ssh:// address."
    )
    baseline: BranchName = Field(
        description="The branch that answers for those that cannot; usually the production one."
    )
    branches: dict[BranchName, BranchConfig] = Field(
        min_length=1, description="The branches to serve, by name."
    )
    listen: Annotated[Listen, BeforeValidator(_listen)] = Field(
        default=Listen("127.0.0.1:8080"), description="Where to listen."
    )
    state_dir: PathText = Field(
        default=Path(".gateway"),
        description="The gateway's own directory: journal, caches, snapshots.",
    )
    salt: str = Field(
        default="gateway",
        min_length=1,
        description="Name of the experiment: a new salt reshuffles users.",
    )
    unit: tuple[Annotated[UnitSource, BeforeValidator(_unit_source)], ...] = Field(
        default=tuple(map(UnitSource, ("header:X-User-Id", "body:unit", "cookie:uid"))),
        description="Where the user's id is looked for, first found first.",
    )
    unit_key_env: str | None = Field(
        default=None, description="Environment variable that holds the key of unit hashes."
    )
    unit_key_file: PathText | None = Field(
        default=None,
        description="File that holds the key of unit hashes; without either, one is made.",
    )
    poll: Seconds = Field(
        default=30.0, description="How often the repository is asked for moved branches."
    )
    ready_wait: Seconds = Field(
        default=30.0,
        description="How long /readyz waits for weighted branches besides the baseline.",
    )
    monitoring: MonitoringConfig = Field(
        default=MonitoringConfig(), description="What is written back into the branches."
    )
    limits: LimitsConfig = Field(
        default=LimitsConfig(), description="Bounds on requests and queues."
    )

    @field_validator("unit", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("repository")
    @classmethod
    def _no_password(cls, value: str) -> str:
        scheme, separator, rest = value.partition("://")
        authority = rest.partition("/")[0]
        user, at, _ = authority.rpartition("@")
        if separator and at and (scheme != "ssh" or ":" in user):
            # The value itself must not reach the message: it holds the secret.
            raise PydanticCustomError(
                "secret_in_address", "must not carry a user or password; use a credential helper"
            )
        if value.startswith("-"):
            raise ValueError("must be a path or address of a git repository")
        if not is_address(value):
            as_path(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        found = contradictions(
            baseline=self.baseline,
            names=list(self.branches),
            weights=list(self.weights.values()),
            unit_keys={key for key in ("unit_key_env", "unit_key_file") if getattr(self, key)},
        )
        if found:
            said = "; ".join(f"{setting}: {message}" for setting, message in found)
            raise PydanticCustomError(CONTRADICTIONS, "{said}", {"said": said})
        return self

    @property
    def weights(self) -> dict[Branch, float]:
        return {name: branch.weight for name, branch in self.branches.items()}


#: Changed only by a restart: the process was built around them.
RESTART_ONLY = frozenset({"repository", "listen", "state_dir", "unit_key_env", "unit_key_file"})
