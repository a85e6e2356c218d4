"""The shapes of GET /branches and /branches/{branch}.

Nobody builds these: `web/status` gathers what each room says of itself. Tests hold every answer
of every gateway they start against them, so a field that is missing here does not stay unseen.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gateway.experiments.allocation import State as AllocationState
from gateway.statistics.verdict import Severity

Condition = Literal["ready", "ejected", "restarting", "failed", "loading", "absent"]


class Serving(msgspec.Struct):
    """What answers now."""

    commit: str
    fingerprint: str
    since: str
    probed: Literal["golden", "examples", "recent", "unprobed"]
    author: str | None
    subject: str | None
    committed_at: str | None


class Wanted(msgspec.Struct):
    """What is to answer, by the branch's tip."""

    commit: str
    tip: str
    fingerprint: str


class Ejected(msgspec.Struct):
    """A branch that is left out until it works again."""

    since: str
    reason: str


class Accelerated(msgspec.Struct):
    """Whether a faster form answers in the model's place."""

    form: str | None
    reason: str | None


class BranchEnvironment(msgspec.Struct):
    """What the branch's workers run on: the gateway's libraries, or its own, by the lock's key."""

    kind: Literal["gateway", "branch"]
    lock: str | None
    key: str | None
    python: str


class Attempt(msgspec.Struct):
    """What branch code tried though its containment does not allow it."""

    what: str
    times: int
    commit: str
    last: str


class Containment(msgspec.Struct):
    """The layers around the branch's workers that hold, and those that lack, with the reason."""

    sandbox: Literal["required", "best-effort", "off"] | None
    holds: dict[str, str]
    lacks: dict[str, str]
    attempts: list[Attempt]


class WorkerProcess(msgspec.Struct):
    """One process that answers for the branch."""

    pid: int
    state: Literal["idle", "busy", "draining"]
    commit: str


class SpareWorker(msgspec.Struct):
    """A process that has imported ahead of the next reload."""

    pid: int
    state: Literal["ready", "importing"]
    modules: int


class Agreement(msgspec.Struct):
    """A shadow beside one content that answered users."""

    branch: str
    fingerprint: str
    since: str
    rows: int
    equal_rows: int
    equal_share: float | None
    scored_rows: int
    score_difference: float | None


class Shadow(msgspec.Struct):
    """What a shadow branch gets of the answered requests."""

    share: float
    rows: int
    most_rows: int
    requests: dict[str, int]
    dropped_rows: dict[str, int]
    agreement: list[Agreement]


class BranchOrder(msgspec.Struct):
    """What the gateway, or an operator, made of the branch's weight."""

    state: AllocationState
    reason: str
    since: str


class RepositoryBranch(msgspec.Struct):
    """The branch as the repository has it."""

    tip: str | None
    trouble: Literal["missing", "content", "remote", "machine"] | None
    text: str | None
    last_move: str | None


class LastPush(msgspec.Struct):
    """Rows that went into the repository."""

    ts: str
    commit: str | None
    segments: int
    rows: int


class LastFailure(msgspec.Struct):
    """Why the last try to write into the repository failed."""

    ts: str
    reason: str


class BranchMonitoring(msgspec.Struct):
    """Where the branch's rows are written, and how that goes."""

    target: Literal["branch", "side-branch", "none"]
    ref: str | None
    diverted: str | None
    last_push: LastPush | None
    last_failure: LastFailure | None


class BranchDrift(msgspec.Struct):
    """The verdict on the branch's last window."""

    severity: Severity | None
    drifted: bool | None
    window_end: str | None


class BranchStatus(msgspec.Struct):
    """One branch: what is wanted, what serves, and why they differ."""

    branch: str
    baseline: bool
    weight: float
    share: float
    effective_weight: float
    allocation: BranchOrder | None
    fallback: bool
    shadow: Shadow | None
    state: Condition
    loading: bool
    serving: Serving | None
    wanted: Wanted | None
    reason: str | None
    ejected: Ejected | None
    quarantined: str | None
    tip: str | None
    commit_known: bool | None
    columns: list[str] | None
    classes: list[Any] | None
    kind: str | None
    versions: dict[str, str] | None
    accelerated: Accelerated | None
    environment: BranchEnvironment | None
    building: bool
    saved_with: dict[str, str] | None
    containment: Containment
    queue_rows: int
    workers: list[WorkerProcess]
    repository: RepositoryBranch | None
    monitoring: BranchMonitoring | None
    recorded_rows: int
    drift: BranchDrift | None
    model: Any


class ConfigurationStatus(msgspec.Struct):
    """Whether what gateway.yaml says is in force."""

    file: str
    commit: str | None
    state: Literal["in_force", "waiting", "refused"]
    reason: str | None
    waiting_for: dict[str, str]
    since: str
    trouble: str | None


class AllocationStatus(msgspec.Struct):
    """Whether orders about weights can be followed."""

    trouble: str | None


class CertificateStatus(msgspec.Struct):
    """Whether the certificate's files, as they are now, are in force."""

    file: str
    state: Literal["in_force", "refused"]
    reason: str | None


class AccessStatus(msgspec.Struct):
    """Whether the file of keys, as it is now, is in force."""

    keys: int | None
    state: Literal["in_force", "refused"]
    reason: str | None
    since: str
    certificate: CertificateStatus | None


class CacheStatus(msgspec.Struct):
    """A git cache on disk."""

    bytes: int
    rebuilds: int


class RepositoryStatus(msgspec.Struct):
    """The repository as a whole."""

    kind: Literal["git", "folder"]
    last_poll: str | None
    last_success: str | None
    last_error: str | None
    cache: CacheStatus | None
    last_webhook: str | None


class WaitingChunks(msgspec.Struct):
    """Chunks of the journal that are not published yet."""

    chunks: int
    bytes: int
    unreadable: int


class DriftStatus(msgspec.Struct):
    """How far drift is with the rows."""

    lag_rows: int
    left_out_rows: int
    trouble: str | None


class ExperimentsStatus(msgspec.Struct):
    """Whether experiments are counted and guardrails watched."""

    trouble: str | None


class RecordingStatus(msgspec.Struct):
    """The journal, and the monitor that publishes it."""

    dropping: bool
    waiting: WaitingChunks | None
    monitor_pid: int | None
    trouble: str | None
    cache: CacheStatus | None
    drift: DriftStatus | None
    experiments: ExperimentsStatus | None


class UnsharedChunks(msgspec.Struct):
    """Chunks on this replica's disk that Redis does not have yet."""

    chunks: int
    bytes: int


class SharedStatus(msgspec.Struct):
    """What this replica shares with the others. All but the role is there once it has begun to."""

    role: Literal["leads", "stands by", "alone"]
    trouble: str | None
    replica: str | msgspec.UnsetType = msgspec.UNSET
    holder: str | msgspec.UnsetType | None = msgspec.UNSET
    state: int | msgspec.UnsetType = msgspec.UNSET
    waiting: UnsharedChunks | msgspec.UnsetType = msgspec.UNSET
    paused: bool | msgspec.UnsetType = msgspec.UNSET
    bytes: int | msgspec.UnsetType | None = msgspec.UNSET
    memory: str | msgspec.UnsetType | None = msgspec.UNSET
    waits_for: str | msgspec.UnsetType | None = msgspec.UNSET
    skew: list[str] | msgspec.UnsetType = msgspec.UNSET


class ReplicaServing(msgspec.Struct):
    """What a replica answers a branch's users with."""

    fingerprint: str
    commit: str


class ReplicaStatus(msgspec.Struct):
    """One replica, as it said last."""

    host: str
    pid: int
    writer: str
    serving: dict[str, ReplicaServing]


class GatewayStatus(msgspec.Struct):
    """The gateway and all its branches."""

    baseline: str
    salt: str
    epoch: str
    configuration: ConfigurationStatus
    allocation: AllocationStatus
    access: AccessStatus
    repository: RepositoryStatus
    recording: RecordingStatus
    spare_workers: list[SpareWorker]
    branches: dict[str, BranchStatus]
    shared: SharedStatus | msgspec.UnsetType = msgspec.UNSET
    replicas: dict[str, ReplicaStatus] | msgspec.UnsetType = msgspec.UNSET
