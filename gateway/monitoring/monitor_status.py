"""The monitor's status document: what it does for each branch, and what still waits."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gateway.monitoring.backlog import Backlog
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.monitoring.publisher import Policy, side_branch
from gateway.names import Branch
from gateway.store import Publication, Store


def document(
    settings: MonitorSettings, store: Store, backlog: Backlog, policy: Policy
) -> dict[str, object]:
    """As said on standard output; `rows` counts every recorded row, sampled or not."""
    rows: Counter[str] = Counter()
    for (_, _, _, branch, _), count in store.totals("rows").items():
        rows[branch] += count
    names = sorted({*settings.branches, *backlog.branches(settings)})
    chunks, size = backlog.waiting(settings)
    return {
        "branches": {
            name: _branch(name, settings, store.publication(name), policy) for name in names
        },
        "waiting": {"chunks": chunks, "bytes": size, "unreadable": backlog.unreadable},
        "rows": dict(sorted(rows.items())),
    }


def _branch(
    branch: Branch, settings: MonitorSettings, state: Publication, policy: Policy
) -> dict[str, Any]:
    target = "none" if settings.monitoring.target == "none" else policy.in_force(state)
    ref = {"none": None, "branch": branch.ref, "side-branch": side_branch(branch).ref}[target]
    push = state.last_push
    diverted = state.diverted if target != settings.monitoring.target else None
    if diverted and state.diverted_under:
        diverted += " (tried again when the gateway restarts or its settings change)"
    return {
        "target": target,
        "ref": ref,
        "diverted": diverted,
        "last_push": push
        and {"ts": push.ts, "commit": push.commit, "segments": push.segments, "rows": push.rows},
        "last_failure": state.failure and {"ts": state.failed_ts, "reason": state.failure},
    }
