"""The monitor's status document: what it does for each branch, and what still waits.

`document` writes it, in the monitor; `PushNews` and `LookNews` read it, in the front.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from gateway.monitoring.backlog import Backlog
from gateway.monitoring.monitor_settings import MonitorSettings
from gateway.monitoring.publisher import Policy, side_branch
from gateway.names import Branch
from gateway.store import Publication, Store


def document(
    settings: MonitorSettings,
    store: Store,
    backlog: Backlog,
    policy: Policy,
    place: Callable[[Branch], str],
) -> dict[str, object]:
    """As said on standard output; `rows` counts every recorded row, sampled or not.

    `place` is what people call the place where a branch's segments lie.
    """
    rows: Counter[str] = Counter()
    for (_, _, _, branch, _), count in store.totals("rows").items():
        rows[branch] += count
    names = sorted({*settings.branches, *backlog.branches(settings)})
    chunks, size = backlog.waiting(settings)
    return {
        "branches": {
            name: _branch(name, settings, store.publication(name), policy, place) for name in names
        },
        "waiting": {"chunks": chunks, "bytes": size, "unreadable": backlog.unreadable},
        "rows": dict(sorted(rows.items())),
    }


def _branch(
    branch: Branch,
    settings: MonitorSettings,
    state: Publication,
    policy: Policy,
    place: Callable[[Branch], str],
) -> dict[str, Any]:
    target = "none" if settings.monitoring.target == "none" else policy.in_force(state)
    taker = {"none": None, "branch": branch, "side-branch": side_branch(branch)}[target]
    push = state.last_push
    diverted = state.diverted if target != settings.monitoring.target else None
    if diverted and state.diverted_under:
        diverted += " (tried again when the gateway restarts or its settings change)"
    return {
        "target": target,
        "ref": taker and place(taker),
        "diverted": diverted,
        "last_push": push
        and {
            "ts": push.ts,
            "commit": push.commit or None,
            "segments": push.segments,
            "rows": push.rows,
        },
        "last_failure": state.failure and {"ts": state.failed_ts, "reason": state.failure},
    }


class PushNews:
    """The pushes and failures in a row of documents, each told once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}

    def of(self, status: Mapping[str, Any]) -> list[tuple[Branch, str]]:
        """Those in this document that were in none before: `pushed` or `failed`, by branch."""
        news = []
        for name, branch in status.get("branches", {}).items():
            for key, result in (("last_push", "pushed"), ("last_failure", "failed")):
                event = branch[key]
                if event is not None and self._known.get((name, key)) != event["ts"]:
                    self._known[name, key] = event["ts"]
                    news.append((Branch(name), result))
        return news


class LookNews:
    """Whether a row of documents says that another replica's git server called."""

    def __init__(self) -> None:
        self._known: object = None

    def of(self, status: Mapping[str, Any]) -> bool:
        """True if more calls are told of than before; also if Redis began to count anew."""
        looks = (status.get("shared") or {}).get("looks")
        if looks is None or looks == self._known:
            return False
        self._known = looks
        return True
