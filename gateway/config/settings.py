"""What gateway.yaml says: the whole file, its two halves, and what does not go together.

`TeamConfig` is what the repository itself may say (`--config-branch`), `OperatorConfig` what
belongs to whoever runs the gateway; a plain gateway.yaml is both.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gateway.access.scopes import ON_LOOPBACK, Scope, is_loopback
from gateway.config.access import OPEN_TO_ALL, AccessConfig, TlsConfig
from gateway.config.addresses import Listen, PathText, checked_repository, parse_listen
from gateway.config.contradictions import NO_KEY, ONE_KEY, contradictions
from gateway.config.drift import DriftConfig
from gateway.config.environments import EnvironmentsConfig
from gateway.config.exclusion import USER_AGENTS, HeaderName, Patterns
from gateway.config.experiment import MOST_METRICS, MetricConfig, MetricName, measured
from gateway.config.mapping import Section
from gateway.config.quantities import BranchName, Seconds
from gateway.config.sections import (
    BranchConfig,
    CredentialsConfig,
    LimitsConfig,
    MonitoringConfig,
    RedisConfig,
    UnitSource,
    WebhookConfig,
    parse_unit_source,
)
from gateway.config.trust import TrustConfig
from gateway.experiments.allocation import shared
from gateway.experiments.metrics import Metric
from gateway.names import Branch

#: The type of the error that says which settings do not go together.
CONTRADICTIONS = "contradictions"


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
    metrics: dict[MetricName, MetricConfig] = Field(
        default={},
        max_length=MOST_METRICS,
        description="What experiments measure, by name. Without any of your own: accuracy (primary,"
        " of labels) and reward (a mean).",
    )
    allocation: Literal["fixed", "thompson"] = Field(
        default="fixed",
        description="`fixed`: users fall on branches by weights and ramps; `thompson`: the gateway"
        " moves them to the branch that does best by a binary primary metric.",
    )
    exclude: dict[HeaderName, Patterns] = Field(
        default={"User-Agent": USER_AGENTS},
        description="Patterns (`*`, `?`, `[…]`, in any case) by header; a request that has one goes"
        " to the baseline and is no part of an experiment.",
    )

    @field_validator("unit", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @property
    def weights(self) -> dict[Branch, float]:
        """Those of the split while nothing else is decided: a ramp is at its first step."""
        first = {name: ramp / 100 for name, ramp in self.first_steps.items()}
        plain = {name: branch.weight for name, branch in self.branches.items()}
        return shared(plain, first) if first else plain

    @property
    def first_steps(self) -> dict[Branch, float]:
        """Percent of all users with which each ramp begins."""
        return {
            name: branch.ramp.steps[0]
            for name, branch in self.branches.items()
            if branch.ramp is not None
        }

    @property
    def shadows(self) -> dict[Branch, BranchConfig]:
        """The branches that get copies and answer nobody."""
        return {name: branch for name, branch in self.branches.items() if branch.shadow}

    @property
    def measured(self) -> tuple[Metric, ...]:
        """What experiments measure, the primary metric first."""
        return measured(self.metrics)

    def configured(self, name: Branch) -> str:
        """12 hex digits, other ones once the branch's weight or ramp is edited."""
        branch = self.branches[name]
        said = [branch.weight, branch.ramp and branch.ramp.model_dump(mode="json")]
        canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return sha256(canonical.encode()).hexdigest()[:12]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if found := contradictions(self.model_dump(exclude_unset=True)):
            said = "; ".join(f"{'.'.join(place)}: {message}" for place, message in found)
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
    access: AccessConfig = Field(
        default=AccessConfig(), description="Who may do what: keys, and what needs none."
    )
    tls: TlsConfig | None = Field(
        default=None, description="Listen with TLS, and this certificate; without it, plain HTTP."
    )
    state_dir: PathText = Field(
        default=Path(".gateway"),
        description="The gateway's own directory: journal, caches, snapshots.",
    )
    credentials: CredentialsConfig = Field(
        default=CredentialsConfig(), description="How the git server knows the gateway."
    )
    trust: TrustConfig = Field(
        default=TrustConfig(),
        description="What must be true of a commit before anything of it is loaded.",
    )
    webhook: WebhookConfig | None = Field(
        default=None, description="Pushes announced by the git server; without it, polls find them."
    )
    redis: RedisConfig | None = Field(
        default=None,
        description="What several replicas share, so that they are one gateway; needs unit_key_env"
        " or unit_key_file.",
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
    sandbox: Literal["required", "best-effort", "off"] = Field(
        default="best-effort",
        description="How branches' code is contained: by all layers or not loaded, by those that"
        " this machine has, or not at all.",
    )
    monitoring: MonitoringConfig = Field(
        default=MonitoringConfig(), description="What is written back into the branches."
    )
    environments: EnvironmentsConfig = Field(
        default=EnvironmentsConfig(),
        description="How the environments of branches with `environment: branch` are built.",
    )
    limits: LimitsConfig = Field(
        default=LimitsConfig(), description="Bounds on requests and queues."
    )

    @model_validator(mode="after")
    def _one_unit_key(self) -> Self:
        if self.unit_key_env and self.unit_key_file:
            raise PydanticCustomError(CONTRADICTIONS, "unit_key_file: {said}", {"said": ONE_KEY})
        if self.redis and not (self.unit_key_env or self.unit_key_file):
            raise PydanticCustomError(CONTRADICTIONS, "redis: {said}", {"said": NO_KEY})
        return self

    @model_validator(mode="after")
    def _nobody_comes_in_unasked(self) -> Self:
        if not (is_loopback(self.listen.host) or self.access.keys_file or self.anonymous_said):
            raise PydanticCustomError(CONTRADICTIONS, "listen: {said}", {"said": OPEN_TO_ALL})
        return self

    @property
    def anonymous_said(self) -> bool:
        return self.access.anonymous is not None

    @property
    def anonymous(self) -> tuple[Scope, ...]:
        """What may be done without a key."""
        if self.access.anonymous is not None:
            return self.access.anonymous
        return () if self.access.keys_file or not is_loopback(self.listen.host) else ON_LOOPBACK


class Config(TeamConfig, OperatorConfig):
    """The whole file."""

    def memory_of(self, branch: Branch) -> int | None:
        """Most memory of one of its workers; None is no bound."""
        bounds = (self.branches[branch].memory, self.limits.worker_memory)
        return min(filter(None, bounds), default=None)


#: Changed only by a restart: the process was built around them.
RESTART_ONLY = frozenset(
    {
        *("repository", "listen", "state_dir", "unit_key_env", "unit_key_file"),
        *("credentials", "webhook", "redis", "tls", "trust", "sandbox"),
    }
)
