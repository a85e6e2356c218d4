"""Every Prometheus name of the gateway, on a registry of its own.

`Metrics.branch(name)` makes all label children of a branch at once, so that each series is
present at 0 before anything happens and a rate over it is never missing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

import gateway
from gateway.containment_metrics import ContainmentMetrics
from gateway.drift_metrics import DriftMetrics
from gateway.environment_metrics import EnvironmentMetrics
from gateway.experiment_metrics import ExperimentMetrics
from gateway.experiments.allocation import STATES
from gateway.machine_metrics import MachineMetrics
from gateway.names import Branch
from gateway.shared_metrics import SharedMetrics

STATUSES = (
    "ok",
    "fallback_not_ready",
    "fallback_error",
    "fallback_timeout",
    "fallback_overload",
    "invalid",
    "error",
    "timeout",
    "overload",
)
RELOADS = ("swapped", "quarantined")
COPIES = ("ok", "invalid", "error", "timeout")
DROPPED_COPIES = ("overload", "not_ready", "late", "ended")
WORKER_EXITS = ("retired", "not_started", "died", "too_slow")
PUSHES = ("pushed", "failed")
TROUBLES = ("missing", "content", "remote", "machine")
CACHES = ("read", "write")
WEBHOOKS = ("accepted", "ignored", "replayed", "refused", "limited")
OUTCOMES = ("accepted", "late", "invalid")
REFUSED_OUTCOMES = ("too_large", "unreadable", "journal_full")
REFUSED = ("too_large", "unreadable", "slow", "malformed", "connections", "access", "no_branch")
ACCESS_REFUSED = (
    *("missing", "malformed", "unknown", "expired", "attempts", "scope", "rate", "cross_site"),
)
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: The front's background tasks, as `app` starts them.
KEEPERS = (
    *("monitor", "recorder", "served", "allocations", "fleet", "watcher", "reload"),
    *("access", "vitals", "timeline", "traffic", "intervals", "console"),
)
Family = TypeVar("Family", Counter, Gauge, Histogram)
LAGS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)


class BranchMetrics:
    """The children of one branch; attributes are ready to `inc`, `set` and `observe`."""

    def __init__(self, metrics: Metrics, branch: Branch) -> None:
        self._info = metrics.branch_info
        self._branch = branch
        self._shown: tuple[str, ...] | None = None
        #: Set once its series are dropped: what is still counted then is counted nowhere.
        self.dropped = False
        self.requests = {s: metrics.requests.labels(branch, s) for s in STATUSES}
        self.duration = metrics.duration.labels(branch)
        self.rows = metrics.rows.labels(branch)
        self.overrides = metrics.override_requests.labels(branch)
        self.ignored_columns = metrics.ignored_columns.labels(branch)
        self.batch_rows = metrics.batch_rows.labels(branch)
        self.queue_rows = metrics.queue_rows.labels(branch)
        self.ready = metrics.branch_ready.labels(branch)
        self.quarantined = metrics.branch_quarantined.labels(branch)
        self.accelerated = metrics.branch_accelerated.labels(branch)
        self.ejected = metrics.branch_ejected.labels(branch)
        self.ejections = metrics.branch_ejections.labels(branch)
        self.workers = metrics.workers.labels(branch)
        self.reloads = {r: metrics.reloads.labels(branch, r) for r in RELOADS}
        self.worker_exits = {r: metrics.worker_exits.labels(branch, r) for r in WORKER_EXITS}
        self.load_seconds = metrics.load_seconds.labels(branch)
        self.output_dropped = metrics.output_dropped.labels(branch)
        self.pushes = {r: metrics.pushes.labels(branch, r) for r in PUSHES}
        self.weight = metrics.branch_weight.labels(branch)
        self.held = {state: metrics.branch_held.labels(branch, state) for state in STATES}
        self.troubles = {r: metrics.branch_trouble.labels(branch, r) for r in TROUBLES}
        self.diverted = metrics.branch_diverted.labels(branch)
        self.copies = {s: metrics.shadow_requests.labels(branch, s) for s in COPIES}
        self.dropped_copies = {r: metrics.shadow_dropped.labels(branch, r) for r in DROPPED_COPIES}
        self.containment = metrics.containment.branch(branch)

    def requests_so_far(self) -> dict[str, float]:
        """Requests by status."""
        # Samples made to be read are fifty times slower, and this is asked each second.
        return {status: child._value.get() for status, child in self.requests.items()}  # noqa: SLF001

    def durations_so_far(self) -> list[float]:
        """Requests in each bucket of `SECONDS`, and those beyond."""
        return [bucket.get() for bucket in self.duration._buckets]  # noqa: SLF001

    def show_serving(self, commit: str, fingerprint: str) -> None:
        """Point the info metric at what serves now; the former series goes away."""
        if self.dropped:
            return
        if self._shown is not None:
            self._info.remove(self._branch, *self._shown)
        self._shown = (commit, fingerprint)
        self._info.labels(self._branch, commit, fingerprint).set(1)


class Metrics:
    """The registry and its families; one per front."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._branches: dict[Branch, BranchMetrics] = {}
        self._by_branch: list[Counter | Gauge | Histogram] = []
        self._describe_requests()
        self._describe_branches()
        self._describe_workers()
        self._describe_shadows()
        self._describe_feedback()
        self._describe_keepers()
        self._describe_access()
        self.environments = EnvironmentMetrics(self.registry)
        self.containment = ContainmentMetrics(self._gauge, self._counter)
        self.drift = DriftMetrics(self._shown)
        self.experiment = ExperimentMetrics(self._shown)
        self.registry.register(self.drift)
        self.shared = SharedMetrics()
        self.registry.register(self.experiment)
        self.registry.register(self.shared)
        self.machine = MachineMetrics(gateway.__version__, self._shown)
        self.registry.register(self.machine)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return self._noted(Counter(name, text, labels, registry=self.registry), labels)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return self._noted(Gauge(name, text, labels, registry=self.registry), labels)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        family = Histogram(name, text, ["branch"], buckets=buckets, registry=self.registry)
        return self._noted(family, ("branch",))

    def _noted(self, family: Family, labels: tuple[str, ...]) -> Family:
        if "branch" in labels:
            self._by_branch.append(family)
        return family

    def _describe_requests(self) -> None:
        self.requests = self._counter(
            "gateway_requests_total", "Requests by assigned branch and status.", "branch", "status"
        )
        self.duration = self._histogram(
            "gateway_request_duration_seconds",
            "Time from a request's arrival to its answer, by the branch that answered.",
            SECONDS,
        )
        self.rows = self._counter("gateway_rows_total", "Rows predicted.", "branch")
        self.ignored_columns = self._counter(
            "gateway_ignored_columns_total",
            "Columns of named records that the model does not use.",
            "branch",
        )
        refused = self._counter(
            "gateway_refused_requests_total",
            "Requests refused before any branch saw them: too_large, unreadable, slow, malformed;"
            " connections, when too many were open; predictions also by access, and no_branch, when"
            " they asked for one that is not served.",
            "reason",
        )
        self.refused_by = {reason: refused.labels(reason) for reason in REFUSED}
        self.excluded_requests = self._counter(
            "gateway_excluded_requests_total",
            "Requests that `exclude` says are no users': they go to the baseline.",
        )
        self.override_requests = self._counter(
            "gateway_override_requests_total",
            "Predictions that were asked of a branch by name, by that branch.",
            "branch",
        )
        self.connections = self._gauge("gateway_connections", "Open HTTP connections.")
        self.batch_rows = self._histogram(
            "gateway_batch_rows", "Rows in one call of a model.", ROWS
        )
        self.queue_rows = self._gauge("gateway_queue_rows", "Rows waiting for a worker.", "branch")

    def _describe_branches(self) -> None:
        self.branch_ready = self._gauge(
            "gateway_branch_ready", "1 while the branch has a loaded worker.", "branch"
        )
        self.branch_quarantined = self._gauge(
            "gateway_branch_quarantined",
            "1 while the branch's tip holds something that could not be loaded or probed.",
            "branch",
        )
        self.branch_accelerated = self._gauge(
            "gateway_branch_accelerated",
            "1 while a faster form of the branch's model answers, 0 while the model itself does.",
            "branch",
        )
        self.branch_ejected = self._gauge(
            "gateway_branch_ejected",
            "1 while the baseline answers for the branch because it failed too often in a row.",
            "branch",
        )
        self.branch_ejections = self._counter(
            "gateway_branch_ejections_total",
            "How often the baseline took over a branch that failed too often in a row.",
            "branch",
        )
        self.branch_weight = self._gauge(
            "gateway_branch_weight_ratio", "Share of the split in force, from 0 to 1.", "branch"
        )
        self.branch_held = self._gauge(
            "gateway_branch_held",
            "1 while the gateway decides on the branch's share, and how: ejected, as a guardrail is"
            " breached; held, in doubt or by an operator; ramping; ready to be merged; adaptive.",
            *("branch", "state"),
        )
        labels = "branch", "commit", "fingerprint"
        self.branch_info = self._gauge("gateway_branch_info", "What serves.", *labels)
        self.branch_trouble = self._gauge(
            "gateway_branch_trouble",
            "1 while this is wrong: missing from the repository, content that is refused, remote"
            " away, or this machine's disk.",
            *("branch", "reason"),
        )
        self.branch_diverted = self._gauge(
            "gateway_branch_diverted",
            "1 while the rows go to the side branch although the branch is their target.",
            "branch",
        )
        self.pushes = self._counter(
            "gateway_pushes_total", "Monitoring commits by how they ended.", "branch", "result"
        )

    def _describe_workers(self) -> None:
        self.workers = self._gauge("gateway_workers", "Loaded worker processes.", "branch")
        self.spare_workers = self._gauge(
            "gateway_spare_workers", "Started worker processes that wait for something to load."
        )
        self.reloads = self._counter(
            "gateway_reloads_total", "New fingerprints by how they ended.", "branch", "result"
        )
        self.worker_exits = self._counter(
            "gateway_worker_exits_total",
            "Ended worker processes by reason: retired; not_started, it could not load; died;"
            " too_slow, killed for a frame it did not answer.",
            *("branch", "reason"),
        )
        self.load_seconds = self._histogram(
            "gateway_load_duration_seconds", "Time from a snapshot to a probed worker.", SECONDS
        )
        self.output_dropped = self._counter(
            "gateway_branch_output_dropped_lines_total",
            "Lines of branch code beyond the rate that is kept.",
            "branch",
        )

    def _describe_shadows(self) -> None:
        self.shadow_requests = self._counter(
            "gateway_shadow_requests_total",
            "Copies of requests that a shadow computed, by how they ended.",
            *("branch", "status"),
        )
        self.shadow_dropped = self._counter(
            "gateway_shadow_dropped_rows_total",
            "Rows of copies that a shadow did not compute: overload, when it held too many;"
            " not_ready, without a loaded worker; late, when none was free within its timeout;"
            " ended, with the shadow or the gateway.",
            "branch",
            "reason",
        )
        self.shadow_compared = self._gauge(
            "gateway_shadow_compared_rows",
            "Rows that both a shadow and the branch that served them answered, at their present"
            " content.",
            *("branch", "served"),
        )
        self.shadow_agreement = self._gauge(
            "gateway_shadow_agreement_ratio",
            "Share of equal predictions among the compared rows.",
            *("branch", "served"),
        )
        self.shadow_difference = self._gauge(
            "gateway_shadow_score_difference_ratio",
            "Mean absolute difference of the scores of the compared rows.",
            *("branch", "served"),
        )

    def _describe_feedback(self) -> None:
        items = self._counter(
            "gateway_feedback_items_total",
            "Outcomes that were sent: accepted; late, after their metric's window; invalid.",
            "status",
        )
        self.feedback_by = {status: items.labels(status) for status in OUTCOMES}
        refused = self._counter(
            "gateway_feedback_refused_requests_total",
            "Requests with outcomes of which none was taken: too_large, unreadable; journal_full,"
            " when there was no room to record them.",
            "reason",
        )
        self.feedback_refused_by = {reason: refused.labels(reason) for reason in REFUSED_OUTCOMES}

    def _describe_keepers(self) -> None:
        self.journal_bytes = self._gauge(
            "gateway_journal_bytes", "Bytes of the local journal not yet in git."
        )
        self.journal_dropped = self._counter(
            "gateway_journal_dropped_rows_total",
            "Rows that could not be recorded: journal or disk full.",
        )
        self.chunks_waiting = self._gauge(
            "gateway_chunks_waiting", "Sealed chunks not yet confirmed in git."
        )
        polls = self._counter("gateway_polls_total", "Polls of the repository.", "result")
        self.polls_by = {result: polls.labels(result) for result in ("ok", "failed")}
        self.repository_up = self._gauge(
            "gateway_repository_up", "1 if the last poll of the repository was answered."
        )
        cache_bytes = self._gauge(
            "gateway_repository_cache_bytes", "Size of a git cache when last looked at.", "cache"
        )
        self.cache_bytes = {cache: cache_bytes.labels(cache) for cache in CACHES}
        webhooks = self._counter(
            "gateway_webhooks_total", "Calls of POST /webhooks/git by how they ended.", "result"
        )
        self.webhooks_by = {result: webhooks.labels(result) for result in WEBHOOKS}
        changes = self._counter(
            "gateway_config_changes_total", "Changes of gateway.yaml by how they ended.", "result"
        )
        self.config_changes_by = {
            result: changes.labels(result) for result in ("applied", "refused", "waiting")
        }
        self.keeper_restarts = self._counter(
            "gateway_keeper_restarts_total", "Restarts of a background task.", "keeper"
        )
        for keeper in KEEPERS:
            self.keeper_restarts.labels(keeper)
        self.loop_lag = Histogram(
            "gateway_loop_lag_seconds",
            "How late the front's loop comes to what is due, looked at four times a second.",
            buckets=LAGS,
            registry=self.registry,
        )

    def _describe_access(self) -> None:
        refused = self._counter(
            "gateway_access_refused_requests_total",
            "Requests of whoever may not make them: no key (missing), or a malformed, unknown or"
            " expired one; attempts, too many wrong keys; scope, the key may not do this; rate, too"
            " often; cross_site, from another site's page.",
            "reason",
        )
        self.access_refused_by = {reason: refused.labels(reason) for reason in ACCESS_REFUSED}
        self.keys_up = self._gauge("gateway_keys_file_up", "1 while its keys are in force; 0 not.")
        shown = "1 while it is the one of its files; 0: the former one is shown."
        self.certificate_up = self._gauge("gateway_certificate_up", shown)

    def branch(self, name: Branch) -> BranchMetrics:
        """The children of a branch, made at 0 when first asked for.

        Those of a branch that was dropped show nothing, since its last requests and pushes may
        end long after it was taken out.
        """
        known = self._branches.get(name)
        if known is None:
            known = self._branches[name] = BranchMetrics(self, name)
        return known

    def shown(self) -> dict[Branch, BranchMetrics]:
        """The branches that have series now."""
        return {name: one for name, one in self._branches.items() if not one.dropped}

    def _shown(self) -> set[Branch]:
        return set(self.shown())

    def keep(self, names: Collection[Branch]) -> None:
        """Drop every series of the other branches, until they are named to `welcome`."""
        for name in self._branches.keys() - set(names):
            self._branches[name].dropped = True
            for family in self._by_branch:
                family.remove_by_labels({"branch": name})

    def welcome(self, names: Collection[Branch]) -> None:
        """Let branches that may have been dropped have series again, from 0."""
        for name in names:
            if name in self._branches and self._branches[name].dropped:
                del self._branches[name]

    def render(self) -> tuple[bytes, str]:
        """The exposition and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
