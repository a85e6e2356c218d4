"""The mappings inside gateway.yaml, typed and frozen; descriptions are their documentation."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway.config.addresses import PathText
from gateway.config.mapping import Section
from gateway.config.quantities import ByteSize, Seconds
from gateway.config.ramp import RampConfig


def _inside_tree(value: str) -> str:
    path = PurePosixPath(value)
    if not value or path.is_absolute() or ".." in path.parts or path.parts[0] != "models":
        raise ValueError("must be a path inside the branch's models/, such as models/model.pkl")
    return str(path)


#: Only their proportions matter.
MOST_WEIGHT = 100


class BranchConfig(Section):
    """One branch that is served."""

    weight: float = Field(
        default=0.0,
        ge=0,
        le=MOST_WEIGHT,
        description="Share of the split, relative to the other branches' weights.",
    )
    model: Annotated[str, AfterValidator(_inside_tree)] | None = Field(
        default=None, description="The model file, where models/ holds several."
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Worker processes that share its load. Where nothing serves yet, the first"
        " answers while the others load.",
    )
    timeout: Seconds = Field(
        default=2.0,
        description="Deadline of a request here; the baseline, if it must answer, has its own.",
    )
    memory: ByteSize | None = Field(
        default=None,
        description="Most memory of one worker, its libraries included; beyond it an allocation "
        "fails.",
    )
    environment: Literal["gateway", "branch"] = Field(
        default="gateway",
        description="The libraries its workers have: the gateway's own, or those that the branch's"
        " uv.lock, pylock.toml or requirements.txt names.",
    )
    strict_versions: bool = Field(
        default=False,
        description="Refuse a model that was saved with another release of scikit-learn, numpy or"
        " joblib; else that is only said.",
    )
    fallback: bool = Field(
        default=True,
        description="Answer by the baseline where this branch cannot; false answers an error.",
    )
    strict_columns: bool = Field(
        default=False, description="Refuse named records that carry columns the model does not use."
    )
    accelerate: Literal["auto", "off"] = Field(
        default="auto",
        description="Answer by a faster form of the model if, tried at load, its labels are the "
        "same and its numbers within 1e-9; `off`: never.",
    )
    network: bool = Field(
        default=False,
        description="Its workers may connect to others; said by the operator only, never by a file"
        " in the repository.",
    )
    shadow: bool = Field(
        default=False,
        description="Gets copies of answered requests, answers nobody, and has no weight.",
    )
    shadow_share: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of the answered requests that a shadow gets, chosen by request id.",
    )
    shadow_rows: int = Field(
        default=1024,
        ge=1,
        description="Most rows of copies that a shadow holds at once; others are dropped.",
    )
    ramp: RampConfig | None = Field(
        default=None, description="Its share of all users step by step, in place of `weight`."
    )

    @field_validator("shadow")
    @classmethod
    def _has_no_weight(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("weight", 0.0) > 0:
            raise ValueError("must be left out for a branch with a weight; a shadow has none")
        return value

    @field_validator("shadow_share", "shadow_rows")
    @classmethod
    def _of_a_shadow(cls, value: float, info: ValidationInfo) -> float:
        if info.data.get("shadow") is False:
            raise ValueError("must be left out without shadow: true")
        return value

    @field_validator("ramp")
    @classmethod
    def _of_an_arm(cls, value: RampConfig | None, info: ValidationInfo) -> RampConfig | None:
        if value is not None and info.data.get("shadow") is True:
            raise ValueError("must be left out for a shadow, which answers nobody")
        return value


class UnitSource(str):
    """`header:NAME`, `body:FIELD` or `cookie:NAME`."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        return self.partition(":")[0]

    @property
    def key(self) -> str:
        return self.partition(":")[2]


def parse_unit_source(value: Any) -> UnitSource:
    kind, _, key = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind not in ("header", "body", "cookie") or not key:
        raise ValueError("must be header:NAME, body:FIELD or cookie:NAME")
    if key == "instances" or not key.isprintable() or any(mark in key for mark in '"\\'):
        raise ValueError("must name a field, without quotes or backslashes, besides instances")
    if kind == "header" and key.lower() == "authorization":
        raise ValueError("must be another header: Authorization carries the caller's key")
    return UnitSource(value)


#: Who commits, and with what first line, where nothing else is said.
GATEWAY = "branch gateway <gateway@localhost>"
MESSAGE = "monitoring: {contents} [skip ci]"


def _person(value: str) -> str:
    if re.fullmatch(r"[^<>\x00-\x1f]*[^<>\s][^<>\x00-\x1f]* <[^<>\s]+>", value) is None:
        raise ValueError(f"must be a name and an address, such as {GATEWAY}")
    return value


def _message(value: str) -> str:
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(value) if name is not None}
        filled = value.format(contents="1 prediction", branch="prod")
    except (ValueError, LookupError, AttributeError):
        names, filled = {""}, ""
    if not filled.strip() or names - {"contents", "branch"}:
        raise ValueError("must be a line with no other braces than {contents} and {branch}")
    return value


@dataclass(frozen=True, slots=True)
class Privacy:
    """What a branch's processes must keep to themselves.

    Rows come back without the columns `redact`; with `withhold` no message of theirs quotes a
    value, and nothing that they print is kept.
    """

    redact: tuple[str, ...] = ()
    withhold: bool = False


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
        description="Commit to the branch itself, to gateway-monitoring/<branch> (with + for each"
        " / in its name), or not at all.",
    )
    retention: Seconds = Field(
        default=14 * 86400.0, description="Older segments are deleted from the branch's tip."
    )
    journal_bytes: ByteSize = Field(
        default=1024**3,
        description="Bound of the local journal; beyond it rows are dropped and counted, and"
        " outcomes refused.",
    )
    author: Annotated[str, AfterValidator(_person)] = Field(
        default=GATEWAY, description="Author of the monitoring commits, as `Name <address>`."
    )
    committer: Annotated[str, AfterValidator(_person)] = Field(
        default=GATEWAY, description="Committer of the monitoring commits, as `Name <address>`."
    )
    message: Annotated[str, AfterValidator(_message)] = Field(
        default=MESSAGE,
        description="First line of their messages; `{contents}` and `{branch}` are filled in.",
    )

    @property
    def privacy(self) -> Privacy:
        """Whatever keeps values out of git also keeps them out of errors and logs."""
        return Privacy(self.redact, bool(self.redact) or self.features != "segments")

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
    worker_scratch: ByteSize = Field(
        default=256 * 1024**2,
        description="Most bytes of files that one worker may have written, in a folder that ends"
        " with it.",
    )
    worker_memory: ByteSize | None = Field(
        default=None,
        description="Most memory of any one worker, whatever its branch's `memory` says.",
    )
    snapshot_bytes: ByteSize = Field(
        default=10 * 1024**3, description="Largest content of a branch that is written out."
    )


def _prefix(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", value) is None:
        raise ValueError("must be 1 to 64 letters, digits and _ . : -")
    return value


class CredentialsConfig(Section):
    """How the gateway proves to the git server who it is; secrets are named, never written here."""

    username: str = Field(
        default="git", min_length=1, description="User name for https; most forges ignore it."
    )
    password_env: str | None = Field(
        default=None, description="Environment variable that holds the password or token."
    )
    password_file: PathText | None = Field(
        default=None, description="File that holds it; read anew each time it is asked for."
    )
    ssh_key_file: PathText | None = Field(
        default=None, description="Private key for ssh; without one, what ssh itself would use."
    )
    known_hosts_file: PathText | None = Field(
        default=None, description="The only host keys that ssh accepts, if given."
    )
    ca_file: PathText | None = Field(
        default=None, description="Certificates that https servers are checked against."
    )

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password_env and self.password_file:
            raise ValueError("must have password_env or password_file, not both")
        return self


class WebhookConfig(Section):
    """The shared secret of `POST /webhooks/git`."""

    secret_env: str | None = Field(
        default=None, description="Environment variable that holds the webhook's secret."
    )
    secret_file: PathText | None = Field(
        default=None, description="File that holds the webhook's secret."
    )

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if (self.secret_env is None) == (self.secret_file is None):
            raise ValueError("must have either secret_env or secret_file")
        return self


class RedisConfig(Section):
    """The Redis that replicas share; its address holds a password, and is named, never written."""

    url_env: str | None = Field(
        default=None,
        description="Environment variable that holds its address: redis://, rediss:// or unix://.",
    )
    url_file: PathText | None = Field(
        default=None, description="File that holds it; read anew when Redis refuses the password."
    )
    ca_file: PathText | None = Field(
        default=None, description="Certificates that its server is checked against, for rediss://."
    )
    prefix: Annotated[str, AfterValidator(_prefix)] | None = Field(
        default=None,
        description="What all its keys begin with; without it, `gateway:` and 12 hex digits of the"
        " repository's address.",
    )
    chunk_bytes: ByteSize = Field(
        default=256 * 1024**2,
        description="Most bytes of unpublished chunks there; beyond it they wait on the replicas'"
        " own disks.",
    )
    gone_after: Seconds = Field(
        default=3600.0,
        ge=1,
        description="When nothing was heard of a replica for so long, the chunk it had open counts"
        " and is published as far as Redis has it; should it come back, the rest follows.",
    )

    @field_validator("url_env", "url_file")
    @classmethod
    def _names_a_place(cls, value: str | Path | None, info: ValidationInfo) -> str | Path | None:
        # Else the address itself would be in the message that there is no such place.
        if value is not None and ":" in str(value):
            what = "an environment variable" if info.field_name == "url_env" else "a file"
            raise ValueError(f"must name {what} that holds the address, never the address")
        return value

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        if (self.url_env is None) == (self.url_file is None):
            raise ValueError("must have either url_env or url_file")
        return self
