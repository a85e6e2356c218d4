"""What gateway.yaml says: the whole file, its two halves, and what does not go together.

`TeamConfig` is what the repository itself may say (`--config-branch`), `OperatorConfig` what
belongs to whoever runs the gateway; a plain gateway.yaml is both.
"""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gateway.config.addresses import Listen, PathText, checked_repository, parse_listen
from gateway.config.drift import DriftConfig
from gateway.config.quantities import BranchName, Seconds
from gateway.config.sections import (
    BranchConfig,
    CredentialsConfig,
    LimitsConfig,
    MonitoringConfig,
    Section,
    UnitSource,
    WebhookConfig,
    parse_unit_source,
)
from gateway.names import Branch

#: The type of the error that says which settings do not go together.
CONTRADICTIONS = "contradictions"


ONE_KEY = "must be left out where unit_key_env is given"


def contradictions(
    *,
    baseline: str | None,
    names: list[str],
    weights: list[float] | None,
    shadows: Set[str] = frozenset(),
    unit_keys: Set[str] = frozenset(),
) -> list[tuple[str, str]]:
    """Settings that are right each by itself but not together, each with what would be right.

    A `baseline` or `weights` of None is one that is not known to be right by itself.
    """
    found = []
    if baseline is not None and names and baseline not in names:
        found.append(("baseline", f"must be one of the branches: {', '.join(names)}"))
    if baseline in shadows:
        found.append(("baseline", "must be a branch that answers; a shadow does not"))
    if weights and not any(weight > 0 for weight in weights):
        found.append(("branches", "at least one must have a weight above 0"))
    if len(unit_keys) > 1:
        found.append(("unit_key_file", ONE_KEY))
    return found


class TeamConfig(Section):
    """What the repository itself may say: who is served, to whom, and what is asked of it."""

    baseline: BranchName = Field(
        description="The branch that answers for those that cannot; usually the production one."
    )
    branches: dict[BranchName, BranchConfig] = Field(
        min_length=1, description="The branches to serve, by name."
    )
    salt: str = Field(
        default="gateway",
        min_length=1,
        description="Name of the experiment: a new salt reshuffles users.",
    )
    unit: tuple[Annotated[UnitSource, BeforeValidator(parse_unit_source)], ...] = Field(
        default=tuple(map(UnitSource, ("header:X-User-Id", "body:unit", "cookie:uid"))),
        description="Where the user's id is looked for, first found first.",
    )
    drift: DriftConfig = Field(
        default=DriftConfig(), description="When served rows have drifted from a reference."
    )

    @field_validator("unit", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @property
    def weights(self) -> dict[Branch, float]:
        return {name: branch.weight for name, branch in self.branches.items()}

    @property
    def shadows(self) -> dict[Branch, BranchConfig]:
        """The branches that get copies and answer nobody."""
        return {name: branch for name, branch in self.branches.items() if branch.shadow}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found = contradictions(
            baseline=self.baseline,
            names=list(self.branches),
            weights=list(self.weights.values()),
            shadows=self.shadows.keys(),
        )
        if found:
            said = "; ".join(f"{setting}: {message}" for setting, message in found)
            raise PydanticCustomError(CONTRADICTIONS, "{said}", {"said": said})
        return self


class OperatorConfig(Section):
    """What belongs to whoever runs the gateway, and never comes from the repository."""

    repository: Annotated[str, AfterValidator(checked_repository)] = Field(
        min_length=1,
        description="A git repository's path or address (file://, https://, ssh://, git://), or"
        " folder:// and a folder with one sub-folder a branch.",
    )
    listen: Annotated[Listen, BeforeValidator(parse_listen)] = Field(
        default=Listen("127.0.0.1:8080"), description="Where to listen."
    )
    state_dir: PathText = Field(
        default=Path(".gateway"),
        description="The gateway's own directory: journal, caches, snapshots.",
    )
    credentials: CredentialsConfig = Field(
        default=CredentialsConfig(), description="How the git server knows the gateway."
    )
    webhook: WebhookConfig | None = Field(
        default=None, description="Pushes announced by the git server; without it, polls find them."
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
    spare_workers: int = Field(
        default=1,
        ge=0,
        le=16,
        description="Workers kept started, with what the branches import imported, so that a"
        " reload is quick; each takes the memory of a worker without a model. 0: none.",
    )
    monitoring: MonitoringConfig = Field(
        default=MonitoringConfig(), description="What is written back into the branches."
    )
    limits: LimitsConfig = Field(
        default=LimitsConfig(), description="Bounds on requests and queues."
    )

    @model_validator(mode="after")
    def _one_unit_key(self) -> Self:
        if self.unit_key_env and self.unit_key_file:
            raise PydanticCustomError(CONTRADICTIONS, "unit_key_file: {said}", {"said": ONE_KEY})
        return self


class Config(TeamConfig, OperatorConfig):
    """The whole file."""


#: Changed only by a restart: the process was built around them.
RESTART_ONLY = frozenset(
    {
        *("repository", "listen", "state_dir", "unit_key_env", "unit_key_file"),
        *("credentials", "webhook"),
    }
)
